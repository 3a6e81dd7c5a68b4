"""The figures as JSON values, with their definitions and where they come from.

The keys of `evaluation.json` stand here. A figure that nothing defines is null: of a class that occurs in
neither truth nor prediction, or of probabilities that a dataset does not hold.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from fstore.dataset import Dataset
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.measure import FoundPoints, LabelSums
from pipeline.labelling.confusion import mean_iou
from pipeline.labelling.heat_maps import pck
from pipeline.machine.provenance import created_record
from pipeline.quality.boundary import PART_OF_DIAGONAL
from pipeline.quality.keypoint_distance import mean_distance, pck_by_keypoint
from pipeline.quality.overlap import class_iou, mean_present, pixel_accuracy
from pipeline.quality.reliability import Reliability
from pipeline.settings.schema import KEYPOINTS, SEGMENTATION

VERSION = 1
PCK_PERCENT = (5, 10, 15)
_POOLED = "counts are summed over images before they are divided"
_ABSENT = "classes in neither truth nor prediction are null and in no mean"


def label_figures(job: EvaluationJob, sums: LabelSums) -> dict[str, Any]:
    """All of a run that compared labels."""
    matrix, distance = sums.matrix, sums.boundary.distance
    iou, rim = class_iou(matrix), sums.boundary.class_iou()
    reliability = sums.reliability
    rows = zip(job.store.meta.classes, iou.tolist(), rim.tolist(), matrix.sum(1), matrix.sum(0), strict=True)
    return {
        **_head(job, SEGMENTATION),
        "definitions": _label_definitions(distance, reliability),
        "miou": _finite(mean_iou(matrix)),
        "boundary_miou": _finite(mean_present(rim)),
        "pixel_accuracy": _finite(pixel_accuracy(matrix)),
        "expected_calibration_error": None if reliability is None else _finite(reliability.expected_error()),
        "pixels": int(matrix.sum()),
        "ignored_pixels": sums.ignored,
        "pixels_without_probability": sums.unsure,
        "classes": [
            {
                "id": entry.id,
                "name": entry.name,
                "color": entry.color,
                "iou": _finite(one),
                "boundary_iou": _finite(other),
                "pixels": int(true),
                "predicted_pixels": int(found),
            }
            for entry, one, other, true, found in rows
        ],
        "filter": _filter(job, sums),
        "confusion": matrix.tolist(),
        "reliability": None if reliability is None else _bins(reliability),
    }


def point_figures(job: EvaluationJob, points: FoundPoints) -> dict[str, Any]:
    """All of a run that compared keypoints."""
    found, truth = points.found, points.truth
    assert job.store.meta.keypoints is not None
    side, names = max(job.image_size), job.store.meta.keypoints.names
    shares = {
        percent: [_finite(share) for share in pck_by_keypoint(found, truth, percent / 100, side)]
        for percent in PCK_PERCENT
    }
    return {
        **_head(job, KEYPOINTS),
        "definitions": {
            "pck": f"share of labelled keypoints at most 5, 10 or 15 percent of {side} pixels, the image's "
            "larger side, from the true ones",
            "mean_distance_pixels": "mean distance of labelled keypoints from the true ones, in pixels",
        },
        "pck": {str(p): _finite(pck(found, truth, p / 100, side)) for p in PCK_PERCENT},
        "mean_distance_pixels": _finite(mean_distance(found, truth)),
        "labelled": int((truth[..., 2] > 0).sum()),
        "keypoints": [
            {
                "name": name,
                "pck": {str(p): shares[p][k] for p in PCK_PERCENT},
                "mean_distance_pixels": _finite(mean_distance(found[:, k : k + 1], truth[:, k : k + 1])),
                "labelled": int((truth[:, k, 2] > 0).sum()),
            }
            for k, name in enumerate(names)
        ],
        "filter": _points_filter(job, points, side),
    }


def _head(job: EvaluationJob, task: str) -> dict[str, Any]:
    store, judged = job.store, job.judged
    return {
        "version": VERSION,
        "kind": "evaluation",
        "task": task,
        "created": created_record(),
        "interpreter": {"folder": str(judged.folder), "sha256": judged.sha256},
        "store": {
            "location": str(store.location),
            "kind": store.meta.kind,
            "id": store.id,
            "revision": store.revision,
        },
        "annotations": None if job.truth is None else dict(job.truth.record),
        "images": job.num_images,
        "image_size": list(job.image_size),
        "trained_on_these_images": job.has_learnt,
    }


def _label_definitions(distance: int, reliability: Reliability | None) -> dict[str, Any]:
    found = {
        "iou": "pixels of a class in both truth and prediction, over pixels of it in either; "
        f"{_POOLED}; {_ABSENT}",
        "boundary_iou": {
            "text": "the same of those pixels of a class that lie at most so many rows and columns from a "
            f"pixel of another class or from the image's edge (Cheng et al., CVPR 2021); {_POOLED}",
            "distance_pixels": distance,
            "part_of_diagonal": PART_OF_DIAGONAL,
        },
        "pixel_accuracy": "share of pixels with the right label",
    }
    if reliability is None:
        return found | {"expected_calibration_error": None}
    return found | {
        "expected_calibration_error": {
            "text": "mean gap, over pixels, between the share of right pixels in a bin and the mean of their "
            "largest mean probability (Guo et al., ICML 2017)",
            "bins": len(reliability.pixels),
        }
    }


def _filter(job: EvaluationJob, sums: LabelSums) -> dict[str, Any] | None:
    """The mIoU of the images that the filter keeps, and of those that it drops; None without a filter."""
    if not isinstance(job.store, Dataset) or job.store.meta.keep is None:
        return None
    none: tuple[int, Tensor | None] = 0, None
    parts = {"kept": sums.parts.get(True, none), "dropped": sums.parts.get(False, none)}
    return {"keep": job.store.meta.keep} | {
        name: {"images": num, "miou": None if matrix is None else _finite(mean_iou(matrix))}
        for name, (num, matrix) in parts.items()
    }


def _points_filter(job: EvaluationJob, points: FoundPoints, side: int) -> dict[str, Any] | None:
    """The same with PCK."""
    if not isinstance(job.store, Dataset) or points.kept is None:
        return None
    found: dict[str, Any] = {"keep": job.store.meta.keep}
    for name, part in (("kept", points.kept), ("dropped", ~points.kept)):
        shares = {
            str(p): _finite(pck(points.found[part], points.truth[part], p / 100, side)) for p in PCK_PERCENT
        }
        found[name] = {"images": int(part.sum()), "pck": shares}
    return found


def _bins(reliability: Reliability) -> list[dict[str, Any]]:
    edges = reliability.edges.tolist()
    columns = (edges[:-1], edges[1:], reliability.pixels, reliability.confidence, reliability.accuracy)
    return [
        {
            "above": low,
            "up_to": high,
            "pixels": int(pixels),
            "confidence": _finite(float(confidence)),
            "accuracy": _finite(float(accuracy)),
        }
        for low, high, pixels, confidence, accuracy in zip(*columns, strict=True)
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
