"""The losses against closed forms and loops, and a step against a plain one of torch."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from support.tiny_segmenter import TinyNetwork
from torch import nn

from fstore.meta import KeypointInfo
from pipeline.inputs.photographs import IGNORED
from pipeline.segment.pictures import normalised
from pipeline.segment.training.learner import Learner, heat_loss, label_loss, objective_of, seed_torch

CPU = torch.device("cpu")


def batch(num_classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (4, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, num_classes, (4, 8, 8), generator=generator)


def test_the_loss_of_equal_logits_is_the_logarithm_of_the_number_of_classes() -> None:
    labels = batch(5)[1]
    assert label_loss(torch.zeros(4, 5, 8, 8), labels).item() == pytest.approx(math.log(5))


def test_the_loss_is_the_mean_over_the_pixels_that_are_not_ignored() -> None:
    logits, labels = torch.randn(4, 3, 8, 8, dtype=torch.float64), batch()[1]
    labels[:, :3] = IGNORED
    expected = [
        -math.log(torch.softmax(logits[n, :, y, x], 0)[labels[n, y, x]])
        for n in range(4)
        for y in range(3, 8)
        for x in range(8)
    ]
    assert label_loss(logits, labels).item() == pytest.approx(np.mean(expected))


def test_a_batch_wholly_ignored_leaves_finite_weights() -> None:
    learner = Learner(TinyNetwork(3), label_loss, 1e-3, CPU)
    images, labels = batch()
    assert learner.step(images, torch.full_like(labels, IGNORED)).item() == 0
    assert all(torch.isfinite(tensor).all() for tensor in learner.weights().values())


def test_the_loss_of_heat_maps_is_the_mean_squared_error_of_the_points_to_be_learnt() -> None:
    maps = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    points = torch.tensor([[[1.5, 2.5, 1], [6.2, 0.3, 1], [0, 0, 0]], [[3, 3, 1], [2, 2, 0], [0, 0, 0]]])
    squares = []
    for n, k in ((0, 0), (0, 1), (1, 0)):
        px, py, _ = points[n, k].tolist()
        for y in range(5):
            for x in range(7):
                target = math.exp(-((x + 0.5 - px) ** 2 + (y + 0.5 - py) ** 2) / (2 * 1.5**2))
                squares.append((maps[n, k, y, x].item() - target) ** 2)
    assert heat_loss(maps, points, 1.5).item() == pytest.approx(np.mean(squares), rel=1e-5)


def test_heat_maps_without_a_point_to_learn_have_no_loss() -> None:
    assert heat_loss(torch.randn(2, 3, 5, 7), torch.zeros(2, 3, 3), 1.5).item() == 0


def test_the_objective_of_keypoints_has_their_sigma() -> None:
    maps, points = torch.zeros(1, 1, 5, 5), torch.tensor([[[2.5, 2.5, 1.0]]])
    found = objective_of(KeypointInfo(("nose",), 2.0))(maps, points)
    assert found == heat_loss(maps, points, 2.0) != heat_loss(maps, points, 1.0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_steps_are_those_of_a_plain_loop(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = TinyNetwork(3)
    plain = copy.deepcopy(network).to(memory_format=memory_format)
    learner = Learner(network, label_loss, 1e-2, CPU, memory_format=memory_format)
    adam, criterion = torch.optim.Adam(plain.parameters(), lr=1e-2), nn.CrossEntropyLoss()
    for step in range(5):
        images, labels = batch(seed=step)
        seed_torch(0, step)
        found = learner.step(images, labels)
        seed_torch(0, step)
        adam.zero_grad()
        pictures = normalised(images).contiguous(memory_format=memory_format)  # dropout goes by memory
        loss = criterion(plain.train()(pictures), labels)
        loss.backward()
        adam.step()
        assert found.item() == pytest.approx(loss.item(), rel=1e-4)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(learner.weights()[name], tensor, rtol=1e-3, atol=1e-5)


def test_weights_are_plain_contiguous_tensors_whatever_the_memory_format() -> None:
    learner = Learner(TinyNetwork(3), label_loss, 1e-2, CPU, torch.bfloat16, torch.channels_last)
    learner.step(*batch())
    weights = learner.weights()
    floats = {name: tensor.dtype for name, tensor in weights.items() if "num_batches" not in name}
    assert set(floats.values()) == {torch.float32}
    assert all(tensor.is_contiguous() and tensor.device == CPU for tensor in weights.values())
    TinyNetwork(3).load_state_dict(weights)


def test_a_learner_that_is_restored_takes_the_same_steps() -> None:
    one, other = (Learner(TinyNetwork(3), label_loss, 1e-2, CPU) for _ in range(2))
    for step in range(2):
        one.step(*batch(seed=step))
    other.restore(copy.deepcopy(one.state()))
    for learner in (one, other):
        seed_torch(0, 3)
        learner.step(*batch(seed=3))
    for name, tensor in one.weights().items():
        assert torch.equal(tensor, other.weights()[name]), name


@pytest.mark.parametrize("part", ["model", "adam"])
def test_a_state_of_another_network_is_refused(part: str) -> None:
    learner, other = (Learner(TinyNetwork(k), label_loss, 1e-2, CPU) for k in (3, 4))
    learner.step(*batch())
    state = {**other.state(), part: {}}
    with pytest.raises(ValueError, match="of another network"):
        learner.restore(state)


def test_running_statistics_follow_the_batches_at_least_as_fast_as_those_of_torch() -> None:
    norms = [nn.BatchNorm2d(3, momentum=momentum) for momentum in (0.01, 0.1, 0.3, None)]
    Learner(nn.Sequential(*norms), label_loss, 1e-2, CPU)
    assert [norm.momentum for norm in norms] == [0.1, 0.1, 0.3, None]


def test_torch_is_seeded_by_seed_and_step() -> None:
    drawn = []
    for seed, step in ((0, 1), (0, 1), (0, 2), (1, 1)):
        seed_torch(seed, step)
        drawn.append(torch.rand(()).item())
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3
