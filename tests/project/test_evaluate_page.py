"""The code of `docs/evaluate.md` draws the demo's exact masks for the latents of `dgan sample`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.places import REPOSITORY

from pipeline import embedded

PAGE = (REPOSITORY / "docs" / "evaluate.md").read_text(encoding="utf-8")


def test_its_masks_are_those_of_the_demos_annotator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    embedded.write_inputs(tmp_path / "demo", 2, seed=1)
    (tmp_path / "held_out" / "masks").mkdir(parents=True)
    (tmp_path / "demo" / "latents.npy").rename(tmp_path / "held_out" / "latents.npy")
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    for name in ("image_mask0.npy", "image_mask1.npy"):
        made, known = (np.load(Path(folder, "masks", name)) for folder in ("held_out", "demo"))
        assert np.array_equal(made, known)
