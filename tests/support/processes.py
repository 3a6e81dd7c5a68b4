"""``dgan`` commands in processes of their own, disturbed at a named moment, killed or measured.

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
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
NOTES = ("output.txt", "changes.txt", "peak.txt", "cores.txt")
TIMEOUT_SECONDS = 120
THREADS = ("--threads", "1")


def run(words: Sequence[str], folder: Path, task_images: int = fmt.TASK_IMAGES) -> int:
    """Run ``dgan WORDS --threads 1`` in ``folder`` to its end; gives how many changes it made to files there.

    What it prints goes to ``output.txt`` there. ``task_images``: images of one task of synthesis.
    """
    code = _exit_code(words, folder, task_images, folder)
    assert code == 0, (folder / "output.txt").read_text()
    return int((folder / "changes.txt").read_text())


def run_until(change: int, words: Sequence[str], folder: Path, task_images: int = fmt.TASK_IMAGES) -> None:
    """The same, but ended by ``kill -9`` just before it makes the ``change``-th change (1, 2, ...)."""
    code = _exit_code(words, folder, task_images, folder, (At(change, Signal((signal.SIGKILL,))).begin,))
    assert code == -signal.SIGKILL, f"ended with {code} before change {change}"


def end_of(work: Callable[..., None], *arguments: object) -> int:
    """The exit code of ``work(*arguments)`` in a process of its own, or minus the signal that ended it."""
    return _ended(work, [], *arguments)


@dataclass(frozen=True)
class Ending:
    """How a command has ended: its exit code, or minus the signal; and the lines that it printed."""

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class At:
    """Calls ``act(path)`` in the command's process just before it makes the ``change``-th change (1, 2, ...)
    in a folder; and before every later one too where it is ``lasting``.
    """

    change: int
    act: Callable[[str], object]
    lasting: bool = False

    def begin(self, folder: Path) -> None:
        """Called in the process before the command."""
        _Changes(folder, self)


@dataclass(frozen=True)
class Signal:
    """To be the ``act`` of ``At``: the command's process gets these signals, one after another."""

    numbers: tuple[signal.Signals, ...]

    def __call__(self, _: str) -> None:
        for number in self.numbers:
            os.kill(os.getpid(), number)


def disturbed(
    words: Sequence[str],
    folder: Path,
    *begin: Callable[[Path], None],
    task_images: int = fmt.TASK_IMAGES,
    notes: Path | None = None,
    threads: tuple[str, ...] = THREADS,
) -> Ending:
    """Run ``dgan WORDS --threads 1`` in ``folder`` after each of ``begin`` was called there with the folder,
    in the command's process. ``notes``: the folder of what it prints, where that is not to be in its own.
    ``threads``: none of a command without that flag.
    """
    notes = folder if notes is None else notes
    code = _ended(_command, [*words, *threads], folder, task_images, notes, begin)
    return Ending(code, tuple((notes / "output.txt").read_text().splitlines()))


@dataclass(frozen=True)
class Wait:
    """To be the ``act`` of ``At``: the command's process makes a file and waits until it is removed."""

    reached: Path

    def __call__(self, _: str) -> None:
        self.reached.touch()
        while self.reached.exists():
            time.sleep(0.01)


@dataclass(frozen=True)
class Running:
    """A command that waits in the middle of its work."""

    process: Any
    reached: Path

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self.process.kill()
        self.process.join()

    def finish(self) -> int:
        """Let it go on to its end. Returns its exit code."""
        self.reached.unlink()
        return _joined(self.process)


@contextmanager
def waiting(
    change: int,
    words: Sequence[str],
    folder: Path,
    notes: Path,
    *begin: Callable[[Path], None],
    task_images: int = fmt.TASK_IMAGES,
) -> Iterator[Running]:
    """A block at whose begin a command waits before a change in ``folder``; at its end it is killed."""
    reached = notes / "reached"
    begin = (*begin, At(change, Wait(reached)).begin)
    process = _begun(_command, [*words, *THREADS], folder, task_images, notes, begin)
    try:
        while not reached.exists():
            assert process.is_alive(), (notes / "output.txt").read_text()
            time.sleep(0.01)
        yield Running(process, reached)
    finally:
        process.kill()
        process.join()


def refusal(words: Sequence[str], folder: Path) -> str:
    """The last line of a command that ends with exit code 2."""
    code, line = ending(words, folder)
    assert code == 2, line
    return line


def ending(words: Sequence[str], folder: Path) -> tuple[int, str]:
    """The exit code of a command, and its last line."""
    code = _exit_code(words, folder, fmt.TASK_IMAGES, folder)
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
        return SimpleNamespace(
            seconds=time.perf_counter() - start,
            peak_bytes=int(Path(made, "peak.txt").read_text()),
            core_seconds=float(Path(made, "cores.txt").read_text()),
            output=output,
        )


def _exit_code(
    words: Sequence[str],
    folder: Path,
    task_images: int,
    notes: Path,
    begin: Sequence[Callable[[Path], None]] = (),
) -> int:
    return _ended(_command, [*words, *THREADS], folder, task_images, notes, begin)


def _ended(work: Callable[..., None], words: Sequence[str], *arguments: object) -> int:
    """The exit code of ``work`` in a process of its own, or minus the signal that ended it."""
    return _joined(_begun(work, words, *arguments))


def _begun(work: Callable[..., None], words: Sequence[str], *arguments: object) -> Any:
    CONTEXT.set_forkserver_preload(PRELOADED)
    process = CONTEXT.Process(target=work, args=(words, *arguments), name=" ".join(words))
    process.start()
    return process


def _joined(process: Any) -> int:
    process.join(TIMEOUT_SECONDS)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{process.name} did not end in {TIMEOUT_SECONDS} seconds")
    return int(process.exitcode)


def _command(
    words: Sequence[str],
    folder: Path,
    task_images: int,
    notes: Path,
    begin: Sequence[Callable[[Path], None]],
) -> None:
    from pipeline.cli import main

    fmt.TASK_IMAGES = task_images
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # which the tests' own process may ignore
        signal.signal(number, signal.SIG_DFL)
    with _observed(notes):
        for each in begin:
            each(folder)
        os.chdir(folder)
        changes = _Changes(folder)
        try:
            main(list(words), prog_name="dgan")
        finally:
            (notes / "changes.txt").write_text(str(changes.num))


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
    """Inside, output goes to ``output.txt`` in a folder; at last ``peak.txt`` there has the peak memory, and
    ``cores.txt`` the seconds of all cores."""
    output = os.open(notes / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        yield
    finally:
        (notes / "peak.txt").write_text(str(_high_water_bytes()))
        (notes / "cores.txt").write_text(str(time.process_time()))


class _Changes:
    """Counts the changes that this process makes to the files below a folder, and acts at one of them.

    What the action itself does is not counted.
    """

    def __init__(self, folder: Path, at: At | None = None) -> None:
        self.num = 0
        self._prefix, self._at, self._count = f"{folder}{os.sep}", at, itertools.count(1)
        self._is_deaf = False
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._is_deaf or event not in CHANGES or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        if event == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR):  # type: ignore[call-overload]
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(self._prefix) and os.path.basename(path) not in NOTES:
            self.num = next(self._count)
            at = self._at
            if at is not None and (self.num == at.change or (at.lasting and self.num > at.change)):
                self._is_deaf = True
                try:
                    at.act(path)
                finally:
                    self._is_deaf = False


def _high_water_bytes() -> int:
    """The peak of this process alone, which a process that was forked, and not executed, begins anew."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
