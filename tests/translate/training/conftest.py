"""What the tests of training share: the cost of a network is counted once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.models.patch_discriminator import PatchDiscriminator
from pipeline.models.unet import UNet
from pipeline.translate.training import plan
from pipeline.translate.training.plan import NetworkCost


@pytest.fixture(scope="package", autouse=True)
def _costs_are_counted_once() -> Iterator[None]:
    """Every run counts the products of its networks, whose layers say them; most runs have the same ones."""
    count, known = plan.network_cost, {}

    def counted(network: UNet | PatchDiscriminator, resolution: int) -> NetworkCost:
        key = (repr(network), resolution)
        if key not in known:
            known[key] = count(network, resolution)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "network_cost", counted)
        yield
