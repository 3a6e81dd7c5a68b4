"""``--layers`` and ``--upsample`` through the three commands: what the store records, training and labelling
follow.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.commands import dgan, done
from support.tiny import LATENT_SIZE, WIDTHS, input_flags, write_inputs
from support.variants import variants

import fstore
from pipeline.checkpoints.read import load_generator
from pipeline.interpreter.files import load_interpreter
from pipeline.labelling.votes import label_pixels
from pipeline.rendering.renderer import Renderer, RenderSettings

SELECTED = 2 * sum(WIDTHS[1:-1])  # of layers 2 to -2: all but the first and last block's


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_inputs(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def extract(*more: str) -> list[str]:
    return ["extract-features", *input_flags(Path("in")), *more]


@pytest.mark.parametrize("layout", variants("pyramid", "dense"))
def test_a_part_of_the_layers_taken_by_nearest_goes_through_all_three_commands(
    folder: Path, layout: str
) -> None:
    done(*extract("--layers", "2:-2", "--upsample", "nearest", "--layout", layout, "--crop-rows", "4:28"))
    store = fstore.open("features.zarr")
    assert isinstance(store, fstore.FeatureStore)
    assert store.meta.upsample == "nearest" and store.shape == (4, 24, 32, SELECTED)
    assert [layer.name for layer in store.meta.layers] == ["b8_out", "b8_conv", "b16_out", "b16_conv"]
    assert fstore.verify_store("features.zarr").ok
    done("train", "--members", "3", "--steps", "30", "--batch-size", "16")
    assert json.loads(Path("interpreter/interpreter.json").read_text())["upsample"] == "nearest"
    done("synthesize", "--num", "3", "--checkpoint", "in/checkpoint.pt", "--precision", "float32")
    assert_labels_follow_from_brute_force_features()


def assert_labels_follow_from_brute_force_features() -> None:
    """The dataset's labels are the interpreter's of features resized by torch."""
    interpreter, dataset = load_interpreter(Path("interpreter")), fstore.open("dataset.zarr")
    assert isinstance(dataset, fstore.Dataset)
    info = interpreter.info
    generator = load_generator(Path("in/checkpoint.pt")).generator
    settings = RenderSettings.from_record(info.generator, info.grid, info.crop_rows)
    assert interpreter.average_latent is not None
    renderer = Renderer(generator, settings, interpreter.average_latent, torch.device("cpu"))
    latents = dataset.latents.compute()
    assert latents.shape == (3, LATENT_SIZE)
    rendered = renderer.render(latents, "z", range(3))
    names = [layer.name for layer in info.layers]
    chosen = [
        values
        for layer, values in zip(generator.layers, rendered.features, strict=True)
        if layer.name in names
    ]
    resized = [torch.nn.functional.interpolate(v, size=info.grid, mode="nearest") for v in chosen]
    features = torch.cat(resized, 1)[:, :, slice(*info.crop_rows)]  # [3, C, H, W]
    labels, _ = label_pixels(
        interpreter.ensemble.eval(), features.permute(0, 2, 3, 1).flatten(0, 2).contiguous()
    )
    agree = labels.view(3, 24, 32).numpy() == dataset.labels.compute()
    assert agree.mean() > 0.999


def test_a_rerun_with_other_layers_or_another_mode_is_refused(folder: Path) -> None:
    done(*extract("--layers", "2:-2"))
    assert done(*extract("--layers", "b8_out,3,4:-2")).output.count("4 images committed")  # the same layers
    other = dgan(*extract("--layers", "2:"))
    assert other.exit_code == 2 and "was begun with channels = 36" in other.stderr
    other = dgan(*extract("--layers", "2:-2", "--upsample", "nearest"))
    assert other.exit_code == 2 and "was begun with upsample = 'bilinear'" in other.stderr


def test_layers_stand_in_a_configuration_as_a_list_too(folder: Path) -> None:
    Path("dgan.toml").write_text('[features]\nlayers = ["b8_out", -1]\nupsample = "nearest"\n')
    done(*extract())
    store = fstore.open("features.zarr")
    assert [layer.name for layer in store.meta.layers] == ["b8_out", "b32_conv"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--layers", "b8_oot"], "no layer is named 'b8_oot', the nearest name is 'b8_out'"),
        (["--layers", "8"], "layer 8 is not there; in/checkpoint.pt has 8 layers"),
        (["--upsample", "bicubic"], '--upsample is \'bicubic\'; expected one of "bilinear", "nearest"'),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(folder: Path, flags: list[str], says: str) -> None:
    result = dgan(*extract(*flags))
    assert result.exit_code == 2 and says in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1
    assert not Path("features.zarr").exists()


def test_pictures_are_bilinear_whatever_the_features_are(folder: Path) -> None:
    flags = ["--resolution", "16"]
    done(*extract(*flags, "--store", "bilinear.zarr"))
    done(*extract(*flags, "--store", "nearest.zarr", "--upsample", "nearest"))
    a, b = fstore.open("bilinear.zarr"), fstore.open("nearest.zarr")
    assert np.array_equal(a.images.compute(), b.images.compute())
    assert not np.array_equal(a.features.compute(), b.features.compute())  # type: ignore[union-attr]
