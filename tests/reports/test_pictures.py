"""Pictures as data URLs: read back with PIL, they are what was given."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.reports.pictures import encode_divergence, encode_label_map, encode_picture, thumbnail_size


def read_back(url: str) -> np.ndarray:
    head, _, text = url.partition(",")
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    assert head == f"data:image/{str(picture.format).lower()};base64"
    return np.asarray(picture)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((64, 64), (64, 64)), ((512, 512), (256, 256)), ((1024, 300), (256, 75)), ((256, 100), (256, 100))],
)
def test_a_thumbnail_fits_its_square_and_is_never_enlarged(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert thumbnail_size(shape) == expected


def test_a_small_picture_loses_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    assert (read_back(encode_picture(image).url) == image).all()


def test_a_large_picture_stays_close_and_fits() -> None:
    rows, columns = np.mgrid[:600, :300]
    image = np.stack([rows * 0.4, columns * 0.8, (rows + columns) * 0.2], 2).astype(np.uint8)
    found = read_back(encode_picture(image).url)
    assert found.shape == (256, 128, 3)
    expected = np.asarray(Image.fromarray(image).resize((128, 256), Image.Resampling.BOX)).astype(int)
    assert np.abs(found - expected).mean() < 2


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 700)])
def test_labels_come_back_exactly(dtype: type, most: int) -> None:
    labels = np.random.default_rng(0).integers(0, most + 1, (40, 30)).astype(dtype)
    found = read_back(encode_label_map(labels).url).astype(int)
    ids = found if dtype is np.uint8 else found[..., 0] + 256 * found[..., 1]
    assert (ids == labels).all()


def test_smaller_labels_are_labels_of_the_nearest_pixels() -> None:
    labels = np.repeat(np.repeat(np.array([[3, 250], [7, 90]], np.uint8), 300, 0), 300, 1)
    found = read_back(encode_label_map(labels).url)
    assert found.shape == (256, 256)
    expected = np.asarray(Image.fromarray(labels).resize((256, 256), Image.Resampling.NEAREST))
    assert (found == expected).all()


def test_divergence_is_scaled_to_bytes_and_what_is_not_finite_is_the_largest() -> None:
    divergence = np.array([[0, 0.25], [0.5, np.nan], [1, 3]], np.float16)
    assert read_back(encode_divergence(divergence, 1.0).url).tolist() == [[0, 64], [128, 255], [255, 255]]
