"""``kill -9`` at any moment of an export, then the same command: the files of an undisturbed one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from support.exports import make_dataset
from support.fault_cases import drawn, named, numbers
from support.fault_table import REFUSED, SURVIVED
from support.processes import ending, run, run_until
from support.stores import tree_bytes

from pipeline.exports.formats.table import MODULES
from pipeline.exports.marks import MARK

FORMATS = list(MODULES)
SPLIT = ["--split", "train=0.8,val=0.2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``d.zarr`` of 20 images, of which 18 are kept."""
    made = tmp_path_factory.mktemp("kill")
    make_dataset(made / "d.zarr", num_images=20)
    return made


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Callable[[str], tuple[int, dict[str, bytes]]]:
    """Of a format: how many changes to files an export makes, and its files."""

    @cache
    def of(format: str) -> tuple[int, dict[str, bytes]]:
        changes = run(export(folder, format, format, *SPLIT), folder)
        return changes, exported(folder / format)

    return of


def export(folder: Path, out: str, format: str, *more: str) -> list[str]:
    return ["export", str(folder / "d.zarr"), out, "--format", format, *more]


def exported(out: Path) -> dict[str, bytes]:
    """The files of a finished export; of its mark all but the time."""
    files = tree_bytes(out)
    mark = json.loads(files.pop(MARK))
    del mark["created"]
    return {**files, MARK: json.dumps(mark).encode()}


@pytest.mark.parametrize(("format", "number"), named(FORMATS, (), 4))
def test_an_export_killed_at_any_moment_ends_in_the_same_bytes(
    undisturbed: Callable[[str], tuple[int, dict[str, bytes]]],
    folder: Path,
    tmp_path: Path,
    format: str,
    number: int,
    note: Callable[[str], None],
) -> None:
    changes, whole = undisturbed(format)
    moment = (1, changes)[number] if number < 2 else drawn("export", format, number).randint(1, changes)
    out, words = tmp_path / "out", export(folder, "out", format, *SPLIT)
    if format == "released":  # its files name the folder in which they lie
        run(words, tmp_path)
        whole = exported(out)
        shutil.rmtree(out)
    run_until(moment, words, tmp_path)
    assert not (out / MARK).exists() or exported(out) == whole | left(out)
    run(words, tmp_path)
    assert exported(out) == whole
    note(SURVIVED)


def left(out: Path) -> dict[str, bytes]:
    """What is not deleted yet after the mark was written."""
    return {
        name: content for name, content in tree_bytes(out).items() if name.startswith(".dgan-export.partial")
    }


@pytest.mark.parametrize("number", numbers(0, 6))
def test_a_deletion_killed_at_any_moment_leaves_nothing_that_passes_for_whole(
    undisturbed: Callable[[str], tuple[int, dict[str, bytes]]],
    folder: Path,
    tmp_path: Path,
    number: int,
    note: Callable[[str], None],
) -> None:
    """The command that made what is deleted goes on too, or is refused with a line that names the way out."""
    chance = drawn("deletion", number)
    old, new = export(folder, "out", "png", *SPLIT), [*export(folder, "out", "png"), "--overwrite"]
    changes, whole = undisturbed("png")
    run(old, tmp_path)
    run_until(chance.randint(1, changes), new, tmp_path)
    code, line = ending(old, tmp_path)
    assert code == 0 or (code == 2 and "--overwrite" in line), line
    if code == 0:
        assert exported(tmp_path / "out") == whole
    note(SURVIVED if code == 0 else REFUSED)
