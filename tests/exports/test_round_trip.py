"""What ``dgan export`` writes is accepted by ``--annotations`` again, with its masks, classes and numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.annotations import load_masks
from support.commands import done
from support.exports import IGNORE, NUMBERS, SHAPE, classes_of, kept, labels, make_dataset
from support.tiny import input_flags

import fstore
from pipeline.inputs.annotations.load import open_annotations
from pipeline.settings.schema import AnnotationsConfig

FORMATS = ("parquet", "ome-zarr")


@pytest.fixture(scope="module")
def some(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of inputs of which images 1 and 3 are annotated, and their ``features.zarr``."""
    folder = tmp_path_factory.mktemp("some")
    shutil.copytree(built / "in", folder / "in")
    for image in (0, 2):
        (folder / "in" / "masks" / f"image_mask{image}.npy").unlink()
    extract(folder, folder / "in" / "masks", folder / "features.zarr")
    return folder


def extract(folder: Path, annotations: Path, store: Path) -> None:
    words = [*input_flags(folder / "in"), "--annotations", annotations, "--annotated-only"]
    done("extract-features", *words, "--min-pixels", "0", "--store", store, "--layout", "pyramid")


@pytest.mark.parametrize("format", FORMATS)
def test_an_exported_feature_store_is_extracted_again(some: Path, tmp_path: Path, format: str) -> None:
    done("export", some / "features.zarr", tmp_path / "out", "--format", format)
    extract(some, tmp_path / "out", tmp_path / "again.zarr")
    first, again = fstore.open(some / "features.zarr"), fstore.open(tmp_path / "again.zarr")
    np.testing.assert_array_equal(again.masks.compute(), first.masks.compute())
    assert again.meta.classes == first.meta.classes
    assert again.meta.inputs["image_numbers"] == first.meta.inputs["image_numbers"] == [1, 3]


@pytest.mark.parametrize("format", FORMATS)
def test_the_ignore_label_and_the_colours_come_back(features: Path, tmp_path: Path, format: str) -> None:
    done("export", features, tmp_path / "out", "--format", format)
    read = load_masks(tmp_path / "out", grid=SHAPE)
    np.testing.assert_array_equal(read.masks, [labels(number) for number in NUMBERS])
    assert read.ignore == IGNORE
    assert read.names == tuple(entry.name for entry in classes_of(5))
    assert read.palette == tuple(entry.color for entry in classes_of(5))


@pytest.mark.parametrize("format", FORMATS)
def test_images_keep_their_numbers_where_some_were_dropped(tmp_path: Path, format: str) -> None:
    store = make_dataset(tmp_path / "d.zarr", num_images=10, keep="0.5")
    done("export", store, tmp_path / "out", "--format", format)
    source = open_annotations(AnnotationsConfig(folder=tmp_path / "out"))
    assert list(source.numbers) == np.flatnonzero(kept(10, "0.5")).tolist()
    for number in source.numbers:
        np.testing.assert_array_equal(source.read(number).labels, labels(number))
