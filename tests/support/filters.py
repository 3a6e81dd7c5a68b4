"""Datasets to filter, of labels, divergence and scores that the test gives; and files of calibrations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from support.small_datasets import make_classes

import fstore
from fstore import format as fmt
from pipeline.quality.calibration_record import (
    Bin,
    Calibration,
    ClassLoss,
    CurvePoint,
    ImageFigures,
    Recommendation,
    ScoreFigures,
    curve_shares,
)
from pipeline.settings.values import Keep

NAMES = ("sky", "road", "bird")
GENERATOR = "ab" * 32


def dataset_to_filter(
    path: Path,
    labels: np.ndarray,
    divergence: np.ndarray,
    uncertainty: np.ndarray,
    *,
    names: Sequence[str] = NAMES,
) -> fstore.Dataset:
    """A complete dataset without a filter: labels and divergence (N, H, W), uncertainty (N,)."""
    num, height, width = labels.shape
    meta = fmt.DatasetMeta((height, width), make_classes(names), 4, generator={"sha256": GENERATOR})
    writer = fstore.create_dataset(path, meta, num_images=num)
    for task in writer.pending_tasks():
        images = writer.task_images(task)
        part = slice(images.start, images.stop)
        writer.write_task(
            task,
            {
                "images": np.zeros((len(images), height, width, 3), np.uint8),
                "labels": labels[part],
                "divergence": divergence[part],
                "latents": np.zeros((len(images), 4), np.float32),
                "uncertainty": uncertainty[part].astype(np.float32),
            },
        )
    writer.close()
    found = fstore.open(path)
    assert isinstance(found, fstore.Dataset)
    return found


def random_dataset(path: Path, num: int = 12, *, side: int = 6, failed: Sequence[int] = ()) -> fstore.Dataset:
    """Random labels and divergence; class 2 only in the images that are least certain. The values of the
    images ``failed`` are not finite.
    """
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (num, side, side)).astype(np.uint8)
    labels[-3:, 0, 0] = 2
    divergence = random.random((num, side, side)).astype(np.float16)
    uncertainty = np.linspace(0.1, 1, num)
    for image in failed:
        divergence[image, 0, 0] = uncertainty[image] = np.nan
    return dataset_to_filter(path, labels, divergence, uncertainty)


def calibration(
    keeps: dict[str, str],
    *,
    sha256: str = GENERATOR,
    key: str | None = None,
    names: Sequence[str] = NAMES,
) -> Calibration:
    """A calibration that recommends these shares, by the score's name. ``key``: of the generator in its
    file.
    """
    chosen = {} if key is None else {"key": key}
    figures = {
        score: ScoreFigures(
            usable=True,
            spearman=0.5,
            spearman_quality=-0.5,
            mean_gain=0.125,
            recommended_keep=Keep.parse(keep),
            reason="a reason",
            curve=tuple(CurvePoint(share, 3, 0.75, 0.0) for share in curve_shares(4)),
            bins=(Bin(4, 0.5, 0.25),),
            lost=tuple(ClassLoss(name, 4, 1) for name in names),
        )
        for score, keep in keeps.items()
    }
    score = next(iter(keeps))
    return Calibration(
        created={},
        task="segmentation",
        store={"location": "f.zarr", "id": "abc", "num_images": 4, "class_counts_sha256": "00"},
        generator={"sha256": sha256, **chosen},
        classes=tuple(names),
        training={},
        folds=2,
        rule="the rule",
        scores=figures,
        images=tuple(ImageFigures(i, i % 2, 0.25, 0.75, dict.fromkeys(keeps, i / 4)) for i in range(4)),
        recommended=Recommendation(score, Keep.parse(keeps[score]), "a reason"),
    )
