"""One step of all networks, against a twin that is written plainly from the equations."""

from __future__ import annotations

import copy
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.models.patch_discriminator import PatchDiscriminator
from pipeline.models.unet import UNet
from pipeline.translate.folder import BACKWARD, FORWARD
from pipeline.translate.training.learner import (
    LOSSES,
    OF_SOURCE,
    OF_TARGET,
    Learner,
    Weights,
    initialise_network,
    signed,
)

CPU = torch.device("cpu")
WEIGHTS = Weights(adversary=1.5, cycle=7, identity=3)


def make_learner(*, adversary: bool = True, rate: float = 0.01) -> Learner:
    generators = {FORWARD: UNet(2, 2), BACKWARD: UNet(2, 2)}
    judges = {OF_SOURCE: PatchDiscriminator(2, 1), OF_TARGET: PatchDiscriminator(2, 1)}
    for number, network in enumerate((*generators.values(), *judges.values())):
        initialise_network(network, 3, number)
    return Learner(generators, judges if adversary else None, WEIGHTS, rate, CPU)


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    source, target = torch.randint(0, 256, (2, 3, 3, 16, 16), generator=random, dtype=torch.uint8)
    return source, target


class Twin:
    """CycleGAN's step as the paper tells it: each loss from a pass of its own."""

    def __init__(self, learner: Learner) -> None:
        networks: dict[str, nn.Module] = copy.deepcopy({**learner.generators, **learner.discriminators})
        self.g_ab, self.g_ba = networks[FORWARD], networks[BACKWARD]
        self.d_a, self.d_b = networks.get(OF_SOURCE), networks.get(OF_TARGET)
        makers = chain(self.g_ab.parameters(), self.g_ba.parameters())
        self.adam_g = torch.optim.Adam(makers, 0.01, (0.5, 0.999))
        if self.d_a is not None and self.d_b is not None:
            judges = chain(self.d_a.parameters(), self.d_b.parameters())
            self.adam_d = torch.optim.Adam(judges, 0.01, (0.5, 0.999))

    def step(self, a: torch.Tensor, b: torch.Tensor) -> list[float]:
        ones = lambda logits: torch.ones_like(logits)  # noqa: E731
        zeros = lambda logits: torch.zeros_like(logits)  # noqa: E731
        entropy = F.binary_cross_entropy_with_logits
        made_b, made_a = self.g_ab(a), self.g_ba(b)
        cycle = (self.g_ba(made_b) - a).abs().mean() + (self.g_ab(made_a) - b).abs().mean()
        if self.d_a is None or self.d_b is None:
            adversary = torch.zeros(())
            identity = (made_b - b).abs().mean() + (made_a - a).abs().mean()
        else:
            identity = (self.g_ab(b) - b).abs().mean() + (self.g_ba(a) - a).abs().mean()
            of_b, of_a = self.d_b(made_b), self.d_a(made_a)
            adversary = entropy(of_b, ones(of_b)) + entropy(of_a, ones(of_a))
        total = 1.5 * adversary + 7 * cycle + 3 * identity
        self.adam_g.zero_grad()
        total.backward()
        self.adam_g.step()
        judged = torch.zeros(())
        if self.d_a is not None and self.d_b is not None:
            for judge, real, made in ((self.d_a, a, made_a.detach()), (self.d_b, b, made_b.detach())):
                of_real, of_made = judge(real), judge(made)
                judged = judged + 0.5 * (entropy(of_real, ones(of_real)) + entropy(of_made, zeros(of_made)))
            self.adam_d.zero_grad()
            judged.backward()
            self.adam_d.step()
        return [float(loss.detach()) for loss in (total, adversary, cycle, identity, judged)]


@pytest.mark.parametrize("adversary", [True, False])
def test_steps_are_those_of_a_plain_twin(adversary: bool) -> None:
    learner = make_learner(adversary=adversary)
    twin = Twin(learner)
    for seed in range(3):
        source, target = batch(seed)
        losses = learner.step(source, target)
        expected = twin.step(signed(source), signed(target))
        assert len(losses) == len(LOSSES)
        assert losses.tolist() == pytest.approx(expected, rel=1e-3, abs=1e-5)
    pairs = [(learner.generators[FORWARD], twin.g_ab), (learner.generators[BACKWARD], twin.g_ba)]
    if adversary:
        assert twin.d_a is not None and twin.d_b is not None
        pairs += [
            (learner.discriminators[OF_SOURCE], twin.d_a),
            (learner.discriminators[OF_TARGET], twin.d_b),
        ]
    for ours, theirs in pairs:
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=2e-2, atol=2e-3)  # Adam's first steps are signs


def test_gradients_of_the_generators_do_not_reach_the_discriminators() -> None:
    learner = make_learner(rate=0.0)
    learner.step(*batch(0))
    gradients = [p.grad.clone() for p in learner.discriminators[OF_TARGET].parameters() if p.grad is not None]
    twin = Twin(learner)
    a, b = map(signed, batch(0))
    made = twin.g_ab(a).detach()
    assert twin.d_b is not None
    of_real, of_made = twin.d_b(b), twin.d_b(made)
    (0.5 * (F.softplus(-of_real).mean() + F.softplus(of_made).mean())).backward()
    for mine, other in zip(gradients, twin.d_b.parameters(), strict=True):
        torch.testing.assert_close(mine, other.grad, rtol=1e-3, atol=1e-5)
    assert all(p.requires_grad for p in learner.discriminators[OF_TARGET].parameters())


@pytest.mark.parametrize("adversary", [True, False])
def test_a_restored_learner_goes_on_to_the_same_bits(adversary: bool) -> None:
    one, other = make_learner(adversary=adversary), make_learner(adversary=adversary)
    one.step(*batch(0))
    other.restore(copy.deepcopy(one.state()))
    for learner in (one, other):
        learner.step(*batch(1))
    for direction, weights in one.weights().items():
        assert all(torch.equal(t, other.weights()[direction][name]) for name, t in weights.items())


def test_a_state_of_another_learner_is_refused() -> None:
    with pytest.raises(ValueError, match="another network"):
        make_learner().restore(make_learner(adversary=False).state())


def test_networks_begin_with_weights_of_their_own() -> None:
    learner = make_learner()
    one, other = (next(iter(network.parameters())) for network in learner.generators.values())
    assert not torch.equal(one, other)


@pytest.mark.parametrize("precision", [torch.bfloat16])
def test_a_step_in_lower_precision_is_near(precision: torch.dtype) -> None:
    exact, rough = make_learner(), make_learner()
    rough._precision = precision
    for loss, other in zip(exact.step(*batch(0)), rough.step(*batch(0)), strict=True):
        assert float(loss) == pytest.approx(float(other), rel=0.02)


def test_uint8_becomes_the_interval_from_minus_one_to_one() -> None:
    assert signed(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
