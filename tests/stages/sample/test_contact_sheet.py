"""The contact sheet: every picture once, reduced, over its number."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline.stages.sample.contact_sheet import GAP, PAPER, STRIP, contact_sheet, thumbnail


def picture(height: int, width: int, level: int) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((512, 512), (128, 128)),
        ((384, 512), (128, 96)),  # cars: PIL's sizes are (width, height)
        ((64, 64), (128, 128)),  # small ones are enlarged by a whole number
        ((30, 40), (120, 90)),
        ((100, 100), (100, 100)),  # twice as large would be too large
        ((2, 1024), (128, 1)),  # never nothing
    ],
)
def test_a_thumbnail_keeps_the_aspect(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert thumbnail(picture(*shape, 7)).size == expected


@pytest.mark.parametrize("num", [1, 2, 5, 16, 40])
def test_every_picture_is_there_once_and_has_ink_under_it(num: int) -> None:
    colors = [(10 + 5 * i, 255, 0) for i in range(num)]  # no grey, as the ink's edges are
    pictures = [np.broadcast_to(np.array(color, np.uint8), (30, 40, 3)) for color in colors]
    sheet = contact_sheet([Image.fromarray(values) for values in pictures], range(num))
    values = np.asarray(sheet)
    for color in colors:
        rows, columns = np.nonzero((values == color).all(2))
        counts = np.zeros(values.shape[:2], int)
        counts[rows, columns] = 1
        corner = rows.min(), columns.min()
        assert counts[corner[0] : corner[0] + 30, corner[1] : corner[1] + 40].all()
        strip = values[corner[0] + 30 : corner[0] + 30 + STRIP, corner[1] : corner[1] + 40]
        assert (strip != PAPER).any()  # its number
    assert (values[:GAP] == PAPER).all()
    assert 0.4 < sheet.width / sheet.height < 2.5 or num < 4


@pytest.mark.parametrize("shape", [(64, 64), (32, 20), (1, 1)])
def test_a_small_picture_is_enlarged_pixel_by_pixel(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    times = 128 // max(shape)
    expected = np.kron(values, np.ones((times, times, 1), np.uint8))
    assert np.array_equal(np.asarray(thumbnail(values)), expected)


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(ValueError, match="0 thumbnails and 0 numbers"):
        contact_sheet([], [])
    with pytest.raises(ValueError, match="1 thumbnails and 2 numbers"):
        contact_sheet([Image.new("RGB", (2, 2))], [1, 2])
