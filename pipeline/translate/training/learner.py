"""Both generators, both discriminators and their optimisers: one step on a batch of either side.

It knows batches and tensors. It knows no epochs, stores or files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.machine.device import upload
from pipeline.machine.random_streams import Purpose, counter_based
from pipeline.models.patch_discriminator import PatchDiscriminator
from pipeline.models.unet import UNet, initialise
from pipeline.translate.folder import BACKWARD, FORWARD
from pipeline.translate.losses import (
    crossed_identity_loss,
    cycle_loss,
    discriminator_loss,
    identity_loss,
    real_loss,
)

BETAS = (0.5, 0.999)  # of Adam: the issue's, and those of the paper's code
OF_SOURCE, OF_TARGET = "of_source", "of_target"
LOSSES = ("generators", "adversary", "cycle", "identity", "discriminators")
"""What a step returns, in this order: the first is the weighted sum of the next three."""


@dataclass(frozen=True)
class Weights:
    """Of the three losses of the generators."""

    adversary: float = 1.0
    cycle: float = 10.0
    identity: float = 5.0


def signed(images: Tensor) -> Tensor:
    """[N, 3, H, W] uint8 to float32 in [-1, 1], as networks take them, on the same device."""
    return images.float() / 127.5 - 1


class Learner:
    """Networks and optimisers. A class, because steps change them.

    ``discriminators`` None: there is no adversary, and the identity loss is the crossed one. ``precision``:
    the type of the convolutions, None: float32; weights, losses and Adam are float32.
    """

    def __init__(
        self,
        generators: Mapping[str, UNet],
        discriminators: Mapping[str, PatchDiscriminator] | None,
        weights: Weights,
        learning_rate: float,
        device: torch.device,
        precision: torch.dtype | None = None,
    ) -> None:
        self.device, self._precision, self._weights = device, precision, weights
        self.generators = {name: self._placed(network) for name, network in generators.items()}
        self.discriminators = {
            name: self._placed(network) for name, network in (discriminators or {}).items()
        }
        self._optimisers = {
            name: torch.optim.Adam(list(_parameters(networks.values())), learning_rate, BETAS, fused=True)
            for name, networks in (("generators", self.generators), ("discriminators", self.discriminators))
            if networks
        }

    def _placed(self, network: nn.Module) -> nn.Module:
        # Channels last: the group norm of an instance and the convolutions of a CPU take a third less time.
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def images(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] uint8 from the host, as networks take them."""
        return signed(upload(images, self.device)).contiguous(memory_format=torch.channels_last)

    def step(self, source: Tensor, target: Tensor) -> Tensor:
        """One step of the generators, then one of the discriminators, on [N, 3, H, W] uint8 of either side.

        Returns the losses [5], as LOSSES names them, detached; the adversary's are 0 where there is none.
        """
        a, b = self.images(source), self.images(target)
        losses, made_a, made_b = self._generators_step(a, b)
        of_discriminators = losses.new_zeros(())
        if self.discriminators:
            of_discriminators = self._discriminators_step(a, b, made_a, made_b)
        return torch.cat((losses, of_discriminators[None]))

    def _generators_step(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The losses [4], and what the generators made, detached."""
        adversary = a.new_zeros(())
        if self.discriminators:
            made_b, kept_b = self.carried(FORWARD, torch.cat((a, b))).chunk(2)
            made_a, kept_a = self.carried(BACKWARD, torch.cat((b, a))).chunk(2)
            identity = identity_loss(a, kept_a, b, kept_b)
            with _frozen(self.discriminators.values()):
                adversary = real_loss(self.judged(OF_TARGET, made_b)) + real_loss(
                    self.judged(OF_SOURCE, made_a)
                )
        else:
            made_b, made_a = self.carried(FORWARD, a), self.carried(BACKWARD, b)
            identity = crossed_identity_loss(a, made_a, b, made_b)
        cycle = cycle_loss(a, self.carried(BACKWARD, made_b), b, self.carried(FORWARD, made_a))
        weights = self._weights
        total = weights.adversary * adversary + weights.cycle * cycle + weights.identity * identity
        self._optimise("generators", total)
        return torch.stack((total, adversary, cycle, identity)).detach(), made_a.detach(), made_b.detach()

    def _discriminators_step(self, a: Tensor, b: Tensor, made_a: Tensor, made_b: Tensor) -> Tensor:
        total = a.new_zeros(())
        for name, real, made in ((OF_SOURCE, a, made_a), (OF_TARGET, b, made_b)):
            of_real, of_made = self.judged(name, torch.cat((real, made))).chunk(2)
            total = total + discriminator_loss(of_real, of_made)
        self._optimise("discriminators", total)
        return total.detach()

    def _optimise(self, name: str, loss: Tensor) -> None:
        optimiser = self._optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    def carried(self, direction: str, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] in [-1, 1] in the other domain, float32."""
        return self._passed(self.generators[direction], images)

    def judged(self, name: str, images: Tensor) -> Tensor:
        """The logits of the patches of images, float32."""
        return self._passed(self.discriminators[name], images)

    def _passed(self, network: nn.Module, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self._precision, enabled=self._precision is not None):
            outputs: Tensor = network(images)
        return outputs.float()

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The generators' tensors by direction: on the CPU, contiguous, of no other tensor."""
        return {
            direction: {
                name: tensor.detach().to("cpu", copy=True).contiguous()
                for name, tensor in network.state_dict().items()
            }
            for direction, network in self.generators.items()
        }

    def state(self) -> dict[str, Any]:
        """All that a resumed run must find, tensors on their device."""
        return {
            **{name: dict(network.state_dict()) for name, network in self._networks()},
            **{f"adam_{name}": optimiser.state_dict() for name, optimiser in self._optimisers.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``. Raises ValueError for one of other networks."""
        try:
            for name, network in self._networks():
                network.load_state_dict(state[name])
            for name, optimiser in self._optimisers.items():
                optimiser.load_state_dict(state[f"adam_{name}"])
        except (KeyError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(f"it is of another network: {error}") from None

    def _networks(self) -> Iterable[tuple[str, nn.Module]]:
        return chain(self.generators.items(), self.discriminators.items())


def initialise_network(network: nn.Module, seed: int, number: int) -> None:
    """Give the network the first weights of a translator's ``number``-th network."""
    initialise(network, int(counter_based(Purpose.TRANSLATE_WEIGHTS, seed, number).integers(2**63)))


def _parameters(networks: Iterable[nn.Module]) -> Iterable[nn.Parameter]:
    return chain.from_iterable(network.parameters() for network in networks)


@contextmanager
def _frozen(networks: Collection[nn.Module]) -> Iterator[None]:
    """A block whose gradients pass through the networks and are not taken of their weights."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)
