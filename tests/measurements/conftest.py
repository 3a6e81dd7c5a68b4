"""What the tests of the benchmark programs share."""

from __future__ import annotations

from importlib import import_module

import pytest
from support.places import REPOSITORY
from support.processes import run_python

WITH_CHILDREN = (
    "export",
    "extraction",
    "face_size",
    "face_training",
    "labelling",
    "measure",
    "mixing",
    "released_procedure",
    "report_page",
    "subspace",
    "training",
    "true_size",
)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def quick_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the programs start as processes of their own begins without the seconds of imports."""
    for name in WITH_CHILDREN:
        monkeypatch.setattr(import_module(f"benchmarks.{name}"), "run_child", run_python)
