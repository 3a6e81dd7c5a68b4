"""``dgan export --format parquet``: Hugging Face's ``datasets`` and pyarrow read back what the store has."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.commands import dgan, done
from support.exports import (
    IGNORE,
    KEYPOINT_NAMES,
    NUMBERS,
    SHAPE,
    classes_of,
    kept,
    keypoints,
    labels,
    make_dataset,
    picture,
    uncertainty,
)
from support.stores import tree_bytes

import fstore
from fstore import format as fmt
from pipeline.errors import UsageError
from pipeline.exports.dataset_card import SplitSize, dataset_card
from pipeline.exports.formats import parquet
from pipeline.exports.formats.protocol import ExportInfo

CLASSES = classes_of(5)
KEPT = np.flatnonzero(kept(10, "0.5")).tolist()
INFO = ExportInfo(SHAPE, CLASSES, None, None, True, "png", 95, {None: 5}, Path("out"), {"store": "d.zarr"})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("store") / "d.zarr", num_images=10, keep="0.5")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The library, without a network and with a cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        import datasets

        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        datasets.disable_progress_bars()
        yield datasets


def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of four images, and row groups of two."""
    monkeypatch.setattr(parquet, "MOST_IMAGES", 4)
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 2 * 4 * SHAPE[0] * SHAPE[1])


def check_rows(rows: Any, numbers: list[int]) -> None:
    rows = list(rows)
    assert [row["number"] for row in rows] == numbers
    for row in rows:
        number = row["number"]
        np.testing.assert_array_equal(np.array(row["image"]), picture(number))
        np.testing.assert_array_equal(np.array(row["label"]), labels(number))
        assert row["classes"] == sorted(set(labels(number).ravel().tolist()) - {IGNORE})
        assert row["uncertainty"] == uncertainty(10)[number]
        assert row["kept"] == (number in KEPT)


def test_datasets_reads_the_folder_as_it_is(
    hub: Any, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_files(monkeypatch)
    done("export", store, tmp_path / "out", "--format", "parquet", "--all")
    files = sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    assert files == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    read = hub.load_dataset(str(tmp_path / "out"))
    assert list(read) == ["train"]
    check_rows(read["train"], list(range(10)))
    features = read["train"].features
    assert isinstance(features["image"], hub.Image) and isinstance(features["label"], hub.Image)
    assert features["classes"].feature.names == [entry.name for entry in CLASSES]
    stream = hub.load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    assert stream.num_shards == 3
    check_rows(stream, list(range(10)))
    assert stream.features == features


def test_the_files_alone_have_the_same_features_as_the_card(hub: Any, store: Path, tmp_path: Path) -> None:
    done("export", store, tmp_path / "out", "--format", "parquet", "--split", "train=0.8,val=0.2")
    files = str(tmp_path / "out" / "data" / "train-*.parquet")
    alone = hub.load_dataset("parquet", data_files=files, split="train")
    card = hub.load_dataset_builder(str(tmp_path / "out")).info
    assert alone.features == card.features
    assert {name: split.num_examples for name, split in card.splits.items()} == {"train": 4, "val": 1}


def test_splits_keep_the_names_that_the_user_gave(hub: Any, store: Path, tmp_path: Path) -> None:
    done("export", store, tmp_path / "out", "--format", "parquet", "--split", "train=0.6,val=0.4")
    read = hub.load_dataset(str(tmp_path / "out"))
    assert {name: len(rows) for name, rows in read.items()} == {"train": 3, "val": 2}
    chosen = {name: list(rows["number"]) for name, rows in read.items()}
    assert sorted(chosen["train"] + chosen["val"]) == KEPT
    for name, rows in read.items():
        check_rows(rows, chosen[name])
    (tmp_path / "out" / "data" / "val-00000-of-00001.parquet").unlink()
    with pytest.raises(Exception, match="val"):  # a file that is lost is not passed over
        hub.load_dataset(str(tmp_path / "out"))


def test_pyarrow_reads_the_bytes_the_row_groups_and_the_origin(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_files(monkeypatch)
    done("export", store, tmp_path / "out", "--format", "parquet", "--all")
    file = pq.ParquetFile(tmp_path / "out" / "data" / "train-00000-of-00003.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2]
    row = file.read().to_pylist()[1]
    assert (row["image"]["path"], row["label"]["path"]) == ("000001.png", "000001.png")
    label = Image.open(io.BytesIO(row["label"]["bytes"]))
    np.testing.assert_array_equal(np.array(label), labels(1))
    assert label.mode == "P" and bytes(label.getpalette()[3:6]).hex() == CLASSES[1].color[1:]
    origin = json.loads(file.schema_arrow.metadata[b"dgan"])
    assert origin["classes"][2] == {"label": 2, "name": CLASSES[2].name, "color": CLASSES[2].color}
    assert origin["ignore"] == IGNORE
    assert origin["source"]["id"] == fstore.open(store).id


def test_keypoints_are_lists_of_points(hub: Any, keypoint_dataset: Path, tmp_path: Path) -> None:
    done("export", keypoint_dataset, tmp_path / "out", "--format", "parquet", "--all")
    rows = hub.load_dataset(str(tmp_path / "out"), split="train")
    assert rows.column_names == ["image", "keypoints", "number", "uncertainty", "kept"]
    read = np.array(rows["keypoints"][:], np.float32)
    np.testing.assert_array_equal(read, [keypoints(number) for number in range(6)])
    assert ", ".join(KEYPOINT_NAMES) in (tmp_path / "out" / "README.md").read_text()
    schema = pq.read_schema(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")
    assert json.loads(schema.metadata[b"dgan"])["keypoint_names"] == list(KEYPOINT_NAMES)


def test_a_feature_store_has_no_scores(hub: Any, features: Path, tmp_path: Path) -> None:
    done("export", features, tmp_path / "out", "--format", "parquet")
    rows = hub.load_dataset(str(tmp_path / "out"), split="train")
    assert rows.column_names == ["image", "label", "classes", "number"]
    assert list(rows["number"]) == list(NUMBERS)
    masks = np.stack([np.array(mask) for mask in rows["label"]])
    np.testing.assert_array_equal(masks, [labels(number) for number in NUMBERS])


def test_labels_of_two_bytes_jpeg_and_no_filter(hub: Any, tmp_path: Path) -> None:
    store = make_dataset(tmp_path / "d.zarr", num_images=2, num_classes=300, ignore=None, keep=None)
    done("export", store, tmp_path / "out", "--format", "parquet", "--all", "--image-encoding", "jpeg")
    row = hub.load_dataset(str(tmp_path / "out"), split="train")[1]
    assert labels(1, 300, None).max() > 255
    np.testing.assert_array_equal(np.array(row["label"]), labels(1, 300, None))
    assert row["image"].format == "JPEG" and row["kept"] is None


def test_two_exports_are_equal(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_files(monkeypatch)
    for name, threads in (("a", 1), ("b", 4)):
        done("export", store, tmp_path / name, "--format", "parquet", "--all", "--threads", threads)
    one, other = tree_bytes(tmp_path / "a"), tree_bytes(tmp_path / "b")
    assert {n: b for n, b in one.items() if n[0] != "."} == {n: b for n, b in other.items() if n[0] != "."}


@pytest.mark.parametrize("split", ["train=0.5,my-val=0.5", "train=0.5,all=0.5"])
def test_names_that_datasets_does_not_take_are_refused(store: Path, tmp_path: Path, split: str) -> None:
    result = dgan("export", store, tmp_path / "out", "--format", "parquet", "--split", split)
    assert result.exit_code == 2
    assert "is no name of a split" in result.output.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_without_pyarrow_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"needs pyarrow; run: pip install pyarrow"):
        parquet.open_exporter(INFO)


def test_a_row_group_and_a_file_are_bounded_by_bytes() -> None:
    many = replace(INFO, splits={None: 2000})
    large = parquet.ParquetExporter(replace(many, shape=(1024, 1024)))
    assert (large.part_images, large._group_images) == (32, 1)
    huge = parquet.ParquetExporter(replace(many, shape=(8192, 8192)))
    assert (huge.part_images, huge._group_images) == (1, 1)


@pytest.mark.parametrize(("num_images", "expected"), [(5, 16), (200, 25), (2000, 250), (10**6, 256)])
def test_files_are_many_enough_for_several_threads(num_images: int, expected: int) -> None:
    info = replace(INFO, shape=(256, 256), splits={"train": num_images - 1, "val": 1})
    assert parquet.ParquetExporter(info).part_images == expected


def test_classes_of_one_name_are_plain_numbers() -> None:
    twice = (CLASSES[0], replace(CLASSES[1], name="background"))
    feature = parquet.features(replace(INFO, classes=twice))["classes"]["feature"]
    assert feature == {"dtype": "int64", "_type": "Value"}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True))
def test_any_name_of_a_class_stands_in_the_card(names: list[str]) -> None:
    classes = tuple(fmt.ClassInfo(i, name, "#000000") for i, name in enumerate(names))
    info = replace(INFO, classes=classes)
    card = dataset_card(info, parquet.features(info), [SplitSize("train", 5, 100)])
    _, front, text = card.split("---\n", 2)
    found = yaml.safe_load(front)["dataset_info"]["features"][2]["sequence"]["dtype"]["class_label"]
    assert found["names"] == {str(i): name for i, name in enumerate(names)}
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(names)
