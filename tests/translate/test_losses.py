"""The losses of a translator, pinned by closed forms of constant images and linear networks, and by a plain
twin's values and gradients.
"""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.translate.losses import (
    crossed_identity_loss,
    cycle_loss,
    discriminator_loss,
    fake_loss,
    identity_loss,
    real_loss,
)


def constant(value: float) -> torch.Tensor:
    return torch.full((2, 3, 4, 5), value)


def logits_of(*probabilities: float) -> torch.Tensor:
    return torch.logit(torch.tensor(probabilities, dtype=torch.float64)).view(1, 1, 1, -1)


def test_the_adversarial_losses_are_the_cross_entropy_of_each_patch() -> None:
    patches = logits_of(0.5, 0.9)
    assert float(real_loss(patches)) == pytest.approx(-(math.log(0.5) + math.log(0.9)) / 2)
    assert float(fake_loss(patches)) == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)


def test_a_discriminator_that_cannot_tell_has_the_loss_log_2() -> None:
    assert float(discriminator_loss(logits_of(0.5), logits_of(0.5))) == pytest.approx(math.log(2))


def test_a_discriminators_loss_is_halved() -> None:
    real, made = logits_of(0.8), logits_of(0.3)
    assert float(discriminator_loss(real, made)) == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2)


def test_a_sure_discriminator_still_moves_the_generator() -> None:
    logits = torch.tensor([[[[-80.0]]]], requires_grad=True)
    real_loss(logits).backward()
    assert logits.grad is not None and float(logits.grad) == pytest.approx(-1)


def test_losses_of_extreme_logits_are_finite() -> None:
    assert float(real_loss(torch.full((1, 1, 2, 2), -1e4))) == pytest.approx(1e4)
    assert float(fake_loss(torch.full((1, 1, 2, 2), -1e4))) == 0


def test_the_cycle_of_linear_networks_is_the_distance_of_their_product_from_one() -> None:
    """G_AB(x) = 0.5 x and G_BA(x) = 1.5 x: over and back both ways is 0.75 x."""
    a, b = constant(0.4), constant(-0.8)
    loss = cycle_loss(a, 1.5 * (0.5 * a), b, 0.5 * (1.5 * b))
    assert float(loss) == pytest.approx(0.25 * 0.4 + 0.25 * 0.8)


def test_the_identity_loss_is_zero_for_the_copy_and_the_crossed_one_is_not() -> None:
    a, b = constant(0.2), constant(-0.3)
    assert float(identity_loss(a, a, b, b)) == 0
    assert float(crossed_identity_loss(a, source_made=b, target=b, target_made=a)) == pytest.approx(1.0)


def test_the_identity_loss_of_linear_networks() -> None:
    """G_AB(x) = 0.5 x on B, G_BA(x) = 1.5 x on A."""
    a, b = constant(0.4), constant(-0.8)
    assert float(identity_loss(a, 1.5 * a, b, 0.5 * b)) == pytest.approx(0.5 * 0.4 + 0.5 * 0.8)


def test_the_crossed_loss_is_zero_for_the_translation_of_pairs() -> None:
    a, b = constant(0.4), constant(-0.8)
    assert float(crossed_identity_loss(a, source_made=b / -2, target=b, target_made=-2 * a)) == pytest.approx(
        0
    )


def test_without_pairs_the_crossed_loss_is_least_at_the_median_of_the_target() -> None:
    """A generator that sees nothing of its partner makes one value; the loss over targets 0, 0.2 and 1."""
    targets = [constant(value) for value in (0.0, 0.2, 1.0)]

    def loss(made: float) -> float:
        a = constant(0.0)
        return sum(float(crossed_identity_loss(a, a, b, constant(made))) for b in targets)

    values = [step / 20 for step in range(21)]
    assert min(values, key=loss) == 0.2


def test_values_and_gradients_are_those_of_loops_over_pixels() -> None:
    random = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    given = [drawn(1, 2, 1, 2) for _ in range(4)]
    logits = [drawn(1, 1, 1, 2), drawn(1, 1, 1, 2)]
    ours = [t.clone().requires_grad_() for t in (*given, *logits)]
    twin = [t.clone().requires_grad_() for t in (*given, *logits)]

    def distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        total = sum((p - q).abs() for p, q in zip(x.flatten(), y.flatten(), strict=True))
        return total / x.numel()  # type: ignore[return-value]

    def entropy(patches: torch.Tensor, real: bool) -> torch.Tensor:
        s = [1 / (1 + torch.exp(-x)) for x in patches.flatten()]
        return sum(-torch.log(p if real else 1 - p) for p in s) / len(s)  # type: ignore[return-value]

    x = ours
    total = 10 * cycle_loss(*x[:4]) + 5 * identity_loss(*x[:4]) + 3 * crossed_identity_loss(*x[:4])
    total = total + real_loss(x[4]) + discriminator_loss(x[4], x[5])
    y = twin
    expected = 15 * (distance(y[1], y[0]) + distance(y[3], y[2])) + 3 * (
        distance(y[3], y[2]) + distance(y[1], y[0])
    )
    expected = expected + entropy(y[4], True) + (entropy(y[4], True) + entropy(y[5], False)) / 2
    total.backward()
    expected.backward()
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(ours, twin, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-6, atol=1e-7)
