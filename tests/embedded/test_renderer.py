"""The demo's faces: smooth functions of the normalised latent, with masks that fit; and their generator."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import embedded
from pipeline.demo.regression import TrainingPlan, generate, set_mapping
from pipeline.demo.training import advance, start, train
from pipeline.embedded import face
from pipeline.embedded.renderer import render
from pipeline.models.stylegan1 import StyleGAN1


def latents(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, face.LATENT_SIZE, generator=torch.Generator().manual_seed(seed))


def test_images_and_masks_have_the_stated_types_and_ranges() -> None:
    images, masks = render(latents(3), resolution=48)
    assert images.shape == (3, 3, 48, 48) and images.dtype == torch.float32
    assert images.abs().max() <= 1.0
    assert masks.shape == (3, 48, 48) and masks.dtype == torch.uint8


def test_every_class_is_in_every_face_and_large_enough_to_survive_a_pixel_of_error() -> None:
    _, masks = render(latents(200))
    counts = torch.stack([(masks == label).flatten(1).sum(1) for label in range(len(face.CLASSES))])
    assert len(face.CLASSES) >= 10
    assert counts.min() >= 25


def test_eyes_are_white_with_a_dark_middle_and_the_mask_says_so() -> None:
    z = latents(20)
    images, masks = render(z)
    names = list(embedded.class_names())
    eyes = face.keypoints(z)[:, 0]
    for image, mask, (x, y) in zip(images, masks, eyes, strict=True):
        assert mask[int(y), int(x)] == names.index("eyes")
        assert image[:, mask == names.index("eyes")].max() > 0.9
        assert image[:, mask == names.index("eyes")].min() < -0.3


def test_keypoints_lie_on_their_parts() -> None:
    z = latents(50)
    _, masks = render(z)
    points = face.keypoints(z)
    assert points.shape == (50, len(face.KEYPOINTS), 2)
    for name, part in (("right_eye", "eyes"), ("nose", "nose"), ("left_ear", "ears")):
        x, y = points[:, face.KEYPOINTS.index(name)].long().unbind(1)
        assert (masks[torch.arange(50), y, x] == embedded.class_names().index(part)).all(), name


def test_only_the_direction_of_a_latent_matters() -> None:
    z = latents(4)
    images, masks = render(z)
    scaled_images, scaled_masks = render(3.0 * z)
    torch.testing.assert_close(scaled_images, images, rtol=0, atol=1e-4)
    assert (scaled_masks != masks).float().mean() < 1e-3


def test_a_small_step_in_latent_space_is_a_small_step_in_the_image() -> None:
    z = latents(16)
    step = 1e-3 * latents(16, seed=1)
    change = (render(z + step)[0] - render(z)[0]).abs()
    assert change.max() < 0.05


@pytest.mark.parametrize("parameter", range(face.NUM_PARAMETERS))
def test_every_parameter_shows_in_the_image(parameter: int) -> None:
    z = latents(8)
    moved = z.clone()
    moved[:, parameter] += 1.0
    assert (render(moved)[0] - render(z)[0]).abs().mean() > 1e-4


def test_resolution_changes_sampling_not_content() -> None:
    z = latents(4)
    coarse, fine = render(z)[0], render(z, resolution=128)[0]
    assert (torch.nn.functional.avg_pool2d(fine, 2) - coarse).abs().mean() < 0.02


def test_wrong_latents_are_named() -> None:
    with pytest.raises(ValueError, match=r"got latents of shape \(2, 63\), expected \(number, 64\)"):
        render(torch.zeros(2, 63))


def test_annotated_latents_depend_on_seed_and_index_only() -> None:
    assert np.array_equal(embedded.annotated_latents(16)[:3], embedded.annotated_latents(3))
    assert not np.array_equal(embedded.annotated_latents(3, seed=1), embedded.annotated_latents(3))


def test_written_inputs_are_latents_and_their_exact_masks(tmp_path: Path) -> None:
    embedded.write_inputs(tmp_path / "in", num=3)
    written = np.load(tmp_path / "in" / "latents.npy")
    assert written.shape == (3, 64) and written.dtype == np.float32
    masks = [np.load(tmp_path / "in" / "masks" / f"image_mask{i}.npy") for i in range(3)]
    assert np.array_equal(np.stack(masks), embedded.exact_masks(written))


def test_batches_do_not_show_in_exact_masks() -> None:
    z = latents(70).numpy()
    assert np.array_equal(embedded.exact_masks(z)[65:], embedded.exact_masks(z[65:]))
    assert embedded.exact_images(z).shape == (70, 64, 64, 3)


def test_the_hand_set_mapping_is_affine_in_the_used_entries_between_its_bends() -> None:
    torch.manual_seed(0)
    network = StyleGAN1((4, 4), face.LATENT_SIZE)
    set_mapping(network, 5)
    z = latents(6)
    z = z / z.square().mean(dim=1, keepdim=True).sqrt()
    hinges = torch.nn.functional.leaky_relu(torch.cat([0.8 + z[:, :5], 0.8 - z[:, :5]], dim=1), 0.2)
    torch.testing.assert_close(network.mapping(z)[:, :10], hinges, rtol=0, atol=1e-4)
    assert network.mapping(z)[:, 10:].abs().max() == 0


def test_training_is_seeded_and_records_what_it_reached(tmp_path: Path) -> None:
    plan = TrainingPlan(steps=2, batch_size=2, widths=(4, 4, 4))
    records = [train(plan, torch.device("cpu"), tmp_path / f"{name}.pt") for name in "ab"]
    states = [torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in "ab"]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert json.loads((tmp_path / "a.json").read_text())["test_l1"] == records[0]["test_l1"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.pt", "b.json", "b.pt"]


def test_an_interrupted_training_run_is_taken_up_where_it_stood(tmp_path: Path) -> None:
    plan, cpu = TrainingPlan(steps=3, batch_size=2, widths=(4, 4, 4)), torch.device("cpu")
    train(plan, cpu, tmp_path / "whole.pt")
    run = start(plan, cpu)
    advance(run, cpu)
    torch.save(run.state() | {"plan": asdict(plan)}, tmp_path / "halted.unfinished")
    train(plan, cpu, tmp_path / "halted.pt")
    whole, halted = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "halted"))
    assert all(torch.equal(whole[key], halted[key]) for key in whole)
    assert not (tmp_path / "halted.unfinished").exists()


def test_the_shipped_generator_draws_the_faces_whose_masks_the_demo_uses() -> None:
    from pipeline.checkpoints.read import load_generator

    assert embedded.checkpoint_path().stat().st_size <= 4_000_000
    generator = load_generator(embedded.checkpoint_path()).generator
    assert (generator.resolution, generator.latent_size) == (64, face.LATENT_SIZE)
    assert isinstance(generator, StyleGAN1)
    z = latents(32, seed=5)
    with torch.no_grad():
        difference = (generate(generator, z) - render(z)[0]).abs().mean()
    assert difference < 0.05
