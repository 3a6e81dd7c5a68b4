"""The parts of the demo generator's training: its start, its loss, its rates, and how good it is.

The targets come from `pipeline.embedded.renderer`. It knows nothing of files or of how a run proceeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.embedded.face import CLASSES, LATENT_SIZE, NUM_PARAMETERS
from pipeline.embedded.renderer import render
from pipeline.models.generator import broadcast_w
from pipeline.models.stylegan1 import MAPPING_LR_MULTIPLIER, NUM_MAPPING_LAYERS, StyleGAN1, StyleMod

POOLS = (2, 4, 8)
"""Sides, in pixels, of the average-pooling windows whose L1 is added to the image's own."""
SQUARE_WEIGHT = 2.0
CARRY_SHIFT = 5.0
"""Added to the latent entries so that they pass the mapping's leaky ReLUs unbent: hardly one exceeds it."""
HINGE = 0.8
"""The two bends at -0.8 and 0.8 let an affine style imitate the renderer's tanh."""
TEST_SEED = 2**31


@dataclass(frozen=True)
class TrainingPlan:
    """What determines a run, except for the rounding of the machine."""

    steps: int = 9000
    seed: int = 0
    batch_size: int = 16
    learning_rate: float = 1e-2
    ema_decay: float = 0.998
    part_weight: float = 2.0
    """Extra weight in the image loss of pixels of the parts of the face, which are small."""
    widths: tuple[int, ...] = (128, 128, 96, 64, 32)


def build(plan: TrainingPlan) -> StyleGAN1:
    """A freshly initialised generator whose mapping passes the latent entries that matter; seeded."""
    torch.manual_seed(plan.seed)
    network = StyleGAN1(plan.widths, LATENT_SIZE)
    set_mapping(network, NUM_PARAMETERS)
    return network


@torch.no_grad()
def set_mapping(network: StyleGAN1, used: int) -> None:
    """Set the mapping by hand: w holds ``lrelu(HINGE + z_i)`` and ``lrelu(HINGE - z_i)`` for the `used` first
    entries.

    Left to itself the mapping, slowed by its 0.01 multiplier, hardly finds the few entries that matter.
    """
    for index in range(NUM_MAPPING_LAYERS):
        layer = getattr(network.g_mapping, f"dense{index}")
        unit = torch.eye(used) / layer.weight_scale
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[:used, :used] = unit
        if index == 0:
            layer.bias[:used] = CARRY_SHIFT / MAPPING_LR_MULTIPLIER
        if index == NUM_MAPPING_LAYERS - 1:
            layer.weight[used : 2 * used, :used] = -unit
            layer.bias[:used] = (HINGE - CARRY_SHIFT) / MAPPING_LR_MULTIPLIER
            layer.bias[used : 2 * used] = (HINGE + CARRY_SHIFT) / MAPPING_LR_MULTIPLIER
    for module in network.g_synthesis.modules():
        if isinstance(module, StyleMod):  # styles start centred: the hinges' common offset is taken out again
            module.lin.bias.copy_(
                -HINGE * module.lin.weight_scale * module.lin.weight[:, : 2 * used].sum(dim=1)
            )


def parameter_groups(network: StyleGAN1) -> list[dict[str, Any]]:
    """Synthesis but for the noise weights, which stay zero, and mapping; their rates are `base_rates`."""
    noise = {id(p) for name, p in network.named_parameters() if name.endswith("noise.weight")}
    synthesis = [p for p in network.g_synthesis.parameters() if id(p) not in noise]
    return [{"params": synthesis}, {"params": list(network.g_mapping.parameters())}]


def base_rates(plan: TrainingPlan) -> tuple[float, float]:
    """Learning rates of synthesis and mapping; the mapping's stored weights are a hundred times larger."""
    return plan.learning_rate, plan.learning_rate / MAPPING_LR_MULTIPLIER


def generate(network: StyleGAN1, latents: Tensor) -> Tensor:
    """Images [N, 3, R, R] of Z [N, D] without truncation and with zero noise."""
    noise = [torch.zeros(1, 1, *shape, device=latents.device) for shape in network.noise_shapes]
    w_plus = broadcast_w(network.mapping(latents), network.min_w_layers)
    return network.synthesis(w_plus, noise).images


def pixel_weights(masks: Tensor, part_weight: float) -> Tensor:
    """[N, 1, R, R] with mean about 1: parts of the face weigh ``1 + part_weight`` times the rest."""
    small = torch.tensor([name in ("brows", "eyes", "nose", "mouth", "ears") for name, _ in CLASSES])
    return 1.0 + part_weight * small.to(masks.device)[masks.long()][:, None].float()


def loss_of(images: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted L1 at full size, L1 of the average-pooled differences, and a squared term.

    Without the last, instance normalisation leaves a small bright blob on the hair, as in StyleGAN: L1 alone
    finds a few very wrong pixels cheap.
    """
    difference = images - targets
    loss = (difference.abs() * weights).mean() + SQUARE_WEIGHT * difference.square().mean()
    for pool in POOLS:
        loss = loss + F.avg_pool2d(difference, pool).abs().mean()
    return loss


def learning_rate_at(step: int, steps: int, warmup: int = 50) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine to zero."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1.0 + math.cos(math.pi * step / steps))


@torch.no_grad()
def evaluate(state: dict[str, Tensor], device: torch.device, num: int = 500) -> dict[str, float]:
    """L1 (image range [-1, 1]) and PSNR in dB against the renderer on `num` latents that no run trains on."""
    network = StyleGAN1.from_state_dict(state).to(device)
    draws = torch.Generator().manual_seed(TEST_SEED)
    absolute, square = 0.0, 0.0
    for latents in torch.randn(num, LATENT_SIZE, generator=draws).split(50):
        difference = generate(network, latents.to(device)) - render(latents.to(device), network.resolution)[0]
        absolute += difference.abs().mean().item() * len(latents) / num
        square += difference.square().mean().item() * len(latents) / num
    return {"test_l1": absolute, "test_psnr_db": 10.0 * math.log10(4.0 / square)}
