"""Which values the arrays of a store may hold, as ``docs/format.md`` says it. Pure: values in, words out.

One set of rules for all: writers refuse other values before they store them, `verify` reports those that are
stored, and readers that look classes up refuse them. The words are the end of a message that names array and
image. A value that the format has no place for would else be stored as another one: 258 as 2, 0.9 as 0.
"""

from __future__ import annotations

import numpy as np

from fstore import format as fmt
from fstore.errors import StoreError


def check_values(meta: fmt.Meta, spec: fmt.ArraySpec, values: np.ndarray, image: int) -> None:
    """Refuse values of an image, of any shape, that the array may not hold. Raises StoreError."""
    words = wrong_value(meta, spec, values)
    if words is not None:
        raise StoreError(f"array {spec.name!r}, image {image}: {words}")


def wrong_value(meta: fmt.Meta, spec: fmt.ArraySpec, values: np.ndarray) -> str | None:
    """Words on the first value that an array may not hold; None where it may hold all.

    ``values``: of one image, or a part of it, as they are stored or are to be stored. What the ensemble could
    not give, and is stored as NaN, is allowed.
    """
    if spec.name in ("masks", "labels"):
        return wrong_type(spec, values) or wrong_label(meta, values)
    if np.dtype(spec.dtype).kind != "f":
        return wrong_type(spec, values) or _wrong_integer(spec, values)
    may_be_nan = meta.kind == "dataset" and spec.name in fmt.MAY_BE_NAN
    words = wrong_type(spec, values) or (None if may_be_nan else not_finite(as_stored(spec, values)))
    return words or (wrong_keypoint(meta, values) if spec.name == "keypoints" else None)


def wrong_type(spec: fmt.ArraySpec, values: np.ndarray) -> str | None:
    """Words on a dtype whose values the array cannot hold as they are. Integers may be of any size."""
    is_float = np.dtype(spec.dtype).kind == "f"
    if values.dtype.kind in ("buif" if is_float else "bui"):
        return None
    example = f" such as {values.flat[0]}" if values.size and values.dtype.kind == "f" else ""
    return f"has dtype {values.dtype}{example}, expected {'numbers' if is_float else spec.dtype}"


def as_stored(spec: fmt.ArraySpec, values: np.ndarray) -> np.ndarray:
    """The values in the dtype of the array: infinite where it holds none so large. No copy where it is it."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(spec.dtype, copy=False)


def not_finite(values: np.ndarray, *, may_be_nan: bool = False) -> str | None:
    """Words on a value (of any shape) that is infinite, or NaN unless that is allowed."""
    wrong = np.isinf(values) if may_be_nan else ~np.isfinite(values)
    if not wrong.any():
        return None
    return f"has a value that is {'infinite' if may_be_nan else 'not finite'} ({values[wrong][0]})"


def wrong_label(meta: fmt.Meta, labels: np.ndarray) -> str | None:
    """Words on a label (integers of any shape) that is no class of the store, nor the one that is ignored."""
    num_classes = len(meta.classes)
    if not labels.size or (int(labels.max()) < num_classes and int(labels.min()) >= 0):
        return None  # of most images, and without an array of the labels' size
    wrong = (labels < 0) | (labels >= num_classes)
    if meta.ignore is not None:
        wrong &= labels != meta.ignore
    if not wrong.any():
        return None
    ignored = "" if meta.ignore is None else f" or {meta.ignore} (ignored)"
    return f"has label {labels[wrong][0]}, expected 0 to {num_classes - 1}{ignored}"


def wrong_keypoint(meta: fmt.Meta, points: np.ndarray) -> str | None:
    """Words on keypoints (K, 3) of which one is neither labelled nor not; those of a dataset have a value."""
    third = points[..., 2]
    if meta.kind == "dataset" or np.isin(third, (0, 1)).all():
        return None
    return f"has {third.max()} as third value, expected 0 or 1"


def check_mask(meta: fmt.FeatureMeta, mask: np.ndarray, image: int) -> None:
    """Refuse a mask that is not (H, W) integers, or has a label that is no class. Raises StoreError."""
    expected = (meta.height, meta.width)
    if mask.shape != expected:
        raise StoreError(f"image {image}: mask has shape {tuple(mask.shape)}, expected {expected}")
    if mask.dtype.kind not in "bui":
        raise StoreError(f"image {image}: mask has dtype {mask.dtype}, expected integers")
    words = wrong_label(meta, mask)
    if words is not None:
        raise StoreError(f"image {image}: mask {words}")


def _wrong_integer(spec: fmt.ArraySpec, values: np.ndarray) -> str | None:
    """Words on an integer that the dtype of the array cannot hold."""
    if values.dtype == spec.dtype or not values.size:
        return None
    largest = np.iinfo(spec.dtype).max
    for value in (int(values.max()), int(values.min())):
        if not 0 <= value <= largest:
            return f"has value {value}, expected 0 to {largest}"
    return None
