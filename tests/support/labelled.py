"""Small datasets of labelled images without a network: every value follows from the image's index."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
from support.stores import make_meta

import fstore
from fstore import format as fmt

KEYPOINTS = fmt.KeypointInfo(("left", "right", "nose"), 1.5)


def dataset_meta(*, keypoints: bool = False, ignore: int | None = 255) -> fmt.DatasetMeta:
    """Images of 6 x 5 pixels in 4 classes, or with 3 keypoints."""
    classes = make_meta().classes
    return fmt.DatasetMeta((6, 5), classes, 4, ignore=ignore, keypoints=KEYPOINTS if keypoints else None)


def fill_dataset(path: Path | str, num_images: int, meta: fmt.DatasetMeta, tasks: int | None = None) -> None:
    """Create a dataset, or go on with it, and write its tasks, or the first ``tasks`` of these."""
    writer = fstore.create_dataset(path, meta, num_images=num_images)
    for task in writer.pending_tasks()[:tasks]:
        images = writer.task_images(task)
        rows = [np.random.default_rng(i) for i in images]
        parts = {}
        for spec in fmt.dataset_arrays(meta, num_images):
            highest = 256 if spec.name == "images" else 4
            values = [row.integers(0, highest, spec.shape[1:]) for row in rows]
            parts[spec.name] = np.array(values).astype(spec.dtype)
        writer.write_task(task, {**parts, "uncertainty": _uncertainty(images)})
    writer.close()


def keep_some(path: Path | str, keep: str) -> None:
    """Set the filter of a complete dataset."""
    uncertainty = fstore.open(path).uncertainty
    order = np.argsort(uncertainty)[: ceil(float(keep) * len(uncertainty))]
    kept = np.isin(np.arange(len(uncertainty)), order)
    fstore.set_kept(path, kept, keep, float(uncertainty[order].max()))


def _uncertainty(images: range) -> np.ndarray:
    """Different for every image, and in no order."""
    return np.array([i * 7919 % 10007 for i in images], np.float32)
