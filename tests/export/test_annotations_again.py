"""What is exported of a feature store comes back by ``--annotations`` as the same masks and classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.second_round import annotate, assert_same_annotations, extract
from support.small_datasets import exported

import fstore


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annotate(tmp_path_factory.mktemp("annotated"))


@pytest.mark.parametrize(
    ("format", "place", "more"),
    [
        ("voc", ".", ()),
        ("voc", "SegmentationClass", ()),
        ("coco", ".", ()),
        ("coco", "annotations", ()),
        ("coco", "annotations/panoptic.json", ()),
        ("released", ".", ("--ignore", 255)),  # grey masks cannot say which label it is
    ],
)
def test_a_feature_store_comes_back(
    folder: Path, tmp_path: Path, format: str, place: str, more: tuple[object, ...]
) -> None:
    original = fstore.open(folder / "features.zarr")
    out = exported(folder / "features.zarr", tmp_path / "out", format)
    again = extract(folder, out / place, tmp_path / "again.zarr", *more)
    assert_same_annotations(again, original)
