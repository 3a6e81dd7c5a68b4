"""Format versions 1 to 3: names, shapes and chunk arithmetic of every array. Pure: no I/O, zarr or torch.

``docs/format.md`` is the prose of this file. A store is a Zarr v3 group of one of two kinds:

``features``
    per-pixel features of N annotated images: either one ``dense`` array (N, H, W, C) or a ``pyramid`` of one
    array a layer at its own resolution, from which the dense array follows by resizing; with images, masks,
    latents and a class index.
``dataset``
    labelled images: images, labels (or heat maps and keypoints), divergence, uncertainty, latents and which
    of them are kept.

The attribute of the group is defined in ``fstore.meta``; its names can be imported from here too. This module
knows arrays of feature maps. It does not know which network made them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

import numpy as np

from fstore.compare import check_same as check_same
from fstore.errors import StoreError
from fstore.meta import CORRECTED_VERSION as CORRECTED_VERSION
from fstore.meta import LARGEST_AXIS as LARGEST_AXIS
from fstore.meta import LAYOUTS as LAYOUTS
from fstore.meta import MOST_VOTED as MOST_VOTED
from fstore.meta import SETTLED_VERSION as SETTLED_VERSION
from fstore.meta import TASK_IMAGES as TASK_IMAGES
from fstore.meta import VERSION as VERSION
from fstore.meta import ClassInfo as ClassInfo
from fstore.meta import DatasetMeta as DatasetMeta
from fstore.meta import FeatureMeta as FeatureMeta
from fstore.meta import FilterRule as FilterRule
from fstore.meta import KeypointInfo as KeypointInfo
from fstore.meta import LayerInfo as LayerInfo
from fstore.meta import Meta as Meta
from fstore.meta import check_attribute as check_attribute
from fstore.meta import dataset_version as dataset_version

TILE = 16  # side of a dense inner chunk and of a cell of class_counts, in pixels
BAND = 32  # rows of a dense shard, in pixels
PYRAMID_CHUNK = 64  # largest side of a pyramid's inner chunk, in pixels of the layer
HEATMAP_IMAGES = 4  # images of a shard of heat maps, which are larger than labels; divides TASK_IMAGES
KEPT_CHUNK = 65536  # `kept` is rewritten whole: one chunk makes that one atomic write up to this many images

# Arrays of a dataset that hold NaN where the ensemble's output was not finite. Such an image is never kept.
MAY_BE_NAN = ("divergence", "uncertainty", "heatmaps", "keypoints")

FILTER_SCORE = "filter_score"  # an array, only where the filter went by another score than `uncertainty` is
# Every name that a store of either kind may have at its top, beside its zarr.json.
TOP_LEVEL = (
    *("features", "layers", "images", "masks", "latents", "class_counts", "average_latent"),
    *("labels", "divergence", "uncertainty", "kept", "heatmaps", "keypoints", "committed", "corrected"),
    "member_votes",
    FILTER_SCORE,
)
CORRECTED = "corrected"  # attribute key, and the group that holds corrected annotations until they are moved
ANNOTATIONS = ("masks", "class_counts", "keypoints")  # the arrays that a correction writes anew
LATENT_NAMES = ("style", "latent")  # dimensions of a latent: rows, where it has some, and values
Region = tuple[tuple[int, int], ...]  # [start, stop) of every axis


@dataclass(frozen=True)
class ArraySpec:
    """What one array of a store looks like. ``shards`` is None where a chunk is a file of its own.

    ``dimension_names``: one name has one length in all arrays of a store, as xarray wants it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    dimension_names: tuple[str, ...]

    @property
    def raw_bytes(self) -> int:
        """Bytes of the array uncompressed."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


def build_layers(
    layers: Iterable[tuple[str, tuple[int, int], int]], grid: tuple[int, int]
) -> tuple[LayerInfo, ...]:
    """Layers as they are stored, from (name, native (h, w), channels).

    Layers that are finer than ``grid`` are reduced to it. Offsets are the sums of the channels before.
    """
    stored: list[LayerInfo] = []
    offset = 0
    for name, (height, width), channels in layers:
        resolution = (min(height, grid[0]), min(width, grid[1]))
        stored.append(LayerInfo(name, resolution, channels, offset))
        offset += channels
    return tuple(stored)


def round_up(size: int, multiple: int) -> int:
    """The least multiple of ``multiple`` that is not below ``size``."""
    return ceil(size / multiple) * multiple


def mask_dtype(meta: FeatureMeta | DatasetMeta) -> str:
    """dtype of masks and labels: u1, or u2 where a class id or the ignore label passes 255."""
    largest = max(len(meta.classes) - 1, meta.ignore or 0)
    return "uint8" if largest <= 255 else "uint16"


def array_path(meta: Meta, name: str) -> str:
    """Where the array of that name is read: in ``corrected/`` while a correction is not in place."""
    corrected = isinstance(meta, FeatureMeta) and meta.corrected and name in ANNOTATIONS
    return f"{CORRECTED}/{name}" if corrected else name


def layer_array_name(index: int, layer: LayerInfo) -> str:
    """Path of a pyramid layer's array inside the group."""
    return f"layers/{index}_{layer.name}"


def feature_arrays(meta: FeatureMeta, num_images: int, latent_shape: Sequence[int]) -> list[ArraySpec]:
    """Every array of a feature store but ``committed``, in the order in which an image's parts are
    written.
    """
    n, h, w, c = num_images, meta.height, meta.width, meta.channels
    tiles = (ceil(h / TILE), ceil(w / TILE))
    k = len(meta.classes)
    arrays = [_dense_array(n, h, w, c)] if meta.layout == "dense" else _pyramid_arrays(meta, n)
    points = [] if meta.keypoints is None else [_keypoint_array(n, len(meta.keypoints.names))]
    return [
        *arrays,
        _per_image("images", (n, h, w, 3), "uint8", ("image", "y", "x", "rgb")),
        _per_image("masks", (n, h, w), mask_dtype(meta), ("image", "y", "x")),
        _per_image("latents", (n, *latent_shape), "float32", ("image", *LATENT_NAMES[-len(latent_shape) :])),
        _per_image("class_counts", (n, *tiles, k), "uint16", ("image", "tile_y", "tile_x", "class")),
        *points,
    ]


def dataset_arrays(meta: DatasetMeta, num_images: int) -> list[ArraySpec]:
    """Every array of a dataset but ``committed`` and ``kept``, in the order in which a task writes them."""
    n, (h, w) = num_images, meta.shape
    return [
        _per_task("images", (n, h, w, 3), "uint8", ("image", "y", "x", "rgb")),
        *_label_arrays(meta, n),
        *_vote_arrays(meta, n),
        _per_task("divergence", (n, h, w), "float16", ("image", "y", "x")),
        _per_task("latents", (n, meta.latent_size), "float32", ("image", "latent")),
        ArraySpec("uncertainty", (n,), "float32", (TASK_IMAGES,), None, ("image",)),
    ]


def _label_arrays(meta: DatasetMeta, n: int) -> list[ArraySpec]:
    """What the images are annotated with: labels, or heat maps and the keypoints that are their peaks."""
    h, w = meta.shape
    if meta.keypoints is None:
        return [_per_task("labels", (n, h, w), mask_dtype(meta), ("image", "y", "x"))]
    k = len(meta.keypoints.names)
    maps = ArraySpec(
        "heatmaps",
        (n, h, w, k),
        "float16",
        (1, h, w, k),
        (HEATMAP_IMAGES, h, w, k),
        ("image", "y", "x", "keypoint"),
    )
    return [maps, _per_task("keypoints", (n, k, 3), "float32", ("image", "keypoint", "coordinate"))]


def _vote_arrays(meta: DatasetMeta, n: int) -> list[ArraySpec]:
    k = len(meta.classes)
    names = ("image", "class", "vote")
    return [_per_task("member_votes", (n, k, k), "uint32", names)] if meta.member_votes else []


def committed_array(kind: str, num_images: int) -> ArraySpec:
    """The marker array: one image a chunk in a feature store, one task a chunk in a dataset."""
    return ArraySpec(
        "committed", (num_images,), "uint8", (1 if kind == "features" else TASK_IMAGES,), None, ("image",)
    )


def kept_array(num_images: int) -> ArraySpec:
    """The dataset's filter, written at the end by one writer."""
    return ArraySpec("kept", (num_images,), "bool", (KEPT_CHUNK,), None, ("image",))


def filter_score_array(num_images: int) -> ArraySpec:
    """What the filter went by, where that is not ``uncertainty``. The filter writes it, before ``kept``."""
    return ArraySpec(FILTER_SCORE, (num_images,), "float32", (KEPT_CHUNK,), None, ("image",))


def filter_arrays(meta: DatasetMeta, num_images: int) -> list[ArraySpec]:
    """The arrays that the filter writes and that count."""
    own = [] if meta.filter_score == meta.score else [filter_score_array(num_images)]
    return [*own, kept_array(num_images)]


def average_latent_array(shape: Sequence[int]) -> ArraySpec:
    """The latent toward which truncation pulled, (D,) or (L, D).

    It is in W, while the latents may be in Z and of another size. So its axes have names of their own.
    """
    names = ("w_style", "w")[-len(shape) :]
    return ArraySpec("average_latent", tuple(shape), "float32", tuple(shape), None, names)


def _dense_array(n: int, h: int, w: int, c: int) -> ArraySpec:
    chunks = (1, TILE, TILE, c)
    shards = (1, BAND, round_up(w, TILE), c)
    return ArraySpec("features", (n, h, w, c), "float16", chunks, shards, ("image", "y", "x", "channel"))


def _pyramid_arrays(meta: FeatureMeta, n: int) -> list[ArraySpec]:
    arrays = []
    for index, layer in enumerate(meta.layers):
        h, w = layer.resolution
        side_h, side_w = min(h, PYRAMID_CHUNK), min(w, PYRAMID_CHUNK)
        chunks = (1, side_h, side_w, layer.channels)
        shards = (1, round_up(h, side_h), round_up(w, side_w), layer.channels)
        name = layer_array_name(index, layer)
        names = ("image", f"y_{h}", f"x_{w}", f"channel_{name.removeprefix('layers/')}")
        arrays.append(ArraySpec(name, (n, h, w, layer.channels), "float16", chunks, shards, names))
    return arrays


def _keypoint_array(n: int, k: int) -> ArraySpec:
    return _per_image("keypoints", (n, k, 3), "float32", ("image", "keypoint", "coordinate"))


def _per_image(name: str, shape: tuple[int, ...], dtype: str, names: tuple[str, ...]) -> ArraySpec:
    return ArraySpec(name, shape, dtype, (1, *shape[1:]), None, names)


def _per_task(name: str, shape: tuple[int, ...], dtype: str, names: tuple[str, ...]) -> ArraySpec:
    return ArraySpec(name, shape, dtype, (1, *shape[1:]), (TASK_IMAGES, *shape[1:]), names)


def class_counts(mask: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels of each class in each 16 x 16 tile: mask (H, W) integer -> (ceil(H/16), ceil(W/16), K) uint16.

    Values outside [0, K), such as the ignore label, are counted nowhere.
    """
    h, w = mask.shape
    rows, columns = ceil(h / TILE), ceil(w / TILE)
    tile = (np.arange(h) // TILE)[:, None] * columns + (np.arange(w) // TILE)[None, :]  # [H, W]
    valid = mask < num_classes
    cell = tile[valid] * num_classes + mask[valid].astype(np.int64)
    counts = np.bincount(cell, minlength=rows * columns * num_classes)
    return counts.reshape(rows, columns, num_classes).astype(np.uint16)


def bands(height: int) -> list[tuple[int, int]]:
    """Row ranges [a, b) of the dense shards of one image, top to bottom; together they hold each row once."""
    return [(first, min(first + BAND, height)) for first in range(0, height, BAND)]


def num_write_threads(band_buffers: int) -> int:
    """Bands that are compressed and written at once while one is being made."""
    return max(1, band_buffers - 1)


def units(region: Region, side: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Coordinates of the shards, or chunks, of shape ``side`` that a region touches."""
    return list(
        product(*(range(start // s, ceil(stop / s)) for (start, stop), s in zip(region, side, strict=True)))
    )


def edge_units(spec: ArraySpec, first: int) -> list[tuple[int, ...]]:
    """Coordinates of the shards with ``first`` in front that reach beyond the array's end along some axis."""
    side = spec.shards or spec.chunks
    region = ((first * side[0], min((first + 1) * side[0], spec.shape[0])), *((0, n) for n in spec.shape[1:]))
    sides = tuple(zip(side, spec.shape, strict=True))
    return [
        unit
        for unit in units(region, side)
        if any((place + 1) * s > n for place, (s, n) in zip(unit, sides, strict=True))
    ]


def check_aligned(spec: ArraySpec, region: Region) -> None:
    """Refuse a region [start, stop) per axis that cuts a shard: two writers inside one shard lose data
    silently.

    Raises StoreError naming the axis. A stop at the array's end is aligned.
    """
    unit = spec.shards or spec.chunks
    for axis, ((start, stop), side, size) in enumerate(zip(region, unit, spec.shape, strict=True)):
        if start % side or (stop % side and stop != size) or not 0 <= start < stop <= size:
            raise StoreError(
                f"array {spec.name!r}: region [{start}, {stop}) of axis {axis} is not aligned to its shards "
                f"of {side} "
                f"(array size {size}); one shard has one writer"
            )
