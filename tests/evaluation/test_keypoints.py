"""PCK and distances of keypoints: of a feature store by its heat maps, of a dataset by what it holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.commands import dgan, done
from support.interpreters import SEEDS, TRAINED
from support.small_datasets import make_classes, write_dataset

import fstore
from fstore import format as fmt
from pipeline.interpreter.files import load_interpreter, save_interpreter
from pipeline.labelling.heat_maps import peaks
from pipeline.models.interpreter import InterpreterEnsemble

KEYPOINTS = fmt.KeypointInfo(("eye", "nose"), 1.0)
NUM, SIDE = 3, 16  # images of 12 x 16: rows 2 to 13 of the grid
CLASSES = make_classes(("background", "eye", "nose"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``interpreter`` of two keypoints, and the stores ``dense.zarr`` and ``pyramid.zarr``."""
    folder = tmp_path_factory.mktemp("points")
    ensemble = InterpreterEnsemble(2, 6, seeds=SEEDS, widths=(5, 4)).eval()
    with torch.no_grad():
        for weight in (ensemble.weight1, ensemble.weight2, ensemble.weight3):
            weight *= 20
    save_interpreter(
        folder / "interpreter", ensemble, replace(TRAINED, keypoints=KEYPOINTS, ignore=None), None
    )
    write_store(folder / "first.zarr", "dense", truth())
    points = near(brute_peaks(folder, fstore.open(folder / "first.zarr")))
    for layout in ("dense", "pyramid"):
        write_store(folder / f"{layout}.zarr", layout, points)
    return folder


def near(found: np.ndarray) -> np.ndarray:
    """True points 0.5, 1, 1.5 and so on pixels from the found ones, towards the middle; one has no label."""
    middle = np.array([8.0, 6.0])
    gaps = 0.5 * np.arange(1, 2 * NUM + 1).reshape(NUM, 2, 1)
    points = np.ones((NUM, 2, 3), np.float32)
    away = middle - found[..., :2]
    points[..., :2] = found[..., :2] + gaps * away / np.linalg.norm(away, axis=-1, keepdims=True)
    points[-1, 1] = 0
    return points


def brute_peaks(folder: Path, store: fstore.FeatureStore) -> np.ndarray:
    """(n, K, 3): the peaks of the members' mean heat, from all features in memory."""
    ensemble = load_interpreter(folder / "interpreter").ensemble
    features = torch.from_numpy(store.features.compute(scheduler="sync"))
    with torch.inference_mode():
        heats = ensemble.forward_shared(features.flatten(0, 2).float()).clamp(0, 1).mean(0)
    return peaks(heats.reshape(NUM, 12, 16, 2).half()).numpy()


def write_store(path: Path, layout: str, points: np.ndarray) -> None:
    meta = fmt.FeatureMeta(
        layout, TRAINED.grid, TRAINED.crop_rows, TRAINED.layers, CLASSES,
        generator=TRAINED.generator, keypoints=KEYPOINTS,
    )  # fmt: skip
    writer = fstore.create(path, meta, num_images=NUM, latent_shape=(4,))
    generator = torch.Generator().manual_seed(0)
    for image in range(NUM):
        maps = [torch.randn(la.channels, *la.resolution, generator=generator) for la in meta.layers]
        picture, mask = np.zeros((12, 16, 3), np.uint8), np.zeros((12, 16), np.uint8)
        writer.write_image(image, maps, picture, mask, np.zeros(4, np.float32), points[image])


def truth() -> np.ndarray:
    """(n, K, 3); the last image's nose has no label."""
    points = np.ones((NUM, 2, 3), np.float32)
    points[..., :2] = np.random.default_rng(0).uniform(1, 11, (NUM, 2, 2))
    points[-1, 1] = 0
    return points


def figures_of(folder: Path, tmp_path: Path, store: Path, *more: object) -> dict[str, Any]:
    out = tmp_path / "evaluation.json"
    done("evaluate", folder / "interpreter", "--store", store, "--out", out, *more)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def check_figures(figures: dict[str, Any], found: np.ndarray, points: np.ndarray) -> None:
    """PCK and mean distance by their definitions, the larger side being 16 pixels."""
    gap = np.hypot(*(found[..., :2] - points[..., :2]).transpose(2, 0, 1))
    labelled = points[..., 2] > 0
    for percent in (5, 10, 15):
        near = gap <= percent / 100 * SIDE
        assert figures["pck"][str(percent)] == near[labelled].mean()
        for k, entry in enumerate(figures["keypoints"]):
            assert entry["pck"][str(percent)] == near[:, k][labelled[:, k]].mean()
    assert figures["mean_distance_pixels"] == pytest.approx(gap[labelled].mean(), rel=1e-3)
    assert figures["labelled"] == labelled.sum()
    assert [entry["name"] for entry in figures["keypoints"]] == ["eye", "nose"]


@pytest.mark.parametrize("layout", ["dense", "pyramid"])
def test_keypoints_of_a_feature_store_are_those_of_all_its_pixels(
    folder: Path, tmp_path: Path, layout: str
) -> None:
    store = fstore.open(folder / f"{layout}.zarr")
    figures = figures_of(folder, tmp_path, folder / f"{layout}.zarr")
    assert figures["task"] == "keypoints" and "confusion" not in figures
    points = store.keypoints.compute(scheduler="sync")
    check_figures(figures, brute_peaks(folder, store), points)
    assert 0 < figures["pck"]["5"] < figures["pck"]["10"] < figures["pck"]["15"]


def test_keypoints_of_a_dataset_are_compared_with_a_file(folder: Path, tmp_path: Path) -> None:
    found = truth() + np.array([0.5, 1.0, 0])
    sha256 = load_interpreter(folder / "interpreter").sha256
    store, shape = tmp_path / "dataset.zarr", np.zeros((NUM, 12, 16))
    write_dataset(store, CLASSES, shape, points=found, dropped=[0], interpreter={"sha256": sha256})
    np.savez(tmp_path / "truth.npz", keypoints=truth(), names=["eye", "tail"], image_size=[12, 16])
    words = ["evaluate", folder / "interpreter", "--store", store, "--annotations", tmp_path / "truth.npz"]
    assert "annotates the keypoints eye, tail" in dgan(*words, "--out", tmp_path / "e.json").stderr
    np.savez(tmp_path / "truth.npz", keypoints=truth(), names=["eye", "nose"], image_size=[12, 16])
    result = done(*words, "--out", tmp_path / "e.json")
    figures = json.loads((tmp_path / "e.json").read_text())
    check_figures(figures, found, truth())
    assert figures["mean_distance_pixels"] == pytest.approx(np.hypot(0.5, 1))
    assert figures["filter"]["kept"] == {"images": 2, "pck": {"5": 0, "10": 1, "15": 1}}
    np.save(tmp_path / "truth.npy", truth())  # it says no size: pixels of the dataset's images, cropped ones
    done(*words[:-1], tmp_path / "truth.npy", "--out", tmp_path / "array.json")
    assert json.loads((tmp_path / "array.json").read_text())["pck"] == figures["pck"]
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines()[3:6]}
    assert rows["nose"] == ["nose", "0.0000", "1.0000", "1.0000", "1.12", "2"]
    assert "PCK@10" in (tmp_path / "e.svg").read_text()
    refused = dgan(*words, "--label-map", tmp_path / "map.toml", "--out", tmp_path / "e.json")
    assert refused.exit_code == 2 and "has keypoints; leave it out" in refused.stderr
