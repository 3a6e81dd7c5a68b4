"""The memory plan of synthesis: within the budget, or refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.synthesis import CPU, make_job, synthesize

from pipeline.errors import UsageError
from pipeline.stages.synthesize.memory import plan_memory


def test_a_budget_that_is_too_small_is_refused_before_anything_is_written(
    inputs: Path, tmp_path: Path
) -> None:
    result = synthesize(inputs, tmp_path / "d.zarr", "--memory-budget", "1MB", code=2)
    line = result.stderr.splitlines()[-1]
    assert "--memory-budget is 1 MB; synthesizing needs about" in line and "at least" in line
    assert not (tmp_path / "d.zarr").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(budget=st.integers(10**6, 4 * 10**9), num=st.integers(1, 500), on_cpu=st.booleans())
def test_the_memory_plan_stays_within_the_budget(inputs: Path, budget: int, num: int, on_cpu: bool) -> None:
    job = make_job(inputs, num=num)
    device = CPU if on_cpu else torch.device("cuda")
    best = plan_memory(job, device, None)
    try:
        found = plan_memory(job, device, budget)
    except UsageError:
        least = plan_memory(job, device, best.host_bytes)  # what fits is found again
        assert budget < least.host_bytes
        return
    assert found.host_bytes <= budget
    assert found.host_bytes <= best.host_bytes
    assert plan_memory(job, device, found.host_bytes) == found
