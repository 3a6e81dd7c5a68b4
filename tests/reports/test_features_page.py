"""``dgan report`` of a feature store: what is found in its annotations, and what the page says of it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.annotated_stores import (
    HOLE,
    HOLED,
    NAMES,
    NUMBERS,
    SIDE,
    SLIPPED,
    drawn_mask,
    write_annotated,
)
from support.commands import dgan, done

import fstore
from fstore.errors import StoreError
from pipeline.quality.annotation_checks import Finding
from pipeline.quality.annotation_review import AnnotationReview, review_annotations
from pipeline.reports.features_page import most_found
from pipeline.stages.extract.begun import begun_images


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_annotated(tmp_path_factory.mktemp("store") / "features.zarr")


@pytest.fixture(scope="module")
def page(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    result = done("report", store, "--out", out)
    assert re.fullmatch(rf"{out}: page of feature store {store}, 4 of 4 images, [\d.]+ kB\n", result.stdout)
    assert "annotations: 2 boundary slips, 1 hole, classes in no image: never drawn" in result.stderr
    return out


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_review_finds_the_faults_and_nothing_else(store: Path) -> None:
    opened = fstore.open(store)
    assert isinstance(opened, fstore.FeatureStore)
    looked: list[int] = []
    review = review_annotations(opened, looked.append)
    assert sum(looked) == 4
    assert {NUMBERS[f.image]: f.kind for f in review.findings} == {SLIPPED: "slip", HOLED: "hole"}
    assert [f.box for f in review.findings if f.kind == "hole"] == [HOLE]
    assert review.warnings == ("in no image: never drawn",)


def test_each_card_has_its_findings_and_boxes_as_shares(page: Path) -> None:
    items = {item["id"]: item for item in data_of(page)["items"]}
    assert list(items) == list(NUMBERS)
    assert items[10]["findings"] == [] and items[13]["findings"] == []
    top, left, bottom, right = HOLE
    assert items[HOLED]["findings"] == [
        {
            "text": "hole: row 14, column 15: 4 pixels",
            "box": pytest.approx(
                [left / SIDE, top / SIDE, (right - left) / SIDE, (bottom - top) / SIDE], abs=1e-4
            ),
        }
    ]
    texts = [finding["text"] for finding in items[SLIPPED]["findings"]]
    assert len(texts) == 2 and all(text.endswith("the edge lies 4 pixels left") for text in texts)


def test_classes_are_counted_as_by_brute_force(page: Path) -> None:
    masks = np.array([drawn_mask(place) for place in range(4)])
    entries = data_of(page)["classes"]
    assert [entry["share"] for entry in entries] == [float((masks == k).mean()) for k in range(3)]
    assert [entry["images"] for entry in entries] == [4, 4, 0]
    kinds = [(kind["num"], kind["text"]) for kind in data_of(page)["kinds"]]
    assert kinds == [(2, "boundary slips"), (1, "hole")]


def test_texts_of_the_store_are_escaped(page: Path) -> None:
    text = page.read_text()
    assert "<b>hostile" not in text and text.count("</script>") == 2
    assert "&lt;b&gt;hostile" in text and "Classes in no image: never drawn." in text


@pytest.mark.parametrize("numbers", [[5], ["a", 1, 2, 3], [5, 5, 6, 7]])
def test_numbers_of_images_that_are_none_are_named(store: Path, tmp_path: Path, numbers: list[Any]) -> None:
    shutil.copytree(store, tmp_path / "s.zarr")
    root = json.loads((tmp_path / "s.zarr/zarr.json").read_text())
    root["attributes"]["fstore"]["inputs"]["image_numbers"] = numbers
    (tmp_path / "s.zarr/zarr.json").write_text(json.dumps(root))
    result = dgan("report", tmp_path / "s.zarr", "--out", tmp_path / "page.html")
    assert result.exit_code == 2
    assert "s.zarr: attribute 'fstore' is malformed (inputs.image_numbers" in result.stderr
    with pytest.raises(StoreError, match=r"malformed \(inputs\.image_numbers"):
        begun_images(str(tmp_path / "s.zarr"), overwrite=False)
    assert not begun_images(str(tmp_path / "s.zarr"), overwrite=True).numbers


def test_of_more_images_than_asked_for_those_with_findings_are_shown(store: Path, tmp_path: Path) -> None:
    done("report", store, "--out", tmp_path / "page.html", "--images", 2)
    assert [item["id"] for item in data_of(tmp_path / "page.html")["items"]] == [SLIPPED, HOLED]
    findings = [Finding(5, "hole", None), Finding(5, "hole", None), Finding(2, "hole", None)]
    assert most_found(findings, 8, 1) == [5] and most_found(findings, 8, 4) == [0, 1, 2, 5]


def test_an_unfinished_store_shows_what_is_committed(tmp_path: Path) -> None:
    path = write_annotated(tmp_path / "features.zarr", num=1)
    done("report", path, "--out", tmp_path / "page.html")
    assert "1 of 4 images are committed" in (tmp_path / "page.html").read_text()
    empty = write_annotated(tmp_path / "empty.zarr", num=0)
    result = dgan("report", empty, "--out", tmp_path / "no.html")
    assert result.exit_code == 2 and "no image is committed yet" in result.output


def test_the_line_names_kinds_and_classes_and_is_absent_where_all_is_well() -> None:
    found = [Finding(0, "hole", None)] * 3 + [Finding(1, "slip", None), Finding(2, "swapped", None)]
    review = AnnotationReview(tuple(found), NAMES, ("in fewer than 3 images: ears (1)",))
    assert review.line("f.zarr") == (
        "annotations: 1 boundary slip, 3 holes, 1 swapped mask, classes in fewer than 3 images: ears (1); "
        "see `dgan report f.zarr`"
    )
    assert AnnotationReview((), NAMES, ()).line("f.zarr") is None
