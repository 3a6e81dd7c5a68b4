"""The figures of a feature store against a plain computation over all of its pixels at once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.commands import done
from support.training import write_store

import fstore
import pipeline
from fstore import format as fmt
from pipeline.interpreter.files import load_interpreter, save_interpreter

LAYOUTS = ["dense", "pyramid"]
Array = NDArray[Any]


@pytest.fixture(scope="module")
def found(judged: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By layout: the figures of the command."""
    out = tmp_path_factory.mktemp("found")
    for layout in LAYOUTS:
        store = judged / f"{layout}.zarr"
        done("evaluate", judged / "interpreter", "--store", store, "--out", out / f"{layout}.json")
    return {layout: json.loads((out / f"{layout}.json").read_text()) for layout in LAYOUTS}


def all_pixels(judged: Path, layout: str) -> tuple[Array, Array, Array]:
    """Masks, labels by majority (n, H, W) and mean probabilities (n, H, W, K), of all features in memory."""
    store = fstore.open(judged / f"{layout}.zarr")
    ensemble = load_interpreter(judged / "interpreter").ensemble
    features = torch.from_numpy(store.features.compute(scheduler="sync"))
    with torch.inference_mode():
        logits = ensemble.forward_shared(features.flatten(0, 2).float()).numpy()  # [E, P, K]
    votes = np.stack([(logits.argmax(2) == k).sum(0) for k in range(3)], axis=1)
    exact = np.exp(logits.astype(np.float64))
    mean = (exact / exact.sum(2, keepdims=True)).mean(0)
    masks = np.asarray(store.masks.compute(scheduler="sync"))
    return masks, votes.argmax(1).reshape(masks.shape), mean.reshape(*masks.shape, 3)


def rim_of_one(labels: Array, known: Array) -> Array:
    """The known pixels with another known class, or the outside, among their eight neighbours."""
    padded = np.pad(np.where(known, labels, 99), 1, constant_values=-1)
    height, width = labels.shape
    around = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return known & np.any([(side != labels) & (side != 99) for side in around], axis=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_figure_is_that_of_all_pixels_at_once(judged: Path, found: dict[str, Any], layout: str) -> None:
    truth, labels, _ = all_pixels(judged, layout)
    figures, known = found[layout], truth != 255
    rims = [np.stack(list(map(rim_of_one, side, known))) for side in (truth, labels)]
    ious, boundary = [], []
    for k in range(3):
        in_truth, in_labels = known & (truth == k), known & (labels == k)
        ious.append((in_truth & in_labels).sum() / (in_truth | in_labels).sum())
        sides = in_truth & rims[0], in_labels & rims[1]
        boundary.append((sides[0] & sides[1]).sum() / (sides[0] | sides[1]).sum())
    assert figures["definitions"]["boundary_iou"]["distance_pixels"] == 1
    assert [entry["iou"] for entry in figures["classes"]] == pytest.approx(ious)
    assert [entry["boundary_iou"] for entry in figures["classes"]] == pytest.approx(boundary)
    assert [entry["pixels"] for entry in figures["classes"]] == [int((truth == k).sum()) for k in range(3)]
    assert figures["miou"] == pytest.approx(np.mean(ious))
    assert figures["boundary_miou"] == pytest.approx(np.mean(boundary))
    assert figures["pixel_accuracy"] == (labels == truth)[known].mean()
    assert figures["pixels"] == known.sum() and figures["ignored_pixels"] == (~known).sum() > 0
    cells = [[int((known & (truth == i) & (labels == j)).sum()) for j in range(3)] for i in range(3)]
    assert figures["confusion"] == cells
    assert 0 < figures["miou"] < 1  # else the test says nothing


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_calibration_error_is_that_of_all_pixels_at_once(
    judged: Path, found: dict[str, Any], layout: str
) -> None:
    truth, _, mean = all_pixels(judged, layout)
    known = truth != 255
    confidence, right = mean.max(3)[known], (mean.argmax(3) == truth)[known]
    error, bins = 0.0, found[layout]["reliability"]
    for m, entry in enumerate(bins):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        assert entry["pixels"] == inside.sum()
        if not inside.any():
            assert entry["accuracy"] is None and entry["confidence"] is None
            continue
        assert entry["accuracy"] == pytest.approx(right[inside].mean())
        assert entry["confidence"] == pytest.approx(confidence[inside].mean())
        error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert found[layout]["expected_calibration_error"] == pytest.approx(error, abs=1e-6)
    assert len(bins) == found[layout]["definitions"]["expected_calibration_error"]["bins"] == 15


def test_what_is_compared_is_recorded(judged: Path, found: dict[str, Any]) -> None:
    figures, store = found["dense"], fstore.open(judged / "dense.zarr")
    assert (figures["version"], figures["kind"], figures["task"]) == (1, "evaluation", "segmentation")
    assert figures["store"] == {
        "location": str(judged / "dense.zarr"),
        "kind": "features",
        "id": store.id,
        "revision": 0,
    }
    assert figures["interpreter"]["sha256"] == load_interpreter(judged / "interpreter").sha256
    assert figures["created"]["program"].startswith("dgan ")
    assert figures["annotations"] is None and figures["filter"] is None
    assert figures["images"] == 4 and figures["image_size"] == [32, 40]
    assert figures["trained_on_these_images"] is False


def test_the_function_gives_the_figures_of_the_file(
    judged: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    lines: list[str] = []
    out = tmp_path / "deep" / "figures.json"
    figures = pipeline.evaluate(
        judged / "interpreter", store=judged / "dense.zarr", out=out, say=lines.append
    )
    written = json.loads(out.read_text())
    assert figures == written
    assert {**written, "created": None} == {**found["dense"], "created": None}
    assert sorted(path.name for path in out.parent.iterdir()) == ["figures.json", "figures.svg"]
    assert lines[-1] == f"{out}: the figures; {out.with_suffix('.svg')}: the picture"


def test_the_table_has_a_row_a_class_and_the_means(judged: Path, tmp_path: Path) -> None:
    out = tmp_path / "evaluation.json"
    result = done("evaluate", judged / "interpreter", "--store", judged / "dense.zarr", "--out", out)
    figures, lines = json.loads(out.read_text()), result.stdout.splitlines()
    assert lines[0].endswith("dense.zarr: 4 images of 32 x 40")
    rows = {line.split()[0]: line.split()[1:] for line in lines[3:7]}
    for entry in figures["classes"]:
        expected = [f"{entry['iou']:.4f}", f"{entry['boundary_iou']:.4f}", f"{entry['pixels']:,}"]
        assert rows[entry["name"]] == expected
    assert rows["mean"][:2] == [f"{figures['miou']:.4f}", f"{figures['boundary_miou']:.4f}"]
    assert len({len(line) for line in lines[2:7]}) == 1
    assert result.stderr == ""


def test_images_that_were_trained_on_are_pointed_out_in_one_line(judged: Path, tmp_path: Path) -> None:
    out = tmp_path / "evaluation.json"
    result = done("evaluate", judged / "interpreter", "--store", judged / "trained.zarr", "--out", out)
    (line,) = result.stderr.splitlines()
    assert "was trained on these images" in line
    assert json.loads(out.read_text())["trained_on_these_images"] is True


def test_the_committed_images_of_a_store_that_is_not_whole_count(judged: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "part.zarr", "pyramid", 5, num_written=2)
    result = done("evaluate", judged / "interpreter", "--store", store, "--out", tmp_path / "e.json")
    assert result.stderr.splitlines() == [f"{store}: 2 of 5 images are extracted; these count"]
    assert json.loads((tmp_path / "e.json").read_text())["images"] == 2


def test_a_class_that_occurs_nowhere_is_null_and_a_dash(judged: Path, tmp_path: Path) -> None:
    """Masks of sky alone, and an interpreter that says sky alone."""
    store = copy_with_masks(judged / "dense.zarr", tmp_path / "sky.zarr", np.zeros((32, 40), np.uint8))
    interpreter = only_first_class(judged / "interpreter", tmp_path / "sky")
    result = done("evaluate", interpreter, "--store", store, "--out", tmp_path / "e.json")
    figures = json.loads((tmp_path / "e.json").read_text())
    assert [entry["iou"] for entry in figures["classes"]] == [1, None, None]
    assert [entry["boundary_iou"] for entry in figures["classes"]] == [1, None, None]
    assert figures["miou"] == figures["boundary_miou"] == figures["pixel_accuracy"] == 1
    assert [line.split() for line in result.stdout.splitlines()[4:6]] == [
        ["earth", "-", "-", "0"],
        ["sun", "-", "-", "0"],
    ]


def copy_with_masks(source: Path, target: Path, mask: Array) -> Path:
    """A store of one image: the first one's features, another mask."""
    store = fstore.open(source)
    meta = fmt.FeatureMeta.from_attribute(store.meta.to_attribute(), str(source))
    writer = fstore.create(target, meta, num_images=1, latent_shape=(4,))
    features = torch.from_numpy(store.features[0].compute(scheduler="sync")).permute(2, 0, 1).float()
    maps = [
        torch.nn.functional.interpolate(features[None, la.offset : la.offset + la.channels], la.resolution)[0]
        for la in meta.layers
    ]
    writer.write_image(0, maps, np.zeros((*mask.shape, 3), np.uint8), mask, np.zeros(4, np.float32))
    return target


def only_first_class(source: Path, target: Path) -> Path:
    """A copy of an interpreter whose members give the first class everywhere."""
    found = load_interpreter(source)
    with torch.no_grad():
        found.ensemble.bias3[:, 0] += 1e4
    save_interpreter(target, found.ensemble, found.info, found.average_latent)
    return target


def test_probabilities_are_finite_or_left_out(judged: Path, tmp_path: Path) -> None:
    """Outputs beyond float32: the pixels count for IoU, and not in the calibration error."""
    found = load_interpreter(judged / "interpreter")
    with torch.no_grad():
        found.ensemble.weight3.fill_(3e38)
        found.ensemble.bias2.fill_(3e38)
    save_interpreter(tmp_path / "wild", found.ensemble, found.info, found.average_latent)
    out = tmp_path / "e.json"
    done("evaluate", tmp_path / "wild", "--store", judged / "dense.zarr", "--out", out)
    figures = json.loads(out.read_text())
    assert figures["pixels_without_probability"] == figures["pixels"]
    assert figures["expected_calibration_error"] is None
    assert not math.isnan(figures["miou"])
