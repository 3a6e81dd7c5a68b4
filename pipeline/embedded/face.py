"""What a latent says about a demo face: its parameters, the positions they put the parts at, and the colours.

Everything is a smooth function of the first entries of the *pixel-normalised* latent, since StyleGAN's
mapping network sees nothing else of it. Nothing here draws; `pipeline.embedded.renderer` does.

Units: lengths are pixels of a 64 x 64 canvas, x to the right, y downwards, whatever the resolution drawn at.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

LATENT_SIZE = 64
CANVAS = 64.0
CLASSES: tuple[tuple[str, str], ...] = (
    ("background", "#7fa3c7"),
    ("skin", "#f2c9a5"),
    ("hair", "#7a4a1e"),
    ("brows", "#2b1a10"),
    ("eyes", "#ffffff"),
    ("nose", "#e0915f"),
    ("mouth", "#d6404f"),
    ("ears", "#f28f8f"),
    ("neck", "#b98a5a"),
    ("clothes", "#3b4fa0"),
    ("collar", "#f5d14a"),
)
"""(name, colour) of every class; the position is the label."""
KEYPOINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right", "chin", "left_ear", "right_ear")
"""Names of the points of `keypoints`; left and right are the viewer's."""

Color = tuple[float, float, float]
Palette = tuple[Color, Color, Color]
SKIN: Palette = ((1.0, 0.87, 0.78), (0.94, 0.72, 0.55), (0.74, 0.50, 0.35))
HAIR: Palette = ((0.10, 0.08, 0.10), (0.42, 0.16, 0.07), (0.86, 0.62, 0.12))
BACKGROUND: Palette = ((0.30, 0.50, 0.85), (0.45, 0.72, 0.70), (0.66, 0.58, 0.88))
CLOTHES: Palette = ((0.70, 0.12, 0.22), (0.16, 0.20, 0.50), (0.10, 0.45, 0.28))
COLLAR: Palette = ((0.98, 0.98, 0.96), (0.97, 0.90, 0.60), (0.98, 0.78, 0.25))
IRIS: Palette = ((0.15, 0.35, 0.75), (0.15, 0.50, 0.30), (0.35, 0.18, 0.08))
LIPS: Palette = ((0.88, 0.20, 0.26), (0.75, 0.10, 0.20), (0.60, 0.08, 0.35))


@dataclass(frozen=True)
class Face:
    """The latent's meaning: field i, [N, 1, 1] within (-1, 1), is latent entry i, squashed."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    eye_spacing: Tensor
    eye_size: Tensor
    gaze: Tensor
    brow_height: Tensor
    brow_tilt: Tensor
    nose_length: Tensor
    mouth_width: Tensor
    mouth_open: Tensor
    smile: Tensor
    hair_volume: Tensor
    hair_length: Tensor
    parting: Tensor
    skin: Tensor
    hair: Tensor
    background: Tensor
    clothes: Tensor
    collar: Tensor
    iris: Tensor
    lips: Tensor


NUM_PARAMETERS = len(fields(Face))


@dataclass(frozen=True)
class Geometry:
    """Where the parts are and how large, each [N, 1, 1] in canvas pixels; ``*_rx``, ``*_ry``: half-axes."""

    cx: Tensor
    cy: Tensor
    head_rx: Tensor
    head_ry: Tensor
    eye_dx: Tensor
    """Distance of each eye's centre from the face's middle line."""
    eye_y: Tensor
    eye_rx: Tensor
    eye_ry: Tensor
    brow_y: Tensor
    nose_y: Tensor
    nose_ry: Tensor
    mouth_y: Tensor
    mouth_rx: Tensor
    mouth_ry: Tensor
    mouth_bend: Tensor
    """Height of the mouth's corners above its middle; negative when it frowns."""
    ear_dx: Tensor
    ear_y: Tensor


def describe(latents: Tensor) -> Face:
    """Z [N, 64] to parameters: pixel-normalised as StyleGAN's mapping does, then squashed by tanh."""
    if latents.ndim != 2 or latents.shape[1] != LATENT_SIZE:
        raise ValueError(f"got latents of shape {tuple(latents.shape)}, expected (number, {LATENT_SIZE})")
    z = latents.float()
    z = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
    entries = torch.tanh(0.8 * z[:, :NUM_PARAMETERS])  # [N, P]
    return Face(*entries.T[:, :, None, None].unbind(0))  # each [N, 1, 1]


def place(face: Face) -> Geometry:
    """The parameters as positions and sizes."""
    cx = 32.0 + 3.5 * face.x
    cy = 30.0 + 2.5 * face.y
    head_rx = 14.5 + 1.6 * face.width
    head_ry = 17.5 + 1.6 * face.height
    eye_y = cy - 0.05 * head_ry
    return Geometry(
        cx=cx,
        cy=cy,
        head_rx=head_rx,
        head_ry=head_ry,
        eye_dx=0.47 * head_rx + 0.6 * face.eye_spacing,
        eye_y=eye_y,
        eye_rx=4.3 + 0.4 * face.eye_size,
        eye_ry=3.3 + 0.5 * face.eye_size,
        brow_y=eye_y - 6.8 - 0.7 * face.brow_height,
        nose_y=cy + 0.30 * head_ry,
        nose_ry=4.3 + 0.6 * face.nose_length,
        mouth_y=cy + 0.69 * head_ry,
        mouth_rx=5.9 + 0.9 * face.mouth_width,
        mouth_ry=2.7 + 0.5 * face.mouth_open,
        mouth_bend=0.9 * face.smile,
        ear_dx=head_rx + 1.2,
        ear_y=cy + 0.08 * head_ry,
    )


def keypoints(latents: Tensor) -> Tensor:
    """[N, K, 2] float32 (x, y) in canvas pixels; pixel (row, column) is centred at (column, row) + 0.5."""
    g = place(describe(latents))
    corner_y = g.mouth_y - g.mouth_bend
    points = (
        (g.cx - g.eye_dx, g.eye_y),
        (g.cx + g.eye_dx, g.eye_y),
        (g.cx, g.nose_y),
        (g.cx - g.mouth_rx, corner_y),
        (g.cx + g.mouth_rx, corner_y),
        (g.cx, g.cy + g.head_ry),
        (g.cx - g.ear_dx, g.ear_y),
        (g.cx + g.ear_dx, g.ear_y),
    )
    return torch.stack([torch.cat(point, dim=2)[:, 0] for point in points], dim=1)  # [N, K, 2]
