"""Near-duplicates against brute force, and their threshold against the demo generator's own images."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.checkpoints.read import load_generator
from pipeline.embedded import annotated_latents, checkpoint_path
from pipeline.quality import duplicates
from pipeline.quality.duplicates import LEAST, Pair, describe, least_similarity, near_duplicates
from pipeline.rendering.renderer import Renderer, RenderSettings

FACES = 96

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    generator = load_generator(checkpoint_path()).generator
    settings = RenderSettings(1.0, 8, "const", 0, (64, 64), (0, 64))
    return Renderer(generator, settings, np.zeros(64, np.float32), torch.device("cpu"))


def render(renderer: Renderer, latents: NDArray[np.float32]) -> Images:
    with torch.inference_mode():
        rendered = renderer.render(latents, "z", range(len(latents)))
        return np.stack([renderer.picture_tensor(image).numpy() for image in rendered.images])


@pytest.fixture(scope="module")
def faces(renderer: Renderer) -> Images:
    return render(renderer, annotated_latents(FACES))


def jpeg(image: Images, quality: int) -> Images:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def lighter(image: Images, factor: float) -> Images:
    return (image * factor).clip(0, 255).astype(np.uint8)


def test_different_images_of_one_generator_are_no_duplicates(faces: Images) -> None:
    assert near_duplicates(describe(faces)) == duplicates.Duplicates((), 0, LEAST)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: jpeg(image, 90),
        lambda image: jpeg(image, 30),
        lambda image: lighter(image, 0.9),
        lambda image: lighter(image, 1.1),
        lambda image: (image.astype(int) + 20).clip(0, 255).astype(np.uint8),
    ],
    ids=["copy", "JPEG", "JPEG of low quality", "darker", "brighter", "brighter by a constant"],
)
def test_changed_copies_are_found_and_nothing_else(faces: Images, change: Callable[[Images], Images]) -> None:
    changed = np.stack([change(image) for image in faces[:20]])
    found = near_duplicates(describe(np.concatenate([faces, changed])))
    assert {(pair.first, pair.second) for pair in found.pairs} == {(i, FACES + i) for i in range(20)}
    assert found.found == 20


def test_a_tiny_step_in_latent_space_is_a_duplicate(faces: Images, renderer: Renderer) -> None:
    latents = annotated_latents(20)
    steps = 0.02 * np.random.default_rng(0).standard_normal(latents.shape).astype(np.float32)
    found = near_duplicates(describe(np.concatenate([faces, render(renderer, latents + steps)])))
    assert {(pair.first, pair.second) for pair in found.pairs} == {(i, FACES + i) for i in range(20)}


def test_images_that_share_a_background_must_be_more_alike(faces: Images) -> None:
    """Pasted into one and the same scene, different faces correlate by more than the fixed threshold."""
    scene = np.random.default_rng(0).integers(0, 2, (16, 16, 1), np.uint8) * np.uint8(200)
    scenes = scene.repeat(6, 0).repeat(6, 1).repeat(3, 2)[None].repeat(FACES + 1, 0)
    scenes[:FACES, 16:80, 16:80] = faces
    scenes[FACES] = jpeg(scenes[3], 90)
    described = describe(scenes)
    assert near_duplicates(described, least=LEAST).found > 1
    assert [(pair.first, pair.second) for pair in near_duplicates(described).pairs] == [(3, FACES)]


def test_flat_pictures_are_alike_and_like_no_other(faces: Images) -> None:
    flat = np.stack([np.full((64, 64, 3), grey, np.uint8) for grey in (0, 128)])
    assert near_duplicates(describe(np.concatenate([faces[:3], flat]))).pairs == (Pair(3, 4, 1.0),)


def test_the_correlation_is_numpys_of_the_area_means_luminance(faces: Images) -> None:
    grey = np.array(
        [np.asarray(Image.fromarray(face).resize((16, 16), Image.Resampling.BOX)) for face in faces[:9]]
    )
    luminance = (grey @ [0.299, 0.587, 0.114]).reshape(9, -1)
    described = describe(faces[:9])
    # PIL rounds the means to whole grey levels.
    assert described @ described.T == pytest.approx(np.corrcoef(luminance), abs=2e-3)


def test_any_size_is_taken_and_what_is_no_picture_refused() -> None:
    assert describe(np.zeros((2, 7, 31, 3), np.uint8)).shape == (2, 257)
    assert near_duplicates(describe(np.zeros((0, 16, 16, 3), np.uint8))).pairs == ()
    for wrong in (np.zeros((2, 16, 16), np.uint8), np.zeros((2, 16, 16, 3), np.float32)):
        with pytest.raises(ValueError, match=r"expected \(n, h, w, 3\) uint8"):
            describe(wrong)


@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(1, 8), st.integers(0, 40), st.floats(0, 1))
def test_the_pairs_are_those_of_brute_force_in_any_blocks(
    seed: int, n: int, kinds: int, at_most: int, least: float
) -> None:
    random = np.random.default_rng(seed)
    kind = random.integers(-8, 9, (kinds, 4)) / 16  # products and sums of these are exact in float32
    rows = kind[random.integers(0, kinds, n)].astype(np.float32)  # with many ties
    exact = {(i, j): round(1e6 * float(rows[i] @ rows[j])) for j in range(n) for i in range(j)}
    wanted = sorted((-value, *pair) for pair, value in exact.items() if value >= round(least * 1e6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BLOCK", 7)
        found = near_duplicates(rows, at_most=at_most, least=least)
    assert found.found == len(wanted)
    assert found.pairs == tuple(Pair(i, j, -value / 1e6) for value, i, j in wanted[:at_most])


def test_the_threshold_follows_the_median_pair() -> None:
    apart = np.eye(40, dtype=np.float32)  # every pair is uncorrelated
    assert least_similarity(apart) == LEAST
    alike = np.full((40, 40), 1, np.float32) + 4 * apart  # every pair has one and the same correlation
    alike /= np.linalg.norm(alike, axis=1, keepdims=True)
    distance = 1 - float(alike[0] @ alike[1])
    assert least_similarity(alike) == pytest.approx(1 - 0.015 * distance)
    assert least_similarity(alike[:15]) == LEAST  # too few to know what is typical
    assert least_similarity(np.ones((40, 1), np.float32)) == duplicates.MOST  # all are one picture
    assert near_duplicates(np.ones((40, 1), np.float32), at_most=5).found == 40 * 39 // 2
