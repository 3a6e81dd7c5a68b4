"""Compares what was predicted with what is true, one image after another, and keeps sums alone.

It knows where predictions and truth of an image come from. It does not know how figures are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fstore.allowed_values import wrong_label
from fstore.dataset import Dataset
from fstore.errors import CorruptionError
from fstore.feature_store import FeatureStore
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.predictions import Predictions
from pipeline.labelling.confusion import confusion
from pipeline.machine.progress import progress
from pipeline.quality.boundary import BoundaryCounts, default_distance
from pipeline.quality.reliability import Reliability


@dataclass(frozen=True)
class Compared:
    """One image: labels, true and predicted [H, W] int64, of which those on ``known`` [H, W] bool count.

    winner, confidence: the class of the largest mean probability [H, W] int64, and that probability float32;
    None where no probabilities are stored. kept: whether the filter keeps the image; None without a filter.
    """

    truth: Tensor
    predicted: Tensor
    known: Tensor
    winner: Tensor | None = None
    confidence: Tensor | None = None
    kept: bool | None = None


@dataclass
class LabelSums:
    """Sums over images, from which every figure of labels follows. ``matrix`` [K, K] has truth in rows.

    parts: the same matrix of the images that the filter keeps (True) and drops (False), and their number.
    reliability: None where no probabilities are stored. ignored, unsure: pixels without a true label, and
    those whose probability is not finite.
    """

    matrix: Tensor
    boundary: BoundaryCounts
    reliability: Reliability | None
    parts: dict[bool, tuple[int, Tensor]] = field(default_factory=dict)
    ignored: int = 0
    unsure: int = 0

    @classmethod
    def empty(cls, num_classes: int, shape: tuple[int, int], *, with_probabilities: bool) -> LabelSums:
        """Sums of no image yet, of images of this ``shape`` (H, W)."""
        return cls(
            torch.zeros(num_classes, num_classes, dtype=torch.int64),
            BoundaryCounts(num_classes, default_distance(*shape)),
            Reliability() if with_probabilities else None,
        )

    def add(self, image: Compared) -> None:
        """Count one image."""
        known = image.known
        matrix = confusion(image.truth[known], image.predicted[known], len(self.matrix))
        self.matrix += matrix
        self.boundary.add(image.truth, image.predicted, known)
        self.ignored += int((~known).sum())
        if image.kept is not None:
            num, before = self.parts.get(image.kept, (0, torch.zeros_like(matrix)))
            self.parts[image.kept] = num + 1, before + matrix
        if self.reliability is not None and image.confidence is not None and image.winner is not None:
            finite = known & image.confidence.isfinite()
            right = image.winner[finite] == image.truth[finite]
            self.reliability.add(image.confidence[finite].numpy(), right.numpy())
            self.unsure += int(known.sum() - finite.sum())


def measure_labels(job: EvaluationJob, device: torch.device) -> LabelSums:
    """The sums over all images of the job."""
    store, num_classes = job.store, len(job.store.meta.classes)
    sums = LabelSums.empty(num_classes, job.image_size, with_probabilities=job.truth is None)
    images = _of_dataset(job, store) if isinstance(store, Dataset) else _of_features(job, store, device)
    with progress("comparing labels", job.num_images, "images") as bar:
        for image in images:
            sums.add(image)
            bar.advance()
    return sums


def _of_features(job: EvaluationJob, store: FeatureStore, device: torch.device) -> Iterator[Compared]:
    predictions = Predictions(store, job.judged.ensemble, device)
    for place in range(len(store)):
        mask = store.read_masks([place])[0]
        _check_labels(store, "masks", mask, place)
        truth = torch.from_numpy(mask.astype(np.int64))
        known = _known(store, truth)
        predicted, winner, confidence = predictions.labels(place)
        yield Compared(truth, predicted, known, winner, confidence)


def _of_dataset(job: EvaluationJob, dataset: Dataset) -> Iterator[Compared]:
    assert job.truth is not None and job.truth.masks is not None
    kept = None if dataset.meta.keep is None else dataset.kept
    for place, mask in zip(job.truth.places.tolist(), job.truth.masks, strict=True):
        truth = torch.from_numpy(mask.astype(np.int64))
        labels = dataset.labels[place].compute(scheduler="sync")
        _check_labels(dataset, "labels", labels, place)
        predicted = torch.from_numpy(labels.astype(np.int64))
        known = _known(dataset, truth) & _known(dataset, predicted) & (truth >= 0)
        yield Compared(truth, predicted, known, kept=None if kept is None else bool(kept[place]))


def _check_labels(store: FeatureStore | Dataset, name: str, labels: NDArray[np.integer], place: int) -> None:
    """Refuse stored labels of an image that are no classes: they would be counted as other pairs.

    Raises CorruptionError.
    """
    words = wrong_label(store.meta, labels)
    if words is not None:
        raise CorruptionError(
            f"{store.location}: array {name!r}, image {int(store.image_ids[place])}: {words}; `dgan verify` "
            "says what else is damaged"
        )


def _known(store: FeatureStore | Dataset, labels: Tensor) -> Tensor:
    """The pixels whose label is not the one that is counted nowhere: [H, W] bool."""
    return labels != store.meta.ignore if store.meta.ignore is not None else torch.ones_like(labels).bool()


@dataclass(frozen=True)
class FoundPoints:
    """Keypoints of n images: found (n, K, 3) and true (n, K, 3), both x, y in pixels and a third value."""

    found: NDArray[np.float32]
    truth: NDArray[np.float32]
    kept: NDArray[np.bool_] | None = None
    """(n,): the images that the filter keeps; None without a filter."""


def measure_points(job: EvaluationJob, device: torch.device) -> FoundPoints:
    """The keypoints of all images of the job."""
    store = job.store
    if isinstance(store, Dataset):
        assert job.truth is not None and job.truth.points is not None
        places = job.truth.places
        kept = None if store.meta.keep is None else store.kept[places]
        return FoundPoints(_points(store)[places], job.truth.points, kept)
    predictions, found = Predictions(store, job.judged.ensemble, device), []
    with progress("finding keypoints", len(store), "images") as bar:
        for place in range(len(store)):
            found.append(predictions.keypoints(place))
            bar.advance()
    return FoundPoints(np.stack(found), _points(store))


def _points(store: FeatureStore | Dataset) -> NDArray[np.float32]:
    return np.asarray(store.keypoints.compute(scheduler="sync"), np.float32)
