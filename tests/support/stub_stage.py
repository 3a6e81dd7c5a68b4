"""Tasks without a network, for the tests of a pool. Functions of a module, so that workers can load them."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from fstore.errors import MismatchError
from pipeline.cluster.worker import check_stopped
from pipeline.errors import UsageError


def begin(folder: str) -> Path:
    """The state is a folder, which gets a file each time that a process begins."""
    Path(folder, f"begun-{os.getpid()}-{time.monotonic_ns()}").touch()
    return Path(folder)


def lacks(what: str) -> None:
    """A worker on which nothing can begin."""
    raise UsageError(f"{what}: no such file")


def double(state: Path, task: int) -> int:
    return 2 * task


def write_number(folder: Path, task: int) -> int:
    """Writes a file of its own, in a way that depends on nothing around it."""
    (folder / f"number-{task:05}").write_text(f"{task * task}\n")
    return os.getpid()


def die_once(folder: Path, task: int) -> int:
    """The process is killed in the middle of task 3, the first time."""
    if task == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return write_number(folder, task)


def die_always(folder: Path, task: int) -> None:
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)


def fail_twice(folder: Path, task: int) -> int:
    """Task 5 fails on its first two attempts."""
    tries = len(list(folder.glob("try-*")))
    if task == 5 and tries < 2:
        (folder / f"try-{tries}").touch()
        raise ValueError("a fault that passes")
    return task


def fail_always(folder: Path, task: int) -> int:
    if task == 5:
        raise ValueError("a fault\nthat stays")
    return task


def mismatch(folder: Path, task: int) -> None:
    raise MismatchError("features.zarr: was begun with another seed")


def disk_full(folder: Path, task: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "images/c/0")


def around(folder: Path, task: int) -> str:
    """What a process has around it: it must not matter to a task, and paths that are sent are absolute."""
    return str(Path.cwd())


def has_torch(folder: Path, task: int) -> bool:
    """Whether the process has imported torch, of which an export's workers have no need."""
    import pipeline.exports.workers  # noqa: F401

    return "torch" in sys.modules


def linger(folder: Path, task: int) -> None:
    """Goes on until the run ends."""
    (folder / "lingers").touch()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        check_stopped()
        time.sleep(0.01)


def state_alone(state: Any, task: Any) -> Any:
    return task
