"""Format ``png``, read back by pillow and by Hugging Face's ``datasets`` as an image folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.commands import done
from support.exports import IGNORE, NUMBERS, classes_of, kept, keypoints, labels, picture, uncertainty


@pytest.fixture(scope="module", autouse=True)
def _no_network() -> None:
    from datasets import config, disable_progress_bars

    config.HF_HUB_OFFLINE = True
    disable_progress_bars()


def as_image_folder(folder: Path, cache: Path) -> dict[str, Any]:
    """Split -> what ``datasets`` loads."""
    from datasets import load_dataset

    return dict(load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(cache)))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_pillow_reads_pictures_and_labels_with_the_classes_colours(dataset: Path, tmp_path: Path) -> None:
    done("export", dataset, tmp_path / "out", "--format", "png")
    expected = [f"{number:06d}.png" for number in np.flatnonzero(kept())]
    for folder in ("images", "labels"):
        assert sorted(path.name for path in (tmp_path / "out" / folder).iterdir()) == expected
    for name in expected:
        with Image.open(tmp_path / "out/images" / name) as image:
            np.testing.assert_array_equal(np.array(image), picture(int(name[:6])))
        with Image.open(tmp_path / "out/labels" / name) as mask:
            assert mask.mode == "P"
            found = np.array(mask)
            np.testing.assert_array_equal(found, labels(int(name[:6])))
            colors = {entry.id: bytes.fromhex(entry.color[1:]) for entry in classes_of(5)}
            shown = np.array(mask.convert("RGB"))
            for label, color in (colors | {IGNORE: bytes((224, 224, 192))}).items():
                assert (shown[found == label] == list(color)).all()


def test_an_image_folder_of_hugging_face_holds_the_store(dataset: Path, tmp_path: Path) -> None:
    done("export", dataset, tmp_path / "out", "--format", "png")
    loaded = as_image_folder(tmp_path / "out", tmp_path / "cache")
    assert list(loaded) == ["train"]
    numbers = np.flatnonzero(kept())
    assert loaded["train"]["number"] == numbers.tolist()
    assert loaded["train"]["uncertainty"] == uncertainty(70)[numbers].astype(float).tolist()
    assert loaded["train"]["kept"] == [True] * 63
    for row, number in zip(loaded["train"], numbers, strict=True):
        np.testing.assert_array_equal(np.array(row["image"]), picture(number))
        np.testing.assert_array_equal(np.array(row["label"]), labels(number))


def test_splits_are_the_splits_of_hugging_face(dataset: Path, tmp_path: Path) -> None:
    words = ("--format", "png", "--split", "train=0.8,val=0.1,test=0.1")
    done("export", dataset, tmp_path / "out", *words, "--all", "--limit", 40)
    loaded = as_image_folder(tmp_path / "out", tmp_path / "cache")
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 32, "validation": 4, "test": 4}
    numbers = [number for rows in loaded.values() for number in rows["number"]]
    assert sorted(numbers) == list(range(40))
    assert [row["kept"] for rows in loaded.values() for row in rows] == kept()[numbers].tolist()
    for row in loaded["validation"]:
        np.testing.assert_array_equal(np.array(row["image"]), picture(row["number"]))
        np.testing.assert_array_equal(np.array(row["label"]), labels(row["number"]))


def test_labels_of_two_bytes_are_grey_of_16_bits(many_classes: Path, tmp_path: Path) -> None:
    done("export", many_classes, tmp_path / "out", "--format", "png")
    for row in as_image_folder(tmp_path / "out", tmp_path / "cache")["train"]:
        found = np.array(row["label"])
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, labels(row["number"], 300, 65535))


def test_keypoints_are_a_column_of_the_table(keypoint_dataset: Path, tmp_path: Path) -> None:
    done("export", keypoint_dataset, tmp_path / "out", "--format", "png")
    rows = as_image_folder(tmp_path / "out", tmp_path / "cache")["train"]
    assert "label" not in rows.column_names
    for row in rows:
        np.testing.assert_array_equal(np.array(row["keypoints"], np.float32), keypoints(row["number"]))
        np.testing.assert_array_equal(np.array(row["image"]), picture(row["number"]))


def test_a_feature_store_gives_its_annotated_images(features: Path, tmp_path: Path) -> None:
    done("export", features, tmp_path / "out", "--format", "png", "--image-encoding", "jpeg")
    assert lines(tmp_path / "out/metadata.jsonl") == [
        {
            "file_name": f"images/{number:06d}.jpg",
            "label_file_name": f"labels/{number:06d}.png",
            "number": number,
        }
        for number in NUMBERS
    ]
    for number in NUMBERS:
        with Image.open(tmp_path / f"out/images/{number:06d}.jpg") as image:
            assert image.format == "JPEG"
            assert abs(np.array(image).astype(int) - picture(number)).mean() < 3
        with Image.open(tmp_path / f"out/labels/{number:06d}.png") as mask:
            np.testing.assert_array_equal(np.array(mask), labels(number))


def test_keypoints_of_a_feature_store_say_which_are_labelled(keypoint_features: Path, tmp_path: Path) -> None:
    done("export", keypoint_features, tmp_path / "out", "--format", "png")
    for line in lines(tmp_path / "out/metadata.jsonl"):
        expected = keypoints(line["number"])
        expected[:, 2] = 1
        np.testing.assert_array_equal(np.array(line["keypoints"], np.float32), expected)
        assert not (tmp_path / "out/labels").exists()
