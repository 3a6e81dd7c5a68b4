"""Candidate scores: uncertainties of one image, computed from its labels and its stored divergence.

Those of `pipeline.labelling.scores` may be a ``--score``. The others are tried beside them: divergence set in
relation to something. Dividing it by ln E, its bound for E members, is not among them: one factor for all
images changes no order, and so no figure. Pure functions of arrays; nothing here knows stores or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fstore.meta import SCORES, SCORES_OF_LABELS
from pipeline.labelling.scores import score_images

TRUE_ERROR = "true-error"
DESCRIPTIONS = {
    "entropy": "mean entropy of the mean probability: all of the doubt",
    "entropy-share": "mean divergence / mean entropy: which part of the doubt is disagreement",
    "boundary-length": "sum of the divergence / length of the boundaries between labels",
    "class-top10": "mean over the classes of the labels of top10 within each class",
    "class-normalised-mean": "mean of the divergence / mean divergence of the pixel's class in the store",
    "class-normalised-top10": "the same, top10 instead of the mean",
    "class-mean-true": "class-mean of the true classes instead of the labels",
    TRUE_ERROR: "the error itself: what a perfect score would reach",
}
"""The candidates that are no ``--score``."""


@dataclass(frozen=True)
class LabelledImage:
    """One image as members have labelled it that have not seen it.

    ``labels`` and ``truth`` [H, W] whole numbers; ``counted`` [H, W] bool, the pixels that are annotated;
    ``divergence`` [H, W] float16 as a dataset stores it; ``entropy`` in nats, the mean over all pixels of the
    entropy of the members' mean probability; ``error`` the share of wrong pixels.
    """

    labels: NDArray[np.integer]
    truth: NDArray[np.integer]
    counted: NDArray[np.bool_]
    divergence: NDArray[np.float16]
    entropy: float
    error: float


def class_divergences(image: LabelledImage, num_classes: int) -> NDArray[np.float64]:
    """(K, 2): pixels that are labelled as each class, and the sum of their divergences."""
    labels = image.labels.ravel().astype(np.int64)
    weights = image.divergence.ravel().astype(np.float64)
    pixels = np.bincount(labels, minlength=num_classes)
    return np.stack([pixels, np.bincount(labels, weights, minlength=num_classes)], axis=1)


def label_candidates(image: LabelledImage, class_means: NDArray[np.float64]) -> dict[str, float]:
    """The image's uncertainty by each candidate's name; NaN where it is not defined.

    ``class_means`` (K,): the mean divergence of the pixels of each class, over all images.
    """
    divergence = torch.from_numpy(image.divergence.astype(np.float32))[None]
    labels = torch.from_numpy(image.labels.astype(np.int64))[None]
    total, mean = (_score(divergence, name) for name in ("sum", "mean"))
    relative = _relative(divergence, torch.from_numpy(class_means)[labels])
    return {
        **{name: _score(divergence, name, labels) for name in SCORES},
        "entropy": image.entropy,
        "entropy-share": mean / image.entropy if image.entropy != 0 else 0.0,
        "boundary-length": total / max(1, boundary_length(image.labels)),
        "class-top10": _class_top10(image),
        "class-normalised-mean": _score(relative, "mean"),
        "class-normalised-top10": _score(relative, "top10"),
        "class-mean-true": _true_class_mean(image),
        TRUE_ERROR: image.error,
    }


def keypoint_candidates(divergence: NDArray[np.float16], error: float) -> dict[str, float]:
    """The same of an image with keypoints, which has no labels: the scores that need none."""
    values = torch.from_numpy(divergence.astype(np.float32))[None]
    names = [name for name in SCORES if name not in SCORES_OF_LABELS]
    return {**{name: _score(values, name) for name in names}, TRUE_ERROR: error}


def is_usable(name: str) -> bool:
    """Whether a candidate may be a ``--score``."""
    return name in SCORES


def boundary_length(labels: NDArray[np.integer]) -> int:
    """Pairs of pixels beside or above one another that have different labels."""
    return int((labels[1:] != labels[:-1]).sum() + (labels[:, 1:] != labels[:, :-1]).sum())


def pooled_class_means(sums: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(K,): the mean divergence of each class over images, from ``class_divergences``; 0 without pixels."""
    pixels, divergence = np.sum(sums, axis=0).T
    return np.divide(divergence, pixels, out=np.zeros(len(pixels)), where=pixels > 0)


def _score(divergence: Tensor, name: str, labels: Tensor | None = None) -> float:
    return float(score_images(divergence, name, labels if name in SCORES_OF_LABELS else None)[0])


def _relative(divergence: Tensor, means: Tensor) -> Tensor:
    """Divergence over the mean of its class; 0 where that is 0, for then so is the divergence."""
    return torch.where(means > 0, divergence / means.float(), 0.0)


def _class_top10(image: LabelledImage) -> float:
    tops = [
        _score(
            torch.from_numpy(image.divergence[image.labels == label].astype(np.float32))[None, None], "top10"
        )
        for label in np.unique(image.labels)
    ]
    return sum(tops) / len(tops)


def _true_class_mean(image: LabelledImage) -> float:
    counted = image.counted
    classes = torch.from_numpy(image.truth[counted].astype(np.int64))[None, None]
    divergence = torch.from_numpy(image.divergence[counted].astype(np.float32))[None, None]
    return _score(divergence, "class-mean", classes)
