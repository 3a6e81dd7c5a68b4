"""Damaged interpreter folders: whatever the bytes, what was saved is read, or one line names the file."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.interpreters import INFO, TRAINED, saved

from pipeline.errors import UsageError
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.files import load_info, load_interpreter
from pipeline.interpreter.training_state import TrainingState, load_state, save_state

WRONG_VALUES: tuple[Any, ...] = (
    *(None, True, "", "x", -1, 0, 0.5, 10**6, 2**63, 10**400, 1e300, [], [[]], {}, {"a": 1}, "\ud800"),
    *([None], [1, 2, 3], [0, 0], [-1, 5], ["x", "y"], "9" * 5000),
)


def loads_or_names(load: Callable[[], object], path: Path) -> bool:
    """Whether ``load`` took the file; else its one line must name it."""
    try:
        load()
    except UsageError as error:
        assert str(error).startswith(f"{path}: "), error
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 500, error
        return False
    return True


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value in a JSON document."""
    found = [path] if path else []
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, item in entries:
        found += places(item, (*path, key))
    return found


def with_change(document: Any, place: tuple[Any, ...], random_: random.Random) -> Any:
    """A copy with the value at ``place`` replaced, or taken away, or another key beside it."""
    changed = copy.deepcopy(document)
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    kind = random_.randrange(8)
    if kind == 0:
        del parent[place[-1]]
    elif kind == 1 and isinstance(parent, dict):
        parent["unheard of"] = 1
    else:
        parent[place[-1]] = random_.choice(WRONG_VALUES)
    return changed


def broken_bytes(content: bytes, random_: random.Random) -> bytes:
    """The bytes cut, or some of them changed, or others put in."""
    kind, at = random_.randrange(4), random_.randrange(len(content))
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + random_.randbytes(random_.randrange(1, 9)) + content[at:]
    noise = bytearray(content)
    for _ in range(random_.randrange(1, 5)):
        noise[random_.randrange(min(len(noise), 2000))] = random_.randrange(256)
    return bytes(noise)


def test_a_mutated_description_is_refused_in_one_line_or_round_trips(tmp_path: Path) -> None:
    path = saved(tmp_path) / "interpreter.json"
    document, random_ = json.loads(path.read_text()), random.Random(0)
    for place in places(document) * 3:
        path.write_text(json.dumps(with_change(document, place, random_)))
        if loads_or_names(lambda: load_info(tmp_path), path):
            info = load_info(tmp_path)
            assert InterpreterInfo.from_json(json.loads(json.dumps(info.to_json()))) == info
        load_or_name_either(tmp_path)


def load_or_name_either(folder: Path) -> None:
    try:
        load_interpreter(folder)
    except UsageError as error:
        assert str(error).startswith(str(folder / "interpreter.")), error


def test_a_description_of_broken_bytes_is_refused_in_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path) / "interpreter.json"
    content, random_ = path.read_bytes(), random.Random(1)
    for _ in range(300):
        path.write_bytes(broken_bytes(content, random_))
        loads_or_names(lambda: load_info(tmp_path), path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' * 50_000, "nested too deeply"),
        (b'{"version": 1, "kind": NaN}', "NaN is no number"),
        (b'{"version": 1e999}', "no finite number"),
        (b'{"version": ' + b"9" * 5000 + b"}", "is damaged"),
        (b'{"version": ' + b"9" * 4000 + b"}", "newer than 1"),
        (b"\xef\xbb\xbf{}", "BOM"),
    ],
)
def test_what_a_json_reader_trips_over_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = saved(tmp_path) / "interpreter.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        load_interpreter(tmp_path)
    assert not loads_or_names(lambda: load_interpreter(tmp_path), path)


def test_a_huge_description_is_not_read(tmp_path: Path) -> None:
    path = saved(tmp_path) / "interpreter.json"
    with path.open("r+b") as file:
        file.truncate(2**40)  # a sparse file
    with pytest.raises(UsageError, match=r"interpreter\.json: is damaged \(it has 1,099,511,627,776 bytes"):
        load_interpreter(tmp_path)


def test_huge_weights_are_not_read(tmp_path: Path) -> None:
    with (saved(tmp_path) / "interpreter.safetensors").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(UsageError, match=r"interpreter\.safetensors: is damaged \(it has 1,099,511,627,776"):
        load_interpreter(tmp_path)


def test_mutated_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    """The digest finds any change; so it is made to agree, as a program that writes nonsense would."""
    path, description = saved(tmp_path) / "interpreter.safetensors", tmp_path / "interpreter.json"
    content, document, random_ = path.read_bytes(), json.loads(description.read_text()), random.Random(2)
    for _ in range(200):
        changed = broken_bytes(content, random_)
        path.write_bytes(changed)
        loads_or_names(lambda: load_interpreter(tmp_path), path)
        digest = hashlib.sha256(changed).hexdigest()
        description.write_text(json.dumps({**document, "sha256": digest}))
        loads_or_names(lambda: load_interpreter(tmp_path), path)
        description.write_text(json.dumps(document))


def test_a_mutated_training_state_is_refused_in_one_line(tmp_path: Path) -> None:
    state = TrainingState(TRAINED, {"model.weight1": torch.ones(2, 3), "adam.step": torch.tensor(7.0)})
    save_state(tmp_path, state)
    path, random_ = tmp_path / "training_state.safetensors", random.Random(3)
    content = path.read_bytes()
    for _ in range(300):
        path.write_bytes(broken_bytes(content, random_))
        loads_or_names(lambda: load_state(tmp_path), path)
        loads_or_names(lambda: load_info(tmp_path), path)


@pytest.mark.parametrize("training", ["{", "[]", '{"info": 1}', '{"info": {"version": 1}}', "[" * 90_000])
def test_a_training_state_of_wrong_metadata_is_named(tmp_path: Path, training: str) -> None:
    header = json.dumps({"__metadata__": {"training": training}}).encode()
    path = tmp_path / "training_state.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    for load in (load_state, load_info):
        with pytest.raises(UsageError, match=r"training_state\.safetensors: is damaged"):
            load(tmp_path)


def test_every_key_of_a_description_is_needed(tmp_path: Path) -> None:
    document = INFO.to_json()
    for key in document:
        if key not in ("version", "kind"):
            with pytest.raises(ValueError, match=f"^{key} is missing$"):
                InterpreterInfo.from_json({k: v for k, v in document.items() if k != key})
