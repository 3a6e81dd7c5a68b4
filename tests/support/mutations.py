"""JSON documents and files of bytes, changed at random: what a faulty disk, program or person may leave."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HUGE = (2**31, 2**40, 10**15, 2**63, 2**64, 10**400)
VALUES = [
    *(None, True, -1, 0, 1, 3, *HUGE, 1.5, 1e308, -1e-320, float("nan"), float("inf")),
    *("", "x", "0.9", "\ud800", "../x", "../../x", "/etc/passwd", "a\nb", "a\x1b[31m", "a\x00", "x" * 70_000),
    *(
        [],
        [1],
        [1, 2, 3],
        [10**15, 10**15],
        {},
        {"id": 1},
        [[[]]],
        {"name": "gzip", "configuration": {"level": 5}},
    ),
    *(
        {"name": "transpose", "configuration": {"order": [0]}},
        {"name": "nobody.knows"},
        {"name": "numcodecs.pickle"},
    ),
]


def mutate(file: Path, chance: random.Random) -> None:
    """Change a JSON file, or any file, at one to three places."""
    content = file.read_bytes()
    for _ in range(chance.randint(1, 3)):
        content = mutated(content, chance)
    file.write_bytes(content)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Content with one change: of a value where it is JSON, in three cases of four; else of bytes."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return mutated_bytes(content, chance)
    if chance.random() < 0.25 or not list(walk(document, ())):
        return mutated_bytes(content, chance)
    text = json.dumps(mutated_value(document, chance)).encode()
    if chance.random() < 0.05:  # a key twice
        text = text.replace(b'"shape"', b'"shape": [1], "shape"', 1)
    return text


def mutated_value(document: Any, chance: random.Random) -> Any:
    """A JSON document in which one value is replaced, deleted, doubled, multiplied or exchanged."""
    places = list(walk(document, ()))
    node, key = parent_of(document, chance.choice(places))
    action = chance.choice(("replace", "replace", "replace", "delete", "double", "swap", "negate", "wrap"))
    if action == "replace":
        node[key] = chance.choice(VALUES)
    elif action == "delete":
        del node[key]
    elif action == "swap":
        other, there = parent_of(document, chance.choice(places))
        node[key] = json.loads(json.dumps(other[there]))
    elif action == "negate" and type(node[key]) in (int, float):
        node[key] = chance.choice(
            (-node[key], node[key] * 10**12, node[key] + 1, node[key] // 3, str(node[key]))
        )
    elif action == "wrap":
        node[key] = chance.choice(([node[key]], {"value": node[key]}))
    elif isinstance(node, list):
        node.insert(key, node[key])
    else:
        node[f"{key}2"] = node[key]
    return document


def parent_of(document: Any, place: tuple[Any, ...]) -> tuple[Any, Any]:
    """The list or object that holds a place, and its key there."""
    *parents, key = place
    for step in parents:
        document = document[step]
    return document, key


def walk(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON document, as the keys that lead to it."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in entries:
        yield (*path, key)
        yield from walk(child, (*path, key))


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    """A file cut, flipped, emptied, filled with something else, or nested without end."""
    if not content:
        return b"{}"
    flipped = bytearray(content)
    flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    depth = chance.choice((500, 5000, 100_000))
    nested = content.replace(
        b'"attributes": {', b'"attributes": {"deep": ' + b"[" * depth + b"]" * depth + b","
    )
    cut = content[: chance.randrange(len(content))]
    others = [
        b"",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf" + content,
        b"null",
        b"[]",
        b"3",
        b"[" * depth,
        b"9" * 5000,
    ]
    return chance.choice([cut, bytes(flipped), nested, content * 2, *others])
