"""The code of `docs/training-on-a-dataset.md` runs, on a small dataset, from its first line to its last."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from support.labelled import dataset_meta, fill_dataset, keep_some
from support.places import REPOSITORY

PAGE = (REPOSITORY / "docs" / "training-on-a-dataset.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.slow
def test_every_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, keypoints in (("dataset.zarr", False), ("keypoints.zarr", True)):
        fill_dataset(tmp_path / name, 20, dataset_meta(keypoints=keypoints))
        keep_some(tmp_path / name, "0.9")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    names: dict[str, object] = {}
    ran = [block for block in BLOCKS if "torchvision" not in block or find_spec("torchvision")]
    for block in ran:
        exec(block, names)
    assert len(ran) >= 5
    assert len(names["training"]) == 18  # type: ignore[arg-type]
    assert names["names"] == ("left", "right", "nose")
