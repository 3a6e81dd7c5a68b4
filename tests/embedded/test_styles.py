"""The demo's faces in other styles: exact pairs of one scene, each a function of its latent alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import embedded
from pipeline.embedded import face, styles
from pipeline.embedded.renderer import render
from pipeline.settings.options import DUSK, MASKS, PLAIN, STYLES


def latents(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, face.LATENT_SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("style", STYLES)
def test_every_style_has_the_renderers_masks_types_and_ranges(style: str) -> None:
    z = latents(5)
    images, masks = styles.draw(z, style, resolution=48)
    assert torch.equal(masks, render(z, resolution=48)[1])
    assert images.shape == (5, 3, 48, 48) and images.dtype == torch.float32
    assert images.abs().max() <= 1.0


def test_plain_is_what_the_renderer_draws() -> None:
    z = latents(3)
    assert torch.equal(styles.draw(z, PLAIN)[0], render(z)[0])


def test_masks_show_each_class_in_its_colour() -> None:
    images, masks = embedded.photographs(latents(4).numpy(), MASKS)
    for label, (_, color) in enumerate(face.CLASSES):
        shown = images[masks == label].astype(int)
        assert np.abs(shown - [int(color[i : i + 2], 16) for i in (1, 3, 5)]).max() <= 1


def test_dusk_looks_another_way_and_keeps_the_parts_apart() -> None:
    z = latents(12)
    plain, dusk = (styles.draw(z, style)[0] for style in (PLAIN, DUSK))
    assert (plain - dusk).abs().mean() > 0.4
    assert dusk.mean() < plain.mean()
    masks = styles.draw(z, DUSK)[1].long()
    pixels = dusk.permute(0, 2, 3, 1)  # [N, R, R, 3]
    means = torch.stack([pixels[masks == label].mean(0) for label in range(len(face.CLASSES))])
    inside, whole = (pixels - means[masks]).square().sum(3).mean(), pixels.var((0, 1, 2)).sum()
    assert inside < whole  # something of a class's colour is its own


def test_a_nearest_colour_of_plain_pictures_fails_on_dusk() -> None:
    z, fresh = latents(12), latents(12, seed=1)
    images, masks = styles.draw(z, PLAIN)
    means = torch.stack([images.permute(0, 2, 3, 1)[masks == k].mean(0) for k in range(len(face.CLASSES))])

    def accuracy(style: str) -> float:
        shown, truth = styles.draw(fresh, style)
        distances = (shown.permute(0, 2, 3, 1)[..., None, :] - means).square().sum(-1)  # [N, R, R, K]
        return float((distances.argmin(-1) == truth).float().mean())

    assert accuracy(PLAIN) > 0.7
    assert accuracy(DUSK) < 0.35


def test_a_picture_follows_from_its_latent_alone() -> None:
    z = latents(66).numpy()
    for style in STYLES:
        whole, part = (embedded.photographs(rows, style)[0] for rows in (z, z[62:]))
        assert np.array_equal(whole[62:], part)
    turned = z[:4].copy()
    turned[:, styles.SUN] *= -1  # an entry that says nothing of the plain picture
    assert np.array_equal(*(embedded.photographs(rows, PLAIN)[0] for rows in (z[:4], turned)))
    assert not np.array_equal(*(embedded.photographs(rows, DUSK)[0] for rows in (z[:4], turned)))


def test_photographs_are_of_latents_that_the_demo_never_annotates() -> None:
    annotated, fresh = embedded.annotated_latents(40), embedded.photograph_latents(range(40))
    assert not set(annotated[:, 0].tolist()) & set(fresh[:, 0].tolist())
    assert np.array_equal(fresh[30:], embedded.photograph_latents(range(30, 40)))
    assert not np.array_equal(fresh, embedded.photograph_latents(range(40), seed=1))


def test_an_unknown_style_is_named() -> None:
    with pytest.raises(ValueError, match="got style 'noon', expected one of plain, dusk, masks"):
        styles.draw(latents(1), "noon")
