"""The bytes on the page about many machines are those that the program counts."""

from __future__ import annotations

import re

import pytest
from support.places import REPOSITORY

from benchmarks.generators import official_widths
from fstore import format as fmt
from pipeline.stages.costs import dataset_bytes, store_bytes

UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}
CLASSES = tuple(fmt.ClassInfo(i, f"class {i}", "#000000") for i in range(34))
NUMBERS = (1, 1_000, 100_000, 1_000_000)


def features(layout: str) -> int:
    """Bytes of an image of the released size of faces."""
    sizes = [(4 * 2**place, width) for place, width in enumerate(official_widths(1024))]
    layers = [(f"b{side}_{half}", (side, side), width) for side, width in sizes for half in range(2)]
    built = fmt.build_layers(layers, (512, 512))
    meta = fmt.FeatureMeta(layout, (512, 512), (0, 512), built, CLASSES, generator={"sha256": "0" * 64})
    return store_bytes(meta, 1)


def dataset(side: int) -> float:
    return dataset_bytes(fmt.DatasetMeta((side, side), CLASSES, 512), 64) / 64


@pytest.mark.parametrize(
    ("row", "bytes_of_image"),
    [
        ("dense features", features("dense")),
        ("pyramid features", features("pyramid")),
        ("dataset, 512 px", dataset(512)),
        ("dataset, 1024 px", dataset(1024)),
    ],
)
def test_bytes_of_images_are_those_that_the_program_counts(row: str, bytes_of_image: float) -> None:
    page = (REPOSITORY / "docs" / "scaling.md").read_text()
    cells = re.search(rf"^\| {row} \|(.*)\|$", page, re.MULTILINE)
    assert cells is not None
    found = [cell.split() for cell in cells[1].split("|")]
    for number, (value, unit) in zip(NUMBERS, found, strict=True):
        assert float(value) * UNITS[unit] == pytest.approx(number * bytes_of_image, rel=5e-3)
