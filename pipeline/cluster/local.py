"""The worker processes of this machine that ``--workers`` starts, and their scheduler."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.cluster.crew import END_SECONDS, quiet_library
from pipeline.cluster.local_worker import LocalWorker
from pipeline.errors import RunError, count

MOST_STARTS = 3  # of one worker, in turn, that end before it takes part


class LocalCrew:
    """Worker processes of this machine, on the loopback interface, behind keys that last as long as they.

    A class, because it restarts a process that has ended. Without keys every user of this machine could have
    the workers run code.
    """

    wait_seconds: float = 600  # on a busy machine it takes long to start; `tend` sees those that have ended
    keeps_processes: bool = False

    def __init__(self, client: Any, told: list[LocalWorker], environments: list[dict[str, str]]) -> None:
        self.client, self.num_expected = client, len(told)
        self._told, self._environments = told, environments
        self._starts = [0] * len(told)
        self._processes: list[subprocess.Popen[bytes]] = []
        for index in range(len(told)):
            self._processes.append(self._start(index))

    def tend(self, processes: set[int]) -> None:
        """Start a process anew that has ended. See `Crew`."""
        for index, process in enumerate(self._processes):
            if process.pid in processes:
                self._starts[index] = 1
            if process.poll() is None:
                continue
            _close(process)
            if self._starts[index] >= MOST_STARTS:
                raise RunError(
                    f"worker {self._told[index].name} ended {count(MOST_STARTS, 'time')} before it could "
                    f"work ({self._last_line(index) or f'exit code {process.returncode}'})"
                )
            self._processes[index] = self._start(index)

    def end(self) -> None:
        """End all processes at once, whatever they are doing: a task is made again by the next run."""
        for process in self._processes:
            _close(process)
        for process in self._processes:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        told = self._told[index]
        self._starts[index] += 1
        with self._log(index).open("wb") as log:
            # A session of its own: Ctrl-C in the terminal is for the client, which then ends the workers.
            # -P: what lies in the current folder is no module.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipeline.cluster.local_worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environments[index],
                start_new_session=True,
            )
        content = pickle.dumps(told)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already; `tend` says why
            process.stdin.write(len(content).to_bytes(8, "little") + content)
            process.stdin.flush()
        return process

    def _log(self, index: int) -> Path:
        return Path(self._told[index].folder, f"worker-{index}.log")

    def _last_line(self, index: int) -> str:
        try:
            lines = self._log(index).read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


@contextmanager
def local_crew(workers: int, gpus: list[str] | None) -> Iterator[LocalCrew]:
    """Start a scheduler in this process, and ``workers`` processes. ``gpus``: for each what
    CUDA_VISIBLE_DEVICES says; None: they do without.
    """
    with ExitStack() as stack:
        stack.enter_context(quiet_library())
        import dask
        from distributed import Client, LocalCluster
        from distributed.security import Security

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dgan-", ignore_cleanup_errors=True))
        security = Security.temporary()
        with dask.config.set({"distributed.scheduler.http.routes": [], "temporary-directory": folder}):
            cluster = LocalCluster(
                n_workers=0,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                security=security,
                dashboard_address=None,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                silence_logs=logging.CRITICAL,
            )
        stack.callback(cluster.close, timeout=END_SECONDS)
        client = Client(cluster, set_as_default=False, name="dgan")
        stack.callback(client.close, timeout=END_SECONDS)
        resources = {} if gpus is None else {"GPU": 1.0}
        told = [
            LocalWorker(cluster.scheduler_address, security, f"worker-{index}", folder, resources)
            for index in range(workers)
        ]
        crew = LocalCrew(client, told, [_environment(gpus, index) for index in range(workers)])
        stack.callback(crew.end)
        yield crew


def _environment(gpus: list[str] | None, index: int) -> dict[str, str]:
    """A worker's environment: it imports what this process would, and sees its own GPU."""
    changed = {"PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)}
    if gpus is not None:
        changed["CUDA_VISIBLE_DEVICES"] = gpus[index]
    return {**os.environ, **changed}


def _close(process: subprocess.Popen[bytes]) -> None:
    """Tell a process to end."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
