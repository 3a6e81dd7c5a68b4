"""``kill -9`` of ``dgan calibrate``, or a power cut, at a random moment: the same command, and one with
``--overwrite``, ends in the bytes of an undisturbed run and leaves nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support.fault_cases import drawn, numbers
from support.fault_commands import Workshop, prepare
from support.fault_table import SURVIVED
from support.power_loss import drawn_moment, moments, run_until_cut
from support.processes import run, run_until
from support.stores import tree_bytes

TASK_IMAGES = 8
LEFT = ".tmpQpo0LR"  # a part of a file of tensors, as an older version left it


class Calibrated(NamedTuple):
    """The command, how many changes to files it makes, and what it makes."""

    words: list[str]
    changes: int
    whole: dict[str, object]


def content(folder: Path) -> dict[str, object]:
    """All that lies in ``out``, without the time at which it was made."""
    files = tree_bytes(folder / "out")
    return {**files, "c.json": {**json.loads(files["c.json"]), "created": None}}


@pytest.fixture(scope="module")
def calibrated(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    folder = tmp_path_factory.mktemp("calibrated")
    prepare(folder)
    (folder / "out").mkdir()
    store = str(workshop.out("extract-pyramid"))
    words = ["calibrate", "--store", store, "--members", "2", "--folds", "2", "--out", "out/c.json"]
    return Calibrated(words, run(words, folder), content(folder))


def begin(folder: Path) -> None:
    prepare(folder)
    (folder / "out").mkdir()


@pytest.mark.parametrize("number", numbers(1, 6))
def test_a_calibration_killed_at_random_ends_in_the_same_bytes(
    calibrated: Calibrated, tmp_path: Path, number: int, note: Callable[[str], None]
) -> None:
    chance = drawn("killed calibration", number)
    begin(tmp_path)
    for _ in range(chance.randint(1, 3)):
        run_until(chance.randint(1, calibrated.changes // 3), calibrated.words, tmp_path)
        for place in (tmp_path / "out").glob("**/*.begun/**/"):
            (place / LEFT).write_bytes(b"a part")
    run([*calibrated.words, *["--overwrite"] * (number % 2)], tmp_path)
    assert content(tmp_path) == calibrated.whole
    note(SURVIVED)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("number", numbers(0, 3))
def test_a_calibration_goes_on_after_a_power_cut(
    calibrated: Calibrated, tmp_path: Path, number: int, note: Callable[[str], None]
) -> None:
    chance, counted = drawn("calibration without power", number), tmp_path / "counted"
    counted.mkdir()
    begin(counted)
    events = moments(calibrated.words, counted, TASK_IMAGES)
    begin(tmp_path)
    for _ in range(chance.randint(1, 2)):
        run_until_cut(calibrated.words, tmp_path, TASK_IMAGES, drawn_moment(events, chance), chance)
    run(calibrated.words, tmp_path)
    assert content(tmp_path) == calibrated.whole
    note(SURVIVED)
