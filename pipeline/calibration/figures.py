"""Puts the figures of a calibration together, from what has been said of each image and what is true.

One image is in memory at a time. It reads what a run has saved, and the store's masks or keypoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fstore.feature_store import FeatureStore
from pipeline.calibration.job import CalibrationJob
from pipeline.calibration.predictions import Prediction
from pipeline.labelling.scores import keep_mask
from pipeline.machine.provenance import created_record
from pipeline.quality.calibration_record import (
    Calibration,
    ClassLoss,
    ImageFigures,
    ScoreFigures,
    curve_shares,
)
from pipeline.quality.uncertainty_candidates import (
    LabelledImage,
    class_divergences,
    is_usable,
    keypoint_candidates,
    label_candidates,
    pooled_class_means,
)
from pipeline.quality.uncertainty_errors import ImageError, keypoint_error, label_error
from pipeline.quality.uncertainty_figures import (
    Counts,
    error_bins,
    kept_curve,
    mean_gain,
    spearman,
)
from pipeline.quality.uncertainty_rule import RULE, ChanceGains, advise, choose_score
from pipeline.settings.values import Keep
from pipeline.stages.train.inputs import drawable
from pipeline.stages.train.validation import keypoint_array


@dataclass(frozen=True)
class Measured:
    """N images: ``parts`` (N, K, 2), ``error`` and ``quality`` (N,), ``uncertainty`` (N,) by the score's
    name, and ``present`` (N, K'), whether they truly show each of ``names``.
    """

    parts: Counts
    error: NDArray[np.float64]
    quality: NDArray[np.float64]
    uncertainty: Mapping[str, NDArray[np.float64]]
    present: NDArray[np.bool_]
    names: tuple[str, ...]


def calibration_of(job: CalibrationJob, device: str) -> Calibration:
    """The whole calibration, once every image is labelled."""
    measured = measure(job.store, job.images.tolist(), job.begun.load)
    scores = score_figures(measured)
    return Calibration(
        created=created_record(device=device),
        task=job.task,
        store=job.settings["store"],
        generator=dict(job.store.meta.generator),
        classes=measured.names,
        training=job.settings["training"],
        folds=job.num_folds,
        rule=RULE,
        scores=scores,
        images=_images(job, measured),
        recommended=choose_score(scores, measured.uncertainty, measured.parts),
        source=str(job.out),
    )


def measure(store: FeatureStore, images: Sequence[int], predicted: Callable[[int], Prediction]) -> Measured:
    """How wrong and how uncertain the images at these positions are, by what is ``predicted`` of each.

    Of masks it is asked twice for each image: some scores need the means of all.
    """
    if store.meta.keypoints is None:
        return _labels(store, images, predicted)
    return _keypoints(store, images, predicted)


def score_figures(measured: Measured) -> dict[str, ScoreFigures]:
    """The figures of each score, the usable ones first."""
    chance, shares = ChanceGains(measured.parts), curve_shares(len(measured.error))
    names = sorted(measured.uncertainty, key=lambda name: not is_usable(name))
    figures = {}
    for name in names:
        values = measured.uncertainty[name]
        curve, rho = kept_curve(values, measured.parts, shares), spearman(values, measured.error)
        advice = advise(curve, chance, is_constant=rho is None)
        figures[name] = ScoreFigures(
            usable=is_usable(name),
            spearman=rho,
            spearman_quality=spearman(values, 1 - measured.quality),
            mean_gain=mean_gain(curve),
            recommended_keep=advice.keep,
            reason=advice.reason,
            curve=curve,
            bins=error_bins(values, measured.error),
            lost=_lost(measured, values, advice.keep),
        )
    return figures


def _labels(store: FeatureStore, images: Sequence[int], predicted: Callable[[int], Prediction]) -> Measured:
    classes, known = len(store.meta.classes), drawable(store)

    def labelled(image: int, error: float = 0.0) -> LabelledImage:
        found, truth = predicted(image), store.read_masks([image])[0]
        assert found.labels is not None, "a store of masks"
        inside = truth < classes
        counted = inside & known[np.where(inside, truth, 0)]
        return LabelledImage(found.labels, truth, counted, found.divergence, found.entropy, error)

    errors, sums = [], []
    for image in images:
        one = labelled(image)
        errors.append(label_error(one.labels, one.truth, one.counted, classes))
        sums.append(class_divergences(one, classes))
    means = pooled_class_means(sums)
    candidates = [
        label_candidates(labelled(image, wrong.error), means)
        for image, wrong in zip(images, errors, strict=True)
    ]
    present = (store.class_counts[list(images)] * known).any(axis=(1, 2))
    return _measured(errors, candidates, present, tuple(info.name for info in store.meta.classes))


def _keypoints(
    store: FeatureStore, images: Sequence[int], predicted: Callable[[int], Prediction]
) -> Measured:
    assert store.meta.keypoints is not None, "a store of keypoints"
    points = keypoint_array(store, images)
    errors, candidates = [], []
    for image, truth in zip(images, points, strict=True):
        found = predicted(image)
        assert found.keypoints is not None, "a store of keypoints"
        errors.append(keypoint_error(found.keypoints, truth, store.shape[1:3]))
        candidates.append(keypoint_candidates(found.divergence, errors[-1].error))
    return _measured(errors, candidates, points[..., 2] > 0, store.meta.keypoints.names)


def _measured(
    errors: list[ImageError],
    candidates: list[dict[str, float]],
    present: NDArray[np.bool_],
    names: tuple[str, ...],
) -> Measured:
    return Measured(
        parts=np.stack([one.parts for one in errors]),
        error=np.array([one.error for one in errors]),
        quality=np.array([one.quality for one in errors]),
        uncertainty={name: np.array([one[name] for one in candidates]) for name in candidates[0]},
        present=present,
        names=names,
    )


def _lost(measured: Measured, values: NDArray[np.float64], keep: Keep) -> tuple[ClassLoss, ...]:
    """How many of the images of each class are dropped."""
    kept, _ = keep_mask(values, keep.fraction)
    shown, dropped = measured.present.sum(axis=0), measured.present[~kept].sum(axis=0)
    return tuple(
        ClassLoss(name, int(images), int(lost))
        for name, images, lost in zip(measured.names, shown, dropped, strict=True)
    )


def _images(job: CalibrationJob, measured: Measured) -> tuple[ImageFigures, ...]:
    return tuple(
        ImageFigures(
            index=int(job.store.image_ids[image]),
            fold=int(job.folds[i]),
            error=float(measured.error[i]),
            quality=float(measured.quality[i]),
            uncertainty={
                name: float(values[i]) if np.isfinite(values[i]) else None
                for name, values in measured.uncertainty.items()
            },
        )
        for i, image in enumerate(job.images.tolist())
    )
