"""Signals while a real process starts and ends: one line, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.tiny import input_flags, write_checkpoint, write_inputs

from pipeline.cli import main
from pipeline.commands import interruption
from pipeline.commands.program import signals_handled, signals_raised

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
LINE = "interrupted; run the same command again to go on"
ANEW = "interrupted; run the same command again without --overwrite to go on"
DEADLINE = 120


def start(words: list[str], cwd: Path, module: str = "pipeline") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *words],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=default_signals,  # a test run in the background may ignore them
    )


def default_signals() -> None:
    for number in CODES:
        signal.signal(number, signal.SIG_DFL)


def wait_for(process: subprocess.Popen[str], seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not seen() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)


def handles(process: subprocess.Popen[str]) -> bool:
    """Whether the process has taken over SIGTERM, which it does before anything slow."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return False
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def check_end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    error = process.communicate(timeout=DEADLINE)[1]
    assert process.returncode == CODES[number], error
    assert "Traceback" not in error and "Exception ignored" not in error
    assert error.count("interrupted") == 1 and error.splitlines()[-1] == LINE


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")


@needs_proc
@pytest.mark.parametrize(
    ("number", "delay"),
    [
        (signal.SIGINT, 0.0),  # nothing is imported
        (signal.SIGTERM, 0.0),
        (signal.SIGHUP, 0.01),
        (signal.SIGINT, 0.03),
        (signal.SIGINT, 0.1),  # the command begins
        (signal.SIGTERM, 0.4),  # torch is imported
        pytest.param(signal.SIGHUP, 1.2, marks=pytest.mark.slow),
    ],
)
def test_a_signal_while_the_program_starts_is_one_line(
    number: signal.Signals, delay: float, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "checkpoint.pt")
    words = ["sample", "--checkpoint", "checkpoint.pt", "--num", "100000", "--out", "out"]
    process = start(words, tmp_path)
    wait_for(process, lambda: handles(process))
    time.sleep(delay)
    process.send_signal(number)
    check_end(process, number)
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_signal_while_the_line_is_printed_does_not_swallow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python runs a handler between any two statements, those of another handler included."""
    written: list[str] = []

    def write(line: str) -> None:
        interruption.handle(signal.SIGINT, None)
        written.append(line)

    for name, value in {"running": False, "received": None, "said": False, "written": False}.items():
        monkeypatch.setattr(interruption.State, name, value)
    monkeypatch.setattr(interruption, "_write", write)
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as ended:
        interruption.handle(signal.SIGTERM, None)
    assert (ended.value.code, written) == (143, [interruption.State.line])


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 0.01], ids="{}s".format)
@needs_proc
def test_more_signals_end_the_program_at_once(pause: float, tmp_path: Path) -> None:
    """Also while Python shuts down: the other tests of signals in a stage are in tests/faults."""
    write_inputs(tmp_path / "in", num=12)
    process = start(["extract-features", *input_flags(Path("in")), "--resolution", "128"], tmp_path)
    wait_for(process, (tmp_path / "features.zarr" / "zarr.json").exists)
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
    check_end(process, signal.SIGINT)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train"], LINE),
        (["train", "--overwrite"], ANEW),
        (["segment", "train", "--overwrite"], ANEW),
        (["sample", "--overwrite"], LINE),  # which keeps what is there until the new is whole
    ],
    ids=" ".join,
)
def test_the_line_leaves_out_the_flag_that_would_delete_what_is_made(
    words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    written: list[str] = []
    names = [word for word in words if not word.startswith("-")]
    place: Any = main
    for name in names:
        place = place.commands[name]
    monkeypatch.setattr(place, "callback", interrupted)
    monkeypatch.setattr(interruption, "_write", written.append)
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, words)
    assert (found.exit_code, written) == (130, [expected])
    assert interruption.State.line == LINE  # that of the next command in this process


def test_an_ignored_signal_stays_ignored() -> None:
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "from pipeline.commands.interruption import install; install();"
        "signal.raise_signal(signal.SIGHUP); print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_keyboard_interrupt_that_a_library_turned_into_another_error_is_still_one() -> None:
    interruption.State.received = signal.SIGTERM
    try:
        with pytest.raises(KeyboardInterrupt), signals_raised():
            raise ImportError("a module in C failed to import")
        with pytest.raises(KeyboardInterrupt), signals_raised():
            pass  # or swallowed it
    finally:
        interruption.State.received = None


def test_the_handlers_are_those_of_the_caller_after_a_command_in_its_process() -> None:
    before = {number: signal.getsignal(number) for number in CODES}
    with signals_handled():
        assert {signal.getsignal(number) for number in CODES} == {interruption.handle}
    assert {number: signal.getsignal(number) for number in CODES} == before


def test_the_environment_for_threads_is_set_before_a_stage_starts(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['dgan', '--version']\n"
        "try:\n    import pipeline.__main__ as m; m.main()\n"
        "except SystemExit: pass\n"
        "import os; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == "PASSIVE False"
