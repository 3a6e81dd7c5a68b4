"""What a segmenter learns from: sources of labelled images, laid end to end.

A source is a dataset, the annotated images of a feature store, or annotated photographs. It reads a few
images at once, as they are; their size and their changes are the business of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fstore.errors import StoreError
from fstore.meta import ClassInfo, KeypointInfo
from fstore.store import Store
from fstore.torch_data import LabelledImages
from pipeline.inputs.photographs import IGNORED, AnnotatedPhotographs
from pipeline.segment.training.sample import Sample

UNKNOWN = -2  # in a table of classes: a label that nothing explains


@dataclass(frozen=True)
class Task:
    """What is to be learnt: ``classes``, ``ignore`` of which is none in the data; or ``keypoints``."""

    classes: tuple[ClassInfo, ...]
    ignore: int | None
    keypoints: KeypointInfo | None

    @property
    def names(self) -> list[str]:
        """Of the network's outputs."""
        return [c.name for c in self.classes] if self.keypoints is None else list(self.keypoints.names)


class Source(Protocol):
    """Labelled images. ``name``: what the description calls it. ``record``: which they are, as JSON."""

    name: str
    record: Mapping[str, Any]

    def __len__(self) -> int: ...

    def read(self, places: Sequence[int]) -> list[Sample]:
        """The images at these places. Raises StoreError, UsageError."""
        ...

    def check_unchanged(self) -> None:
        """Raise StoreError where they are no longer those that the record names."""
        ...


class StoreSource:
    """Images of a store: those at ``chosen`` among the ``images`` that `fstore.torch_dataset` gives of it.

    table: the output of each label, IGNORED or UNKNOWN; None of keypoints.
    """

    def __init__(
        self,
        store: Store,
        images: LabelledImages,
        chosen: NDArray[np.int64],
        table: NDArray[np.int64] | None,
        record: Mapping[str, Any],
        name: str = "synthetic",
    ) -> None:
        self.name, self.record = name, record
        self._store, self._images, self._chosen, self._table = store, images, chosen, table

    def __len__(self) -> int:
        return len(self._chosen)

    def read(self, places: Sequence[int]) -> list[Sample]:
        """The images at these places."""
        chosen = self._chosen[list(places)].tolist()
        images, targets = self._images[chosen]  # [B, 3, H, W] uint8; [B, H, W] int64, or [B, K, 3] float32
        pictures = images.permute(0, 2, 3, 1).numpy()  # [B, H, W, 3]
        if self._table is None:
            return [
                Sample(p, points=learnt_points(t)) for p, t in zip(pictures, targets.numpy(), strict=True)
            ]
        labels = [self._outputs(t, place) for t, place in zip(targets.numpy(), chosen, strict=True)]
        return [Sample(p, labels=t) for p, t in zip(pictures, labels, strict=True)]

    def check_unchanged(self) -> None:
        """Raise StoreError where the store was written anew, corrected, or filtered otherwise."""
        self._store.check_unchanged()

    def _outputs(self, labels: NDArray[np.int64], place: int) -> NDArray[np.int64]:
        """The output of each pixel's label (H, W)."""
        assert self._table is not None
        outputs = self._table[np.minimum(labels, len(self._table) - 1)]  # the last is UNKNOWN
        if outputs.min() == UNKNOWN:
            image, wrong = self._images.ids[place], labels[outputs == UNKNOWN][0]
            raise StoreError(
                f"{self._store.location}: image {image} has the label {wrong}, which is none of its "
                f"{len(self._store.meta.classes)} classes; restore it from a copy (`dgan verify` checks it)"
            )
        return outputs


class PhotographSource:
    """Annotated photographs: the first ones, as many as ``places`` has, or those at its places."""

    def __init__(
        self, photographs: AnnotatedPhotographs, places: Sequence[int] | None = None, name: str = "real"
    ) -> None:
        self.name = name
        self._photographs = photographs
        self._places = list(range(len(photographs)) if places is None else places)
        names = [photographs.paths[place].name for place in self._places]
        self.record: Mapping[str, Any] = {**photographs.record, "num_images": len(names), "names": names}

    def __len__(self) -> int:
        return len(self._places)

    def read(self, places: Sequence[int]) -> list[Sample]:
        """The photographs at these places, each in its own size."""
        return [self._read(self._places[place]) for place in places]

    def check_unchanged(self) -> None:
        """Nothing says of a folder of files whether it has changed."""

    def _read(self, place: int) -> Sample:
        picture = self._photographs.read_picture(place)
        height, width = picture.shape[:2]
        return Sample(picture, labels=self._photographs.read_labels(place, (height, width)))


@dataclass(frozen=True)
class TrainingImages:
    """The images of all sources, one after another."""

    sources: tuple[Source, ...]

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    @property
    def record(self) -> dict[str, Any]:
        """What the description says of them."""
        return {source.name: dict(source.record) for source in self.sources}

    def read(self, places: Sequence[int]) -> list[Sample]:
        """The images at these places, in their order. Each source is asked once."""
        found: dict[int, Sample] = {}
        ends = list(accumulate(map(len, self.sources)))
        for source, end in zip(self.sources, ends, strict=True):
            first = end - len(source)
            own = [place for place in places if first <= place < end]
            if own:
                samples = source.read([place - first for place in own])
                found.update(zip(own, samples, strict=True))
        return [found[place] for place in places]

    def check_unchanged(self) -> None:
        """Raise StoreError where the images of a source are no longer those that its record names."""
        for source in self.sources:
            source.check_unchanged()


def output_table(
    num_classes: int, ignore: int | None, mapped: NDArray[np.integer] | None, mapped_ignore: int | None
) -> NDArray[np.int64]:
    """The output of each label of a store, IGNORED where it is not to be learnt; the last entry is UNKNOWN.

    mapped: the label that a label map makes of each, ``mapped_ignore`` of those that it ignores; or None.
    """
    outputs = np.full(max(num_classes, (ignore or 0) + 1) + 1, UNKNOWN)
    outputs[:num_classes] = np.arange(num_classes) if mapped is None else mapped[:num_classes]
    if mapped is not None and mapped_ignore is not None:
        outputs[outputs == mapped_ignore] = IGNORED
    if ignore is not None:
        outputs[ignore] = IGNORED
    return outputs


def learnt_points(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keypoints (K, 3) with 1 where a point is to be learnt: its confidence is above 0, nothing is NaN."""
    learnt = np.isfinite(points).all(1) & (points[:, 2] > 0)
    found = np.where(learnt[:, None], points, np.float32(0))
    found[:, 2] = learnt
    return found
