"""``dgan report`` of a dataset: its figures by brute force, and what it does with unfinished stores."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import exports
from support.commands import dgan, done
from support.exports import make_dataset, make_features
from support.small_datasets import make_classes, write_dataset

import fstore
import pipeline
from fstore import format as fmt
from pipeline.reports.beside import interpreter_beside
from pipeline.reports.page import MARK


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("dataset") / "dataset.zarr")


@pytest.fixture(scope="module")
def page(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    result = done("report", dataset, "--out", out, "--images", 20)
    line = result.stdout.strip()
    assert re.fullmatch(rf"{out}: page of dataset {dataset}, 20 of 70 images, [\d.]+ kB", line)
    return out


def test_the_page_has_the_scores_and_the_filter_of_all_images(page: Path, dataset: Path) -> None:
    data, store = data_of(page), fstore.open(dataset)
    assert np.array_equal(np.array(data["all"]["uncertainty"], np.float32), store.uncertainty)
    assert np.array_equal(np.array(data["all"]["kept"], bool), store.kept)
    assert (data["num_images"], data["keep"], data["score"]) == (70, "0.9", "top10")
    assert data["threshold"] == pytest.approx(store.uncertainty[store.kept].max())


def test_each_card_has_its_image_s_score_and_shares(page: Path, dataset: Path) -> None:
    data, store = data_of(page), fstore.open(dataset)
    assert len(data["items"]) == 20
    for item in data["items"]:
        labels = exports.labels(item["id"])
        shares = [float((labels == k).mean()) for k in range(exports.NUM_CLASSES)]
        assert item["areas"] == pytest.approx(shares, abs=1e-4)
        assert item["uncertainty"] == pytest.approx(float(store.uncertainty[item["id"]]))
        assert item["kept"] == bool(store.kept[item["id"]])


def test_the_class_table_counts_every_image(page: Path) -> None:
    text, every = page.read_text(), np.stack([exports.labels(i) for i in range(70)])
    kept, named = exports.kept(), (every != exports.IGNORE).sum()
    for k in range(exports.NUM_CLASSES):
        name = "background" if k == 0 else f"part {k}"
        row = re.search(rf"</svg> <bdi[^>]*>{name}</bdi>.*?</tr>", text, re.DOTALL)
        assert row is not None
        figures = re.findall(r'<td class="number">\s*([^<]*?)\s*</td>', row[0])
        shown = (every == k).any(axis=(1, 2))
        share = (every == k).sum() / named
        assert figures[:2] == [f"{100 * share:.1f}%", f"{shown.sum()}"]
        assert figures[3] == f"{(shown & kept).sum()}"


def test_the_annotated_set_that_is_named_is_compared_with(dataset: Path, tmp_path: Path) -> None:
    features, out = make_features(tmp_path / "features.zarr"), tmp_path / "report.html"
    done("report", dataset, "--out", out, "--images", 4, "--annotated", features)
    masks = np.stack([exports.labels(number) for number in exports.NUMBERS])
    share = (masks == 1).sum() / (masks != exports.IGNORE).sum()
    assert "<code>features.zarr</code>" in out.read_text() and f"{100 * share:.1f}%" in out.read_text()


def test_another_set_of_classes_is_refused(dataset: Path, tmp_path: Path) -> None:
    other = make_features(tmp_path / "points.zarr", points=True)
    result = dgan("report", dataset, "--out", tmp_path / "r.html", "--annotated", other)
    assert result.exit_code == 2 and "its classes are not those of" in result.stderr
    result = dgan("report", dataset, "--out", tmp_path / "r.html", "--annotated", dataset)
    assert result.exit_code == 2 and "is a dataset; expected for --annotated a feature store" in result.stderr
    assert not (tmp_path / "r.html").exists()


def test_an_unfinished_dataset_shows_what_is_committed_and_says_so(tmp_path: Path) -> None:
    store, out = make_dataset(tmp_path / "d.zarr", committed=1), tmp_path / "report.html"
    done("report", store, "--out", out)
    assert "not finished: 64 of 70 images are committed" in out.read_text()
    data = data_of(out)
    assert data["num_images"] == 64 and data["all"]["kept"] is None and data["keep"] is None


def test_a_dataset_without_a_filter_says_so(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    done("report", make_dataset(tmp_path / "d.zarr", keep=None), "--out", out, "--images", 8)
    assert "No filter is set" in out.read_text()


def test_keypoints_are_carried_in_place_of_labels(tmp_path: Path) -> None:
    store, out = make_dataset(tmp_path / "d.zarr", points=True), tmp_path / "report.html"
    done("report", store, "--out", out, "--images", 8)
    data = data_of(out)
    assert data["points"] and [entry["name"] for entry in data["classes"]] == list(exports.KEYPOINT_NAMES)
    for item in data["items"]:
        assert item["label"] is None
        expected = exports.keypoints(item["id"])[:, :2] / exports.SHAPE[::-1]
        assert np.allclose(item["points"], expected, atol=1e-4)


def test_images_without_a_score_are_shown_as_not_finite(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(0, 8, (6, 2, 3))
    points[4, 0, 0] = np.nan
    write_dataset(
        tmp_path / "d.zarr", make_classes(["none", "eye", "nose"]), np.zeros((6, 8, 8)), points=points
    )
    done("report", tmp_path / "d.zarr", "--out", tmp_path / "report.html")
    data = data_of(tmp_path / "report.html")
    assert data["all"]["uncertainty"][4] is None and data["items"][4]["uncertainty"] is None
    assert data["items"][4]["points"][0] is None


def test_a_store_at_a_url_has_a_page_too(tmp_path: Path) -> None:
    store, out = make_dataset(tmp_path / "d.zarr"), tmp_path / "report.html"
    done("report", f"local://{store}", "--out", out, "--images", 5)
    assert len(data_of(out)["items"]) == 5


def test_a_damaged_chunk_is_one_line_and_leaves_no_page(tmp_path: Path) -> None:
    store = make_dataset(tmp_path / "d.zarr")
    chunk = next(
        path for path in (store / "labels").rglob("*") if path.is_file() and path.name != "zarr.json"
    )
    content = bytearray(chunk.read_bytes())
    content[10] ^= 255
    chunk.write_bytes(content)
    result = dgan("report", store, "--out", tmp_path / "report.html")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and "labels" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["d.zarr"]


def test_a_file_of_other_origin_is_not_replaced(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("my own page")
    result = dgan("report", dataset, "--out", out)
    assert result.exit_code == 2 and "did not write" in result.stderr and out.read_text() == "my own page"
    done("report", dataset, "--out", out, "--images", 3, "--overwrite")
    assert MARK in out.read_text()
    done("report", dataset, "--out", out, "--images", 2)
    assert len(data_of(out)["items"]) == 2


def test_a_store_that_changes_meanwhile_leaves_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_dataset(tmp_path / "d.zarr")
    from pipeline.reports import run

    def filtered(page: object) -> str:
        done("filter", store, "--keep", "0.5")
        return ""

    monkeypatch.setattr(run, "render", filtered)
    result = dgan("report", store, "--out", tmp_path / "report.html")
    assert result.exit_code == 2 and "its filter was changed while it was read" in result.stderr
    assert not (tmp_path / "report.html").exists()


def labelled_by(folder: Path, sha256: str) -> Path:
    """A dataset in ``folder`` that says that the interpreter with this hash labelled it."""
    features = fstore.open(folder / "features.zarr")
    record = {"folder": "interpreter", "sha256": sha256}
    meta = fmt.DatasetMeta((8, 8), features.meta.classes, 4, interpreter=record)
    writer = fstore.create_dataset(folder / "dataset.zarr", meta, num_images=3)
    parts = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in fmt.dataset_arrays(meta, 3)}
    writer.write_task(0, parts)
    writer.close()
    return folder / "dataset.zarr"


def test_the_interpreter_and_the_annotated_set_beside_are_found_by_hash_and_id(
    built: Path, tmp_path: Path
) -> None:
    for name in ("features.zarr", "interpreter"):
        shutil.copytree(built / name, tmp_path / name)
    sha256 = json.loads((tmp_path / "interpreter" / "interpreter.json").read_text())["sha256"]
    store, out = labelled_by(tmp_path, sha256), tmp_path / "report.html"
    done("report", store, "--out", out)
    assert "<code>features.zarr</code>" in out.read_text()
    assert 'id="training"' in out.read_text()
    shutil.rmtree(store)
    done("report", labelled_by(tmp_path, "0" * 64), "--out", out)  # another interpreter than the one beside
    assert "No annotated set to compare with" in out.read_text()
    assert 'id="training"' not in out.read_text()


@pytest.mark.parametrize("folder", ["i" * 300, "a\0b", "", "..", "/", 7])
def test_a_name_that_no_interpreter_beside_can_have_finds_none(folder: object, tmp_path: Path) -> None:
    labels = np.zeros((1, 8, 8), np.uint8)
    record = {"folder": folder, "sha256": "0" * 64}
    store = write_dataset(tmp_path / "d.zarr", make_classes(["only"]), labels, interpreter=record)
    assert interpreter_beside(store) is None


def test_from_python_it_gives_the_path(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert pipeline.report(str(dataset), out=out, images=3) == out
    assert len(data_of(out)["items"]) == 3
    assert "images" in inspect.signature(pipeline.report).parameters
