"""Which files in a folder are a training's own, and what is refused, deleted and locked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fstore.errors import StoreError
from pipeline.errors import RunError, UsageError
from pipeline.resumable.begun import clear, find_begun, first_difference, locked, used_bytes
from pipeline.resumable.document import from_document, to_document
from pipeline.resumable.kind import Kind
from pipeline.settings.json_values import integer, mapping, record


@dataclass(frozen=True)
class Info:
    width: int
    training: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return to_document("painter", self)


RULE = record(Info, {"width": integer(1), "training": mapping()})
PAINTER = Kind(
    "painter",
    lambda document: from_document(document, "painter", RULE),
    re.compile(r"weights\.pth|pictures/[0-9]+\.png"),
    ("pictures",),
)
OWN = (
    "painter.json",
    "log.jsonl",
    "training_state.pt",
    "training_state.pt.partial",
    "weights.pth",
    "pictures/1.png",
)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(bytes(7))


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_description_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert PAINTER.read_description(tmp_path) is None
    PAINTER.write_description(tmp_path, Info(3, {"epochs": 2}))
    assert PAINTER.read_description(tmp_path) == Info(3, {"epochs": 2})
    assert json.loads((tmp_path / "painter.json").read_text())["kind"] == "painter"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "writer"}, "kind is 'writer': expected 'painter'"),
        ({"version": 2}, "version"),
        ({"width": 0}, "width"),
    ],
)
def test_a_malformed_description_is_refused_by_its_key(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    (tmp_path / "painter.json").write_text(json.dumps({**Info(3).to_json(), **change}))
    with pytest.raises(UsageError, match=rf"painter\.json: is malformed \(.*{words}"):
        find_begun(tmp_path, PAINTER, overwrite=False)
    assert find_begun(tmp_path, PAINTER, overwrite=True) is None


def test_clearing_deletes_what_training_writes_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, *OWN, "notes.txt", "weights.txt", "pictures.png")
    assert used_bytes(tmp_path, PAINTER) == 7 * len(OWN)
    assert next(reversed(list(PAINTER.own_files(tmp_path)))).name == "painter.json"
    clear(tmp_path, PAINTER)
    assert names(tmp_path) == {"notes.txt", "weights.txt", "pictures.png"}


def test_a_folder_that_holds_something_else_stays(tmp_path: Path) -> None:
    write(tmp_path, *OWN, "pictures/mine.png")
    clear(tmp_path, PAINTER)
    assert names(tmp_path) == {"pictures", "pictures/mine.png"}


@pytest.mark.parametrize(
    ("found", "refused"),
    [
        pytest.param((), False, id="nothing"),
        pytest.param(OWN[1:], False, id="what a kill left"),
        pytest.param((".hidden",), False, id="hidden"),
        pytest.param(("mine.txt",), True, id="a file"),
        pytest.param(("pictures/mine.png",), True, id="a file in its folder"),
        pytest.param(("1.png",), True, id="its file in another place"),
    ],
)
def test_files_of_somebody_else_are_refused_without_a_description(
    tmp_path: Path, found: tuple[str, ...], refused: bool
) -> None:
    write(tmp_path, *found)
    if not refused:
        assert find_begun(tmp_path, PAINTER, overwrite=False) is None
        return
    with pytest.raises(UsageError, match="is no painter's folder"):
        find_begun(tmp_path, PAINTER, overwrite=True)


def test_a_setting_is_told_before_the_images() -> None:
    found, asked = Info(3, {"data": 1, "seed": 1}), Info(3, {"data": 2, "seed": 2})
    other = first_difference(found, asked, (), ("training.data",))
    assert other == ("training.seed", 1, 2)
    assert first_difference(found, asked, ("training",), ()) is None


def test_a_description_that_was_replaced_is_told(tmp_path: Path) -> None:
    PAINTER.write_description(tmp_path, Info(3))
    PAINTER.check_unchanged(tmp_path, Info(3))
    with pytest.raises(RunError, match="another run has trained there meanwhile"):
        PAINTER.check_unchanged(tmp_path, Info(4))


def test_a_locked_folder_has_one_writer_and_goes_if_it_stays_empty(tmp_path: Path) -> None:
    folder = tmp_path / "inner" / "painter"
    with locked(folder), pytest.raises(StoreError, match="another writer"), locked(folder):
        pass
    assert not folder.exists()
    with locked(folder):
        write(folder, "log.jsonl")
    assert names(folder) == {"log.jsonl"}
