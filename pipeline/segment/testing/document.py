"""The scores as JSON values, with their definitions and where they come from.

The keys of `scores.json` stand here. A figure that nothing defines is null: of a class that occurs in neither
truth nor prediction. It knows counts, and runs no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.labelling.confusion import mean_iou
from pipeline.machine.provenance import created_record
from pipeline.quality.overlap import class_iou, pixel_accuracy
from pipeline.segment.testing.folds import (
    Sums,
    cross_validate,
    fold_size,
    mean_and_deviation,
    released_miou,
)
from pipeline.segment.testing.job import ScoringJob
from pipeline.segment.testing.measure import PCK_PERCENT
from pipeline.settings.schema import KEYPOINTS, SEGMENTATION

VERSION = 1
KIND = "scores"
_CHOSEN_BY = PCK_PERCENT.index(10)
_LABELLED = len(PCK_PERCENT)
_FOLDS = (
    "fold i of F are the pictures at places i f to (i + 1) f - 1 in the order of their names, f = n // F; a "
    "fold chooses the epoch of the greatest figure, of equal ones the first, and all other pictures score it"
)
_DEVIATION = "mean and population standard deviation over the folds"


def label_scores(job: ScoringJob, sums: NDArray[np.int64], weights: Mapping[int, str]) -> dict[str, Any]:
    """All of a run that compared labels, from confusion matrices [E, F + 1, K, K]."""
    folds, by_release = cross_validate(sums, _miou), cross_validate(sums, released_miou)
    tested = [fold.rest for fold in folds] or [sums[-1].sum(0)]
    released = [fold.rest for fold in by_release] or tested
    ious = np.stack([class_iou(torch.from_numpy(matrix)).numpy() for matrix in tested])  # [F, K]
    confusion = np.sum(tested, axis=0)
    return {
        **_head(job, SEGMENTATION, weights),
        "definitions": {
            "iou": "pixels of a class in both truth and prediction, over pixels of it in either; counts are "
            "summed over pictures before they are divided; classes in neither are null and in no mean",
            "released_miou": "the mean over all classes, where one in neither is 0, as the released code has "
            "it; it chooses epochs of its own",
            "pixel_accuracy": "share of pixels with the right label",
            "folds": _FOLDS,
            "deviation": _DEVIATION,
            "confusion": "pixels, truth in rows, of what is scored, summed over the folds",
        },
        **_over("miou", [_miou(matrix) for matrix in tested], bool(folds)),
        **_over("released_miou", [released_miou(matrix) for matrix in released], bool(folds)),
        **_over("pixel_accuracy", [_accuracy(matrix) for matrix in tested], bool(folds)),
        "folds": [
            {
                **_places(job, place),
                "epoch": job.epochs[fold.epoch],
                "validation_miou": _finite(fold.validation),
                "miou": _finite(_miou(fold.rest)),
                "pixel_accuracy": _finite(_accuracy(fold.rest)),
                "released_epoch": job.epochs[other.epoch],
                "released_validation_miou": _finite(other.validation),
                "released_miou": released_miou(other.rest),
            }
            for place, (fold, other) in enumerate(zip(folds, by_release, strict=True))
        ],
        "epochs": [
            {"epoch": epoch, "miou": _finite(_miou(whole)), "released_miou": released_miou(whole)}
            for epoch, whole in zip(job.epochs, sums.sum(1), strict=True)
        ],
        "classes": [
            {
                "id": entry.id,
                "name": entry.name,
                "color": entry.color,
                **_over("iou", ious[:, entry.id].tolist(), bool(folds)),
                "pixels": int(confusion[entry.id].sum()),
                "predicted_pixels": int(confusion[:, entry.id].sum()),
            }
            for entry in job.segmenter.classes
        ],
        "confusion": confusion.tolist(),
    }


def point_scores(job: ScoringJob, sums: NDArray[np.int64], weights: Mapping[int, str]) -> dict[str, Any]:
    """All of a run that compared keypoints, from counts [E, F + 1, K, 4]."""
    folds = cross_validate(sums, _pck10)
    tested = [fold.rest for fold in folds] or [sums[-1].sum(0)]
    assert job.segmenter.keypoints is not None
    return {
        **_head(job, KEYPOINTS, weights),
        "definitions": {
            "pck": "share of labelled keypoints at most 5, 10 or 15 percent of the picture's larger side "
            "from the true ones, over all pictures",
            "folds": f"{_FOLDS}; the figure is PCK@10",
            "deviation": _DEVIATION,
        },
        **_pck(tested, slice(None), bool(folds)),
        "folds": [
            {
                **_places(job, place),
                "epoch": job.epochs[fold.epoch],
                "validation_pck": _finite(fold.validation),
                "pck": _by_percent(fold.rest),
            }
            for place, fold in enumerate(folds)
        ],
        "epochs": [
            {"epoch": epoch, "pck": _by_percent(whole)}
            for epoch, whole in zip(job.epochs, sums.sum(1), strict=True)
        ],
        "labelled": int(sums[-1][..., _LABELLED].sum()),
        "keypoints": [
            {
                "name": name,
                **_pck(tested, slice(k, k + 1), bool(folds)),
                "labelled": int(sums[-1][:, k, _LABELLED].sum()),
            }
            for k, name in enumerate(job.segmenter.keypoints.names)
        ],
    }


def _head(job: ScoringJob, task: str, weights: Mapping[int, str]) -> dict[str, Any]:
    segmenter = job.segmenter
    kind, info = segmenter.kind, segmenter.folder.info
    return {
        "version": VERSION,
        "kind": KIND,
        "task": task,
        "created": created_record(),
        "segmenter": {
            "folder": str(segmenter.folder.path),
            "architecture": kind.architecture,
            "backbone": kind.backbone,
            "output_stride": kind.output_stride,
            "finished": segmenter.folder.is_finished,
            "data": None if info is None else dict(info.data),
            "weights_sha256": {str(epoch): weights[epoch] for epoch in job.epochs},
        },
        "annotations": dict(job.photographs.record),
        "images": len(job.photographs),
        "image_size": list(segmenter.image_size),
        "cross_validate": job.folds,
        "epoch": None if job.folds else job.epochs[-1],
    }


def _places(job: ScoringJob, fold: int) -> dict[str, Any]:
    """Which pictures a fold has: how many, the first and the last of them."""
    size, paths = fold_size(len(job.photographs), job.folds), job.photographs.paths
    names = paths[fold * size].name, paths[(fold + 1) * size - 1].name
    return {
        "validation_images": size,
        "first": names[0],
        "last": names[1],
        "images": len(paths) - size,
    }


def _over(name: str, values: Sequence[float], with_deviation: bool) -> dict[str, Any]:
    """The mean, and the deviation where there are folds."""
    mean, deviation = mean_and_deviation(values)
    return {name: _finite(mean), f"{name}_deviation": _finite(deviation) if with_deviation else None}


def _pck(tested: Sequence[Sums], chosen: slice, with_deviation: bool) -> dict[str, Any]:
    shares = np.array([_shares(table[chosen]) for table in tested])  # [F, 3]
    found = {str(p): _over("pck", shares[:, i].tolist(), with_deviation) for i, p in enumerate(PCK_PERCENT)}
    return {key: {p: one[key] for p, one in found.items()} for key in ("pck", "pck_deviation")}


def _shares(table: Sums) -> list[float]:
    """PCK at each percentage, of counts [K, 4]."""
    counts = table.sum(0)
    labelled = counts[_LABELLED]
    return [float(count / labelled) if labelled else math.nan for count in counts[:_LABELLED]]


def _by_percent(table: Sums) -> dict[str, float | None]:
    return {str(p): _finite(share) for p, share in zip(PCK_PERCENT, _shares(table), strict=True)}


def _pck10(table: Sums) -> float:
    return _shares(table)[_CHOSEN_BY]


def _of_matrix(figure: Callable[[torch.Tensor], float]) -> Callable[[Sums], float]:
    return lambda matrix: figure(torch.from_numpy(matrix))


_miou, _accuracy = _of_matrix(mean_iou), _of_matrix(pixel_accuracy)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
