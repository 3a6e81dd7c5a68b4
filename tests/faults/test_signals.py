"""Ctrl-C, SIGTERM and SIGHUP at random moments of a command: it ends with one line and the right exit code,
and the same command goes on to the bytes of an undisturbed run. Also output that nobody reads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.fault_cases import drawn, numbers
from support.fault_commands import MORE, NAMES, Command, Workshop
from support.fault_table import SURVIVED
from support.processes import At, Ending, Signal

import fstore
from pipeline.commands.interruption import FINISHING, LINE

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
RENDER_BATCH = 3  # of the workshop's extraction
Note = Callable[[str], None]


def interrupted(command: Command, folder: Path, at: int, *signals: signal.Signals) -> Ending:
    """The end of the command by signals at a change to its files."""
    ending = command.disturbed(folder, At(at, Signal(signals)).begin)
    check(ending, signals[0])
    return ending


def check(ending: Ending, number: signal.Signals) -> None:
    assert ending.code == CODES[number], ending.text
    assert ending.lines[-1] == LINE and ending.lines.count(LINE) == 1
    assert "Traceback" not in ending.text and "Exception ignored" not in ending.text


def test_the_first_signal_finishes_the_batch_and_the_second_stops_at_once(
    workshop: Workshop, tmp_path: Path, note: Note
) -> None:
    command, out = workshop.command("extract-pyramid"), tmp_path / "out"
    created = len([name for name in command.whole if name.endswith("zarr.json")])
    begun = 2 * created + (command.changes - 2 * created) // 8  # an image is being written

    first = interrupted(command, tmp_path, begun, signal.SIGINT)
    assert first.lines.count(FINISHING) == 1
    finished = len(fstore.open(out))
    assert finished and finished % RENDER_BATCH == 0
    assert not list(out.rglob("*.partial"))

    ending = interrupted(command, tmp_path, 20, signal.SIGTERM, signal.SIGTERM)
    assert ending.lines[-2:] == (FINISHING, LINE)
    assert len(fstore.open(out)) < 9
    command.run(tmp_path)
    assert command.is_whole(tmp_path)
    note(SURVIVED)


@pytest.mark.slow
@pytest.mark.parametrize("number", numbers(0, 2))
@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_a_command_that_a_signal_ends_goes_on_to_the_same_bytes(
    workshop: Workshop, tmp_path: Path, name: str, number: int, note: Note
) -> None:
    command, random = workshop.command(name), drawn("signal", name, number)
    which, times = list(CODES)[number % len(CODES)], random.choice([1, 2])
    ending = interrupted(command, tmp_path, command.moment(random), *[which] * times)
    if FINISHING in ending.lines and times == 1 and name.startswith("extract"):
        assert len(fstore.open(tmp_path / "out")) % RENDER_BATCH == 0
    command.run(tmp_path)
    assert command.is_whole(tmp_path)
    note(SURVIVED)


@dataclass(frozen=True)
class AfterImages:
    """In a command's process: sends it a signal once so many markers of images are there."""

    images: int
    number: signal.Signals

    def begin(self, folder: Path) -> None:
        """Watch from another thread; the first signal is for the main one."""

        def watch() -> None:
            while len(list(folder.glob("out/committed/c/*"))) < self.images:
                time.sleep(0.01)
            os.kill(os.getpid(), self.number)

        threading.Thread(target=watch, daemon=True).start()


@pytest.mark.slow
def test_a_run_on_workers_ends_the_same(workshop: Workshop, tmp_path: Path, note: Note) -> None:
    command, number = workshop.command("extract-pyramid"), signal.SIGTERM
    images = drawn("workers", int(number)).randint(1, 4)
    check(command.disturbed(tmp_path, AfterImages(images, number).begin, more=("--workers", "2")), number)
    assert images <= len(fstore.open(tmp_path / "out")) < 9
    ending = command.disturbed(tmp_path, more=("--workers", "2"))
    assert ending.code == 0, ending.text
    assert command.is_whole(tmp_path)
    note(SURVIVED)


def started(
    words: tuple[str, ...], folder: Path, closed: tuple[int, ...], broken: tuple[int, ...]
) -> tuple[int, str]:
    """A program whose streams are ``closed``, or pipes that nobody reads. Its code, and what it says to the
    others.
    """
    reader, writer = os.pipe()
    os.close(reader)
    rest = folder / "said.txt"

    def prepare() -> None:
        for stream in broken:
            os.dup2(writer, stream)
        for stream in closed:
            os.close(stream)

    with rest.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=prepare,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    os.close(writer)
    return done.returncode, rest.read_text()


@pytest.mark.parametrize(
    ("closed", "broken"), [((), (1,)), ((1,), ()), ((1, 2), ())], ids=["| true", ">&-", ">&- 2>&-"]
)
def test_a_program_that_nobody_reads_is_silent(
    tmp_path: Path, closed: tuple[int, ...], broken: tuple[int, ...]
) -> None:
    code, said = started(("--help",), tmp_path, closed, broken)
    assert (code, said) == (1 if broken else 0, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["info", "verify"])
@pytest.mark.parametrize("closed", [(), (1,)], ids=["broken", "closed"])
def test_a_command_that_prints_to_nobody_is_silent(
    workshop: Workshop, tmp_path: Path, name: str, closed: tuple[int, ...], note: Note
) -> None:
    store = str(workshop.out("extract-pyramid"))
    code, said = started((name, store), tmp_path, closed, () if closed else (1,))
    assert code in (0, 1)
    assert "Traceback" not in said and "ignored" not in said and "Error" not in said
    note(SURVIVED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closed", "broken"),
    [((), (1, 2)), ((2,), ()), ((0, 1, 2), ())],
    ids=["2>&1 | head", "2>&-", "all closed"],
)
def test_a_command_with_progress_to_nobody_is_silent_and_writes_no_message_into_a_file(
    workshop: Workshop, tmp_path: Path, closed: tuple[int, ...], broken: tuple[int, ...], note: Note
) -> None:
    command = workshop.command("extract-pyramid")
    code, said = started((*command.words, "--threads", "1"), tmp_path, closed, broken)
    assert "Traceback" not in said and "ignored" not in said and "Error" not in said
    assert code == (1 if broken else 0)
    command.run(tmp_path)
    assert command.is_whole(tmp_path)
    note(SURVIVED)
