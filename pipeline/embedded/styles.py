"""Draws the demo's faces in other styles: the same scene and the same mask, another look.

    plain   as the renderer draws them: what the demo's generator imitates
    dusk    a red evening sky, a low sun at one side and cold shade at the other, other colours, dark
            outlines, the weave of a canvas
    masks   the mask itself, each class in its colour

Pictures of one latent in two styles are an exact pair. What varies in `dusk` follows from entries of the
latent that `plain` does not use, so that a picture is a function of its latent alone. It knows no files.
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from pipeline.embedded.face import CLASSES, NUM_PARAMETERS
from pipeline.embedded.renderer import render
from pipeline.settings.options import DUSK, MASKS, PLAIN

SUN, SUN_HEIGHT, WEAVE = NUM_PARAMETERS, NUM_PARAMETERS + 1, NUM_PARAMETERS + 2
"""Entries of the latent that say where the sun stands, and where the threads of the canvas lie."""
DYES = ((0.05, 0.25, 0.75), (0.80, 0.00, 0.10), (0.15, 0.75, 0.10))
"""How much each channel of `dusk` takes of the picture's red, green and blue."""
SUNLIGHT, SHADE = (1.15, 0.80, 0.50), (0.22, 0.26, 0.50)
THREADS_PER_CANVAS = (23.0, 19.0)
WEAVE_DEPTH = 0.10
OUTLINE = (0.04, 0.02, 0.08)
OUTLINE_STRENGTH = 0.7


def draw(latents: Tensor, style: str, resolution: int = 64) -> tuple[Tensor, Tensor]:
    """Z [N, 64] to images [N, 3, R, R] float32 within [-1, 1] and masks [N, R, R] uint8.

    The masks are the same in every style. Raises ValueError for a style that there is not.
    """
    images, masks = render(latents, resolution)
    if style == PLAIN:
        return images, masks
    if style == DUSK:
        return _dusk(images, masks, latents), masks
    if style == MASKS:
        return _colored(masks), masks
    raise ValueError(f"got style {style!r}, expected one of {PLAIN}, {DUSK}, {MASKS}")


def _colored(masks: Tensor) -> Tensor:
    """[N, 3, R, R] within [-1, 1]: each pixel in its class's colour."""
    palette = torch.tensor([list(bytes.fromhex(color[1:])) for _, color in CLASSES]) / 255  # [K, 3]
    return palette[masks.long()].permute(0, 3, 1, 2) * 2 - 1


def _dusk(images: Tensor, masks: Tensor, latents: Tensor) -> Tensor:
    z = latents.float()
    z = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)  # as the faces take it
    dyed = torch.einsum("dc,nchw->ndhw", images.new_tensor(DYES), (images + 1) / 2)
    x, y = _positions(images)
    drawn = dyed * _sunlight(z, x, y) + _weave(z, x, y)
    outlines = OUTLINE_STRENGTH * _outlines(masks)  # [N, 1, R, R]
    drawn = torch.lerp(drawn, images.new_tensor(OUTLINE)[:, None, None].expand_as(drawn), outlines)
    return drawn.clamp(0.0, 1.0) * 2 - 1


def _positions(images: Tensor) -> tuple[Tensor, Tensor]:
    """x [1, 1, 1, R] and y [1, 1, R, 1] of the pixels' centres, in canvases: from 0 to 1."""
    resolution = images.shape[-1]
    centers = (torch.arange(resolution, device=images.device) + 0.5) / resolution
    return centers[None, None, None, :], centers[None, None, :, None]


def _sunlight(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """[N, 3, R, R] factors: the sun's colour at its side of the picture, the shade's at the other."""
    side = torch.tanh(4.0 * z[:, SUN])[:, None, None, None]  # [N, 1, 1, 1]: mostly near -1 or 1
    height = 0.5 * torch.tanh(z[:, SUN_HEIGHT])[:, None, None, None]
    lit = torch.sigmoid(5.0 * (side * (x - 0.5) - height * (y - 0.5)))  # [N, 1, R, R]
    sun, shade = (x.new_tensor(color)[None, :, None, None] for color in (SUNLIGHT, SHADE))
    return shade + lit * (sun - shade)


def _weave(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """[N, 1, R, R] that the crossing threads of the canvas add, at most WEAVE_DEPTH either way."""
    phase = pi * torch.tanh(z[:, WEAVE])[:, None, None, None]
    across, along = (2 * pi * count for count in THREADS_PER_CANVAS)
    return WEAVE_DEPTH * torch.sin(across * (x + 0.3 * y) + phase) * torch.sin(along * (y - 0.4 * x) - phase)


def _outlines(masks: Tensor) -> Tensor:
    """[N, 1, R, R]: 1 where the pixel to the right or below is of another class, else 0."""
    below = torch.zeros_like(masks, dtype=torch.bool)
    right = below.clone()
    below[:, :-1] = masks[:, :-1] != masks[:, 1:]
    right[:, :, :-1] = masks[:, :, :-1] != masks[:, :, 1:]
    return (below | right)[:, None].float()
