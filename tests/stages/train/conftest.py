"""What the tests of training share: a small store, settings of a short run, and one thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.training import SMALL, write_store

from pipeline.settings.schema import TrainConfig


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "features.zarr")


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return replace(SMALL, out=tmp_path / "interpreter")


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
