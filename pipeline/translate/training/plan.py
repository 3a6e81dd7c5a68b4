"""What the training of a translator takes, in numbers and in lines for people. It needs no device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fstore.display import human_bytes, human_duration
from pipeline.errors import count
from pipeline.models.patch_discriminator import PatchDiscriminator, discriminator_halvings, patch_side
from pipeline.models.unet import UNet
from pipeline.settings.schema import TranslateConfig
from pipeline.translate.description import TranslatorInfo
from pipeline.translate.folder import build_generator
from pipeline.translate.training.batches import BatchPlan

FLOAT_BYTES = 4
OVERHEAD_BYTES = 2**21  # of a file of weights: names, and the padding of each tensor
SHEETS = 40  # at most, of any number of epochs that people train
CPU_FLOPS = 60e9  # of one thread, measured on these networks; for the estimate only, as the next one
GPU_FLOPS = 10e12
COPIES = 1.5  # of a layer's output in a step: what is joined, and gradients; measured: 1.2 to 1.4


@dataclass(frozen=True)
class NetworkCost:
    """Of one network: parameters and, for one image, values of all layers' outputs, and multiplications."""

    num_parameters: int
    num_values: int
    num_products: int


@dataclass(frozen=True)
class TrainPlan:
    """The run in numbers: ``generator`` is the cost of one of two, ``discriminator`` too; None without an
    adversary.
    """

    info: TranslatorInfo
    options: TranslateConfig
    batches: BatchPlan
    generator: NetworkCost
    discriminator: NetworkCost | None

    @property
    def weight_bytes(self) -> int:
        """Of all networks."""
        judges = 0 if self.discriminator is None else self.discriminator.num_parameters
        return 2 * FLOAT_BYTES * (self.generator.num_parameters + judges)

    @property
    def state_bytes(self) -> int:
        """Of the state of training, at most: weights and two moments of each."""
        return 3 * self.weight_bytes + 4 * OVERHEAD_BYTES

    @property
    def disk_bytes(self) -> int:
        """On disk at most: state and generators, each beside its successor, and uncompressed sheets."""
        generators = 2 * FLOAT_BYTES * self.generator.num_parameters + OVERHEAD_BYTES
        sheet = 32 * 3 * (self.info.resolution + 8) ** 2
        return 2 * self.state_bytes + 2 * generators + SHEETS * sheet

    @property
    def memory_bytes(self) -> int:
        """In memory of the device in a step: weights, gradients, moments, and the outputs of all layers."""
        passes = (4, 0) if self.discriminator is None else (6, 2)
        values = passes[0] * self.generator.num_values
        values += 0 if self.discriminator is None else passes[1] * self.discriminator.num_values
        outputs = COPIES * FLOAT_BYTES * self.options.batch_size * values
        return 4 * self.weight_bytes + int(outputs)

    def step_seconds(self, flops_per_second: float) -> float:
        """A rough estimate: three times the forward pass, of which each network has several."""
        products = (4 if self.discriminator is None else 6) * self.generator.num_products
        products += 0 if self.discriminator is None else 6 * self.discriminator.num_products
        return 3 * 2 * products * self.options.batch_size / flops_per_second

    def lines(self, free_bytes: int | None, device: torch.device) -> list[str]:
        """The plan for people, a line a subject."""
        info, options, steps = self.info, self.options, self.batches.num_steps
        what = "pairs" if info.paired else "images of each side"
        threads = torch.get_num_threads()
        seconds = self.step_seconds(GPU_FLOPS if device.type == "cuda" else CPU_FLOPS * threads) * steps
        each, all_epochs = (human_duration(max(value, 1)) for value in (seconds, seconds * info.epochs))
        free = "" if free_bytes is None else f"; {human_bytes(free_bytes)} free"
        return [
            *(self._side_line(place, name) for place, name in enumerate(("source", "target"))),
            f"generators      2 U-Nets of width {info.width}, {info.halvings} halvings, {info.upsample}, "
            f"{self.generator.num_parameters:,} parameters each",
            f"discriminators  {self._judges()}",
            f"epoch           {count(steps, 'step')} of {options.batch_size} {what}, "
            f"{info.resolution} x {info.resolution} pixels",
            f"training        {count(info.epochs, 'epoch')}, {count(info.epochs * steps, 'step')}; Adam "
            f"{options.learning_rate:g}, {options.precision}",
            f"memory          about {human_bytes(self.memory_bytes)} in a step",
            f"disk            up to {human_bytes(self.disk_bytes)}{free}",
            f"time            roughly {each} an epoch, {all_epochs} in all",
        ]

    def _side_line(self, place: int, name: str) -> str:
        side, split = self.batches.sides[place], self.batches.splits[place]
        share = self.batches.crops[0 if self.info.paired else place]
        crops = "whole" if share == 1 else f"crops of a side from {share:g}"
        learn, validate = len(split.training), len(split.validation)
        return f"{name:<15} {learn} of {side.where} learn, {validate} validate; {crops}"

    def _judges(self) -> str:
        if self.discriminator is None:
            return "none"
        side = patch_side(discriminator_halvings(self.info.resolution))
        return f"2, patches of {side} x {side} pixels, {self.discriminator.num_parameters:,} parameters each"


def measure_cost(info: TranslatorInfo, options: TranslateConfig, batches: BatchPlan) -> TrainPlan:
    """The plan of a run."""
    with torch.device("meta"):
        generator = build_generator(info)
        judge = PatchDiscriminator(info.width, discriminator_halvings(info.resolution))
        of_judge = network_cost(judge, info.resolution) if options.adversary else None
        return TrainPlan(info, options, batches, network_cost(generator, info.resolution), of_judge)


def network_cost(network: UNet | PatchDiscriminator, resolution: int) -> NetworkCost:
    """What a network on the meta device costs for an image of ``resolution`` x ``resolution`` pixels."""
    values = products = 0

    def count_outputs(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal values, products
        values += output.numel()
        if isinstance(layer, nn.Conv2d):
            products += output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.ConvTranspose2d):
            stride = layer.stride[0] * layer.stride[1]
            products += output.numel() * layer.weight[:, 0].numel() // stride

    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(count_outputs)
    with torch.no_grad():
        network(torch.empty(1, 3, resolution, resolution, device="meta"))
    return NetworkCost(sum(p.numel() for p in network.parameters()), values, products)
