"""The experiments in ``configs/``: what their comments and numbers say is so, of networks and files."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command_lines import name_of, read_by_click
from support.places import REPOSITORY

from fstore.format import build_layers
from pipeline.inputs.annotations.classes.label_map import read_label_map
from pipeline.inputs.annotations.load import load_annotations, open_annotations
from pipeline.models.generator import Generator
from pipeline.models.stylegan1 import StyleGAN1
from pipeline.models.stylegan2 import StyleGAN2, StyleGAN2Plan
from pipeline.settings.classes import default_palette
from pipeline.settings.files import load_config
from pipeline.settings.schema import Config

CONFIGS = REPOSITORY / "configs"
EXPERIMENTS = sorted(path.stem for path in CONFIGS.glob("*.toml") if path.stem != "demo")
STYLEGAN1_WIDTHS = (512, 512, 512, 512, 256, 128, 64, 32, 16)  # of the 4 px to the 1024 px block
STYLEGAN2_WIDTHS = (512, 512, 512, 512, 512, 256, 128, 64, 32)  # config-f


def stylegan1(resolution: int) -> Generator:
    num_blocks = resolution.bit_length() - 2
    with torch.device("meta"):
        return StyleGAN1(STYLEGAN1_WIDTHS[:num_blocks], 512)


def stylegan2(resolution: int) -> Generator:
    widths = STYLEGAN2_WIDTHS[: resolution.bit_length() - 2]
    plan = StyleGAN2Plan(
        z_size=512, latent_size=512, mapping_widths=(512,) * 8, const_width=512, widths=widths
    )
    with torch.device("meta"):
        return StyleGAN2(plan)


NETWORKS = {
    "face_34": lambda: stylegan1(1024),
    "car_20": lambda: stylegan1(512),
    "car_20_to_12": lambda: stylegan1(512),
    "cat_16": lambda: stylegan1(256),
    "bedroom_28": lambda: stylegan1(256),
    "bird_11": lambda: stylegan1(256),
    "editgan_car_32": lambda: stylegan2(512),
}


def experiment(name: str) -> tuple[Config, str]:
    path = CONFIGS / f"{name}.toml"
    return load_config(path), path.read_text(encoding="utf-8")


def test_every_experiment_is_tested_here() -> None:
    assert sorted(NETWORKS) == EXPERIMENTS


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_features_of_the_network_are_what_the_file_says(name: str) -> None:
    config, text = experiment(name)
    generator, features = NETWORKS[name](), config.features
    side = features.resolution
    assert side == min(generator.resolution, 512)
    first, last = features.crop_rows or (0, side)
    channels = sum(layer.channels for layer in generator.layers)
    assert features.channels == channels
    assert f"features {last - first} x {side} x {channels}" in text.splitlines()[0]
    assert config.generator.truncation_layers == generator.default_truncation_layers
    num_images, (pyramid, dense) = map_sizes(text)
    native = [(layer.name, layer.resolution, layer.channels) for layer in generator.layers]
    stored = build_layers(native, (side, side))
    values = sum(prod(layer.resolution) * layer.channels for layer in stored)
    assert pyramid == pytest.approx(2e-9 * num_images * values, rel=0.01)
    assert dense == pytest.approx(2e-9 * num_images * (last - first) * side * channels, rel=0.01)


def map_sizes(text: str) -> tuple[int, tuple[float, float]]:
    match = re.search(r"# ([0-9.]+) GB raw for ([0-9]+) images, dense ([0-9.]+) GB", text)
    assert match is not None
    return int(match[2]), (float(match[1]), float(match[3]))


@pytest.mark.parametrize(
    ("name", "num_classes"),
    [
        ("face_34", 34),
        ("car_20", 20),
        ("car_20_to_12", 20),  # of the masks; the label map has the 12
        ("cat_16", 16),
        ("bedroom_28", 29),  # its label 0 is none of the 28
        ("bird_11", 11),
        ("editgan_car_32", 32),
    ],
)
def test_classes_have_names_and_colours_of_their_own(name: str, num_classes: int) -> None:
    classes = experiment(name)[0].annotations.classes
    assert len(classes) == num_classes
    assert classes[0].name == "background"
    assert len({entry.name.casefold() for entry in classes}) == num_classes
    assert [entry.color for entry in classes] == default_palette(num_classes)


def test_cars_of_20_and_12_classes_share_all_but_the_label_map() -> None:
    twenty, twelve = experiment("car_20")[0], experiment("car_20_to_12")[0]
    assert twelve.annotations.label_map == CONFIGS / "label_maps" / "car_20_to_12.toml"
    assert (twelve.generator, twelve.latents, twelve.features) == (
        twenty.generator,
        twenty.latents,
        twenty.features,
    )
    assert twelve.annotations.classes == twenty.annotations.classes


def test_the_label_map_of_cars_takes_every_label_once() -> None:
    label_map = read_label_map(CONFIGS / "label_maps" / "car_20_to_12.toml")
    assert sorted(key for keys in label_map.sources for key in keys) == list(range(20))
    assert [entry.color for entry in label_map.classes] == default_palette(12)


def test_20_labels_become_12_as_the_released_code_has_them(tmp_path: Path) -> None:
    # label -> label of DatasetGAN's conversion for the ADE20K test set; all others but background are car, 1
    released = {0: 0, 4: 2, 14: 5, 10: 3, 19: 8, 15: 6, 5: 9, 8: 10, 17: 11, 18: 7, 11: 4}
    np.save(tmp_path / "image_mask0.npy", np.repeat(np.arange(20, dtype=np.uint8), 12 * 15).reshape(60, 60))
    config = experiment("car_20_to_12")[0].annotations
    source = open_annotations(replace(config, folder=tmp_path))
    found = load_annotations(source, [0], grid=(60, 60), config=replace(config, folder=tmp_path))
    expected = np.repeat([released.get(label, 1) for label in range(20)], 12 * 15).reshape(60, 60)
    assert found.num_classes == 12
    assert np.array_equal(found.masks[0], expected)
    assert found.names is not None and found.names[6] == "wheel"


@pytest.mark.parametrize(
    ("name", "resolution", "folder"),
    [  # deeplab_res and testing_path of the release's JSON experiments
        ("face_34", 512, "face_34_class"),
        ("car_20", 512, "car_20_class"),
        ("car_20_to_12", 512, "car_ade_12_class"),
        ("cat_16", 256, "cat_16_class"),
    ],
)
def test_what_comes_after_a_dataset_is_as_released(name: str, resolution: int, folder: str) -> None:
    config, text = experiment(name)
    assert (config.segment.resolution, config.segment.epochs, config.segment.batch_size) == (
        resolution,
        20,
        8,
    )
    assert config.segment.label_map is None  # a dataset of 12 classes would go through it a second time
    images = CONFIGS / "dataset_release" / "annotation" / "testing_data" / folder
    assert config.segment_test.images == config.segment_test.annotations == images
    assert config.segment_test.cross_validate == 5
    commands = re.findall(r"^# +dgan (.+)$", text, re.MULTILINE)
    assert [name_of(command.split()) for command in commands] == ["segment train", "segment test"]
    for command in commands:
        read_by_click(command.split())
        assert f"--config {name}.toml" in command


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("face_34", ["53.83 +- 0.48", "54.55"]),
        ("car_20", ["68.41 +- 2.28", "67.53"]),
        ("car_20_to_12", ["47.28"]),
        ("cat_16", ["31.92 +- 0.74"]),
        ("bedroom_28", []),
        ("bird_11", []),
        ("editgan_car_32", []),
    ],
)
def test_files_say_which_figures_are_published_and_no_others(name: str, figures: list[str]) -> None:
    comments = "\n".join(re.findall(r"#.*", experiment(name)[1]))
    assert re.findall(r"\d\d\.\d\d(?: \+- \d\.\d\d)?(?!\d| GB)", comments) == figures
