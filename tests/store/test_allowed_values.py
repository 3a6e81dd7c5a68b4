"""Values that the format excludes: refused before they are stored, in the words in which `verify` finds
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.small_datasets import make_classes
from support.stores import make_image, make_maps, make_meta

import fstore
from fstore import format as fmt
from fstore.allowed_values import wrong_label
from fstore.errors import StoreError

CLASSES = make_classes(("sky", "road", "bird"))
LABELS = fmt.DatasetMeta((6, 5), CLASSES, 4, member_votes=True)
IGNORING = fmt.DatasetMeta((6, 5), CLASSES, 4, ignore=255)
POINTS = fmt.DatasetMeta((6, 5), CLASSES, 4, keypoints=fmt.KeypointInfo(("a", "b"), 1.5))
NUM = 3


def parts_of(meta: fmt.DatasetMeta) -> dict[str, np.ndarray]:
    return {spec.name: np.zeros(spec.shape, spec.dtype) for spec in fmt.dataset_arrays(meta, NUM)}


def with_value(parts: dict[str, np.ndarray], name: str, dtype: str, value: Any) -> None:
    parts[name] = parts[name].astype(dtype)
    parts[name][1].flat[3] = value


@pytest.mark.parametrize(
    ("meta", "name", "dtype", "value", "says"),
    [
        (LABELS, "labels", "int64", 258, "has label 258, expected 0 to 2"),
        (LABELS, "labels", "uint8", 3, "has label 3, expected 0 to 2"),
        (LABELS, "labels", "int8", -1, "has label -1, expected 0 to 2"),
        (IGNORING, "labels", "int64", 511, r"has label 511, expected 0 to 2 or 255 \(ignored\)"),
        (LABELS, "labels", "float32", 1.5, "has dtype float32 such as 0.0, expected uint8"),
        (LABELS, "images", "float32", 0.9, "has dtype float32 such as 0.0, expected uint8"),
        (LABELS, "images", "int64", 256, "has value 256, expected 0 to 255"),
        (LABELS, "images", "int16", -1, "has value -1, expected 0 to 255"),
        (LABELS, "member_votes", "int64", -7, "has value -7, expected 0 to 4294967295"),
        (LABELS, "latents", "float32", np.nan, r"has a value that is not finite \(nan\)"),
        (LABELS, "latents", "float64", 1e39, r"has a value that is not finite \(inf\)"),
        (LABELS, "latents", "complex64", 1, r"has dtype complex64, expected numbers"),
        (POINTS, "heatmaps", "object", 1, r"has dtype object, expected numbers"),
    ],
)
def test_a_task_with_a_value_that_the_format_excludes_is_refused(
    tmp_path: Path, meta: fmt.DatasetMeta, name: str, dtype: str, value: Any, says: str
) -> None:
    parts = parts_of(meta)
    with_value(parts, name, dtype, value)
    writer = fstore.create_dataset(tmp_path / "d.zarr", meta, num_images=NUM)
    with pytest.raises(StoreError, match=rf"^array '{name}', image \d: {says}$"):
        writer.write_task(0, parts)
    writer.write_task(0, parts_of(meta))  # nothing of it is in the way
    writer.close()
    assert fstore.verify_store(tmp_path / "d.zarr").ok


@pytest.mark.parametrize("name", ["labels", "images"])
def test_integers_of_another_dtype_are_stored_where_they_fit(tmp_path: Path, name: str) -> None:
    parts = parts_of(IGNORING)
    with_value(parts, name, "int64", 255)
    writer = fstore.create_dataset(tmp_path / "d.zarr", IGNORING, num_images=NUM)
    writer.write_task(0, parts)
    writer.close()
    np.testing.assert_array_equal(fstore.open(tmp_path / "d.zarr").lazy(name).compute(), parts[name])
    assert fstore.verify_store(tmp_path / "d.zarr").ok


FEATURES = make_meta("pyramid", num_classes=3)
FEATURES = fmt.FeatureMeta(**{**vars(FEATURES), "keypoints": fmt.KeypointInfo(("a", "b"), 1.5)})


def image_parts() -> dict[str, np.ndarray]:
    picture, mask = make_image(FEATURES, 0)
    points = np.array([[1, 2, 1], [0, 0, 0]], np.float32)
    return {"picture": picture, "mask": mask, "latent": np.zeros(8, np.float32), "keypoints": points}


@pytest.mark.parametrize(
    ("part", "dtype", "value", "says"),
    [
        ("picture", "float64", 0.9, r"array 'images', image 0: has dtype float64 such as .*, expected uint8"),
        ("picture", "int64", 300, "array 'images', image 0: has value 300, expected 0 to 255"),
        ("mask", "int64", 258, r"image 0: mask has label 258, expected 0 to 2 or 255 \(ignored\)"),
        ("latent", "float32", np.inf, r"array 'latents', image 0: has a value that is not finite \(inf\)"),
        ("latent", "float64", 1e39, r"array 'latents', image 0: has a value that is not finite \(inf\)"),
        ("keypoints", "float32", np.nan, r"array 'keypoints', image 0: has a value that is not finite"),
        ("keypoints", "float32", 0.5, "array 'keypoints', image 0: has 1.0 as third value, expected 0 or 1"),
    ],
)
def test_an_image_with_a_value_that_the_format_excludes_is_refused(
    tmp_path: Path, part: str, dtype: str, value: Any, says: str
) -> None:
    parts = image_parts()
    parts[part] = parts[part].astype(dtype)
    parts[part].flat[5] = value
    writer = fstore.create(tmp_path / "f.zarr", FEATURES, num_images=1, latent_shape=(8,))
    with pytest.raises(StoreError, match=f"^{says}"):
        writer.write_image(0, make_maps(0), **parts)
    writer.write_image(0, make_maps(0), **image_parts())
    writer.close()
    assert fstore.verify_store(tmp_path / "f.zarr").ok


def test_an_average_latent_that_is_not_finite_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    average = np.array([0, np.nan], np.float32)
    with pytest.raises(StoreError, match=r"^array 'average_latent': has a value that is not finite \(nan\)$"):
        fstore.create(tmp_path / "f.zarr", FEATURES, num_images=1, latent_shape=(8,), average_latent=average)
    assert not list(tmp_path.iterdir())


def test_verify_finds_the_same_in_the_same_words(tmp_path: Path) -> None:
    writer = fstore.create_dataset(tmp_path / "d.zarr", IGNORING, num_images=NUM)
    writer.write_task(0, parts_of(IGNORING))
    writer.close()
    group = zarr.open_group(tmp_path / "d.zarr")
    group["labels"][1, 2, 3], group["latents"][2, 1] = 9, np.nan
    assert [line.split(": ", 1)[1] for line in fstore.verify_store(tmp_path / "d.zarr").problems] == [
        "array 'labels', image 1: has label 9, expected 0 to 2 or 255 (ignored)",
        "array 'latents', image 2: has a value that is not finite (nan)",
    ]


@given(
    arrays(np.int16, (3, 4), elements=st.sampled_from([-1, 0, 2, 3, 255, 256, 258])),
    st.sampled_from([None, 1, 3, 255]),
)
def test_a_label_is_allowed_where_it_is_a_class_or_ignored(labels: np.ndarray, ignore: int | None) -> None:
    meta = fmt.DatasetMeta((3, 4), CLASSES, 4, ignore=ignore)
    wrong = [label for label in labels.ravel().tolist() if label not in (0, 1, 2, ignore)]
    words = wrong_label(meta, labels)
    assert (words is None) == (not wrong)
    assert words is None or f"has label {wrong[0]}, " in words
