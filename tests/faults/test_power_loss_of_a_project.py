"""The power fails while `dgan sample` writes a project: its settings stand only beside whole files, and the
same command goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fault_cases import drawn, named
from support.fault_commands import TASK_IMAGES
from support.fault_table import SURVIVED
from support.power_loss import drawn_moment, moments, run_until_cut
from support.processes import run
from support.stores import tree_bytes
from support.tiny import write_inputs

PLACE = "work"
WORDS = ("sample", "--checkpoint", f"{PLACE}/in/checkpoint.pt", "--num", "9", "--out", f"{PLACE}/annotate")
KINDS = ("new", "again", "empty")

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads Linux's /proc")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the command finds in its folder: no project, the project of another seed, or an empty folder."""
    found = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        write_inputs(folder / PLACE / "in", num=9)  # beside the project, which names it relative to itself
        if kind == "again":
            run([*WORDS, "--seed", "1"], folder)
        if kind == "empty":
            (folder / PLACE / "annotate").mkdir()
        found[kind] = folder
    return found


@pytest.mark.parametrize(("kind", "number"), named(KINDS, (), 4))
def test_a_power_cut_leaves_a_project_whole_or_without_its_settings(
    before: dict[str, Path], tmp_path: Path, kind: str, number: int, note: Callable[[str], None]
) -> None:
    chance = drawn("power project", kind, number)
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "cut"
    for place in (undisturbed, folder):
        shutil.copytree(before[kind], place)
    project = folder / PLACE / "annotate"
    words = (*WORDS, "--overwrite") if kind == "again" else WORDS
    events = moments(words, undisturbed, TASK_IMAGES)
    whole = files(undisturbed / PLACE / "annotate")
    was = files(project) if kind == "again" else whole
    for _ in range(chance.randint(1, 2)):
        run_until_cut(
            _again(words, project), folder, TASK_IMAGES, drawn_moment(events, chance), chance, PLACE
        )
        if (project / "dgan.toml").exists():
            assert files(project) in (was, whole)
    run(_again(words, project), folder)
    assert files(project) == whole
    assert not list((folder / PLACE).glob(".annotate*")) and not list(project.glob(".*"))
    note(SURVIVED)


def _again(words: tuple[str, ...], project: Path) -> tuple[str, ...]:
    """The same command, or where the cut came after all was done, one that may replace it."""
    return (*WORDS, "--overwrite") if (project / "dgan.toml").exists() else words


def files(project: Path) -> dict[str, object]:
    """The files of a project, without what a run works on; of its record all but its time of creation."""
    record = json.loads((project / "sample.json").read_text())
    found = {**tree_bytes(project), "sample.json": {**record, "created": None}}
    return {name: content for name, content in found.items() if not name.startswith(".dgan-sample.partial")}
