"""Worker processes of this machine: they share the work, die, and end with their client.

Starting one costs a second of processor time, so that the fast tests share two.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import stub_stage
from support.places import REPOSITORY

from pipeline.cluster.choice import ClusterChoice
from pipeline.cluster.local import local_crew
from pipeline.cluster.opening import open_pool
from pipeline.cluster.pool import Pool, pool_of
from pipeline.errors import RunError

DEADLINE = 120


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with local_crew(2, None) as crew, pool_of(crew, None, "cpu", print) as opened:
        yield opened


def numbers(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("number-*")}


EXPECTED = {f"number-{task:05}": f"{task * task}\n" for task in range(20)}


def test_two_processes_share_the_tasks_and_begin_once_each(pool: Pool, tmp_path: Path) -> None:
    got = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.write_number, range(20)))
    processes = {process for _, process in got}
    assert os.getpid() not in processes and 1 <= len(processes) <= 2
    assert numbers(tmp_path) == EXPECTED
    assert len(list(tmp_path.glob("begun-*"))) <= 2


def test_a_killed_process_is_started_anew_and_its_tasks_are_done_again(pool: Pool, tmp_path: Path) -> None:
    got = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.die_once, range(20)))
    assert sorted(task for task, _ in got) == list(range(20))
    assert (tmp_path / "died").exists() and numbers(tmp_path) == EXPECTED


def test_workers_have_a_folder_and_an_environment_that_are_the_clients(pool: Pool, tmp_path: Path) -> None:
    got = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.around, range(2)))
    assert {figures for _, figures in got} == {str(Path.cwd())}


def test_workers_import_torch_only_where_the_tasks_use_it(tmp_path: Path) -> None:
    """It is 200 MB of an export's worker, of which the rest is 80."""
    with open_pool(ClusterChoice(1, uses_torch=False), print) as pool:
        assert list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.has_torch, [0])) == [(0, False)]


def test_nothing_listens_beyond_this_machine(pool: Pool) -> None:
    """The scheduler's and the workers' addresses are of the loopback interface, and ask for a key."""
    client = pool._crew.client
    addresses = [client.scheduler.address, *client.nthreads()]
    assert all(address.startswith("tls://127.0.0.1:") for address in addresses)


@pytest.mark.slow
def test_a_task_that_kills_its_process_three_times_ends_the_run(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.die_always, range(20)))
    line = str(caught.value)
    assert line.startswith("task 3 failed 3 times, the last time: worker tls://127.0.0.1:")
    assert "it was killed, or ran out of memory" in line


@pytest.mark.slow
def test_a_process_that_cannot_start_ends_the_run_with_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "distributed.py").write_text("raise ImportError('a library is missing')\n")
    with local_crew(1, None) as crew, pool_of(crew, None, "cpu", print) as opened:
        crew._environments[0]["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{REPOSITORY}"
        crew._processes[0].kill()
        with pytest.raises(RunError, match=r"ended 3 times before.*a library is missing"):
            list(opened.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, range(3)))


@pytest.mark.slow
def test_a_process_that_dies_while_it_prepares_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        open_pool(ClusterChoice(1, uses_torch=False), print) as pool,
        pytest.raises(RunError, match=r"^worker tls:.* died 3 times while it was getting ready; .*memory"),
    ):
        list(pool.run(os._exit, (1,), stub_stage.state_alone, [0, 1]))
    assert capsys.readouterr().out.count("died while it was getting ready") == 2


PROGRAM = """
import sys
sys.path[:0] = ["{tests}", "{repository}"]
from pathlib import Path
from pipeline.cluster.choice import ClusterChoice
from pipeline.cluster.local import local_crew
from pipeline.cluster.opening import open_pool
from pipeline.cluster.pool import pool_of
from support import stub_stage
with local_crew(1, None) as crew, pool_of(crew, None, "cpu", print) as pool:
    Path("worker").write_text(str(crew._processes[0].pid))
    list(pool.run(stub_stage.begin, ("{folder}",), stub_stage.linger, range(4)))
"""


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie, which waits only for its parent to notice."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_workers_end_with_a_client_that_is_killed(tmp_path: Path) -> None:
    program = PROGRAM.format(tests=REPOSITORY / "tests", repository=REPOSITORY, folder=tmp_path)
    client = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    end = time.monotonic() + DEADLINE
    while not (tmp_path / "lingers").exists() and time.monotonic() < end:
        time.sleep(0.02)
    worker = int((tmp_path / "worker").read_text())
    assert is_running(worker)
    client.send_signal(signal.SIGKILL)
    client.wait()
    while is_running(worker) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_running(worker)
