"""Draws simple frontal faces from latents: images, exact part masks and exact keypoints.

Each part is painted back to front with its exact fractional coverage of every pixel's neighbourhood (from the
signed distance to its outline), so that images are antialiased without supersampling and depend smoothly on
the latent. It knows nothing of networks, training or stores; `pipeline.embedded.face` says what a latent
means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.embedded import face as model
from pipeline.embedded.face import CANVAS, CLASSES, Color, Face, Geometry, Palette

LABELS = {name: label for label, (name, _) in enumerate(CLASSES)}
WHITE: Color = (0.98, 0.98, 0.98)
DARK: Color = (0.08, 0.06, 0.08)
INNER_MOUTH: Color = (0.30, 0.04, 0.08)


@dataclass(frozen=True)
class Part:
    """One painted shape."""

    name: str
    """Its class."""
    distance: Tensor
    """[N, R, R] signed distance to the outline in canvas pixels, negative inside."""
    color: Tensor
    """[N or 1, 3, 1 or R, 1 or R] RGB within [0, 1]."""


def render(latents: Tensor, resolution: int = 64) -> tuple[Tensor, Tensor]:
    """Z [N, 64] to images [N, 3, R, R] float32 within [-1, 1] and masks [N, R, R] uint8.

    A pixel's label is the class that covers most of it.
    """
    face = model.describe(latents)
    scale = resolution / CANVAS
    centers = (torch.arange(resolution, device=latents.device) + 0.5) / scale
    x, y = centers[None, None, :], centers[None, :, None]  # [1, 1, R], [1, R, 1]
    shade = 1.0 - 0.25 * (y / CANVAS - 0.5)[:, None]  # [1, 1, R, 1]: lighter above
    image = (colors(model.BACKGROUND, face.background) * shade).expand(-1, -1, -1, resolution)  # [N, 3, R, R]
    weights = torch.zeros(len(CLASSES), len(latents), resolution, resolution, device=latents.device)
    weights[LABELS["background"]] = 1.0
    for part in parts(face, x, y):
        cover = (0.5 - part.distance * scale).clamp(0.0, 1.0)  # [N, R, R]
        image = torch.lerp(image, part.color.expand_as(image), cover[:, None])
        weights *= 1.0 - cover
        weights[LABELS[part.name]] += cover
    return image.clamp(0.0, 1.0) * 2.0 - 1.0, weights.argmax(dim=0).to(torch.uint8)


def parts(face: Face, x: Tensor, y: Tensor) -> Iterator[Part]:
    """Every painted shape from back to front, on pixel centres x [1, 1, R] and y [1, R, 1]."""
    place = model.place(face)
    yield from _bust(face, place, x, y)
    yield from _head(face, place, x, y)
    for side in (-1.0, 1.0):
        yield from _eye(face, place, x, y, side)
    yield from _mouth(face, place, x, y)


def _bust(face: Face, g: Geometry, x: Tensor, y: Tensor) -> Iterator[Part]:
    """What is behind the head: long hair, clothes, collar, neck."""
    hair = colors(model.HAIR, face.hair)
    bottom = g.cy + 13.0 + 8.0 * face.hair_length
    half = g.head_rx + 3.6 + 1.2 * face.hair_volume
    top = g.cy - 8.0
    yield Part(
        "hair", rounded_box(x - g.cx, y - (top + bottom) / 2, half, (bottom - top) / 2, 5.0), 0.85 * hair
    )
    shoulder_x = 0.5 * g.cx + 16.0
    yield Part("clothes", ellipse(x - shoulder_x, y - 70.0, 27.0, 17.0), colors(model.CLOTHES, face.clothes))
    yield Part("collar", ellipse(x - g.cx, y - 54.5, 12.0, 6.2), colors(model.COLLAR, face.collar))
    neck_top = g.cy + 8.0
    neck = rounded_box(x - g.cx, y - (neck_top + 56.5) / 2, 7.0, (56.5 - neck_top) / 2, 5.0)
    yield Part("neck", neck, 0.78 * colors(model.SKIN, face.skin))


def _head(face: Face, g: Geometry, x: Tensor, y: Tensor) -> Iterator[Part]:
    """Hair around the skull, ears, face, the fringe over the forehead, nose."""
    hair, skin = colors(model.HAIR, face.hair), colors(model.SKIN, face.skin)
    volume = 1.2 * face.hair_volume
    skull = ellipse(x - g.cx, y - g.cy + 3.0, g.head_rx + 3.6 + volume, g.head_ry + 3.0 + volume)
    yield Part("hair", torch.maximum(skull, y - g.cy - 7.0), hair)  # cut off, or it would show below the chin
    pink = skin * skin.new_tensor((1.0, 0.72, 0.70))[:, None, None]
    for side in (-1.0, 1.0):
        yield Part("ears", ellipse(x - g.cx - side * g.ear_dx, y - g.ear_y, 3.6, 5.2), pink)
    yield Part("skin", ellipse(x - g.cx, y - g.cy, g.head_rx, g.head_ry), skin)
    slant = 0.20 * face.parting * (x - g.cx)
    hairline = y - (g.cy - 0.66 * g.head_ry) - slant - 0.016 * (x - g.cx).square()
    yield Part("hair", torch.maximum(skull, hairline), hair)
    nose = ellipse(x - g.cx, y - g.nose_y, 2.9 + 0.10 * (y - g.nose_y).clamp(-6.0, 6.0), g.nose_ry)
    yield Part("nose", nose, skin * skin.new_tensor((0.84, 0.62, 0.52))[:, None, None])


def _eye(face: Face, g: Geometry, x: Tensor, y: Tensor, side: float) -> Iterator[Part]:
    """One eye with iris and pupil, and its brow; `side` is -1 for the viewer's left."""
    dx, dy = x - g.cx - side * g.eye_dx, y - g.eye_y
    eye = ellipse(dx, dy, g.eye_rx, g.eye_ry)
    yield Part("eyes", eye, constant(WHITE, x))
    gaze = dx - 1.2 * face.gaze
    yield Part("eyes", torch.maximum(eye, ellipse(gaze, dy, 2.5, 2.5)), colors(model.IRIS, face.iris))
    yield Part("eyes", ellipse(gaze, dy, 1.2, 1.2), constant(DARK, x))
    brow_y = y - g.brow_y - 0.16 * side * face.brow_tilt * dx
    yield Part("brows", rounded_box(dx, brow_y, 4.8, 1.5, 1.2), 0.45 * colors(model.HAIR, face.hair))


def _mouth(face: Face, g: Geometry, x: Tensor, y: Tensor) -> Iterator[Part]:
    """Lips and the opening between them; both are the mouth."""
    dx = x - g.cx
    dy = y - g.mouth_y + g.mouth_bend * (dx / g.mouth_rx).square()
    yield Part("mouth", ellipse(dx, dy, g.mouth_rx, g.mouth_ry), colors(model.LIPS, face.lips))
    opening = ellipse(dx, dy, 0.62 * g.mouth_rx, 0.8 + 0.5 * face.mouth_open)
    yield Part("mouth", opening, constant(INNER_MOUTH, x))


def ellipse(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float) -> Tensor:
    """Approximate signed distance, in canvas pixels, to an ellipse about the origin."""
    px, py = x / rx, y / ry
    norm = torch.sqrt(px.square() + py.square() + 1e-6)
    slope = torch.sqrt((px / rx).square() + (py / ry).square() + 1e-6)
    return norm * (norm - 1.0) / slope


def rounded_box(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float, corner: float) -> Tensor:
    """Signed distance, in canvas pixels, to a rounded box about the origin; `rx`, `ry` are half-sides."""
    qx, qy = x.abs() - (rx - corner), y.abs() - (ry - corner)
    outside = torch.sqrt(qx.clamp(min=0).square() + qy.clamp(min=0).square() + 1e-6)
    return outside + torch.maximum(qx, qy).clamp(max=0) - corner


def colors(palette: Palette, position: Tensor) -> Tensor:
    """Colour [N, 3, 1, 1] at `position` [N, 1, 1] within (-1, 1) along the palette's three colours."""
    low, middle, high = position.new_tensor(palette)[:, :, None, None].unbind(0)  # each [3, 1, 1]
    t = position[:, None]  # [N, 1, 1, 1]
    return middle + t.clamp(min=0) * (high - middle) - t.clamp(max=0) * (low - middle)


def constant(color: Color, like: Tensor) -> Tensor:
    """The same colour for every face, [1, 3, 1, 1]."""
    return like.new_tensor(color)[None, :, None, None]
