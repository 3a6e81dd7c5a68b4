"""Makes the learner of a plan: a fresh ensemble and its loss. It reads a store's keypoints, no features."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fstore.feature_store import FeatureStore
from pipeline.labelling.heat_maps import heat_objective
from pipeline.machine.device import resolve_precision
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.stages.train.learner import Learner, Objective, cross_entropy
from pipeline.stages.train.plan import TrainPlan
from pipeline.stages.train.validation import keypoint_array


def make_learner(store: FeatureStore, plan: TrainPlan, seeds: Sequence[int], device: torch.device) -> Learner:
    """A learner of one member for each seed, with random weights."""
    ensemble = InterpreterEnsemble(plan.num_classes, plan.channels, seeds=seeds, widths=plan.widths)
    precision = resolve_precision(plan.config.precision, device)
    objective = _objective(store, plan, device)
    return Learner(ensemble.to(device), plan.config.learning_rate, precision, objective)


def _objective(store: FeatureStore, plan: TrainPlan, device: torch.device) -> Objective:
    """The loss of classes, or of the store's keypoints."""
    if plan.keypoints is None:
        return cross_entropy
    return heat_objective(keypoint_array(store), *store.shape[1:3], plan.keypoints.sigma, device)
