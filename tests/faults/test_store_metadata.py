"""Metadata that was changed at random: every command that reads it ends in a line or in the same numbers as
before, opens no file outside, and asks for no memory that only the metadata claims.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.confined import confined
from support.fault_cases import drawn, named
from support.fault_commands import TASK_IMAGES, Workshop
from support.fuzzing import limited
from support.mutants import check_mutant

import fstore
from fstore import format as fmt
from fstore.errors import StoreError

MUTANTS = 8  # of one case
CHECKPOINT = ("--checkpoint", "in/checkpoint.pt")
COMMANDS = {
    "features": (
        ("info", "features"),
        ("verify", "features"),
        ("repair", "features", "--dry-run"),
        ("export", "features", "made", "--format", "png", "--dry-run"),
        ("export", "features", "made", "--format", "coco"),
        ("train", "--store", "features", "--out", "made", "--dry-run"),
        ("evaluate", "interpreter", "--store", "features"),
        ("report", "features", "--out", "made.html"),
    ),
    "dataset": (
        ("info", "dataset"),
        ("verify", "dataset"),
        ("repair", "dataset", "--dry-run"),
        ("filter", "dataset", "--keep", "0.5"),
        ("export", "dataset", "made", "--format", "voc", "--dry-run"),
        ("export", "dataset", "made", "--format", "released"),
        ("report", "dataset", "--out", "made.html"),
        (
            "synthesize",
            *CHECKPOINT,
            "--interpreter",
            "interpreter",
            "--num",
            "44",
            "--store",
            "dataset",
            "--dry-run",
        ),
    ),
    "interpreter": (
        ("info", "interpreter"),
        ("verify", "interpreter"),
        ("evaluate", "interpreter", "--store", "features"),
        (
            "synthesize",
            *CHECKPOINT,
            "--interpreter",
            "interpreter",
            "--num",
            "8",
            "--store",
            "made",
            "--dry-run",
        ),
        ("report", "interpreter", "--out", "made.html"),
    ),
    "exported": (("export", "dataset", "exported", "--format", "png", "--split", "train=0.8,val=0.2"),),
}
FILES = {"features": "zarr.json", "dataset": "zarr.json", "interpreter": "*.*", "exported": ".dgan*"}
MADE = {
    "features": "extract-pyramid",
    "dataset": "synthesize",
    "interpreter": "train",
    "exported": "export-png",
}


@pytest.fixture(scope="module")
def project(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of each kind, an interpreter and an export."""
    folder = tmp_path_factory.mktemp("metadata") / "project"
    folder.mkdir()
    shutil.copytree(workshop.inputs, folder / "in")
    for place, name in MADE.items():
        shutil.copytree(workshop.out(name), folder / place)
    return folder


def read(path: Path) -> dict[str, np.ndarray]:
    """What the readers give of a store, as far as they do not refuse it."""
    store = fstore.open(path)
    names = ["images", "latents"]
    names += (
        ["masks", "features"] if store.meta.kind == "features" else ["labels", "divergence", "uncertainty"]
    )
    found = {"image_ids": store.image_ids}
    for name in names:
        values = getattr(store, name)
        found[name] = values.compute(scheduler="sync") if hasattr(values, "compute") else np.asarray(values)
    return found


@pytest.mark.parametrize(("kind", "number"), named(list(COMMANDS), [], 3))
def test_mutated_metadata_is_refused_in_a_line_or_changes_nothing(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    number: int,
    note: Callable[[str], None],
) -> None:
    chance, folder = drawn("metadata", kind, number), tmp_path / "project"
    shutil.copytree(project, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(fmt, "TASK_IMAGES", TASK_IMAGES)
    place, is_store = folder / kind, kind in ("features", "dataset")
    whole = read(place) if is_store else {}
    files = sorted(file.relative_to(folder) for file in place.rglob(FILES[kind]) if file.is_file())
    before = partial(check_readers, folder, kind, whole) if is_store else lambda: None
    for _ in range(MUTANTS):
        file = chance.choice([files[-1] if is_store else files[0], *files])
        words = chance.choice(COMMANDS[kind])
        check_mutant(folder, file, words, chance, note, before)
        for changed in {kind, "made", "made.html"}:
            remove(folder / changed)
        shutil.copytree(project / kind, place)


def check_readers(folder: Path, kind: str, whole: dict[str, np.ndarray]) -> None:
    """A store that opens gives the numbers that it had, or raises."""
    try:
        with limited(), confined(folder):
            found = read(folder / kind)
    except StoreError as error:
        assert (
            str(error).startswith(str(folder / kind)) and str(error).isprintable() and len(str(error)) < 1000
        )
        return
    for name, values in found.items():
        assert np.array_equal(values, whole[name], equal_nan=True), name


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
