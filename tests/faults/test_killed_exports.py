"""``kill -9`` at any moment of an export, then the same command: the files of an undisturbed one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.exports import make_dataset
from support.fault_table import REFUSED, SURVIVED
from support.processes import ending, run, run_until
from support.stores import tree_bytes

from pipeline.exports.formats.table import MODULES
from pipeline.exports.marks import MARK

FORMATS = list(MODULES)
MANY = pytest.param(60, marks=pytest.mark.slow, id="sixty-moments")
SOME = pytest.param(4, id="four-moments")
SPLIT = ["--split", "train=0.8,val=0.2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``d.zarr`` of 20 images, of which 18 are kept."""
    made = tmp_path_factory.mktemp("kill")
    make_dataset(made / "d.zarr", num_images=20)
    return made


def export(out: str, format: str, *more: str) -> list[str]:
    return ["export", "d.zarr", out, "--format", format, *more]


def exported(out: Path) -> dict[str, bytes]:
    """The files of a finished export; of its mark all but the time."""
    files = tree_bytes(out)
    mark = json.loads(files.pop(MARK))
    del mark["created"]
    return {**files, MARK: json.dumps(mark).encode()}


def moments(changes: int, number: int) -> list[int]:
    """The ``number`` changes before which a run is killed: the first, the last, and some between."""
    return sorted({1 + i * (changes - 1) // (number - 1) for i in range(number)})


@pytest.mark.slow
@pytest.mark.parametrize("number", [SOME, MANY])
@pytest.mark.parametrize("format", FORMATS)
def test_an_export_killed_at_any_moment_ends_in_the_same_bytes(
    folder: Path, format: str, number: int, note: Callable[[str], None]
) -> None:
    out, words = folder / format, export(format, format, *SPLIT)
    changes = run(words, folder)
    whole = exported(out)
    for moment in moments(changes, number):
        shutil.rmtree(out)
        run_until(moment, words, folder)
        assert not (out / MARK).exists() or exported(out) == whole | left(out)
        run(words, folder)
        assert exported(out) == whole
        note(SURVIVED)


def left(out: Path) -> dict[str, bytes]:
    """What is not deleted yet after the mark was written."""
    return {
        name: content for name, content in tree_bytes(out).items() if name.startswith(".dgan-export.partial")
    }


@pytest.mark.slow
def test_an_export_killed_again_and_again_goes_on(folder: Path) -> None:
    changes = run(export("whole", "png"), folder)
    for _ in range(3):
        run_until(changes // 3, export("often", "png"), folder)
    run(export("often", "png"), folder)
    assert exported(folder / "often") == exported(folder / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [SOME, MANY])
def test_a_deletion_killed_at_any_moment_leaves_nothing_that_passes_for_whole(
    folder: Path, number: int, note: Callable[[str], None]
) -> None:
    old, new = export("out", "png"), export("out", "png", *SPLIT)
    run(export("old", "png"), folder)
    run(export("new", "png", *SPLIT), folder)
    expected = {"old": exported(folder / "old"), "new": exported(folder / "new")}
    shutil.copytree(folder / "old", folder / "out", dirs_exist_ok=True)
    changes = run([*new, "--overwrite"], folder)
    for moment in moments(changes, number):
        for then, words in (("old", old), ("new", new)):
            shutil.rmtree(folder / "out")
            shutil.copytree(folder / "old", folder / "out")
            run_until(moment, [*new, "--overwrite"], folder)
            code, line = ending(words, folder)
            assert code == 0 or (code == 2 and "--overwrite" in line), line
            if code == 0:
                assert exported(folder / "out") == expected[then]
            note(SURVIVED if code == 0 else REFUSED)
    run([*new, "--overwrite"], folder)
    assert exported(folder / "out") == expected["new"]
    shutil.rmtree(folder / "out")
