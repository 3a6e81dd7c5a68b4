"""Format version 1: names, shapes, chunk arithmetic and the ``fstore`` attribute. Pure: no I/O, no zarr, no
torch.

``docs/format.md`` is the prose of this file. A store is a Zarr v3 group of one of two kinds:

``features``
    per-pixel features of N annotated images: either one ``dense`` array (N, H, W, C) or a ``pyramid`` of one
    array a layer at its own resolution, from which the dense array follows by resizing; with images, masks,
    latents and a class index.
``dataset``
    labelled images: images, labels, divergence, uncertainty, latents and which of them are kept.

This module knows arrays of feature maps. It does not know what network made them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np

from fstore.errors import MismatchError, StoreError

VERSION = 1
TILE = 16  # side of a dense inner chunk and of a cell of class_counts, in pixels
BAND = 32  # rows of a dense shard, in pixels
PYRAMID_CHUNK = 64  # largest side of a pyramid's inner chunk, in pixels of the layer
TASK_IMAGES = 64  # images of a dataset shard: one task writes them
KEPT_CHUNK = 65536  # `kept` is rewritten whole: one chunk makes that one atomic write up to this many images

LAYOUTS = ("dense", "pyramid")
# Every name that a store of either kind may have at its top, beside its zarr.json.
TOP_LEVEL = (
    *("features", "layers", "images", "masks", "latents", "class_counts", "average_latent"),
    *("labels", "divergence", "uncertainty", "kept", "heatmaps", "keypoints", "committed"),
)
UPSAMPLE_MODES = ("bilinear",)
Region = tuple[tuple[int, int], ...]  # [start, stop) of every axis
# Keys of the attribute that may differ between a store and a rerun: file names do not matter where hashes
# agree.
UNSEMANTIC = ("created", "keep", "threshold", "interpreter.folder", "generator.checkpoint")


@dataclass(frozen=True)
class ClassInfo:
    """One class: its id in the masks, its name, its colour as ``#rrggbb``."""

    id: int
    name: str
    color: str


@dataclass(frozen=True)
class LayerInfo:
    """One feature layer as stored: ``resolution`` (h, w) after reduction to the grid, ``offset`` of its first
    channel.
    """

    name: str
    resolution: tuple[int, int]
    channels: int
    offset: int


@dataclass(frozen=True)
class ArraySpec:
    """What one array of a store looks like. ``shards`` is None where a chunk is a file of its own."""

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


@dataclass(frozen=True)
class FeatureMeta:
    """The ``fstore`` attribute of a feature store.

    ``grid`` (Hg, Wg) is the raster that layers are resized to; rows ``crop_rows`` [a, b) of it are kept, so
    features have H = b - a rows and W = Wg columns. ``ignore`` is the mask value that belongs to no class, or
    None. ``generator`` and ``inputs`` say what made the features; they are compared, never interpreted, here.
    """

    layout: str
    grid: tuple[int, int]
    crop_rows: tuple[int, int]
    layers: tuple[LayerInfo, ...]
    classes: tuple[ClassInfo, ...]
    ignore: int | None = None
    upsample: str = "bilinear"
    generator: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    created: Mapping[str, Any] = field(default_factory=dict)

    kind = "features"

    def __post_init__(self) -> None:
        _check_choice("layout", self.layout, LAYOUTS)
        _check_choice("upsample", self.upsample, UPSAMPLE_MODES)
        first, last = self.crop_rows
        if not 0 <= first < last <= self.grid[0]:
            raise StoreError(
                f"crop_rows is [{first}, {last}): expected 0 <= a < b <= {self.grid[0]}, the grid's rows"
            )
        if not self.layers:
            raise StoreError("layers is empty: expected at least one feature layer")
        if len(self.classes) < 1:
            raise StoreError("classes is empty: expected at least one class")

    @property
    def channels(self) -> int:
        """C: channels of a pixel's feature, all layers concatenated."""
        return sum(layer.channels for layer in self.layers)

    @property
    def height(self) -> int:
        """H: rows after the crop."""
        return self.crop_rows[1] - self.crop_rows[0]

    @property
    def width(self) -> int:
        """W: columns."""
        return self.grid[1]

    def to_attribute(self) -> dict[str, Any]:
        """The attribute as JSON values, keys as in ``docs/format.md``."""
        return {
            "version": VERSION,
            "kind": self.kind,
            "layout": self.layout,
            "grid": list(self.grid),
            "crop_rows": list(self.crop_rows),
            "upsample": self.upsample,
            "channels": self.channels,
            "layers": [
                {
                    "name": la.name,
                    "resolution": list(la.resolution),
                    "channels": la.channels,
                    "offset": la.offset,
                }
                for la in self.layers
            ],
            "classes": [{"id": c.id, "name": c.name, "color": c.color} for c in self.classes],
            "ignore": self.ignore,
            "generator": dict(self.generator),
            "inputs": dict(self.inputs),
            "created": dict(self.created),
        }

    @classmethod
    def from_attribute(cls, attribute: Mapping[str, Any], where: str) -> FeatureMeta:
        """Read the attribute of the store ``where``; raises StoreError for another kind, version or a missing
        key.
        """
        check_attribute(attribute, cls.kind, where)
        try:
            return cls(
                layout=attribute["layout"],
                grid=_pair(attribute["grid"]),
                crop_rows=_pair(attribute["crop_rows"]),
                layers=tuple(
                    LayerInfo(la["name"], _pair(la["resolution"]), int(la["channels"]), int(la["offset"]))
                    for la in attribute["layers"]
                ),
                classes=_classes(attribute["classes"]),
                ignore=attribute["ignore"],
                upsample=attribute["upsample"],
                generator=attribute.get("generator", {}),
                inputs=attribute.get("inputs", {}),
                created=attribute.get("created", {}),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{where}: attribute 'fstore' is incomplete or malformed ({error!r}); run `dgan verify`"
            ) from None


@dataclass(frozen=True)
class DatasetMeta:
    """The ``fstore`` attribute of a dataset store.

    ``interpreter`` and ``generator`` say what labelled and what rendered; ``score`` how an image's
    uncertainty follows from its pixels; ``keep`` (decimal text) and ``threshold`` what was kept, None until
    all images are done.
    """

    shape: tuple[int, int]
    classes: tuple[ClassInfo, ...]
    latent_size: int
    ignore: int | None = None
    score: str = "top10"
    seed: int = 0
    interpreter: Mapping[str, Any] = field(default_factory=dict)
    generator: Mapping[str, Any] = field(default_factory=dict)
    keep: str | None = None
    threshold: float | None = None
    created: Mapping[str, Any] = field(default_factory=dict)

    kind = "dataset"

    def to_attribute(self) -> dict[str, Any]:
        """The attribute as JSON values, keys as in ``docs/format.md``."""
        return {
            "version": VERSION,
            "kind": self.kind,
            "shape": list(self.shape),
            "classes": [{"id": c.id, "name": c.name, "color": c.color} for c in self.classes],
            "ignore": self.ignore,
            "latent_size": self.latent_size,
            "score": self.score,
            "seed": self.seed,
            "interpreter": dict(self.interpreter),
            "generator": dict(self.generator),
            "keep": self.keep,
            "threshold": self.threshold,
            "created": dict(self.created),
        }

    @classmethod
    def from_attribute(cls, attribute: Mapping[str, Any], where: str) -> DatasetMeta:
        """Read the attribute of the store ``where``; raises StoreError for another kind, version or a missing
        key.
        """
        check_attribute(attribute, cls.kind, where)
        try:
            return cls(
                shape=_pair(attribute["shape"]),
                classes=_classes(attribute["classes"]),
                latent_size=int(attribute["latent_size"]),
                ignore=attribute["ignore"],
                score=attribute["score"],
                seed=int(attribute["seed"]),
                interpreter=attribute.get("interpreter", {}),
                generator=attribute.get("generator", {}),
                keep=attribute["keep"],
                threshold=attribute["threshold"],
                created=attribute.get("created", {}),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{where}: attribute 'fstore' is incomplete or malformed ({error!r}); run `dgan verify`"
            ) from None


Meta = FeatureMeta | DatasetMeta


def check_attribute(attribute: Mapping[str, Any], kind: str | None, where: str) -> None:
    """Refuse a newer format version or another kind of store, naming both sides. Raises StoreError."""
    version = attribute.get("version")
    if not isinstance(version, int) or version < 1:
        raise StoreError(
            f"{where}: format version is {version!r}, expected an integer of 1 to {VERSION}; is it a dgan "
            "store?"
        )
    if version > VERSION:
        raise StoreError(
            f"{where}: format version {version} is newer than {VERSION}, the newest this program reads; "
            "upgrade it"
        )
    found = attribute.get("kind")
    if kind is not None and found != kind:
        raise StoreError(f"{where}: is a store of kind {found!r}, expected {kind!r}; pass the other store")


def build_layers(
    layers: Iterable[tuple[str, tuple[int, int], int]], grid: tuple[int, int]
) -> tuple[LayerInfo, ...]:
    """Layers as stored, from (name, native (h, w), channels): finer ones reduced to ``grid``, offsets added
    up.
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
    latent_names = ("image", "channel") if len(latent_shape) == 1 else ("image", "layer", "channel")
    return [
        *arrays,
        _per_image("images", (n, h, w, 3), "uint8", ("image", "y", "x", "rgb")),
        _per_image("masks", (n, h, w), mask_dtype(meta), ("image", "y", "x")),
        _per_image("latents", (n, *latent_shape), "float32", latent_names),
        _per_image("class_counts", (n, *tiles, k), "uint16", ("image", "y", "x", "class")),
    ]


def dataset_arrays(meta: DatasetMeta, num_images: int) -> list[ArraySpec]:
    """Every array of a dataset but ``committed`` and ``kept``, in the order in which a task writes them."""
    n, (h, w) = num_images, meta.shape
    return [
        _per_task("images", (n, h, w, 3), "uint8", ("image", "y", "x", "rgb")),
        _per_task("labels", (n, h, w), mask_dtype(meta), ("image", "y", "x")),
        _per_task("divergence", (n, h, w), "float16", ("image", "y", "x")),
        _per_task("latents", (n, meta.latent_size), "float32", ("image", "channel")),
        ArraySpec("uncertainty", (n,), "float32", (TASK_IMAGES,), None, ("image",)),
    ]


def committed_array(kind: str, num_images: int) -> ArraySpec:
    """The marker array: one image a chunk in a feature store, one task a chunk in a dataset."""
    return ArraySpec(
        "committed", (num_images,), "uint8", (1 if kind == "features" else TASK_IMAGES,), None, ("image",)
    )


def kept_array(num_images: int) -> ArraySpec:
    """The dataset's filter, written at the end by one writer."""
    return ArraySpec("kept", (num_images,), "bool", (KEPT_CHUNK,), None, ("image",))


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
        names = ("image", "y", "x", "channel")
        arrays.append(
            ArraySpec(
                layer_array_name(index, layer), (n, h, w, layer.channels), "float16", chunks, shards, names
            )
        )
    return arrays


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


def units(region: Region, side: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Coordinates of the shards, or chunks, of shape ``side`` that a region touches."""
    return list(
        product(*(range(start // s, ceil(stop / s)) for (start, stop), s in zip(region, side, strict=True)))
    )


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


def check_same(store: Mapping[str, Any], run: Mapping[str, Any], where: str) -> None:
    """Refuse to go on with a store begun with other settings. Raises MismatchError naming the first
    difference.
    """
    for key, found, asked in _differences(store, run, ""):
        raise MismatchError(
            f"{where}: was begun with {key} = {_short(found)}, this run has {_short(asked)}; "
            "use the same settings, another store, or --overwrite to start anew"
        )


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for key in [*a, *(key for key in b if key not in a)]:
        if prefix + key in UNSEMANTIC:
            continue
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append((prefix + key, left, right))
    return found


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1)
        raise StoreError(f"{name} is {value!r}: expected one of {', '.join(near or choices)}")


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _classes(values: Sequence[Mapping[str, Any]]) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(int(c["id"]), str(c["name"]), str(c["color"])) for c in values)
