"""Small stores to export, without a network, and what they hold as plain zarr reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from support.stores import fill, make_meta

import fstore
from fstore import format as fmt

CLASSES = (
    fmt.ClassInfo(0, "background", "#102030"),
    fmt.ClassInfo(1, "left eye", "#ff0000"),
    fmt.ClassInfo(2, 'ear "🎧" | *', "#00ff80"),
)
POINTS = ("nose", "left | eye")
GENERATOR = {"architecture": "stylegan1", "sha256": "0" * 64}
INTERPRETER = {"folder": "interpreter", "sha256": "1" * 64, "members": 3}


def dataset_store(
    path: Path,
    num_images: int = 10,
    shape: tuple[int, int] = (12, 16),
    *,
    with_keypoints: bool = False,
    classes: tuple[fmt.ClassInfo, ...] = CLASSES,
    ignore: int | None = None,
    keep: bool = True,
) -> Path:
    """A complete dataset; the even images are kept. An ``ignore`` label has some of the pixels."""
    keypoints = fmt.KeypointInfo(POINTS, 2.0) if with_keypoints else None
    meta = fmt.DatasetMeta(
        shape,
        classes,
        8,
        ignore,
        generator=GENERATOR,
        interpreter=INTERPRETER,
        keypoints=keypoints,
    )
    writer = fstore.create_dataset(path, meta, num_images=num_images)
    for task in writer.pending_tasks():
        images = writer.task_images(task)
        writer.write_task(task, {s.name: _values(s, meta, images) for s in fmt.dataset_arrays(meta, 1)})
    writer.close()
    if keep:
        kept = np.arange(num_images) % 2 == 0
        share = str(kept.sum() / num_images)
        uncertainty = zarr.open_array(path, path="uncertainty", mode="r")[:]
        fstore.set_kept(path, kept, share, float(uncertainty[kept].max()))
    return path


def feature_store(path: Path, num_images: int = 3) -> Path:
    """A complete feature store of 40 x 40 pixels, 4 classes and the ignore label 255."""
    fill(path, make_meta(), num_images)
    return path


def arrays(path: Path) -> dict[str, Any]:
    """The arrays that exports take, by name, read by zarr-python itself."""
    group = zarr.open_group(path, mode="r")
    names = ("images", "labels", "masks", "keypoints", "uncertainty", "kept")
    return {name: group[name][:] for name in names if name in group}


def _values(spec: fmt.ArraySpec, meta: fmt.DatasetMeta, images: range) -> np.ndarray:
    """One array of a task: noise that depends on the image alone."""
    return np.stack([_value(spec, meta, image) for image in images])


def _value(spec: fmt.ArraySpec, meta: fmt.DatasetMeta, image: int) -> np.ndarray:
    random = np.random.default_rng([image, len(spec.name)])
    size = spec.shape[1:]
    if spec.name == "labels":
        labels = random.integers(0, min(len(meta.classes), 2 + image), size)
        if meta.ignore is not None:
            labels[random.random(size) < 0.1] = meta.ignore
        return labels.astype(spec.dtype)
    if spec.name == "images":
        return random.integers(0, 256, size).astype(spec.dtype)
    if spec.name == "uncertainty":
        return np.asarray((image * 7 % 10) / 10, spec.dtype)
    return (random.random(size) * 10).astype(spec.dtype)
