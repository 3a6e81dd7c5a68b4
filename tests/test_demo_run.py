"""The demo end to end, against the figures that its README promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.demo.run import run_demo


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
