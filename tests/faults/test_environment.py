"""Another clock, locale, umask, folder or terminal changes no byte of what a command writes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.fault_commands import TASK_IMAGES, Workshop, prepare
from support.fault_table import SURVIVED
from support.places import REPOSITORY
from support.processes import end_of

from fstore import format as fmt

PLACES = {
    "far from home": {"HOME": None, "TMPDIR": "/nowhere", "XDG_CACHE_HOME": "/nowhere", "USER": None},
    "odd terminal": {"COLUMNS": "10", "LINES": "1", "TERM": "dumb", "NO_COLOR": "1", "FORCE_COLOR": "1"},
    "other zone": {"TZ": "Pacific/Kiritimati", "SOURCE_DATE_EPOCH": "1", "LANG": "tr_TR.UTF-8"},
}
"""Variables that a running process reads; None: it is not set."""
STARTS = {
    "C": {"LC_ALL": "C", "PYTHONHASHSEED": "1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "turkish": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "12345"},
    "latin": {"LC_ALL": "en_US.ISO-8859-1", "PYTHONIOENCODING": "latin-1", "PYTHONHASHSEED": "0"},
}
"""Variables that count when Python starts."""
NAMES = ("extract-pyramid", "train", "synthesize", "export-webdataset")
LATER_SECONDS = 40 * 365 * 86_400
PROGRAM = """
import sys
from pipeline.cli import main
from fstore import format as fmt
fmt.TASK_IMAGES = {tasks}
main(sys.argv[1:], prog_name="dgan")
"""


def disturbed(
    _: list[str],
    words: tuple[str, ...],
    folder: Path,
    variables: Mapping[str, str | None],
    umask: int,
    shift: float,
) -> None:
    """``dgan WORDS`` in this process after its surroundings were changed. ``shift``: seconds that its clock
    is ahead, and then runs backwards.
    """
    from pipeline.cli import main

    output = os.open(folder.parent / f"{folder.name}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(0)
    for name, value in variables.items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    time.tzset()
    begun, now = time.time(), time.time
    if shift:
        time.time = lambda: 2 * begun + shift - now()
    os.umask(umask)
    os.chdir("/")
    fmt.TASK_IMAGES = TASK_IMAGES
    main(list(words), prog_name="dgan")


def elsewhere(words: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """The words of a command that writes ``out``, for a process whose current folder is another."""
    full = tuple(str(folder / "out") if word == "out" else word for word in words)
    settings = () if words[0] == "export" else ("--config", str(folder / "dgan.toml"))
    return (*full, *settings, "--threads", "1")


def cases() -> list[object]:
    """(name, variables, umask, clock) of each case; one of each kind is fast."""
    found = []
    for number, place in enumerate(PLACES):
        for name in NAMES:
            is_fast = name == "extract-pyramid" and number == 2  # whose undisturbed run others need
            marks = () if is_fast else pytest.mark.slow
            found.append(
                pytest.param(name, place, (0o077, 0o000, 0o027)[number], marks=marks, id=f"{name}-{place}")
            )
    return found


@pytest.mark.parametrize(("name", "place", "umask"), cases())
def test_surroundings_change_no_byte(
    workshop: Workshop, tmp_path: Path, name: str, place: str, umask: int, note: Callable[[str], None]
) -> None:
    command, folder = workshop.command(name), tmp_path / "work"
    folder.mkdir()
    prepare(folder)
    words = elsewhere(command.words, folder)
    code = end_of(disturbed, words, folder, PLACES[place], umask, LATER_SECONDS)
    assert code == 0, (tmp_path / "work.txt").read_text()
    assert command.is_whole(folder)
    for path in [folder / "out", *(folder / "out").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o777 if path.is_dir() else 0o666) & ~umask, (path, oct(mode))
    note(SURVIVED)


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_process_that_starts_in_another_locale_writes_the_same_bytes(
    workshop: Workshop, tmp_path: Path, name: str, start: str, note: Callable[[str], None]
) -> None:
    command, folder = workshop.command(name), tmp_path / "w\u00f6rk"
    folder.mkdir()
    prepare(folder)
    words = elsewhere(command.words, folder)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(tasks=TASK_IMAGES), *words],
        env={**kept, "PYTHONPATH": str(REPOSITORY), **STARTS[start]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert b"Traceback" not in done.stderr
    assert command.is_whole(folder)
    note(SURVIVED)
