"""Exports of the released layout, as the released training script finds and reads its files."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.commands import dgan
from support.small_datasets import exported, make_classes, write_dataset
from support.stores import fill, make_meta

import fstore
from pipeline.exports.formats import released
from pipeline.inputs.annotations.load import load_annotations, open_annotations
from pipeline.settings.schema import AnnotationsConfig

SIZE = (10, 14)
NAMES = ("background", "hair", "eyes")
NUM = 12
DROPPED = (1, 5)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 3, (NUM, *SIZE)).astype(np.uint8)


@pytest.fixture(scope="module")
def store(labels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> fstore.Dataset:
    path = tmp_path_factory.mktemp("store") / "d.zarr"
    return write_dataset(path, make_classes(NAMES), labels, dropped=DROPPED)


def entries_of(folder: Path) -> list[dict[str, Any]]:
    """The images that the script finds: each once, by the pickles in the folder."""
    found: dict[str, dict[str, Any]] = {}
    for path in folder.glob("*.pickle"):
        with path.open("rb") as file:
            for entry in pickle.load(file):
                found.setdefault(entry["image_name"], entry)
    return list(found.values())


def pairs_of(entries: list[dict[str, Any]], portion: float = 0.0) -> list[tuple[str, str]]:
    """Pictures and labels as the script pairs them: each list sorted as text, or all by their score."""
    if portion:
        ranked = sorted(entries, key=lambda entry: entry["uncertrainty_score"])
        return [
            (e["image_name"], e["image_label_name"])
            for e in ranked[: len(ranked) - int(portion * len(ranked))]
        ]
    images = sorted(entry["image_name"] for entry in entries)
    return list(zip(images, sorted(entry["image_label_name"] for entry in entries), strict=True))


def test_the_training_script_finds_the_stores_images_and_labels(
    store: fstore.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(released, "LIST_IMAGES", 4)
    out = exported(Path(str(store.location)), tmp_path / "samples", "released")
    assert sorted(path.name for path in out.glob("*.pickle")) == ["2_8.pickle", "4_0.pickle", "4_4.pickle"]
    entries = entries_of(out)
    assert len(entries) == NUM - len(DROPPED)
    for image, label in pairs_of(entries):  # 10 and 11 sort before 2 in both lists
        number = int(Path(image).stem)
        assert Path(label).name == f"label_{number}.png" and Path(image).parent == out.resolve()
        with Image.open(image) as picture:
            np.testing.assert_array_equal(np.asarray(picture), store.images[number].compute())
        with Image.open(label) as mask:
            assert mask.mode == "L"
            np.testing.assert_array_equal(np.asarray(mask), store.labels[number].compute())


def test_scores_and_divergence_are_the_stores(store: fstore.Dataset, tmp_path: Path) -> None:
    out = exported(Path(str(store.location)), tmp_path / "o", "released", "--all")
    entries = entries_of(out)
    for entry in entries:
        number = int(Path(entry["image_name"]).stem)
        assert entry["uncertrainty_score"] == float(store.uncertainty[number])
        divergence = np.load(entry["js_name"])
        assert (divergence.dtype, divergence.shape) == (np.float32, SIZE)
        np.testing.assert_array_equal(divergence, store.divergence[number].compute())
    kept = {int(Path(image).stem) for image, _ in pairs_of(entries, portion=2 / NUM)}
    assert kept == set(range(NUM)) - set(DROPPED)


def test_the_pickles_name_nothing_to_import(store: fstore.Dataset, tmp_path: Path) -> None:
    out = exported(Path(str(store.location)), tmp_path / "o", "released", "--limit", "2")
    found = {code.name for code, _, _ in pickletools.genops((out / "2_0.pickle").read_bytes())}
    assert not found & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "BUILD"}


def test_each_split_is_such_a_folder(store: fstore.Dataset, tmp_path: Path) -> None:
    out = exported(Path(str(store.location)), tmp_path / "o", "released", "--split", "train=0.8,val=0.2")
    found = [entries_of(out / "train"), entries_of(out / "val")]
    assert [len(entries) for entries in found] == [8, 2]
    for folder, entries in zip(("train", "val"), found, strict=True):
        assert {Path(entry["image_name"]).parent for entry in entries} == {out.resolve() / folder}
        assert all(Path(entry["js_name"]).is_file() for entry in entries)
        assert (out / folder / "classes.toml").is_file()


def test_a_folder_that_was_moved_does_not_pass_for_whole(store: fstore.Dataset, tmp_path: Path) -> None:
    source = Path(str(store.location))
    out = exported(source, tmp_path / "o", "released", "--limit", "2")
    moved = out.rename(tmp_path / "moved")
    words = ("export", source, moved, "--format", "released", "--limit", "2")
    result = dgan(*words)
    assert result.exit_code == 2
    assert "was made in another folder, whose path its files hold; " in result.stderr
    assert dgan(*words, "--overwrite").exit_code == 0
    assert all(Path(path).is_file() for pair in pairs_of(entries_of(moved)) for path in pair)


def test_it_comes_back_as_annotations(store: fstore.Dataset, labels: np.ndarray, tmp_path: Path) -> None:
    out = exported(Path(str(store.location)), tmp_path / "o", "released", "--all")
    config = AnnotationsConfig(folder=out, min_pixels=0)
    source = open_annotations(config)
    loaded = load_annotations(source, source.numbers, grid=SIZE, config=config)
    assert source.numbers == tuple(range(NUM)) and loaded.names == NAMES
    assert loaded.palette == tuple(entry.color for entry in store.meta.classes)
    np.testing.assert_array_equal(loaded.masks, labels)


def test_the_ignored_label_comes_back_as_that_of_the_files(tmp_path: Path) -> None:
    """It is 77 in the store, and 255 in the files."""
    labels = np.full((1, *SIZE), 1, np.uint8)
    labels[0, :3] = 77
    write_dataset(tmp_path / "d.zarr", make_classes(NAMES), labels, ignore=77)
    config = AnnotationsConfig(folder=exported(tmp_path / "d.zarr", tmp_path / "o", "released"), min_pixels=0)
    source = open_annotations(config)
    loaded = load_annotations(source, source.numbers, grid=SIZE, config=config)
    assert loaded.ignore == 255
    np.testing.assert_array_equal(loaded.masks, np.where(labels == 77, 255, labels))


def test_annotated_images_are_certain_and_have_no_divergence(tmp_path: Path) -> None:
    fill(tmp_path / "f.zarr", make_meta("pyramid"))
    out = exported(tmp_path / "f.zarr", tmp_path / "o", "released")
    entries = entries_of(out)
    assert [entry["uncertrainty_score"] for entry in entries] == [0.0] * 3
    assert not list(out.glob("*.npy")) and all("js_name" not in entry for entry in entries)


@pytest.mark.parametrize(
    ("num_classes", "points", "more", "says"),
    [
        (257, None, (), "holds 256 labels"),
        (2, np.ones((1, 1, 3)), (), "the store has keypoints"),
        (2, None, ("--image-encoding", "jpeg"), "holds PNG images"),
    ],
)
def test_what_the_layout_cannot_hold_is_refused_in_one_line(
    tmp_path: Path, num_classes: int, points: np.ndarray | None, more: tuple[str, ...], says: str
) -> None:
    dtype = np.uint8 if num_classes < 257 else np.uint16
    classes = make_classes(["background", *(f"c{i}" for i in range(1, num_classes))])
    write_dataset(tmp_path / "d.zarr", classes, np.zeros((1, *SIZE), dtype), points=points)
    result = dgan("export", tmp_path / "d.zarr", tmp_path / "o", "--format", "released", *more)
    assert result.exit_code == 2 and says in result.stderr.splitlines()[-1]
    assert not (tmp_path / "o").exists()
