"""How an open store shows itself: a few lines in a terminal, a table in Jupyter. It reads the index and a
small dataset's labels, never the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Protocol

import numpy as np

from fstore import format as fmt
from fstore.errors import StoreError
from fstore.values import escaped, printable

RARE_IMAGES = 3  # a class in fewer has none to spare for validation, and is learnt from one or two
COUNTED_BYTES = 2**24  # of labels: a dataset has no index of classes, and is counted up to this size
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Shown(Protocol):
    """What a store must have to be shown. A dataset's ``kept`` and a feature store's ``class_counts`` are
    shown too.
    """

    location: Any
    image_ids: np.ndarray

    @property
    def meta(self) -> Any:
        """A ``FeatureMeta`` or a ``DatasetMeta``."""

    @property
    def num_images(self) -> int:
        """Images that the store is made for."""

    def array_names(self) -> list[str]:
        """Paths of the arrays."""

    def array(self, name: str) -> Any:
        """An object whose ``array`` is the Zarr array of that path."""

    def lazy(self, name: str) -> Any:
        """The same array's committed images for dask."""


def human_bytes(count: float) -> str:
    """Bytes in decimal units: 2_670_000_000 -> ``2.67 GB``."""
    for unit in _UNITS:
        if abs(count) < 1000 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def human_duration(seconds: float) -> str:
    """Seconds in the unit that reads best: 5400 -> ``1.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def facts(store: Shown) -> list[tuple[str, str]]:
    """(name, value) lines that describe a store of either kind."""
    meta = store.meta
    lines = [("images", f"{len(store.image_ids)} of {store.num_images} committed")]
    if isinstance(meta, fmt.FeatureMeta):
        shape = (len(store.image_ids), meta.height, meta.width, meta.channels)
        lines += [
            ("layout", meta.layout),
            ("features", f"{shape} float16, {len(meta.layers)} layers"),
            ("grid", f"{meta.grid[0]} x {meta.grid[1]}, rows {meta.crop_rows[0]} to {meta.crop_rows[1] - 1}"),
            ("dense raw", human_bytes(2 * np.prod([store.num_images, *shape[1:]], dtype=float))),
        ]
        if meta.corrected:
            lines.append(("correction", "of annotations, cut off; the same `dgan extract-features` ends it"))
    else:
        lines += [
            ("shape", f"{meta.shape[0]} x {meta.shape[1]}"),
            ("score", f"{meta.score}, seed {meta.seed}"),
            ("kept", _kept(store)),
        ]
        if meta.filter is not None:
            lines.append(("filter", _rule(meta.filter)))
    if meta.keypoints is not None:
        lines.append(("keypoints", f"{len(meta.keypoints.names)}, sigma {meta.keypoints.sigma:g} pixels"))
    raw = sum(_array_bytes(store, name) for name in store.array_names())
    used = store.location.used_bytes()
    if used is not None:
        share = raw * len(store.image_ids) / max(store.num_images, 1)
        ratio = f", {share / used:.2f}x compressed" if used and share else ""
        lines.append(("on disk", f"{human_bytes(used)}{ratio}"))
    largest = max(store.array_names(), key=lambda name: _array_bytes(store, name))
    lines.append(("codecs", _codec_names(store.array(largest).array.metadata.to_dict()["codecs"])))
    if meta.generator:
        lines.append(("generator", pairs_text(meta.generator)))
    if isinstance(meta, fmt.DatasetMeta) and meta.translator is not None:
        lines.append(("translator", pairs_text(meta.translator)))
    lines.append(
        (
            "classes",
            f"{len(meta.classes)}" + (f", ignore label {meta.ignore}" if meta.ignore is not None else ""),
        )
    )
    return lines


def class_rows(
    store: Shown, images: np.ndarray | None = None
) -> list[tuple[int, str, str, int | None, int | None]]:
    """(id, name, colour, pixels, images) of each class, counted in all committed images.

    ``images`` (n,) bool: count in these only. The two counts are None where the store has no index of
    classes and its labels are too many to count, or damaged.
    """
    counts = getattr(store, "class_counts", None)
    if counts is None:
        counts = _label_counts(store)
    if counts is not None and images is not None:
        counts = counts[images]
    rows: list[tuple[int, str, str, int | None, int | None]] = []
    for info in store.meta.classes:
        name = printable(info.name)
        if counts is None:
            rows.append((info.id, name, info.color, None, None))
        else:
            per_image = counts[..., info.id].sum(axis=(1, 2), dtype=np.int64)
            rows.append((info.id, name, info.color, int(per_image.sum()), int((per_image > 0).sum())))
    return rows


def class_warnings(store: Shown) -> list[str]:
    """Lines about the classes that are in no image of a feature store, or in fewer than RARE_IMAGES.

    There are no lines for a dataset.
    """
    if not isinstance(store.meta, fmt.FeatureMeta) or not len(store.image_ids):
        return []
    rows = [(name, images) for _, name, _, _, images in class_rows(store) if images is not None]
    absent = [name for name, images in rows if images == 0]
    least = min(RARE_IMAGES, len(store.image_ids))  # of two images a class can be in no more
    rare = [f"{name} ({images})" for name, images in rows if 0 < images < least]
    lines = [f"in fewer than {RARE_IMAGES} images: {', '.join(rare)}"] if rare else []
    return [*lines, f"in no image: {', '.join(absent)}"] if absent else lines


def describe(store: Shown) -> str:
    """The store in plain text."""
    lines = [f"<{type(store).__name__} {store.location}>"]
    lines += [f"  {name:<10} {value}" for name, value in facts(store)]
    lines += _kept_table(store) or [
        f"  {number:>5} {color} {name:<16} "
        + ("" if pixels is None else f"{pixels:>12,} pixels in {images} images")
        for number, name, color, pixels, images in class_rows(store)
    ]
    lines = [line.rstrip() for line in lines]
    lines += [f"  warning    classes {line}" for line in class_warnings(store)]
    return "\n".join(lines)


def _kept_table(store: Shown) -> list[str]:
    """A line for each class of a filtered dataset: its counts in all images and in the kept ones.

    There are no lines where one of them is not known.
    """
    kept = _kept_images(store)
    rows = [] if kept is None else class_rows(store)
    if not rows or rows[0][3] is None:
        return []
    lines = [f"{'':>32}{'pixels':>13}{'images':>8}{'kept pixels':>13}{'images':>8}"]
    for row, (*_, pixels, images) in zip(rows, class_rows(store, kept), strict=True):
        number, name, color, all_pixels, all_images = row
        lines.append(
            f"  {number:>5} {color} {name:<16}{all_pixels:>13,}{all_images:>8}{pixels:>13,}{images:>8}"
        )
    return lines


def describe_html(store: Shown) -> str:
    """The store as HTML; every text from the store is escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts(store)
    )
    classes = "".join(_class_html(*row) for row in class_rows(store))
    head = "<tr><th>id</th><th>colour</th><th>class</th><th>pixels</th><th>images</th></tr>"
    title = f"{type(store).__name__} <code>{escape(str(store.location))}</code>"
    warnings = "".join(f"<p>Warning: classes {escape(line)}</p>" for line in class_warnings(store))
    return f"<div><b>{title}</b><table>{rows}</table><table>{head}{classes}</table>{warnings}</div>"


def _class_html(number: int, name: str, color: str, pixels: int | None, images: int | None) -> str:
    swatch = f"<span style='background:{escape(color, quote=True)};padding:0 1em'>&nbsp;</span>"
    counts = ("" if pixels is None else f"{pixels:,}", "" if images is None else str(images))
    cells = (str(number), swatch, escape(name), *counts)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _label_counts(store: Shown) -> np.ndarray | None:
    """(n, 1, 1, K) pixels of each class in a dataset's labels; None where there are none, or too many."""
    if "labels" not in store.array_names():
        return None
    height, width = store.array("labels").array.shape[1:]
    if len(store.image_ids) * height * width > COUNTED_BYTES:
        return None
    try:
        labels = np.asarray(store.lazy("labels").compute(scheduler="sync"))  # [n, H, W]
    except StoreError:
        return None  # `dgan verify` names the damage
    num_classes = len(store.meta.classes)
    counts = [np.bincount(image.ravel(), minlength=num_classes)[:num_classes] for image in labels]
    return np.reshape(counts, (len(labels), 1, 1, num_classes))


def _kept_images(store: Any) -> np.ndarray | None:
    """(n,) bool of a dataset whose filter is set and readable, else None."""
    if not isinstance(store.meta, fmt.DatasetMeta) or store.meta.keep is None:
        return None
    try:
        return np.asarray(store.kept)  # of the committed images already
    except StoreError:
        return None


def _kept(store: Any) -> str:
    if store.meta.keep is None:
        return "not set yet"
    try:
        kept = store.kept
    except StoreError:
        return "unreadable; run `dgan verify`"
    meta = store.meta
    unit = " nats" if meta.keypoints is None else ""  # a variance of heat maps has none
    threshold = "none" if meta.threshold is None else f"{meta.threshold:.4g}{unit}"
    return f"{int(kept.sum())} of {len(kept)} (keep {meta.keep}, threshold {threshold})"


def _rule(rule: fmt.FilterRule) -> str:
    """How a filter chose that is no ordinary one, in a few words."""
    words = [f"by {rule.score}"]
    if rule.per_class:
        words.append("that share of every class too")
    if rule.calibration is not None:
        words.append(f"keep auto ({pairs_text(rule.calibration)})")
    return ", ".join(words)


def _array_bytes(store: Shown, name: str) -> int:
    array = store.array(name).array
    return int(np.prod(array.shape, dtype=np.int64)) * array.dtype.itemsize


def _codec_names(codecs: Any) -> str:
    names = []
    for codec in codecs:
        configuration = codec.get("configuration", {})
        if codec["name"] == "sharding_indexed":
            return "sharded " + _codec_names(configuration["codecs"])
        level = f" level {configuration['level']}" if "level" in configuration else ""
        names.append(f"{codec['name']}{level}")
    return " + ".join(names)


def pairs_text(values: Mapping[str, Any]) -> str:
    """The names and values of a record on one line: ``noise const, sha256 5d0f8a2b11ce...``.

    What a terminal cannot show, as half of a surrogate pair, is escaped.
    """
    return escaped(", ".join(f"{name} {_value_text(value)}" for name, value in values.items()))


def _value_text(value: Any) -> str:
    """A value of a record; of a hash only its beginning, of a record in it the pairs in brackets."""
    if isinstance(value, Mapping):
        return f"({pairs_text(value)})"
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text
