"""``dgan`` commands in processes of their own, killed at a named moment or measured.

The fork server of the standard library imports the program once for all of a session's processes: a command
begins at once, not after seconds of imports. A moment is a number of changes to files, so that a busy
machine and an idle one kill at the same place.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from support.places import REPOSITORY

from fstore import format as fmt

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = [
    "pipeline.cli",  # first: it sets what torch reads when it is imported
    "pipeline.stages.extract.stage",
    "pipeline.stages.train.stage",
    "pipeline.stages.synthesize.stage",
    "pipeline.stages.sample.stage",
    "pipeline.exports.run",
    "pipeline.exports.formats.png",
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


def end_of(work: Callable[..., None], *arguments: object) -> int:
    """The exit code of ``work(*arguments)`` in a process of its own, or minus the signal that ended it."""
    return _ended(work, [], *arguments)


def refusal(words: Sequence[str], folder: Path) -> str:
    """The last line of a command that ends with exit code 2."""
    code, line = ending(words, folder)
    assert code == 2, line
    return line


def ending(words: Sequence[str], folder: Path) -> tuple[int, str]:
    """The exit code of a command, and its last line."""
    code = _exit_code(words, folder, fmt.TASK_IMAGES, None)
    return code, (folder / "output.txt").read_text().splitlines()[-1]


def peak_bytes(words: Sequence[str], folder: Path) -> int:
    """The peak of a command's resident memory, what is imported for all the stages included."""
    run(words, folder)
    return int((folder / "peak.txt").read_text())


def run_python(command: Sequence[str], folder: Path | None = None) -> SimpleNamespace:
    """What `benchmarks.measure.run_child` does, for ``python -c`` and ``python -m``, without the imports."""
    with tempfile.TemporaryDirectory() as made:
        start = time.perf_counter()
        code = _ended(_python, list(command[1:]), folder or Path.cwd(), Path(made))
        output = Path(made, "output.txt").read_text()
        if code:
            raise RuntimeError(f"{' '.join(command)} ended with {code}: {output[-2000:]}")
        peak_bytes = int(Path(made, "peak.txt").read_text())
        return SimpleNamespace(seconds=time.perf_counter() - start, peak_bytes=peak_bytes, output=output)


def _exit_code(words: Sequence[str], folder: Path, task_images: int, last: int | None) -> int:
    return _ended(_command, [*words, "--threads", "1"], folder, task_images, last)


def _ended(work: Callable[..., None], words: Sequence[str], *arguments: object) -> int:
    """The exit code of ``work`` in a process of its own, or minus the signal that ended it."""
    CONTEXT.set_forkserver_preload(PRELOADED)
    process = CONTEXT.Process(target=work, args=(words, *arguments))
    process.start()
    process.join(TIMEOUT_SECONDS)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{' '.join(words)} did not end in {TIMEOUT_SECONDS} seconds")
    return process.exitcode


def _command(words: Sequence[str], folder: Path, task_images: int, last: int | None) -> None:
    from pipeline.cli import main

    fmt.TASK_IMAGES = task_images
    with _observed(folder):
        os.chdir(folder)
        changes = _Changes(folder, last)
        try:
            main(list(words), prog_name="dgan")
        finally:
            (folder / "changes.txt").write_text(str(changes.num))


def _python(words: Sequence[str], folder: Path, notes: Path) -> None:
    flag, program, *arguments = words
    with _observed(notes):
        os.chdir(folder)
        sys.path.insert(0, str(REPOSITORY))
        sys.argv = [flag, *arguments]
        if flag == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(program, {"__name__": "__main__"})


@contextmanager
def _observed(notes: Path) -> Iterator[None]:
    """Inside, output goes to ``output.txt`` in a folder; ``peak.txt`` there has the peak memory at last."""
    output = os.open(notes / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        yield
    finally:
        (notes / "peak.txt").write_text(str(_high_water_bytes()))


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
    """The peak of this process alone, which a process that was forked, and not executed, begins anew."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
