"""``kill -9`` of a second round, and of `dgan sample`, at any moment: what was there stays until the new is
whole, and the same command ends in the bytes of an undisturbed run, but for ``created``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fault_cases import drawn, named
from support.fault_table import SURVIVED
from support.processes import run, run_until
from support.second_rounds import NAMES, PLACE, SecondRounds
from support.stores import tree_bytes
from support.tiny import write_inputs

import fstore
from pipeline.interpreter.files import load_interpreter

SAMPLE = ["sample", "--checkpoint", "in/checkpoint.pt", "--num", "9"]


@pytest.mark.parametrize(("name", "number"), named(NAMES, (), 4))
def test_a_second_round_killed_is_never_less_and_ends_in_the_same_bytes(
    second_rounds: SecondRounds, tmp_path: Path, name: str, number: int, note: Callable[[str], None]
) -> None:
    each, chance = second_rounds.round(name), drawn("killed again", name, number)
    each.begin(tmp_path)
    out = tmp_path / PLACE / "out"
    for _ in range(chance.randint(1, 3)):
        each.run_until(chance.randint(1, max(1, each.changes // 3)), tmp_path)
        if name == "correct":
            report = fstore.verify_store(out)
            assert report.ok and report.checked >= 5, report.problems
        if name == "train":
            weights = [each.before / "out", second_rounds.made(name) / "out"]
            assert load_interpreter(out).sha256 in [load_interpreter(folder).sha256 for folder in weights]
    each.run(tmp_path)
    assert each.is_whole(tmp_path)
    note(SURVIVED)


def test_sample_killed_leaves_nothing_that_its_rerun_does_not_clear(
    tmp_path: Path, note: Callable[[str], None]
) -> None:
    write_inputs(tmp_path / "in", num=9)
    changes = run([*SAMPLE, "--out", "project"], tmp_path)
    for change in (1, changes // 3, changes - 1):
        run_until(change, [*SAMPLE, "--out", "annotate"], tmp_path)
        assert not (tmp_path / "annotate").exists()
    run([*SAMPLE, "--out", "annotate"], tmp_path)
    assert not list(tmp_path.glob(".annotate*"))
    assert sampled(tmp_path / "annotate") == sampled(tmp_path / "project")
    note(SURVIVED)


def sampled(folder: Path) -> dict[str, object]:
    """The files of a project; of its record all but its time of creation."""
    record = json.loads((folder / "sample.json").read_text())
    return {**tree_bytes(folder), "sample.json": {**record, "created": None}}
