"""What the tests of an evaluation share: a trained interpreter and stores that it has not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.training import SMALL, write_store

from pipeline.stages.train.stage import train


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ``interpreter``, the store ``trained.zarr`` that it was trained on, and two of its kind
    that it was not, ``dense.zarr`` and ``pyramid.zarr``: read only.
    """
    folder = tmp_path_factory.mktemp("judged")
    write_store(folder / "trained.zarr", "pyramid", 3)
    settings = replace(SMALL, out=folder / "interpreter", max_epochs=1, precision="float32")
    train(folder / "trained.zarr", settings, report=lambda line: None)
    for layout in ("dense", "pyramid"):
        write_store(folder / f"{layout}.zarr", layout, 4, offset=0.3)
    return folder
