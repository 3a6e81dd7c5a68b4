"""Memory of labelling at true size, read off a process: bounded, as planned, and under a budget."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.places import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight 1024 px generator ``g.pt`` and an interpreter of 10 members of 5,088 channels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY))
        from benchmarks.labelling import prepare

        made = tmp_path_factory.mktemp("face")
        prepare(made, "face", quick=False, subspace="auto")
    return made


@pytest.fixture(autouse=True)
def _in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.chdir(folder)


def planned_bytes(budget: int | None) -> int:
    """What is planned for ``dgan synthesize`` of two images."""
    from pipeline.settings.files import Config, with_overrides
    from pipeline.stages.synthesize.memory import plan_memory
    from pipeline.stages.synthesize.stage import prepare

    config = with_overrides(Config(), "generator", checkpoint=Path("g.pt"))
    job = prepare(with_overrides(config, "synthesize", num=2))
    return plan_memory(job, torch.device("cpu"), budget).host_bytes


def peak_bytes(*flags: str) -> int:
    """The peak of it."""
    from benchmarks.measure import DGAN, run_child

    words = ["synthesize", "--checkpoint", "g.pt", "--num", "2", "--overwrite", "--device", "cpu", *flags]
    return run_child([*DGAN, *words]).peak_bytes


def test_labelling_a_face_image_takes_what_was_planned() -> None:
    peak, planned = peak_bytes(), planned_bytes(None)
    assert peak <= planned
    assert planned <= 1.6 * peak  # a plan that asks for twice the memory would turn users away


def test_labelling_keeps_to_a_budget() -> None:
    budget = planned_bytes(None) - 50_000_000
    assert peak_bytes("--memory-budget", str(budget)) <= planned_bytes(budget) <= budget
