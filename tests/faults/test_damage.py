"""Damage at random places of any file of a store: ``dgan verify`` finds it, no reader takes it for values,
and ``dgan repair`` and the command that wrote the store mend it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from support.commands import dgan
from support.fault_cases import drawn, named, numbers
from support.fault_commands import TASK_IMAGES, Workshop, prepare
from support.fault_table import REFUSED, SURVIVED
from support.stores import store_bytes

import fstore
from fstore import format as fmt
from fstore.errors import StoreError

Note = Callable[[str], None]
STORES = ("extract-dense", "extract-pyramid", "synthesize")


def flip(file: Path, chance: random.Random) -> str:
    content = bytearray(file.read_bytes())
    place = chance.randrange(len(content))
    content[place] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
    return f"bit flipped in byte {place}"


def cut(file: Path, chance: random.Random) -> str:
    content = file.read_bytes()
    length = chance.randrange(len(content))
    file.write_bytes(content[:length])
    return f"cut to {length} of {len(content)} bytes"


def zero(file: Path, chance: random.Random) -> str:
    content = bytearray(file.read_bytes())
    start = chance.randrange(len(content))
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    file.write_bytes(content)
    return f"zeros from byte {start}"


def empty(file: Path, chance: random.Random) -> str:
    file.write_bytes(b"")
    return "empty"


def missing(file: Path, chance: random.Random) -> str:
    file.unlink()
    return "missing"


WAYS = (flip, cut, zero, empty, missing)


def damage(path: Path, chance: random.Random) -> dict[str, str]:
    """Damage one or two files of arrays, none of the average latent: what happened, by the path of each."""
    files = sorted(file for file in path.rglob("c/**/*") if file.is_file())
    files = [file for file in files if "average_latent" not in file.parts]
    happened = {}
    for file in chance.sample(files, chance.randint(1, 2)):
        before = file.read_bytes()
        how = chance.choice(WAYS)(file, chance)
        if not file.exists() or file.read_bytes() != before:  # zeros over zeros are no damage
            happened[str(file.relative_to(path))] = how
    return happened


def everything(path: Path) -> dict[str, np.ndarray]:
    """All values of all arrays, as the readers of ``fstore`` give them."""
    store = fstore.open(path)
    names = ["images", "latents"]
    names += (
        ["features", "masks"] if store.meta.kind == "features" else ["labels", "divergence", "uncertainty"]
    )
    return {name: np.asarray(getattr(store, name)) for name in names}


def check_never_wrong(path: Path, whole: dict[str, np.ndarray]) -> None:
    """Each array gives the values it had, of the images that still count, or raises."""
    with suppress(StoreError):
        store = fstore.open(path)
        for name, expected in whole.items():
            with suppress(StoreError):
                found = np.asarray(getattr(store, name))
                assert np.array_equal(found, expected[store.image_ids], equal_nan=True), name


@pytest.mark.parametrize(("name", "number"), named(STORES, (), 8))
def test_random_damage_is_found_never_read_and_mended(
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
    note: Note,
) -> None:
    monkeypatch.setattr(fmt, "TASK_IMAGES", TASK_IMAGES)
    path, chance = workshop.copy(name, tmp_path), drawn("damage", name, number)
    whole = everything(path)
    happened = damage(path, chance)
    check_never_wrong(path, whole)
    verified = dgan("verify", path)
    for file in happened:
        array, _, _ = file.partition("/c/")
        is_lost_marker = array == "committed" and happened[file] == "missing"  # an image that nobody wrote
        found = [line for line in verified.output.splitlines() if f"'{array}'" in line]
        assert found or is_lost_marker or is_shared(happened), (happened, verified.output)
        assert is_lost_marker or verified.exit_code == 1
    repaired = dgan("repair", path)
    assert repaired.exit_code == 0, repaired.output
    assert dgan("verify", path).exit_code == 0
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    again = dgan(*workshop.command(name).words, "--threads", 1)
    assert again.exit_code == 0, again.output
    assert workshop.command(name).is_whole(tmp_path), happened
    note(SURVIVED)


def is_shared(happened: dict[str, str]) -> bool:
    """Whether one of two damages may hide the other: what is not committed is not read."""
    return len(happened) > 1 and any(file.startswith("committed/") for file in happened)


@pytest.mark.parametrize("number", numbers(0, 4))
def test_a_damaged_average_latent_is_refused_by_name(
    workshop: Workshop, tmp_path: Path, number: int, note: Note
) -> None:
    path, chance = workshop.copy("extract-pyramid", tmp_path), drawn("average latent", number)
    file = next(file for file in (path / "average_latent" / "c").rglob("*") if file.is_file())
    how = chance.choice(WAYS)(file, chance)
    before = store_bytes(path)
    for command in ("verify", "repair"):
        result = dgan(command, path)
        assert result.exit_code and "'average_latent'" in result.output, (how, result.output)
        assert "restore it from a copy" in result.output
    assert store_bytes(path) == before
    note(REFUSED)
