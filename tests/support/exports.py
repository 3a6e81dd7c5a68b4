"""Small stores to export from, and the values that are in them. No network is needed, and every value is a
function of the image's index.
"""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import ceil
from pathlib import Path

import numpy as np
from support.commands import dgan
from support.small_datasets import make_classes
from support.stores import copy_written, make_maps, make_meta, tree_bytes

import fstore
from fstore import format as fmt
from pipeline.exports.marks import MARK

SHAPE = (16, 24)  # rows, columns: not square, so that a swap of the two is seen
NUM_IMAGES = 70  # more than the 64 of one task
NUM_CLASSES = 5
IGNORE = 255
MOST_COPIED = 100  # images of a dataset
NUMBERS = (3, 7, 8, 20)
"""The numbers of the annotated images of a feature store: not its indices."""
KEYPOINT_NAMES = ("left eye", "right eye", "nose")


def classes_of(num: int) -> tuple[fmt.ClassInfo, ...]:
    """``background``, then parts, with colours that differ."""
    return make_classes(["background", *(f"part {i}" for i in range(1, num))])


@cache
def picture(image: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(H, W, 3) uint8: smooth, as photographs are, with a little grain."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = [np.sin(rows / (7 + c) + image) + np.cos(columns / (5 + c) - image / 3) for c in range(3)]
    grain = np.random.default_rng(image).integers(-2, 3, (*shape, 3))
    return (127 + 60 * np.stack(waves, 2) + grain).clip(0, 255).astype(np.uint8)


def labels(
    image: int, num_classes: int = NUM_CLASSES, ignore: int | None = IGNORE, shape: tuple[int, int] = SHAPE
) -> np.ndarray:
    """(H, W) uint8, or uint16 where a label needs it: blobs of some classes, and a corner that is ignored."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    height, width = shape
    found = (31 * ((rows * 3 // height) * 4 + columns * 4 // width) + image) % num_classes
    if ignore is not None and image % 2:
        found[: height // 8, : width // 4] = ignore
    return found.astype(np.uint8 if max(num_classes - 1, ignore or 0) <= 255 else np.uint16)


def keypoints(image: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(K, 3) float32: x, y and confidence."""
    random = np.random.default_rng(image)
    places = random.uniform(0, 1, (len(KEYPOINT_NAMES), 3)) * [shape[1], shape[0], 1]
    return places.astype(np.float32)


def uncertainty(num_images: int) -> np.ndarray:
    """(N,) float32, in an order that is not that of the images; no two are equal."""
    return (np.random.default_rng(0).permutation(num_images) / num_images).astype(np.float32)


def kept(num_images: int = NUM_IMAGES, keep: str = "0.9") -> np.ndarray:
    """(N,) bool: the images that the filter of a dataset keeps."""
    scores = uncertainty(num_images)
    chosen = np.zeros(num_images, bool)
    chosen[np.argsort(scores)[: ceil(Fraction(keep) * num_images)]] = True
    return chosen


def make_dataset(
    path: Path,
    *,
    num_images: int = NUM_IMAGES,
    num_classes: int = NUM_CLASSES,
    ignore: int | None = IGNORE,
    shape: tuple[int, int] = SHAPE,
    points: bool = False,
    keep: str | None = "0.9",
    committed: int | None = None,
    distinct: int | None = None,
) -> Path:
    """A dataset of ``picture`` and ``labels`` (or, with ``points``, ``keypoints``) of each image.

    keep: of its filter; None: none is set. committed: how many tasks are written; None: all. distinct: after
    so many images their contents repeat, which is quicker to make. Returns ``path``.

    A new one of up to 100 images is copied where an equal one has been made before.
    """
    settings = (num_images, num_classes, ignore, shape, points, keep, committed, distinct)
    if path.exists() or num_images > MOST_COPIED:
        _write_dataset(path, *settings)
    else:
        copy_written(path, ("dataset", settings), lambda to: _write_dataset(to, *settings))
    return path


def _write_dataset(
    path: Path,
    num_images: int,
    num_classes: int,
    ignore: int | None,
    shape: tuple[int, int],
    points: bool,
    keep: str | None,
    committed: int | None,
    distinct: int | None,
) -> None:
    names = fmt.KeypointInfo(KEYPOINT_NAMES, 1.5) if points else None
    meta = fmt.DatasetMeta(shape, classes_of(num_classes), 4, ignore, keypoints=names)
    writer = fstore.create_dataset(path, meta, num_images=num_images)
    scores = uncertainty(num_images)
    for task in writer.pending_tasks()[:committed]:
        images = writer.task_images(task)
        parts = {
            spec.name: np.zeros(spec.shape, spec.dtype) for spec in fmt.dataset_arrays(meta, len(images))
        }
        contents = [i % (distinct or num_images) for i in images]
        parts["images"] = np.stack([picture(i, shape) for i in contents])
        parts["uncertainty"] = scores[images.start : images.stop]
        if points:
            parts["keypoints"] = np.stack([keypoints(i, shape) for i in contents])
        else:
            parts["labels"] = np.stack([labels(i, num_classes, ignore, shape) for i in contents])
        writer.write_task(task, parts)
    writer.close()
    if keep is not None and committed is None:
        chosen = kept(num_images, keep)
        fstore.set_kept(path, chosen, keep, float(scores[chosen].max()))


def make_features(
    path: Path,
    *,
    numbers: tuple[int, ...] = NUMBERS,
    grid: tuple[int, int] = SHAPE,
    ignore: int | None = IGNORE,
    points: bool = False,
) -> Path:
    """A feature store whose annotated images have ``numbers``; image number i holds ``picture(i)`` and
    ``labels(i)``, or with ``points`` also ``keypoints(i)``, all of them labelled. Returns ``path``.
    """
    names = fmt.KeypointInfo(KEYPOINT_NAMES, 1.5) if points else None
    num_classes = len(KEYPOINT_NAMES) + 1 if points else NUM_CLASSES
    meta = replace(
        make_meta("pyramid", grid=grid, ignore=ignore),
        classes=classes_of(num_classes),
        inputs={"image_numbers": list(numbers)},
        keypoints=names,
    )
    writer = fstore.create(path, meta, num_images=len(numbers), latent_shape=(8,))
    for image, number in enumerate(numbers):
        mask = labels(number, num_classes, ignore, grid)
        labelled = keypoints(number, grid) if points else None
        if labelled is not None:
            labelled[:, 2] = 1
        writer.write_image(
            image, make_maps(image), picture(number, grid), mask, np.zeros(8, np.float32), labelled
        )
    writer.close()
    return path


def export_refusal(*words: object) -> str:
    """The one line of a ``dgan export`` that is refused; nothing but it stands on standard error."""
    result = dgan("export", *words)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


def exported_numbers(out: Path, split: str = "") -> list[int]:
    """The numbers of the images in an export of format png, or in one of its splits."""
    return [json.loads(line)["number"] for line in (out / split / "metadata.jsonl").read_text().splitlines()]


def without_mark(out: Path) -> dict[str, bytes]:
    """The files of an export but its mark, which names time and settings."""
    return {name: content for name, content in tree_bytes(out).items() if name != MARK}
