"""The ``fstore`` attribute of format versions 1 to 3: what a store says of itself, to and from JSON.

Section 2 of ``docs/format.md`` is the prose of this file. Pure. It knows no arrays: ``fstore.format`` derives
them from what stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fstore import values
from fstore.errors import StoreError

VERSION = 3  # the newest that this program reads
RULED_VERSION = (
    3  # of a dataset whose filter has a rule, or its score needs labels: old programs know neither
)
CORRECTED_VERSION = 2  # of a feature store while a correction is moved into place
SETTLED_VERSION = 1  # of every other store, so that older programs read it
LAYOUTS = ("dense", "pyramid")
UPSAMPLE_MODES = ("bilinear", "nearest")
SCORES = ("top10", "mean", "sum", "class-mean", "interior")
SCORES_OF_LABELS = ("class-mean", "interior")  # those that need the labels too
TASK_IMAGES = 64  # images of a dataset that are made, written and committed together
MOST_VOTED = 256  # classes: with more, the votes of an image would take more than its labels
LARGEST_LABEL = 65535  # masks have two bytes at most
LARGEST_SIDE = 2**20  # of a picture or a map, in pixels: beyond it sizes are taken for damage
LARGEST_AXIS = 2**24  # of channels and latents
LARGEST_SEED = 2**64 - 1


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
        if not all(isinstance(name, str) for name in self.names):
            raise TypeError("the names of keypoints are no text")
        if not self.names or not 0 < self.sigma < float("inf"):
            raise ValueError(
                f"keypoints are {len(self.names)} names and sigma {self.sigma}: expected at least one name "
                "and a sigma > 0"
            )

    def to_json(self) -> dict[str, Any]:
        """JSON values, as in ``docs/format.md``."""
        return {"names": list(self.names), "sigma": self.sigma}

    @classmethod
    def from_json(cls, keypoints: Mapping[str, Any]) -> KeypointInfo:
        """The inverse of ``to_json``. Raises KeyError, TypeError or ValueError for malformed values."""
        names, sigma = keypoints["names"], keypoints["sigma"]
        if not isinstance(names, list | tuple) or isinstance(sigma, bool | str):
            raise TypeError("names is no list, or sigma no number")
        return cls(tuple(names), float(sigma))


@dataclass(frozen=True)
class FeatureMeta:
    """The ``fstore`` attribute of a feature store.

    ``grid`` (Hg, Wg) is the raster that layers are resized to; rows ``crop_rows`` [a, b) of it are kept, so
    features have H = b - a rows and W = Wg columns. ``ignore`` is the mask value that belongs to no class, or
    None. ``generator`` and ``inputs`` say what made the features. They are compared, and never interpreted.
    ``keypoints``: the keypoints that are annotated, or None. Class k + 1 of the masks is then around keypoint
    k. ``corrected``: whether the annotations that count are those in ``corrected/``, until they have been
    moved into place.
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
    corrected: bool = False

    kind = "features"

    def __post_init__(self) -> None:
        values.choice("layout", self.layout, LAYOUTS)
        values.choice("upsample", self.upsample, UPSAMPLE_MODES)
        for name, side in zip(("grid's rows", "grid's columns"), self.grid, strict=True):
            values.integer(name, side, 1, LARGEST_SIDE)
        first, last = (values.integer("crop_rows", row, 0, LARGEST_SIDE) for row in self.crop_rows)
        if not 0 <= first < last <= self.grid[0]:
            raise StoreError(
                f"crop_rows is [{first}, {last}): expected 0 <= a < b <= {self.grid[0]}, the grid's rows"
            )
        _check_layers(self.layers, self.grid)
        _check_classes(self.classes, self.ignore)
        _check_records(generator=self.generator, inputs=self.inputs, created=self.created)

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
            "version": CORRECTED_VERSION if self.corrected else SETTLED_VERSION,
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
            **({"corrected": True} if self.corrected else {}),
        }

    @classmethod
    def from_attribute(cls, attribute: Mapping[str, Any], where: str) -> FeatureMeta:
        """Read the attribute of the store ``where``; raises StoreError for another kind, version or a missing
        key.
        """
        check_attribute(attribute, cls.kind, where)
        with _malformed(where):
            meta = cls(
                layout=attribute["layout"],
                grid=_pair("grid", attribute["grid"]),
                crop_rows=_pair("crop_rows", attribute["crop_rows"]),
                layers=_layers(attribute["layers"]),
                classes=_classes(attribute["classes"]),
                ignore=attribute["ignore"],
                upsample=attribute["upsample"],
                generator=attribute.get("generator", {}),
                inputs=attribute.get("inputs", {}),
                created=attribute.get("created", {}),
                keypoints=_keypoints(attribute),
                corrected=values.flag("corrected", attribute.get("corrected", False)),
            )
            values.integer("channels", attribute["channels"], meta.channels, meta.channels)
            return meta


@dataclass(frozen=True)
class FilterRule:
    """How a dataset's filter chose, where it was not by the dataset's own score and one threshold alone.

    ``score``: what the filter went by. ``per_class``: whether it keeps its share of the images of every
    class. ``calibration``: the file that recommended the share, as a record, or None.
    """

    score: str
    per_class: bool = False
    calibration: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        values.choice("filter.score", self.score, SCORES)
        values.flag("filter.per_class", self.per_class)
        if self.calibration is not None:
            values.record("filter.calibration", self.calibration)

    def to_json(self) -> dict[str, Any]:
        """JSON values, as in ``docs/format.md``."""
        calibration = {} if self.calibration is None else {"calibration": dict(self.calibration)}
        return {"score": self.score, "per_class": self.per_class, **calibration}

    @classmethod
    def from_json(cls, rule: Mapping[str, Any]) -> FilterRule:
        """The inverse of ``to_json``. Raises KeyError or StoreError for malformed values."""
        return cls(rule["score"], rule["per_class"], rule.get("calibration"))


@dataclass(frozen=True)
class DatasetMeta:
    """The ``fstore`` attribute of a dataset store.

    ``interpreter`` and ``generator`` say what labelled and what rendered; ``score`` how an image's
    uncertainty follows from its pixels; ``keep`` (decimal text) and ``threshold`` what was kept, None until
    all images are done. ``filter``: the filter's rule, None of one that keeps the share ``keep`` by
    ``score``. ``keypoints``: what the images are annotated with in place of labels, or None.
    ``member_votes``: whether the array of that name is there; only labels of at most 256 classes have it.
    ``translator``: what translated the images that ``generator`` rendered, and of which dataset they were;
    None where they are as they were rendered.
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
    member_votes: bool = False
    filter: FilterRule | None = None
    translator: Mapping[str, Any] | None = None

    kind = "dataset"

    def __post_init__(self) -> None:
        for name, side in zip(("shape's rows", "shape's columns"), self.shape, strict=True):
            values.integer(name, side, 1, LARGEST_SIDE)
        values.integer("latent_size", self.latent_size, 1, LARGEST_AXIS)
        values.integer("seed", self.seed, 0, LARGEST_SEED)
        values.choice("score", self.score, SCORES)
        if self.keep is not None:
            values.keep_fraction(self.keep)
        if self.threshold is not None:
            values.number("threshold", self.threshold)
        if self.filter is not None:
            _check_rule(self.filter, self.keep, self.keypoints)
        _check_classes(self.classes, self.ignore)
        if self.member_votes and (self.keypoints is not None or len(self.classes) > MOST_VOTED):
            raise StoreError(f"member_votes is true: expected labels of at most {MOST_VOTED} classes")
        _check_records(interpreter=self.interpreter, generator=self.generator, created=self.created)
        if self.translator is not None:
            _check_records(translator=self.translator)

    @property
    def maker(self) -> str:
        """The command that makes such a dataset, and goes on with it."""
        return "dgan synthesize" if self.translator is None else "dgan translate apply"

    @property
    def filter_score(self) -> str:
        """The score that the filter went by, or would without a rule of its own."""
        return self.score if self.filter is None else self.filter.score

    def to_attribute(self) -> dict[str, Any]:
        """The attribute as JSON values, keys as in ``docs/format.md``."""
        return {
            "version": dataset_version(self.score, self.filter),
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
            **({"member_votes": True} if self.member_votes else {}),
            **({} if self.filter is None else {"filter": self.filter.to_json()}),
            **({} if self.translator is None else {"translator": dict(self.translator)}),
        }

    @classmethod
    def from_attribute(cls, attribute: Mapping[str, Any], where: str) -> DatasetMeta:
        """Read the attribute of the store ``where``; raises StoreError for another kind, version or a missing
        key.
        """
        check_attribute(attribute, cls.kind, where)
        with _malformed(where):
            return cls(
                shape=_pair("shape", attribute["shape"]),
                classes=_classes(attribute["classes"]),
                latent_size=attribute["latent_size"],
                ignore=attribute["ignore"],
                score=attribute["score"],
                seed=attribute["seed"],
                interpreter=attribute.get("interpreter", {}),
                generator=attribute.get("generator", {}),
                keep=attribute["keep"],
                threshold=attribute["threshold"],
                created=attribute.get("created", {}),
                keypoints=_keypoints(attribute),
                member_votes=values.flag("member_votes", attribute.get("member_votes", False)),
                filter=_filter(attribute),
                translator=attribute.get("translator"),
            )


Meta = FeatureMeta | DatasetMeta


def dataset_version(score: Any, rule: FilterRule | None) -> int:
    """The lowest version whose programs read a dataset with this score and this rule of its filter."""
    return SETTLED_VERSION if rule is None and score not in SCORES_OF_LABELS else RULED_VERSION


def check_attribute(attribute: Mapping[str, Any], kind: str | None, where: str) -> None:
    """Refuse a newer format version or another kind of store, naming both sides. Raises StoreError."""
    version = attribute.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise StoreError(
            f"{where}: format version is {values.short(version)}, expected an integer of 1 to {VERSION}; "
            "is it a dgan store?"
        )
    if version > VERSION:
        raise StoreError(
            f"{where}: format version {values.short(version)} is newer than {VERSION}, the newest this "
            "program reads; upgrade it"
        )
    found = attribute.get("kind")
    if kind is not None and found != kind:
        raise StoreError(
            f"{where}: is a store of kind {values.short(found)}, expected {kind!r}; pass the other store"
        )


@contextmanager
def _malformed(where: str) -> Iterator[None]:
    """Errors of reading an attribute, as one that names the store. Raises StoreError."""
    try:
        yield
    except KeyError as error:
        reason = f"it has no {error.args[0]!r}"
    except (StoreError, TypeError, ValueError, OverflowError) as error:
        reason = str(error)
    else:
        return
    raise StoreError(f"{where}: attribute 'fstore' is malformed ({reason}); restore it from a copy")


def _check_layers(layers: Sequence[LayerInfo], grid: tuple[int, int]) -> None:
    if not layers:
        raise StoreError("layers is empty: expected at least one feature layer")
    offset = 0
    for layer in layers:
        values.part_of_path("a layer's name", layer.name)
        for side, limit in zip(layer.resolution, grid, strict=True):
            values.integer(f"layer {layer.name!r}: resolution", side, 1, limit)
        values.integer(f"layer {layer.name!r}: channels", layer.channels, 1, LARGEST_AXIS)
        values.integer(f"layer {layer.name!r}: offset", layer.offset, offset, offset)
        offset += layer.channels


def _check_classes(classes: Sequence[ClassInfo], ignore: int | None) -> None:
    if len(classes) < 1:
        raise StoreError("classes is empty: expected at least one class")
    values.integer("the number of classes", len(classes), 1, LARGEST_LABEL + 1)
    for position, info in enumerate(classes):
        values.integer("a class's id, its position,", info.id, position, position)
        values.text(f"class {position}: name", info.name)
        values.color(f"class {position}: color", info.color)
    if ignore is not None:
        values.integer("ignore", ignore, 0, LARGEST_LABEL)


def _check_records(**records: Mapping[str, Any]) -> None:
    for name, found in records.items():
        values.record(name, found)


def _pair(name: str, found: Any) -> tuple[int, int]:
    first, second = values.items(name, found, 2)
    return first, second


def _layers(found: Any) -> tuple[LayerInfo, ...]:
    layers = [values.record("a layer", layer) for layer in values.items("layers", found)]
    return tuple(
        LayerInfo(la["name"], _pair("resolution", la["resolution"]), la["channels"], la["offset"])
        for la in layers
    )


def _classes(found: Any) -> tuple[ClassInfo, ...]:
    classes = [values.record("a class", info) for info in values.items("classes", found)]
    return tuple(ClassInfo(info["id"], info["name"], info["color"]) for info in classes)


def _keypoints_entry(keypoints: KeypointInfo | None) -> dict[str, Any]:
    """The entry ``keypoints`` of the attribute. A store without keypoints has none."""
    return {} if keypoints is None else {"keypoints": keypoints.to_json()}


def _keypoints(attribute: Mapping[str, Any]) -> KeypointInfo | None:
    found = attribute.get("keypoints")
    return None if found is None else KeypointInfo.from_json(values.record("keypoints", found))


def _filter(attribute: Mapping[str, Any]) -> FilterRule | None:
    found = attribute.get("filter")
    return None if found is None else FilterRule.from_json(values.record("filter", found))


def _check_rule(rule: FilterRule, keep: str | None, keypoints: KeypointInfo | None) -> None:
    if keep is None:
        raise StoreError("filter is there and keep is null: expected both, or neither")
    if keypoints is not None and (rule.per_class or rule.score in SCORES_OF_LABELS):
        raise StoreError(
            f"filter is {values.short(rule.to_json())}: expected one without labels, of keypoints"
        )
