"""Any JSON in a store's metadata: a refusal of one line, or the same values as before; never much memory, and
never a file that is not the store's.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import dgan
from support.fault_cases import drawn, named
from support.fault_commands import TASK_IMAGES, Workshop
from support.fault_table import REFUSED, SURVIVED

import fstore
from fstore import format as fmt
from fstore.errors import StoreError
from pipeline.api.explanation import REPORT

Note = Callable[[str], None]
STORES = ("extract-dense", "extract-pyramid", "synthesize")
HUGE = (10**15, 2**31, 2**63, 2**64, 10**30, -1, 0, 1, 3, 65)
OTHERS: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        1.5,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "x",
        "../../outside",
        "/etc/passwd",
        "a\x00b",
    ),
    *(
        [],
        [[]],
        {},
        {"name": "zstd"},
        {"name": "blosc", "configuration": {}},
        {"name": "gzip"},
        "float64",
        "object",
    ),
    *([1, 2, 3], ["a"], "x" * 5000, [0] * 3000, {"x": {"x": {"x": {}}}}),
)
MOST_BYTES = 128 * 2**20  # of memory that reading these stores may take: they have 2 MB


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a JSON document."""
    yield path
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in inner:
        yield from places(value, (*path, key))


def mutate(document: Any, chance: random.Random) -> Any:
    """A copy of a document with one to three changes."""
    made = copy.deepcopy(document)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        place = chance.choice([path for path in places(made) if path] or [()])
        if not place:
            return chance.choice(OTHERS)
        holder = made
        for key in place[:-1]:
            holder = holder[key]
        old, way = holder[place[-1]], chance.randrange(6)
        if way == 0:
            del holder[place[-1]]
        elif way == 1 and isinstance(old, int):
            holder[place[-1]] = chance.choice(HUGE)
        elif way == 2 and isinstance(old, list):
            holder[place[-1]] = chance.choice(
                ([*old, *old], old[:-1], [chance.choice(HUGE)] * len(old), list(reversed(old)))
            )
        elif way == 3 and isinstance(holder, dict):
            holder[chance.choice(("extra", "storage_transformers", "name", "keep", "creating"))] = old
        else:
            holder[place[-1]] = chance.choice((*OTHERS, *HUGE))
    return made


def damage(path: Path, chance: random.Random) -> str:
    """One ``zarr.json`` changed: as JSON, or byte by byte."""
    file = chance.choice(sorted(path.rglob("zarr.json")))
    if chance.random() < 0.2:
        content = bytearray(file.read_bytes())
        for _ in range(chance.randint(1, 3)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(content)
    else:
        file.write_text(json.dumps(mutate(json.loads(file.read_text()), chance)))
    return f"{file.relative_to(path)}: {file.read_bytes()[:400]!r}"


def everything(path: Path) -> dict[str, np.ndarray]:
    store = fstore.open(path)
    if store.meta.kind == "features":
        names = ["images", "latents", "features", "masks"]
    else:
        names = ["images", "latents", "labels", "divergence", "uncertainty"]
    return {name: np.asarray(getattr(store, name)) for name in names}


@contextmanager
def little_memory_and_no_strange_file(path: Path) -> Iterator[None]:
    """Fails where the block takes much memory, or opens a file in the folder ``outside`` beside the store."""
    strange: list[str] = []
    outside = str(path.parent / "outside")
    _WATCHED[:] = [(outside, strange)]
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        _WATCHED.clear()
    assert peak < MOST_BYTES, peak
    assert not strange


_WATCHED: list[tuple[str, list[str]]] = []


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if _WATCHED and event == "open" and isinstance(arguments[0], str):
        outside, strange = _WATCHED[0]
        if arguments[0].startswith(outside) or arguments[0] == "/etc/passwd":
            strange.append(arguments[0])


sys.addaudithook(_heard)


@pytest.mark.parametrize(("name", "number"), named(STORES, (), 12))
def test_any_metadata_is_refused_or_changes_nothing(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, note: Note
) -> None:
    monkeypatch.setattr(fmt, "TASK_IMAGES", TASK_IMAGES)
    path, chance = workshop.copy(name, tmp_path), drawn("metadata", name, number)
    expected = everything(path)
    (tmp_path / "outside").mkdir()
    what = damage(path, chance)
    outcome = SURVIVED
    with little_memory_and_no_strange_file(path):
        try:
            found = everything(path)
        except StoreError as error:
            assert "\n" not in str(error)
            outcome = REFUSED
        else:
            count = len(next(iter(found.values())))  # fewer may be committed, by what the metadata say now
            for key, values in found.items():
                assert np.array_equal(values, expected[key][:count], equal_nan=True), (what, key)
    for words in command_lines(path, tmp_path):
        result = dgan(*words)
        assert result.exit_code in (0, 1, 2), (what, words, result.output)
        assert REPORT not in result.output, (what, words, result.output)
    note(outcome)


def command_lines(path: Path, folder: Path) -> Iterator[list[object]]:
    """Commands that read a store."""
    yield ["info", path]
    yield ["verify", path]
    yield ["repair", path, "--dry-run"]
    if path.parent.name.startswith("test"):
        yield ["train", "--store", path, "--out", folder / "i", "--dry-run", "--members", 1]
        yield ["export", path, folder / "e", "--format", "png", "--dry-run"]
        yield ["filter", path, "--keep", "0.8"]
        yield ["report", path, "--out", folder / "report.html"]


def test_names_do_not_lead_out_of_a_store(workshop: Workshop, tmp_path: Path, note: Note) -> None:
    path = workshop.copy("extract-pyramid", tmp_path)
    shutil.copytree(path / "masks", tmp_path / "outside" / "masks")
    document = json.loads((path / "zarr.json").read_text())
    for layer in document["attributes"]["fstore"]["layers"]:
        layer["name"] = "../../outside/masks"
    (path / "zarr.json").write_text(json.dumps(document))
    with little_memory_and_no_strange_file(path), pytest.raises(StoreError):
        everything(path)
    note(REFUSED)
