"""Format ``webdataset``, read back by the library and by ``tarfile``."""

from __future__ import annotations

import gc
import io
import json
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from PIL import Image
from support.commands import done
from support.exports import IGNORE, NUMBERS, classes_of, kept, keypoints, labels, picture, uncertainty

from pipeline.exports.formats.webdataset import FEWEST_IMAGES, MOST_IMAGES, SHARD_BYTES, shard_images
from pipeline.settings.classes import listed_ignore, read_classes_file

BY_PILLOW = wds.handle_extension("seg.png", lambda content: np.array(Image.open(io.BytesIO(content))))


def shards(folder: Path, split: str = "dataset") -> list[str]:
    return [str(path) for path in sorted(folder.glob(f"{split}-*.tar"))]


def samples(folder: Path, split: str = "dataset", *handlers: Callable[..., Any]) -> list[dict[str, Any]]:
    """What the library gives: what no handler takes, by its "rgb8"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files to the garbage collector
        found = wds.WebDataset(shards(folder, split), shardshuffle=False, empty_check=False)
        read = list(found.decode(*handlers, "rgb8"))
        del found
        gc.collect()
    return read


def test_the_library_reads_what_is_kept_of_a_dataset(dataset: Path, tmp_path: Path) -> None:
    done("export", dataset, tmp_path / "out", "--format", "webdataset")
    found = samples(tmp_path / "out", "dataset", BY_PILLOW)
    expected = np.flatnonzero(kept())
    assert [sample["__key__"] for sample in found] == [f"{number:06d}" for number in expected]
    for sample, number in zip(found, expected, strict=True):
        np.testing.assert_array_equal(sample["png"], picture(number))
        np.testing.assert_array_equal(sample["seg.png"], labels(number))
        score = float(uncertainty(70)[number])
        assert sample["json"] == {"number": number, "uncertainty": score, "kept": True}


def test_the_librarys_decoder_of_pictures_keeps_labels(features: Path, tmp_path: Path) -> None:
    done("export", features, tmp_path / "out", "--format", "webdataset")
    for sample, number in zip(samples(tmp_path / "out"), NUMBERS, strict=True):
        np.testing.assert_array_equal(sample["seg.png"], np.stack([labels(number)] * 3, axis=2))


def test_labels_of_two_bytes_are_read_by_pillow(many_classes: Path, tmp_path: Path) -> None:
    done("export", many_classes, tmp_path / "out", "--format", "webdataset")
    for number, sample in enumerate(samples(tmp_path / "out", "dataset", BY_PILLOW)):
        assert sample["seg.png"].dtype == np.uint16
        np.testing.assert_array_equal(sample["seg.png"], labels(number, 300, 65535))


def test_keypoints_stand_in_the_json(keypoint_dataset: Path, tmp_path: Path) -> None:
    done("export", keypoint_dataset, tmp_path / "out", "--format", "webdataset")
    for sample in samples(tmp_path / "out"):
        assert "seg.png" not in sample
        found = np.array(sample["json"]["keypoints"], np.float32)
        np.testing.assert_array_equal(found, keypoints(sample["json"]["number"]))


def test_a_feature_store_is_exported_under_the_numbers_of_its_images(features: Path, tmp_path: Path) -> None:
    done("export", features, tmp_path / "out", "--format", "webdataset", "--image-encoding", "jpeg")
    found = samples(tmp_path / "out", "dataset", BY_PILLOW)
    assert [sample["json"] for sample in found] == [{"number": number} for number in NUMBERS]
    for sample, number in zip(found, NUMBERS, strict=True):
        np.testing.assert_array_equal(sample["seg.png"], labels(number))
        assert abs(sample["jpg"].astype(int) - picture(number)).mean() < 3
    assert [entry.name for entry in read_classes_file(tmp_path / "out/classes.toml")] == [
        entry.name for entry in classes_of(5)
    ]
    assert listed_ignore(tmp_path / "out/classes.toml") == IGNORE


def test_each_split_has_shards_and_an_index_of_its_own(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done("export", dataset, out, "--format", "webdataset", "--split", "train=0.8,sizes=0.2")
    counted = {}
    for split, size in {"train": 50, "sizes": 13}.items():
        found = samples(out, split)
        assert len(found) == size
        index = json.loads((out / f"{split}-index.json").read_text())
        assert index["wids_version"] == 1
        assert [entry["url"] for entry in index["shardlist"]] == [
            Path(path).name for path in shards(out, split)
        ]
        counted |= {entry["url"]: entry["nsamples"] for entry in index["shardlist"]}
    assert json.loads((out / "sizes.json").read_text()) == counted
    for name, size in counted.items():
        with tarfile.open(out / name) as tar:
            assert len({member.split(".")[0] for member in tar.getnames()}) == size


def test_nothing_in_a_shard_tells_when_and_by_whom_it_was_written(features: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        done("export", features, tmp_path / name, "--format", "webdataset")
    first, second = (tmp_path / name / "dataset-000000.tar" for name in ("one", "other"))
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "", "", 0o644)}


@pytest.mark.parametrize(
    ("shape", "num_images", "expected"),
    [
        ((64, 64), 10, FEWEST_IMAGES),  # few images: not a shard each
        ((64, 64), 800, 100),  # eight shards
        ((64, 64), 10**6, MOST_IMAGES),
        ((1024, 1024), 10**6, SHARD_BYTES // (3 * 1024 * 1024)),
        ((20000, 20000), 10**6, 1),  # an image that is larger than a shard
    ],
)
def test_shards_are_bounded_in_bytes_and_images(
    shape: tuple[int, int], num_images: int, expected: int
) -> None:
    assert shard_images(shape, num_images) == expected
