"""How many cores a run takes itself to have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.control_groups import system

from pipeline.machine import environment
from pipeline.machine.cores import num_cores


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


def test_cores_are_those_that_the_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 8}, raising=False)
    assert num_cores(tmp_path) == 3


def test_where_the_kernel_does_not_say_all_cores_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert num_cores(tmp_path) == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cores(tmp_path) == 1


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {}, 8),
        ("0::/job\n", {"job/cpu.max": "200000 100000\n"}, 2),
        ("0::/job\n", {"job/cpu.max": "250000 100000\n"}, 3),  # a part of a core counts as one
        ("0::/job\n", {"job/cpu.max": "20000 100000\n"}, 1),
        ("0::/job\n", {"job/cpu.max": "max 100000\n"}, 8),
        ("0::/job\n", {"job/cpu.max": "6400000 100000\n"}, 8),  # more than there are
        ("0::/job\n", {"job/cpu.max": "what"}, 8),
        ("0::/slice/job\n", {"slice/job/cpu.max": "max 100000", "slice/cpu.max": "300000 100000"}, 3),
        # in a container the group's own path is not there, and the mount is the container's group
        ("0::/docker/abc\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "4:cpu,cpuacct:/job\n0::/\n",
            {"cpu/job/cpu.cfs_quota_us": "150000\n", "cpu/job/cpu.cfs_period_us": "50000\n"},
            3,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ("9:memory:/job\n", {"memory/job/cpu.cfs_quota_us": "1", "memory/job/cpu.cfs_period_us": "1"}, 8),
    ],
)
@pytest.mark.usefixtures("eight_cores")
def test_the_least_quota_of_the_process_and_what_it_is_in_counts(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int
) -> None:
    assert num_cores(system(tmp_path, groups, files)) == expected


@pytest.mark.parametrize(
    ("cores", "set_before", "expected"), [(2, None, "2"), (2, "5", "5"), (8, None, None)]
)
@pytest.mark.usefixtures("eight_cores")
def test_torch_gets_as_many_threads_as_the_quota_has_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, set_before: str | None, expected: str | None
) -> None:
    for name in (*environment.VARIABLES, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if set_before is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", set_before)
    monkeypatch.setattr(environment, "num_cores", lambda: cores)
    environment.prepare_environment()
    assert os.environ.get("OMP_NUM_THREADS") == expected
    for name in (*environment.VARIABLES, "OMP_NUM_THREADS"):
        os.environ.pop(name, None)  # monkeypatch puts back what was there
