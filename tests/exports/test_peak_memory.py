"""The peak memory of an export does not grow with the number of its images, in any format."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.exports import make_dataset
from support.processes import peak_bytes

from pipeline.exports.formats.table import MODULES

FORMATS = list(MODULES)
SMALL = ((112, 112), 24, 240)
TRUE = ((256, 256), 200, 2000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


def growth(folder: Path, format: str, shape: tuple[int, int], few: int, many: int) -> tuple[int, int]:
    """Bytes: by how much the peak of exporting ``many`` images exceeds that of ``few``, and what the images
    that are more take uncompressed.
    """
    peaks = []
    for num_images in (few, many):
        store = f"{num_images}-of-{shape[0]}.zarr"
        if not (folder / store).exists():
            make_dataset(folder / store, num_images=num_images, shape=shape, distinct=16, keep="1")
        words = ["export", store, f"out-{format}-{num_images}", "--format", format]
        peaks.append(peak_bytes(words, folder))
    return peaks[1] - peaks[0], (many - few) * 3 * shape[0] * shape[1]


# A row group of parquet alone is larger than these images: it is measured at the true size.
@pytest.mark.slow
@pytest.mark.parametrize("format", [name for name in FORMATS if name != "parquet"])
def test_ten_times_the_images_take_no_more_memory(folder: Path, format: str) -> None:
    more, images = growth(folder, format, *SMALL)
    assert more < 0.4 * images


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_two_thousand_images_take_no_more_memory_than_two_hundred(folder: Path, format: str) -> None:
    more, images = growth(folder, format, *TRUE)
    assert more < 0.02 * images  # 7 MB
