"""Small datasets to export, of labels and points that the test gives; no network is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from support.commands import done

import fstore
from fstore import format as fmt
from pipeline.settings.classes import default_palette

LATENT_SIZE = 4


def make_classes(names: Sequence[str], colors: Sequence[str] = ()) -> tuple[fmt.ClassInfo, ...]:
    """Classes of these names; of the default palette's colours where none are given."""
    shown = colors or default_palette(len(names))
    return tuple(fmt.ClassInfo(i, name, shown[i]) for i, name in enumerate(names))


def write_dataset(
    path: Path,
    classes: Sequence[fmt.ClassInfo],
    labels: np.ndarray,
    *,
    ignore: int | None = None,
    dropped: Sequence[int] = (),
    points: np.ndarray | None = None,
    interpreter: Mapping[str, Any] | None = None,
) -> fstore.Dataset:
    """A dataset with labels (N, H, W), or with keypoints (N, K, 3) ``points`` in their place, of which only
    the shape of the labels counts then; random images and scores. The filter drops the images ``dropped``,
    and those with a point that is NaN. ``interpreter``: what the dataset says of the one that labelled it.
    """
    num, height, width = labels.shape
    random = np.random.default_rng(0)
    keypoints = None if points is None else fmt.KeypointInfo(("eye", "nose", "tail")[: points.shape[1]], 1.0)
    meta = fmt.DatasetMeta(
        (height, width),
        tuple(classes),
        LATENT_SIZE,
        ignore,
        interpreter=interpreter or {},
        keypoints=keypoints,
    )
    kept = np.ones(num, bool)
    kept[list(dropped)] = False
    whole = np.ones(num, bool) if points is None else np.isfinite(points).all(axis=(1, 2))
    kept &= whole
    parts = {
        "images": random.integers(0, 256, (num, height, width, 3)).astype(np.uint8),
        "divergence": random.random((num, height, width)).astype(np.float16),
        "latents": random.standard_normal((num, LATENT_SIZE)).astype(np.float32),
        "uncertainty": np.where(whole, random.random(num) + 2 * ~kept, np.nan).astype(np.float32),
    }
    if points is None:
        parts["labels"] = labels
    else:
        parts["heatmaps"] = np.zeros((*labels.shape, points.shape[1]), np.float16)
        parts["keypoints"] = points.astype(np.float32)
    writer = fstore.create_dataset(path, meta, num_images=num)
    writer.write_task(0, parts)
    writer.close()
    keep = f"{(kept.sum() - 0.5) / num:.6f}" if kept.any() else "0.000001"  # whose share is rounded up
    threshold = float(parts["uncertainty"][kept].max()) if kept.any() else None
    fstore.set_kept(path, kept, keep, threshold)
    found = fstore.open(path)
    assert isinstance(found, fstore.Dataset)
    return found


def exported(store: Path, out: Path, format: str, *more: object) -> Path:
    """``out`` with the store exported as ``format``."""
    done("export", store, out, "--format", format, *more)
    return out
