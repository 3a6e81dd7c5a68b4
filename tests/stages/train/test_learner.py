"""Optimising the stack: each member as if alone, and a restored learner as if never interrupted."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fstore.sampler import Batch
from pipeline.models.interpreter import InterpreterEnsemble, member_seeds
from pipeline.stages.train.learner import Learner

MEMBERS, BATCH, CHANNELS, CLASSES, WIDTHS = 3, 12, 9, 4, (7, 5)


def batch(seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(MEMBERS, BATCH, CHANNELS)).astype(np.float16)
    labels = rng.integers(CLASSES, size=(MEMBERS, BATCH))
    return Batch(torch.from_numpy(features), labels, np.zeros_like(labels))


def learner(dtype: torch.dtype = torch.float32, precision: torch.dtype | None = None) -> Learner:
    ensemble = InterpreterEnsemble(CLASSES, CHANNELS, seeds=member_seeds(0, MEMBERS), widths=WIDTHS)
    return Learner(ensemble.to(dtype), learning_rate=1e-3, precision=precision)


def plain_member(stack: InterpreterEnsemble, i: int) -> nn.Sequential:
    h1, h2 = WIDTHS
    layers = nn.Sequential(
        nn.Linear(CHANNELS, h1), nn.ReLU(), nn.BatchNorm1d(h1),
        nn.Linear(h1, h2), nn.ReLU(), nn.BatchNorm1d(h2),
        nn.Linear(h2, CLASSES),
    ).to(stack.weight1.dtype)  # fmt: skip
    prefix = f"{i}.layers."
    state = stack.export_members()
    layers.load_state_dict({n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)})
    return layers


def test_each_member_learns_from_its_own_batches_as_if_alone() -> None:
    together = learner(torch.float64)
    members = [plain_member(together.ensemble, i) for i in range(MEMBERS)]
    optimisers = [torch.optim.Adam(member.parameters(), lr=1e-3) for member in members]
    for step in range(4):
        loss = together.step(batch(step))
        losses = []
        for i, (member, optimiser) in enumerate(zip(members, optimisers, strict=True)):
            features, labels = (
                torch.as_tensor(part[i]) for part in (batch(step).features, batch(step).labels)
            )
            optimiser.zero_grad()
            losses.append(F.cross_entropy(member(features.double()), labels))
            losses[i].backward()
            optimiser.step()
        torch.testing.assert_close(loss, torch.stack(losses).detach())
    state = together.ensemble.export_members()
    for i, member in enumerate(members):
        for name, tensor in member.state_dict().items():
            torch.testing.assert_close(state[f"{i}.layers.{name}"], tensor, rtol=1e-9, atol=1e-11)


def test_bfloat16_products_give_gradients_of_the_same_direction() -> None:
    exact, rounded = learner(), learner(precision=torch.bfloat16)
    losses = [one.step(batch(0)) for one in (exact, rounded)]
    torch.testing.assert_close(losses[0], losses[1], rtol=0.02, atol=0)
    gradients = [one.ensemble.weight1.grad.flatten(1) for one in (exact, rounded)]
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    assert F.cosine_similarity(*gradients, dim=1).min() > 0.99
    assert rounded.ensemble.weight1.dtype == torch.float32


def test_a_restored_learner_goes_on_exactly_as_the_one_it_was_saved_from() -> None:
    first = learner()
    for step in range(3):
        first.step(batch(step))
        if step == 1:
            first.remember_best()
    second = learner()
    second.restore({name: tensor.clone() for name, tensor in first.tensors().items()})
    for step in range(3, 6):
        assert torch.equal(first.step(batch(step)), second.step(batch(step)))
    ours, theirs = first.tensors(), second.tensors()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_the_best_tensors_survive_later_steps() -> None:
    one = learner()
    one.step(batch(0))
    one.remember_best()
    best = {name: tensor.clone() for name, tensor in one.ensemble.state_dict().items()}
    one.step(batch(1))
    one.restore_best()
    for name, tensor in one.ensemble.state_dict().items():
        assert torch.equal(tensor, best[name]), name
