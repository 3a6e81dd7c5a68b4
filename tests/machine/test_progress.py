"""What a run tells of its progress: one line that fits a terminal, and without one a line now and then."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.places import REPOSITORY

from pipeline.machine import progress as module
from pipeline.machine.progress import Work, progress, progress_hidden


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "monotonic", made)
    return made


def test_a_line_says_how_far_how_fast_and_how_long_still() -> None:
    work = Work("synthesizing", 200, "images", 40, start=100.0)
    assert work.line(100.0) == "synthesizing: 40/200 images"
    work.done = 80  # 40 of them in 20 s
    assert work.line(120.0) == "synthesizing: 80/200 images, 2 images/s, 0:01:00 left"
    assert work.line(120.0, with_bar=True) == (
        "synthesizing [########------------] 80/200 images, 2 images/s, 0:01:00 left"
    )
    work.done = 42  # 2 in 20 s
    assert work.line(120.0) == "synthesizing: 42/200 images, 10 s/image, 0:26:20 left"


def test_work_of_unknown_length_shows_no_end() -> None:
    work = Work("looking", None, "images", 0, start=0.0)
    work.done = 10
    assert work.line(5.0, with_bar=True) == "looking: 10 images, 2 images/s"


@given(
    st.text("abc ", min_size=1, max_size=40),
    st.none() | st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.lists(st.text("xyz. 0", min_size=1, max_size=20), max_size=5).map(", ".join),
    st.floats(0, 1e7),
    st.integers(40, 200),
    st.booleans(),
)
def test_a_line_never_runs_over(
    text: str, total: int | None, done: int, status: str, seconds: float, width: int, with_bar: bool
) -> None:
    work = Work(text, total, "steps", 0, start=0.0)
    work.done, work.status = done, status
    line = work.line(seconds, width, with_bar=with_bar)
    assert len(line) <= width and "\n" not in line


def test_an_epoch_of_training_fits_eighty_columns() -> None:
    work = Work("epoch 25 of at most 30, best 24", 10_240, "steps", 0, start=0.0, is_exact=False)
    work.done, work.status = 5_120, "mIoU 0.9162, loss 0.0469"
    assert work.line(100.0) == (
        "epoch 25 of at most 30, best 24: 5,120/10,240 steps, 51.2 steps/s, mIoU 0.9162"
    )


def test_without_a_terminal_a_plain_line_is_written_now_and_then(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("extracting features", 200, "images") as bar:
        for _ in range(167):  # one image a second: 2 minutes and 47 seconds
            clock.seconds += 1
            bar.advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"extracting features: {n}/200 images, 1 image/s, 0:0{(200 - n) // 60}:{(200 - n) % 60:02} left"
        for n in (30, 60, 90, 120, 150)
    ]


def test_a_long_run_does_not_fill_its_log(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 10**6, "steps") as bar:
        for _ in range(36_000):  # ten hours
            clock.seconds += 1
            bar.advance()
    assert 20 < len(capsys.readouterr().err.splitlines()) < 100


def test_a_short_run_writes_no_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 10, "steps") as bar:
        for _ in range(10):
            clock.seconds += 2.9
            bar.advance()
            bar.status("loss 1")
    assert capsys.readouterr() == ("", "")


def test_a_part_counts_its_own_units_and_promises_no_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("training", 90, "steps", 30) as bar:
        bar.begin("epoch 2 of at most 3, best 1", 30)
        clock.seconds += 30
        bar.advance(15)
    assert capsys.readouterr().err == "epoch 2 of at most 3, best 1: 15/30 steps, 2 s/step\n"


def test_a_part_of_work_of_known_length_counts_towards_the_whole(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("training", 90, "steps", 30) as bar:
        bar.begin("epoch 2 of 3")
        clock.seconds += 30
        bar.advance(30)
    assert capsys.readouterr().err == "epoch 2 of 3: 60/90 steps, 1 step/s, 0:00:30 left\n"


def test_a_log_that_cannot_be_written_ends_no_run(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Closed())
    with progress("training", 2, "steps") as bar:
        clock.seconds += 40
        bar.advance()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_a_terminal_shows_one_line_of_its_width() -> None:
    program = (
        "from pipeline.machine.progress import progress\n"
        "with progress('training', 90, 'steps') as bar:\n"
        "    bar.begin('epoch 5 of at most 30, best 4', 40)\n"
        "    bar.advance(10)\n"
        "    bar.status('loss 0.0469, mIoU 0.9162')\n"
    )
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", program], stderr=terminal, env=environment, check=True, timeout=60)
    os.close(terminal)
    shown = os.read(controller, 100_000).decode()
    os.close(controller)
    assert "epoch 5 of at most 30, best 4" in shown and "10/40 steps" in shown and "loss 0.0469" in shown
    assert shown.count("\n") == 1  # at the end: until then the line changes in its place


# --- a notebook ---


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What a notebook's kernel is given to show: the text, and whether it takes the place of the last one.

    IPython is a stand-in here; tests/api/test_example_notebook.py runs the real one.
    """
    found: list[tuple[str, bool]] = []
    places: set[str] = set()

    def display(data: dict[str, str], *, raw: bool, display_id: str, update: bool) -> None:
        assert raw and list(data) == ["text/plain"]
        assert update == (display_id in places)
        places.add(display_id)
        found.append((data["text/plain"], update))

    ipython, functions = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    functions.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", functions)
    return found


def test_a_notebook_shows_one_line_that_changes_four_times_a_second(
    shown: list[tuple[str, bool]], clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("training", 10_000, "steps") as bar:
        for _ in range(10_000):  # a thousand steps a second
            clock.seconds += 0.001
            bar.advance()
    texts = [text for text, _ in shown]
    assert 40 <= len(texts) <= 42  # ten seconds, and the two ends
    assert [update for _, update in shown] == [False] + [True] * (len(shown) - 1)
    assert "0/10,000 steps" in texts[0] and "10,000/10,000 steps" in texts[-1]
    assert all(len(text) <= 80 and "\n" not in text for text in texts)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_shows_how_far_work_was_that_failed(shown: list[tuple[str, bool]], clock: Clock) -> None:
    def work() -> None:
        with progress("training", 10, "steps") as bar:
            bar.advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert "3/10 steps" in shown[-1][0]


def test_a_notebook_that_has_gone_ends_no_run(
    shown: list[tuple[str, bool]], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def display(*_: object, **__: object) -> None:
        raise RuntimeError("the socket is closed")

    monkeypatch.setattr(sys.modules["IPython.display"], "display", display)
    with progress("training", 2, "steps") as bar:
        clock.seconds += 1
        bar.advance()


def test_ipython_without_a_kernel_is_no_notebook(
    shown: list[tuple[str, bool]], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shell in (None, SimpleNamespace()):
        monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda shell=shell: shell)
        with progress("training", 2, "steps") as bar:
            bar.advance()
    assert shown == []


def test_progress_that_is_hidden_shows_nothing_anywhere(
    shown: list[tuple[str, bool]], clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_hidden(), progress("training", 2, "steps") as bar:
        clock.seconds += 40
        bar.advance()
    assert shown == [] and capsys.readouterr() == ("", "")
