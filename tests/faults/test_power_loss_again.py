"""The power fails while a command changes what an earlier one has made: what counted is whole, or has made
place for what is whole, and the same command ends in the bytes of an undisturbed run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.fault_cases import drawn, named
from support.fault_commands import TASK_IMAGES, content
from support.fault_table import SURVIVED
from support.power_loss import drawn_moment, run_until_cut
from support.second_rounds import NAMES, PLACE, Round, SecondRounds

import fstore
from fstore import format as fmt
from fstore.errors import StoreError
from pipeline.exports.marks import MARK
from pipeline.interpreter.files import load_interpreter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads Linux's /proc"),
]


@pytest.mark.parametrize(("name", "number"), named(NAMES, (), 3))
def test_a_power_cut_in_a_second_round_loses_nothing(
    second_rounds: SecondRounds,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
    note: Callable[[str], None],
) -> None:
    each, chance = second_rounds.round(name), drawn("power again", name, number)
    monkeypatch.setattr(fmt, "TASK_IMAGES", TASK_IMAGES)
    each.begin(tmp_path)
    for _ in range(chance.randint(1, 2)):
        run_until_cut(each.words, tmp_path, TASK_IMAGES, drawn_moment(each.events, chance), chance, PLACE)
        check_what_counts(name, each, tmp_path / PLACE)
    each.run(tmp_path)
    assert each.is_whole(tmp_path)
    note(SURVIVED)


CUT_OFF = "a run with a larger --num was cut off, run it again"


def check_what_counts(name: str, each: Round, place: Path) -> None:
    """What is committed or marked is whole. Only ``--overwrite`` takes what was there away."""
    out = place / "out"
    if (out / "zarr.json").exists():
        try:
            report = fstore.verify_store(out)
        except StoreError as error:
            assert name == "overwrite-extract" and "its creation was cut off" in str(error)
            return
        assert all(CUT_OFF in problem for problem in report.problems), report.problems
        assert report.problems or name == "overwrite-extract" or report.checked >= 5
    elif (out / "interpreter.json").exists():
        load_interpreter(out)
    elif (out / MARK).exists():
        found, was = content(out), content(each.before / "out")
        made = {
            key.removeprefix("out/"): value for key, value in each.whole.items() if key.startswith("out/")
        }
        assert any({key: found.get(key) for key in whole} == whole for whole in (made, was))
    else:
        assert name.startswith("overwrite-")
