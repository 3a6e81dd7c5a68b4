"""What an export takes from a store: classes, the images that are meant, and one image after another.

It reads both kinds of stores and hides the difference. It knows no formats and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

import fstore
from fstore import format as fmt
from fstore.allowed_values import wrong_label
from fstore.errors import CorruptionError, StoreError
from fstore.store import Store
from pipeline.errors import UsageError, count
from pipeline.exports.classes import ClassMapping, identity, read_mapping
from pipeline.settings.schema import ExportConfig


@dataclass(frozen=True)
class Item:
    """One image of an export.

    number: the image's number, which names its files: its index in a dataset, the annotated image's number in
    a feature store. image: (H, W, 3) uint8. labels: (H, W) uint8 or uint16 class ids after the label map, and
    the ignore label; None of keypoints. keypoints: (K, 3) float32 x, y and confidence, the centre of pixel
    (row, column) at (column, row) + 0.5; None of labels. uncertainty: the image's score, kept: whether the
    filter keeps it, divergence: a function that reads (H, W) float16, each pixel's divergence in nats; all
    three None in a feature store.
    """

    number: int
    image: np.ndarray
    labels: np.ndarray | None
    keypoints: np.ndarray | None
    uncertainty: float | None
    kept: bool | None
    divergence: Callable[[], np.ndarray] | None = None


class Content:
    """The exported part of an open store. A class, because it holds the store and what was read of it once.

    ``numbers`` are the images' numbers in their order. ``classes`` and ``ignore`` are those after the label
    map.
    """

    def __init__(self, store: Store, config: ExportConfig) -> None:
        self.store = store
        self.is_dataset = isinstance(store, fstore.Dataset)
        self.keypoint_names = None if store.meta.keypoints is None else store.meta.keypoints.names
        self._mapping = _mapping(store, config)
        self.classes = self._mapping.classes
        self.ignore = self._mapping.ignore
        self.shape = _shape(store)
        self._positions, self._uncertainty, self._kept = _chosen(store, config)
        self.numbers = _numbers(store, self._positions)

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def label_table(self) -> list[int] | None:
        """The new label of each old one, or None where there is no label map."""
        return None if self._mapping.table is None else self._mapping.table.tolist()

    def read(self, place: int) -> Item:
        """The image at ``place`` of the export, from 0. Any thread may call it.

        Raises CorruptionError where the store is damaged.
        """
        position = int(self._positions[place])
        index = int(self.store.image_ids[position])
        labels = keypoints = None
        if self.keypoint_names is None:
            name = "labels" if self.is_dataset else "masks"
            labels = self._part(name, index)
            words = wrong_label(self.store.meta, labels)  # which the mapping has no place for
            if words is not None:
                raise CorruptionError(f"{self.store.location}: array {name!r}, image {index}: {words}")
            labels = self._mapping.apply(labels)
        else:
            keypoints = self._part("keypoints", index)
        return Item(
            number=int(self.numbers[place]),
            image=self._part("images", index),
            labels=labels,
            keypoints=keypoints,
            uncertainty=None if self._uncertainty is None else float(self._uncertainty[position]),
            kept=None if self._kept is None else bool(self._kept[position]),
            divergence=partial(self._part, "divergence", index) if self.is_dataset else None,
        )

    def _part(self, name: str, index: int) -> np.ndarray:
        checked = self.store.array(name)
        rest = [(0, size) for size in checked.array.shape[1:]]
        return checked.read_in_thread(((index, index + 1), *rest))[0]


def open_content(store_path: str, config: ExportConfig) -> Content:
    """Open a store to export from it.

    Raises UsageError where it is not complete or nothing is to be exported, StoreError where it is no store,
    CorruptionError or UnreadableError where what is read of all images is damaged or cannot be read.
    """
    store = fstore.open(store_path)
    if len(store) < store.num_images:
        command = store.meta.maker if isinstance(store, fstore.Dataset) else "dgan extract-features"
        raise UsageError(
            f"{store.location}: is not finished, {len(store):,} of {count(store.num_images, 'image')} are "
            f"committed; run `{command}` to its end, then export"
        )
    content = Content(store, config)
    if not len(content):
        raise UsageError(f"{store.location}: its filter keeps no image; pass --all to export them all")
    return content


def _mapping(store: Store, config: ExportConfig) -> ClassMapping:
    if config.label_map is None:
        return identity(store.meta.classes, store.meta.ignore)
    if store.meta.keypoints is not None:
        raise UsageError(f"{store.location}: holds keypoints, and --label-map is of classes; leave it out")
    return read_mapping(config.label_map, store.meta.classes, store.meta.ignore, str(store.location))


def _shape(store: Store) -> tuple[int, int]:
    meta = store.meta
    return meta.shape if isinstance(meta, fmt.DatasetMeta) else (meta.height, meta.width)


def _chosen(store: Store, config: ExportConfig) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Positions of the exported images among the committed; then the uncertainty and whether it is kept of
    every committed image, which a feature store does not have.
    """
    if not isinstance(store, fstore.Dataset):
        return np.arange(len(store))[: config.limit], None, None
    kept = _kept(store, config)
    chosen = np.arange(len(store)) if config.all or kept is None else np.flatnonzero(kept)
    return chosen[: config.limit], store.uncertainty, kept


def _kept(store: fstore.Dataset, config: ExportConfig) -> np.ndarray | None:
    """(n,) bool; None where no filter is set and none is asked for.

    Raises CorruptionError where it is damaged, with --all too: files say of each image whether it is kept.
    """
    if store.meta.keep is None and config.all:
        return None
    try:
        store.require_filter()
    except StoreError as error:
        raise UsageError(f"{error}; or pass --all") from None
    return store.kept


def _numbers(store: Store, positions: Sequence[int] | np.ndarray) -> np.ndarray:
    """The number of each exported image: what pairs it with its latent when it comes back as annotation."""
    ids = np.asarray(store.image_ids)[positions]
    return np.asarray(store.image_numbers, np.int64)[ids] if isinstance(store, fstore.FeatureStore) else ids
