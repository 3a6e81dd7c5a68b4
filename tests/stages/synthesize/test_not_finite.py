"""Images with values that are not finite: stored with NaN, counted, and never kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.synthesis import run, synthesize
from support.variants import variants

import fstore
from pipeline.models.generator import Rendered
from pipeline.rendering.renderer import Renderer

FAILED = [1, 4]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[int]], None]:
    """Makes one value of the first feature map of these images infinite."""
    render = Renderer.render

    def fail(failed: Sequence[int]) -> None:
        def spoilt(self: Renderer, latents: np.ndarray, space: str, images: Sequence[int]) -> Rendered:
            rendered = render(self, latents, space, images)
            features = [values.clone() for values in rendered.features]
            for place, image in enumerate(images):
                if image in failed:
                    features[0][place, 0, 0, 0] = float("inf")
                    rendered.images[place] = float("nan")
            return replace(rendered, features=features)

        monkeypatch.setattr(Renderer, "render", spoilt)

    return fail


@pytest.mark.parametrize("keep", variants("0.9", "0.1", "1", "0.5", fast=2))
def test_an_image_that_failed_is_stored_and_never_kept(
    inputs: Path, tmp_path: Path, failing: Callable, keep: str
) -> None:
    failing(FAILED)
    result = synthesize(inputs, tmp_path / "d.zarr", "--precision", "float32", "--keep", keep)
    dataset = fstore.open(tmp_path / "d.zarr")
    assert len(dataset) == 6
    assert np.flatnonzero(~np.isfinite(dataset.uncertainty)).tolist() == FAILED
    assert np.isnan(dataset.divergence.compute()[FAILED]).all()
    assert np.isfinite(dataset.divergence.compute()[[0, 2, 3, 5]]).all()
    expected = min(-(-int(float(keep) * 10) * 6 // 10), 4)
    assert not dataset.kept[FAILED].any() and dataset.kept.sum() == expected
    line = result.stdout.splitlines()[-1]
    assert f"{expected} of 6 images kept" in line
    assert line.endswith("; 2 with values that are not finite are never kept")
    assert dataset.meta.threshold == pytest.approx(float(dataset.uncertainty[dataset.kept].max()))


def test_the_filter_leaves_them_out_too(inputs: Path, tmp_path: Path, failing: Callable) -> None:
    failing([3])
    synthesize(inputs, tmp_path / "d.zarr", "--precision", "float32", "--keep", "0.5")
    line = run("filter", str(tmp_path / "d.zarr"), "--keep", "1").stdout
    assert "5 of 6 images kept" in line and "1 with values that are not finite" in line


def test_a_dataset_of_nothing_else_is_a_failed_run(inputs: Path, tmp_path: Path, failing: Callable) -> None:
    failing(range(6))
    result = synthesize(inputs, tmp_path / "d.zarr", "--precision", "float32", code=1)
    assert "array 'uncertainty' has no finite value" in result.stderr.splitlines()[-1]


def test_a_whole_dataset_says_nothing_of_it(inputs: Path, tmp_path: Path) -> None:
    assert "finite" not in synthesize(inputs, tmp_path / "d.zarr", "--precision", "float32").output
