"""The demo end to end, against the figures that its README promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.demo.run import run_demo
from pipeline.demo.run_keypoints import run_keypoint_demo


@pytest.mark.slow
def test_the_demo_reaches_its_promise_on_fresh_latents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agreement = run_demo(tmp_path / "demo", 200, torch.device("cpu"), print)
    assert agreement.everything >= 0.80
    assert agreement.kept > agreement.dropped
    assert min(agreement.per_class.values()) > 0.5
    with Image.open(tmp_path / "demo" / "labels.png") as picture:
        assert picture.size == (8 * 64 * 3, 3 * 64 * 3)
    assert "mIoU against exact masks" in capsys.readouterr().out


@pytest.mark.slow
def test_the_keypoint_demo_finds_the_exact_keypoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nearness = run_keypoint_demo(tmp_path / "demo", 200, torch.device("cpu"), print)
    assert nearness.everything[0.05] >= 0.95
    assert min(nearness.per_keypoint.values()) >= 0.9
    assert nearness.median_pixels < 0.5  # between the pixels, not at their centres
    with Image.open(tmp_path / "demo" / "keypoints.png") as picture:
        assert picture.size == (8 * 64 * 4, 2 * 64 * 4)
    assert "PCK@5 against exact keypoints" in capsys.readouterr().out
