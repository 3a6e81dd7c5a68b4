"""The peak memory of an export does not grow with the number of its images, in any format."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.exports import make_dataset
from support.processes import peak_bytes

from pipeline.exports.formats.table import MODULES

FORMATS = list(MODULES)
SHAPE, FEW, MANY = (256, 256), 100, 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_ten_times_the_images_take_no_more_memory(folder: Path, format: str) -> None:
    peaks = []
    for num_images in (FEW, MANY):
        store = f"{num_images}.zarr"
        if not (folder / store).exists():
            make_dataset(folder / store, num_images=num_images, shape=SHAPE, distinct=16, keep="1")
        words = ["export", store, f"out-{format}-{num_images}", "--format", format]
        peaks.append(peak_bytes(words, folder))
    more = (MANY - FEW) * 3 * SHAPE[0] * SHAPE[1]  # bytes of the images that are more, uncompressed
    assert peaks[1] - peaks[0] < 0.04 * more  # 7 MB
