"""What is exported of a feature store comes back by ``--annotations`` as the same masks and classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.annotated_again import annotate, assert_same_annotations, extract
from support.small_datasets import exported
from support.tiny import RESOLUTION
from support.variants import variants

import fstore


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annotate(tmp_path_factory.mktemp("annotated"))


@pytest.mark.parametrize(
    ("format", "place", "more"),
    variants(
        pytest.param("voc", ".", ()),
        pytest.param("coco", ".", ()),
        pytest.param("released", ".", ("--ignore", 255)),  # grey masks cannot say which label it is
        pytest.param("voc", "SegmentationClass", ()),
        pytest.param("coco", "annotations", ()),
        pytest.param("coco", "annotations/panoptic.json", ()),
        fast=3,
    ),
)
def test_a_feature_store_comes_back(
    folder: Path, tmp_path: Path, format: str, place: str, more: tuple[object, ...]
) -> None:
    original = fstore.open(folder / "features.zarr")
    out = exported(folder / "features.zarr", tmp_path / "out", format)
    again = extract(folder, out / place, tmp_path / "again.zarr", *more)
    assert_same_annotations(again, original)


def test_keypoints_come_back(folder: Path, tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(1, RESOLUTION - 1, (4, 3, 3)).astype(np.float32)
    points[..., 2] = 1
    points[2, 1] = 0  # not labelled
    np.savez(tmp_path / "keypoints.npz", keypoints=points, image_size=[RESOLUTION] * 2, names=["a", "b", "c"])
    flags = ("--task", "keypoints")
    original = extract(folder, tmp_path / "keypoints.npz", tmp_path / "first.zarr", *flags)
    out = exported(tmp_path / "first.zarr", tmp_path / "out", "coco")
    again = extract(folder, out, tmp_path / "again.zarr", *flags)
    np.testing.assert_array_equal(again.keypoints.compute(), points)
    np.testing.assert_array_equal(original.keypoints.compute(), points)
    assert again.meta.keypoints == original.meta.keypoints
    assert again.meta.classes == original.meta.classes
