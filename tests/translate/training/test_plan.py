"""What a training costs, against counts by hand and by torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.translators import CPU, prepared, write_domains
from torch.utils.flop_counter import FlopCounterMode

from pipeline.models.patch_discriminator import PatchDiscriminator
from pipeline.models.unet import UNet
from pipeline.translate.training.plan import network_cost


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
def test_products_and_parameters_are_those_that_torch_counts(upsampling: str) -> None:
    with torch.device("meta"):
        networks = (UNet(4, 3, upsampling), PatchDiscriminator(4, 2))
        for network in networks:
            cost = network_cost(network, 64)  # type: ignore[arg-type]
            with FlopCounterMode(display=False) as counter:
                network(torch.empty(1, 3, 64, 64))
            assert 2 * cost.num_products == counter.get_total_flops()
            assert cost.num_parameters == sum(p.numel() for p in network.parameters())


def test_values_are_those_of_all_layers_outputs() -> None:
    with torch.device("meta"):
        cost = network_cost(UNet(1, 0), 16)
    assert cost.num_values == 16 * 16 * (1 + 1 + 3)  # convolution, its ReLU, the last convolution


def test_a_learner_has_the_weights_that_the_plan_counts(tmp_path: Path) -> None:
    data = write_domains(tmp_path)
    for adversary in (True, False):
        job = prepared(data, tmp_path / "t", adversary=adversary)
        learner = job.make_learner(CPU)
        networks = [*learner.generators.values(), *learner.discriminators.values()]
        assert job.plan.weight_bytes == sum(p.nbytes for network in networks for p in network.parameters())
