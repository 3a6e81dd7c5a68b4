"""What a run will cost: a pyramid is so many times smaller in raw bytes, and the texts say the same."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod

import pytest
from click.testing import CliRunner
from support.places import REPOSITORY
from support.stores import make_meta

from fstore.format import FeatureMeta, build_layers
from pipeline.checkpoints.read import load_generator
from pipeline.cli import main
from pipeline.embedded import checkpoint_path
from pipeline.stages.costs import pyramid_note

STYLEGAN1_WIDTHS = (512, 512, 512, 512, 256, 128, 64, 32, 16)  # of two layers each, at 4 to 1024 px


def meta_of(native: list[tuple[str, tuple[int, int], int]], side: int) -> FeatureMeta:
    return replace(
        make_meta(), layers=build_layers(native, (side, side)), grid=(side, side), crop_rows=(0, side)
    )


def stylegan1_meta() -> FeatureMeta:
    sizes = [(4 << block, width) for block, width in enumerate(STYLEGAN1_WIDTHS)]
    native = [(f"{side}_{i}", (side, side), width) for side, width in sizes for i in range(2)]
    return meta_of(native, 512)


def demo_meta() -> FeatureMeta:
    layers = load_generator(checkpoint_path()).generator.layers
    return meta_of([(layer.name, layer.resolution, layer.channels) for layer in layers], 64)


def times_less(meta: FeatureMeta) -> int:
    note = pyramid_note(meta, 10_000)  # enough for a store over 1 GB
    assert note is not None
    return int(re.search(r"raw, (\d+) times less", note)[1])  # type: ignore[index]


@pytest.mark.parametrize(("meta", "said"), [(stylegan1_meta(), 32), (demo_meta(), 8)], ids=["1024px", "demo"])
def test_the_note_counts_raw_bytes_of_features_pictures_and_masks(meta: FeatureMeta, said: int) -> None:
    side = meta.grid[0]
    others = side * side * (3 + 1)  # picture and mask, a byte each
    dense = side * side * meta.channels * 2 + others
    pyramid = sum(prod(layer.resolution) * layer.channels * 2 for layer in meta.layers) + others
    assert dense / pyramid == pytest.approx(said, abs=0.5)
    assert times_less(meta) == said


def test_help_and_docs_say_the_same_number_of_the_same_bytes() -> None:
    text = " ".join(CliRunner().invoke(main, ["extract-features", "--help"]).stdout.split())
    assert "32 times fewer raw bytes of a 1024 px StyleGAN1" in text
    page = (REPOSITORY / "docs" / "extract-features.md").read_text(encoding="utf-8")
    assert "32 times fewer raw bytes at 512 x 512 x 5088, 8 times fewer in the demo" in page


def test_a_small_store_and_a_pyramid_get_no_note() -> None:
    assert pyramid_note(demo_meta(), 10) is None
    assert pyramid_note(replace(demo_meta(), layout="pyramid"), 10_000) is None
