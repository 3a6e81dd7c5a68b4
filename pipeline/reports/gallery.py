"""The data of a page's gallery: what a script draws cards, histogram and classes from.

A report puts the pictures into it as data URLs, a server gives the URLs at which it sends them. The keys are
listed at `gallery_data`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

import fstore
from pipeline.quality.frequencies import Frequencies
from pipeline.reports import pictures
from pipeline.reports.dataset_filter import filter_options, kept_of, own_options, score_name, scores_of
from pipeline.reports.reading import read_image, worked_through

NUM_DIGITS = 4  # of a share


def gallery_data(
    store: fstore.Dataset,
    title: str,
    items: Sequence[Mapping[str, Any]],
    largest_divergence: float,
    classes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The JSON of a dataset's gallery.

    ``all`` has uncertainty and kept of every committed image, in order, and ``ids`` where these are not 0 to
    N - 1; null stands for a value that is not finite. The uncertainty is that of `scores_of`, named by
    ``score``; ``filter_options`` are the flags with which `dgan filter` goes by it, ``own_options`` those
    with which it makes the store's own filter, and ``path`` what it takes, null where it would refuse an
    unfinished store. ``kept``, ``keep`` and ``threshold`` are null where no filter is set. ``shape`` is rows
    and columns of an image. ``items`` are those of `item`; ``largest_divergence`` is what 255 stands for in
    their pictures. ``points`` says that they have keypoints and no labels; ``classes`` are then the
    keypoints.
    """
    kept = kept_of(store)
    ids = store.image_ids.tolist()
    return {
        "kind": "dataset",
        "title": title,
        "path": shlex.quote(str(store.location)) if store.complete else None,
        "classes": list(classes),
        "ignore": store.meta.ignore,
        "points": store.meta.keypoints is not None,
        "num_images": len(store),
        "shape": list(store.meta.shape),
        "keep": store.meta.keep,
        "threshold": store.meta.threshold,
        "score": score_name(store),
        "filter_options": filter_options(store),
        "own_options": own_options(store),
        "largest_divergence": largest_divergence,
        "all": {
            "uncertainty": [finite_or_none(value) for value in scores_of(store)],
            "kept": None if kept is None else kept.astype(int).tolist(),
            **({} if ids == list(range(len(ids))) else {"ids": ids}),
        },
        "items": list(items),
    }


def title_of(store: fstore.Dataset | fstore.FeatureStore) -> str:
    """The last name of a store's place."""
    folder = store.location.folder
    name = str(store.location).rstrip("/").rpartition("/")[2] if folder is None else folder.absolute().name
    return name or str(store.location)


def class_entries(
    store: fstore.Dataset | fstore.FeatureStore, shares: Frequencies | None = None
) -> list[dict[str, Any]]:
    """Id, name and colour of each class; of keypoints, of each point: ids from 0, in their order.

    With ``shares`` also ``share`` (of all pixels) and ``images`` (that show it).
    """
    points = store.meta.keypoints
    if points is not None:
        colors = [c.color for c in store.meta.classes[1:]]
        return [{"id": k, "name": name, "color": colors[k]} for k, name in enumerate(points.names)]
    entries: list[dict[str, Any]] = [
        {"id": c.id, "name": c.name, "color": c.color} for c in store.meta.classes
    ]
    if shares is not None:
        for entry in entries:
            entry["share"] = finite_or_none(shares.all.pixels[entry["id"]])
            entry["images"] = int(shares.all.showing[entry["id"]])
    return entries


def finite_or_none(value: float) -> float | None:
    """A float32 in the fewest digits that mean it and no other; None where it is not finite."""
    return float(str(np.float32(value))) if np.isfinite(value) else None


def largest_divergence(store: fstore.Dataset, positions: Sequence[int]) -> float:
    """The largest finite divergence of some committed images; 1.0 where none is above 0."""

    def of_image(position: int) -> float:
        values = read_image(store, "divergence", position).astype(np.float32)
        return float(np.max(values, where=np.isfinite(values), initial=0))

    found = worked_through(of_image, positions, len(positions), "reading divergence")
    return max(found, default=0.0) or 1.0


def picture_items(store: fstore.Dataset, positions: Sequence[int], largest: float) -> list[dict[str, Any]]:
    """The items of some committed images (positions), with thumbnails as data URLs."""
    kept = kept_of(store)
    make = partial(_with_thumbnails, store, kept, largest)
    return list(worked_through(make, positions, len(positions), "drawing pictures"))


def _with_thumbnails(
    store: fstore.Dataset, kept: np.ndarray | None, largest: float, position: int
) -> dict[str, Any]:
    labels = None if store.meta.keypoints is not None else read_image(store, "labels", position)
    return {
        **item(store, kept, labels, position),
        "image": pictures.encode_picture(read_image(store, "images", position)).url,
        "label": None if labels is None else pictures.encode_label_map(labels).url,
        "divergence": pictures.encode_divergence(read_image(store, "divergence", position), largest).url,
    }


def item(
    store: fstore.Dataset, kept: np.ndarray | None, labels: np.ndarray | None, position: int
) -> dict[str, Any]:
    """What an item says besides its pictures.

    ``id`` is the image's index; ``areas`` the share of the image that each class covers, by id (empty of
    keypoints); ``points`` x and y of each keypoint as shares of width and height, null where it is not
    finite.
    """
    found: dict[str, Any] = {
        "id": int(store.image_ids[position]),
        "uncertainty": finite_or_none(scores_of(store)[position]),
        "kept": None if kept is None else bool(kept[position]),
        "areas": [] if labels is None else areas(labels, len(store.meta.classes)),
    }
    if labels is None:
        height, width = store.meta.shape
        points = read_image(store, "keypoints", position)[:, :2] / (width, height)
        found["points"] = [point.round(NUM_DIGITS).tolist() if np.isfinite(point).all() else None
                           for point in points]  # fmt: skip
    return found


def areas(labels: np.ndarray, num_classes: int) -> list[float]:
    """The share of (H, W) ``labels`` that each class covers, by id."""
    pixels = np.bincount(labels.ravel(), minlength=num_classes)[:num_classes]
    return (pixels / labels.size).round(NUM_DIGITS).tolist()
