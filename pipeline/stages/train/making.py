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
from pipeline.stages.train.subspace import Subspace
from pipeline.stages.train.validation import keypoint_array


def make_learner(
    store: FeatureStore,
    plan: TrainPlan,
    seeds: Sequence[int],
    device: torch.device,
    subspace: Subspace | None = None,
) -> Learner:
    """A learner of one member for each seed, with random weights; on the coordinates of ``subspace``, or on
    all channels.
    """
    channels = plan.channels if subspace is None else subspace.channels
    ensemble = InterpreterEnsemble(plan.num_classes, channels, seeds=seeds, widths=plan.widths)
    precision = resolve_precision(plan.config.precision, device)
    objective = _objective(store, plan, device)
    return Learner(ensemble.to(device), plan.config.learning_rate, precision, objective)


def _objective(store: FeatureStore, plan: TrainPlan, device: torch.device) -> Objective:
    """The loss of classes, or of the store's keypoints."""
    if plan.keypoints is None:
        return cross_entropy
    return heat_objective(keypoint_array(store), *store.shape[1:3], plan.keypoints.sigma, device)


def on_all_channels(ensemble: InterpreterEnsemble, subspace: Subspace | None) -> InterpreterEnsemble:
    """The members of an ensemble that learnt on coordinates, as members on all channels; the same one where
    it did already. Their outputs are those on coordinates, but for rounding.
    """
    if subspace is None:
        return ensemble
    tensors = ensemble.state_dict()
    weight1 = subspace.expand(tensors["weight1"])
    made = InterpreterEnsemble(
        ensemble.num_classes,
        weight1.shape[2],
        seeds=[0] * ensemble.num_members,
        widths=ensemble.widths,
    )
    made.load_state_dict({**tensors, "weight1": weight1})
    return made.to(weight1.device)
