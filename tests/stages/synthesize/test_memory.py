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
        prepare(made, "face", quick=False)
    return made


def peak_and_plan(folder: Path, budget: int | None, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Bytes: the peak of ``dgan synthesize`` for two images, and what was planned for it."""
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.measure import DGAN, run_child
    from pipeline.settings.files import Config, with_overrides
    from pipeline.stages.synthesize.memory import plan_memory
    from pipeline.stages.synthesize.stage import prepare

    monkeypatch.chdir(folder)
    config = with_overrides(Config(), "generator", checkpoint=Path("g.pt"))
    job = prepare(with_overrides(config, "synthesize", num=2))
    flags = [] if budget is None else ["--memory-budget", str(budget)]
    words = ["synthesize", "--checkpoint", "g.pt", "--num", "2", "--overwrite", "--device", "cpu", *flags]
    run = run_child([*DGAN, *words], folder)
    return run.peak_bytes, plan_memory(job, torch.device("cpu"), budget).host_bytes


def test_labelling_a_face_image_takes_what_was_planned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peak, planned = peak_and_plan(folder, None, monkeypatch)
    assert peak <= planned
    assert planned <= 1.6 * peak  # a plan that asks for twice the memory would turn users away


def test_labelling_keeps_to_a_budget(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, planned = peak_and_plan(folder, None, monkeypatch)
    budget = planned - 50_000_000
    peak, planned = peak_and_plan(folder, budget, monkeypatch)
    assert peak <= planned <= budget
