"""``dgan`` commands in processes of their own, killed at a named moment or measured.

The fork server of the standard library imports the program once for all of a session's processes: a command
begins at once, not after seconds of imports. A moment is a number of changes to files, so that a busy
machine and an idle one kill at the same place.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fstore import format as fmt

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = [
    "pipeline.cli",  # first: it sets what torch reads when it is imported
    "pipeline.stages.extract.stage",
    "pipeline.stages.train.stage",
    "pipeline.stages.synthesize.stage",
    "pipeline.stages.sample.stage",
    "dask.array",
    "torch._dynamo",  # which the first step of an optimizer imports
]
CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
TIMEOUT_SECONDS = 120


def run(words: Sequence[str], folder: Path, task_images: int = fmt.TASK_IMAGES) -> int:
    """Run ``dgan WORDS --threads 1`` in ``folder`` to its end; gives how many changes it made to files there.

    What it prints goes to ``output.txt`` there. ``task_images``: images of one task of synthesis.
    """
    code = _exit_code(words, folder, task_images, None)
    assert code == 0, (folder / "output.txt").read_text()
    return int((folder / "changes.txt").read_text())


def run_until(change: int, words: Sequence[str], folder: Path, task_images: int = fmt.TASK_IMAGES) -> None:
    """The same, but ended by ``kill -9`` just before it makes the ``change``-th change (1, 2, ...)."""
    code = _exit_code(words, folder, task_images, change)
    assert code == -signal.SIGKILL, f"ended with {code} before change {change}"


def peak_bytes(words: Sequence[str], folder: Path) -> int:
    """Bytes by which a command's peak of resident memory exceeds what its imports took."""
    run(words, folder)
    before, after = (folder / "peak.txt").read_text().split()
    return int(after) - int(before)


def _exit_code(words: Sequence[str], folder: Path, task_images: int, last: int | None) -> int:
    CONTEXT.set_forkserver_preload(PRELOADED)
    process = CONTEXT.Process(target=_command, args=([*words, "--threads", "1"], folder, task_images, last))
    process.start()
    process.join(TIMEOUT_SECONDS)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{' '.join(words)} did not end in {TIMEOUT_SECONDS} seconds")
    return process.exitcode


def _command(words: Sequence[str], folder: Path, task_images: int, last: int | None) -> None:
    from pipeline.cli import main

    fmt.TASK_IMAGES = task_images
    os.chdir(folder)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    before, changes = _high_water_bytes(), _Changes(folder, last)
    try:
        main(list(words), prog_name="dgan")
    finally:
        num = changes.num
        (folder / "peak.txt").write_text(f"{before} {_high_water_bytes()}")
        (folder / "changes.txt").write_text(str(num))


class _Changes:
    """Counts the changes that this process makes to the files below a folder; before the last it dies."""

    def __init__(self, folder: Path, last: int | None) -> None:
        self.num = 0
        self._prefix, self._last, self._count = f"{folder}{os.sep}", last, itertools.count(1)
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in CHANGES or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        if event == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR):  # type: ignore[call-overload]
            return
        if os.path.abspath(os.fsdecode(arguments[0])).startswith(self._prefix):
            self.num = next(self._count)
            if self.num == self._last:
                os.kill(os.getpid(), signal.SIGKILL)


def _high_water_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
