"""What the tests of this stage share."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.synthesis import train_in

from fstore import format as fmt


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint in ``in/`` and an interpreter that was trained on it; not to be changed."""
    return train_in(tmp_path_factory.mktemp("synthesis"))


@pytest.fixture
def tasks_of_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task has 4 images, not 64: fewer to render where a test wants several tasks."""
    monkeypatch.setattr(fmt, "TASK_IMAGES", 4)
