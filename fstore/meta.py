"""The ``fstore`` attribute of format version 1: what a store says of itself, to and from JSON, and compared.

Section 2 of ``docs/format.md`` is the prose of this file. Pure. It knows no arrays: ``fstore.format`` derives
them from what stands here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fstore.errors import MismatchError, StoreError

VERSION = 1
LAYOUTS = ("dense", "pyramid")
UPSAMPLE_MODES = ("bilinear", "nearest")
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
class KeypointInfo:
    """K keypoints: their ``names``, and ``sigma``, the width in pixels of the Gaussians that mark them."""

    names: tuple[str, ...]
    sigma: float

    def __post_init__(self) -> None:
        if not self.names or not 0 < self.sigma < float("inf"):
            raise ValueError(
                f"keypoints are {len(self.names)} names and sigma {self.sigma}: expected at least one name "
                "and a sigma > 0"
            )

    def to_json(self) -> dict[str, Any]:
        """JSON values, as in ``docs/format.md``."""
        return {"names": list(self.names), "sigma": self.sigma}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> KeypointInfo:
        """The inverse of ``to_json``. Raises KeyError, TypeError or ValueError for malformed values."""
        return cls(tuple(str(name) for name in values["names"]), float(values["sigma"]))


@dataclass(frozen=True)
class FeatureMeta:
    """The ``fstore`` attribute of a feature store.

    ``grid`` (Hg, Wg) is the raster that layers are resized to; rows ``crop_rows`` [a, b) of it are kept, so
    features have H = b - a rows and W = Wg columns. ``ignore`` is the mask value that belongs to no class, or
    None. ``generator`` and ``inputs`` say what made the features; they are compared, never interpreted, here.
    ``keypoints``: what is annotated besides, or None; class k + 1 of the masks is then where keypoint k is.
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
    keypoints: KeypointInfo | None = None

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
            **_keypoints_entry(self.keypoints),
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
                keypoints=_keypoints(attribute),
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
    all images are done. ``keypoints``: what the images are annotated with in place of labels, or None.
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
    keypoints: KeypointInfo | None = None

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
            **_keypoints_entry(self.keypoints),
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
                keypoints=_keypoints(attribute),
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


def check_same(store: Mapping[str, Any], run: Mapping[str, Any], where: str) -> None:
    """Refuse to go on with a store begun with other settings. Raises MismatchError naming the first
    difference.
    """
    for key, found, asked in differences(store, run, UNSEMANTIC):
        raise MismatchError(
            f"{where}: was begun with {key} = {_short(found)}, this run has {_short(asked)}; "
            "use the same settings, another store, or --overwrite to start anew"
        )


def differences(
    a: Mapping[str, Any], b: Mapping[str, Any], ignored: Sequence[str] = (), prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Where two JSON objects differ: (dotted key, value in ``a``, value in ``b``), nested objects key by key.

    ``ignored`` are dotted keys that may differ.
    """
    found: list[tuple[str, Any, Any]] = []
    for key in [*a, *(key for key in b if key not in a)]:
        if prefix + key in ignored:
            continue
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, ignored, f"{prefix}{key}.")
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


def _keypoints_entry(keypoints: KeypointInfo | None) -> dict[str, Any]:
    """Nothing in a store without keypoints, whose attribute is as it was before there were any."""
    return {} if keypoints is None else {"keypoints": keypoints.to_json()}


def _keypoints(attribute: Mapping[str, Any]) -> KeypointInfo | None:
    values = attribute.get("keypoints")
    return None if values is None else KeypointInfo.from_json(values)


def _classes(values: Sequence[Mapping[str, Any]]) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(int(c["id"]), str(c["name"]), str(c["color"])) for c in values)
