"""Stores to export from, made once for all tests of the room: read them, and copy what you change."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.exports import make_dataset, make_features


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 images of 5 classes with an ignore label, of which 63 are kept."""
    return make_dataset(tmp_path_factory.mktemp("dataset") / "dataset.zarr")


@pytest.fixture(scope="session")
def keypoint_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images with keypoints, of which five are kept."""
    folder = tmp_path_factory.mktemp("keypoints")
    return make_dataset(folder / "keypoints.zarr", num_images=6, points=True, keep="0.8")


@pytest.fixture(scope="session")
def many_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of 300 classes, whose labels are of two bytes; all are kept."""
    folder = tmp_path_factory.mktemp("many")
    return make_dataset(folder / "many.zarr", num_images=6, num_classes=300, ignore=65535, keep="1")


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature store of four annotated images whose numbers are 3, 7, 8 and 20."""
    return make_features(tmp_path_factory.mktemp("features") / "features.zarr")


@pytest.fixture(scope="session")
def keypoint_features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, annotated with keypoints."""
    return make_features(tmp_path_factory.mktemp("features") / "features.zarr", points=True)
