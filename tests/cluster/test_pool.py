"""Tasks of a pool on the workers of a dask cluster, which are threads here; test_local.py has processes."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import stub_stage
from support.clusters import thread_cluster

from fstore.errors import MismatchError
from pipeline.cluster import attendance, existing, handout, worker
from pipeline.cluster.choice import ClusterChoice
from pipeline.cluster.handout import Flight, Handout
from pipeline.cluster.opening import open_pool
from pipeline.cluster.pool import Pool
from pipeline.errors import RunError, UsageError


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with thread_cluster() as made:
        yield made


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def pool(cluster: Any, said: list[str]) -> Iterator[Pool]:
    with open_pool(ClusterChoice(None, cluster.scheduler_address, device="cpu"), said.append) as opened:
        yield opened


def test_every_task_is_done_once_and_comes_back_with_its_figures(pool: Pool, tmp_path: Path) -> None:
    got = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, iter(range(40))))
    assert sorted(got) == [(task, 2 * task) for task in range(40)]
    assert len(list(tmp_path.glob("begun-*"))) == 1  # both workers are threads of one process


def test_results_that_come_later_than_they_are_waited_for_come_all_the_same(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = pool._crew.client
    gather = client._gather_remote

    async def late(*arguments: Any) -> Any:  # as where the machine is too busy to go on with it
        await asyncio.sleep(0.05)
        return await gather(*arguments)

    monkeypatch.setattr(client, "_gather_remote", late)
    monkeypatch.setattr(handout, "LOOK_SECONDS", 0.01)
    got = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, range(20)))
    assert sorted(got) == [(task, 2 * task) for task in range(20)]


def test_no_tasks_are_done_without_waiting_for_a_worker(pool: Pool, tmp_path: Path) -> None:
    assert list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, [])) == []


def test_two_runs_of_one_pool_share_a_state_and_no_results(pool: Pool, tmp_path: Path) -> None:
    first = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, range(5)))
    second = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.state_alone, range(5)))
    assert sorted(first) == [(i, 2 * i) for i in range(5)] and sorted(second) == [(i, i) for i in range(5)]
    assert len(list(tmp_path.glob("begun-*"))) == 1


@dataclass
class CrewOfAddresses:
    """A crew of which nothing but its workers' addresses is known."""

    addresses: list[str]
    num_expected: int = 0

    @property
    def client(self) -> Any:
        return SimpleNamespace(nthreads=lambda: dict.fromkeys(self.addresses, 1))


@pytest.mark.parametrize(
    ("addresses", "expected", "sharing"),
    [
        ([], 0, 1),
        (["tcp://10.0.0.7:1", "tcp://10.0.0.8:1", "tcp://10.0.0.7:2"], 0, 2),
        (["tls://[fe80::1]:1", "tls://[fe80::1]:2", "tls://[fe80::2]:1"], 0, 2),
        (["tcp://127.0.0.1:1"], 3, 3),
    ],
)
def test_the_fullest_machine_says_how_many_share_memory(
    addresses: list[str], expected: int, sharing: int
) -> None:
    pool = Pool(CrewOfAddresses(addresses, expected), None, "cpu", print)  # type: ignore[arg-type]
    assert pool.num_sharing == sharing


def test_a_task_that_fails_twice_is_done(pool: Pool, tmp_path: Path) -> None:
    got = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.fail_twice, range(10)))
    assert sorted(task for task, _ in got) == list(range(10))
    assert len(list(tmp_path.glob("try-*"))) == 2


def test_a_task_that_fails_three_times_ends_the_run_and_is_named(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.fail_always, range(100)))
    line = str(caught.value)
    assert line.startswith("task 5 failed 3 times, the last time: worker inproc://")
    assert line.endswith("ValueError: a fault that stays") and "host " in line


def test_a_task_has_the_name_that_the_stage_gives_it(pool: Pool, tmp_path: Path) -> None:
    tasks = pool.run(
        stub_stage.begin, (str(tmp_path),), stub_stage.fail_always, range(9), lambda task: f"images {task}00"
    )
    with pytest.raises(RunError, match=r"^images 500 failed 3 times"):
        list(tasks)


def test_an_error_of_the_program_ends_the_run_at_once_and_keeps_its_class(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"^worker inproc://.*another seed"):
        list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.mismatch, range(100)))


def test_workers_on_which_nothing_begins_are_left_out_and_the_run_ends(pool: Pool, said: list[str]) -> None:
    with pytest.raises(RunError, match=r"^no worker is left: worker inproc://.*: g.pt: no such file$"):
        list(pool.run(stub_stage.lacks, ("g.pt",), stub_stage.state_alone, range(3)))
    assert len(said) == 2 and all("is left out: g.pt: no such file" in line for line in said)


def test_a_worker_of_another_version_is_left_out(
    pool: Pool, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = attendance.program()
    monkeypatch.setattr(attendance, "program", lambda: {**here, "torch": "9.9.9"})
    with pytest.raises(RunError, match=r"torch is .* there, expected 9.9.9 as here"):
        list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, range(3)))
    assert len(said) == 2 and not list(tmp_path.glob("begun-*"))


def test_one_worker_that_lacks_something_does_not_end_the_run(
    cluster: Any, pool: Pool, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker that is greeted says that it is another program; the second does all the work."""
    same, greeted = attendance.difference, []

    def differs(there: Any, here: Any) -> str | None:
        greeted.append(there)
        return "zarr is 1 there, expected 2 as here" if len(greeted) == 1 else same(there, here)

    monkeypatch.setattr(attendance, "difference", differs)
    got = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, range(10)))
    assert len(got) == 10
    assert len(said) == 1 and said[0].endswith("is left out: zarr is 1 there, expected 2 as here")


def test_a_worker_that_joins_late_is_checked_and_used(tmp_path: Path, said: list[str]) -> None:
    with thread_cluster(0) as cluster:
        timer = threading.Timer(0.3, cluster.scale, (1,))
        timer.start()
        with open_pool(ClusterChoice(None, cluster.scheduler_address), said.append) as pool:
            got = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, range(4)))
        timer.join()
    assert len(got) == 4
    assert said == ["waiting for workers, at most 60 seconds"]


def test_a_run_without_workers_ends_after_a_while(tmp_path: Path, said: list[str]) -> None:
    with thread_cluster(0) as cluster:
        choice = ClusterChoice(None, cluster.scheduler_address, device="cpu")
        with open_pool(choice, said.append) as pool:
            pool._crew.wait_seconds = 0.2
            with pytest.raises(RunError, match="start workers"):
                list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, range(4)))


def test_a_scheduler_that_is_lost_is_named(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(existing, "CONNECT_SECONDS", 0.5)
    with thread_cluster(1) as cluster:
        choice = ClusterChoice(None, cluster.scheduler_address, device="cpu")
        with open_pool(choice, said.append) as pool:
            results = pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, range(1000))
            next(results)
            cluster.close()
            with pytest.raises(RunError, match="the scheduler is lost"):
                list(results)


@pytest.mark.parametrize(
    ("scheduler", "line"),
    [
        ("missing.json", "no such scheduler file"),
        ("tcp://127.0.0.1:9", "no scheduler answers there"),  # nothing listens on the discard port
        ("nonsense://x", "no scheduler answers there"),
    ],
)
def test_a_scheduler_that_is_not_there_is_refused(
    scheduler: str, line: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(existing, "CONNECT_SECONDS", 0.3)
    with (
        pytest.raises(UsageError, match=line) as caught,
        open_pool(ClusterChoice(None, scheduler), said.append),
    ):
        pass
    assert str(caught.value).startswith(f"--scheduler is {scheduler}: ") and "\n" not in str(caught.value)


def flying(cluster: Any, tasks: int, pool: Pool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tasks that the scheduler knows of, at each moment at which one is submitted."""
    submit, seen = Handout._submit, []

    def counted(self: Handout, *arguments: Any) -> Flight:
        flight = submit(self, *arguments)
        seen.append(max(self.num_flying(), len(cluster.scheduler.tasks)))
        return flight

    monkeypatch.setattr(Handout, "_submit", counted)
    results = pool.run(stub_stage.begin, (str(folder),), stub_stage.double, iter(range(tasks)))
    assert sum(figures for _, figures in results) == tasks * (tasks - 1)
    return seen


MOST_KNOWN = 2 * 2 * 2  # two workers, two tasks each; and as many that have ended and are being forgotten


def test_few_tasks_are_at_the_scheduler_at_any_time(
    cluster: Any, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(flying(cluster, 100, pool, tmp_path, monkeypatch)) <= MOST_KNOWN


FEW, MANY = 500, 2500
MOST_GROWTH = 3 * 2**20  # bytes, so that two kilobytes kept of each task are seen to grow


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_the_scheduler_does_not_grow_with_the_number_of_tasks(tmp_path: Path, said: list[str]) -> None:
    """Scheduler, client and workers are in this process, so that none of them may grow.

    The library keeps its last 1000 steps of some kinds, which are full after 2400 tasks: here fewer, so that
    they are full before the first figure.
    """
    import dask

    with dask.config.set({"distributed.admin.low-level-log-length": 50}), thread_cluster() as cluster:
        choice = ClusterChoice(None, cluster.scheduler_address, device="cpu")
        with open_pool(choice, said.append) as pool:
            results = pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, iter(range(MANY)))
            known, resident = [], {}
            for done, _ in enumerate(results, 1):
                known.append(len(cluster.scheduler.tasks))
                if done in (FEW, MANY):
                    gc.collect()
                    resident[done] = resident_bytes()
    assert max(known) <= MOST_KNOWN
    assert resident[MANY] - resident[FEW] < MOST_GROWTH


def resident_bytes() -> int:
    """Of this process, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_tasks_are_read_as_workers_become_free(pool: Pool, tmp_path: Path) -> None:
    read: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(1000):
            read.append(task)
            yield task

    results = pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, tasks())
    next(results)
    results.close()
    assert len(read) <= 8


def fail_after_one(cluster: Any, folder: Path) -> None:
    choice = ClusterChoice(None, cluster.scheduler_address, device="cpu")
    with open_pool(choice, print) as pool:
        for _ in pool.run(stub_stage.begin, (str(folder),), stub_stage.double, range(1000)):
            raise KeyError


def test_an_error_of_the_caller_takes_the_tasks_back(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        fail_after_one(cluster, tmp_path)
    end = time.monotonic() + 10
    while cluster.scheduler.tasks and time.monotonic() < end:
        time.sleep(0.01)
    assert not cluster.scheduler.tasks


def interrupted_run(cluster: Any, folder: Path) -> None:
    """A run that is interrupted as by Ctrl-C while its tasks are under way."""
    choice = ClusterChoice(None, cluster.scheduler_address, device="cpu")
    with open_pool(choice, print) as pool:
        results = pool.run(stub_stage.begin, (str(folder),), stub_stage.linger, range(4))
        threading.Thread(target=interrupt_when, args=(folder / "lingers",)).start()
        next(results)


def test_a_run_that_ends_stops_what_runs_and_is_forgotten_by_the_workers(
    cluster: Any, tmp_path: Path
) -> None:
    start, before = time.monotonic(), set(worker._RUNS)
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(cluster, tmp_path)
    assert time.monotonic() - start < 30  # a task lingers for 60 seconds where nobody stops it
    assert set(worker._RUNS) == before


def interrupt_when(file: Path) -> None:
    import _thread

    while not file.exists():
        time.sleep(0.01)
    _thread.interrupt_main()


def test_a_task_that_nobody_knows_is_answered_and_an_unknown_run_is_left(tmp_path: Path) -> None:
    import asyncio

    from pipeline.cluster.outcomes import Absent

    assert isinstance(worker.perform("no-such-run", stub_stage.double, 1), Absent)
    assert asyncio.run(worker.leave_run("no-such-run"))
    worker.check_stopped()  # outside of a task it does nothing
