"""Mutated checkpoints of every format: each renders or is refused in one line; nothing in any is executed.

What happens while a file is read is seen by an audit hook (PEP 578), which cannot be passed by: code compiled
or executed, modules imported, processes started, files written.
"""

from __future__ import annotations

import codecs
import io
import pickletools
import random
import resource
import signal
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_checkpoints import Network, Persistent, formats, tiny_checkpoints
from torch import Tensor

from pipeline.checkpoints.read import load_generator
from pipeline.errors import UsageError
from pipeline.models.generator import broadcast_w

FORBIDDEN = (
    "exec",
    "compile",
    "import",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess.Popen",
)
FORBIDDEN += (
    "ctypes.",
    "socket.",
    "pickle.find_class",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "shutil.",
    "marshal.",
)
MOST_SECONDS = 30
MOST_KILOBYTES = 600_000
POISON = (b"cos\nsystem\n(X\x05\x00\x00\x00falsetR", b"cbuiltins\neval\n(X\x01\x00\x00\x001tR", b"cm\nf\n)R")

_watch: dict[str, list[str] | None] = {"events": None}


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    events = _watch["events"]
    if events is None:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event in FORBIDDEN or event.startswith(tuple(e for e in FORBIDDEN if e.endswith("."))):
        events.append(f"{event} {str(arguments)[:200]}")


@cache
def _install_audit_hook() -> None:
    codecs.lookup("cp437")  # of names in zips; Python imports a codec when it first meets one
    codecs.lookup("raw_unicode_escape")  # of text in protocol 0
    sys.addaudithook(_audit)  # for good: there is no way to take one off


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collects what is forbidden, and ends what does not end."""
    _install_audit_hook()
    events: list[str] = []

    def give_up(*_: Any) -> None:
        raise KeyboardInterrupt("reading a file did not end")  # no `except Exception` holds it

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(MOST_SECONDS)
    _watch["events"] = events
    try:
        yield events
    finally:
        _watch["events"] = None
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def outcome(path: Path) -> str:
    """ "loaded", or the one line that refuses the file."""
    try:
        generator = load_generator(path).generator
    except UsageError as error:
        message = str(error)
        assert "\n" not in message and str(path) in message and len(message) < 700, message
        return message
    with torch.no_grad():  # what loads must also render
        w = generator.mapping(torch.ones(1, generator.z_size))
        noise = generator.stored_noise or [torch.zeros(1, 1, *shape) for shape in generator.noise_shapes]
        generator.synthesis(broadcast_w(w, generator.num_w_layers), noise)
    return "loaded"


# ---- mutations ----------------------------------------------------------------------------------


def flip(content: bytes, draw: random.Random, _: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def overwrite(content: bytes, draw: random.Random, _: bytes) -> bytes:
    at = draw.randrange(len(content))
    value = draw.choice(
        (b"\x00", b"\xff", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\x00" * 8, b".", draw.randbytes(3))
    )
    return content[:at] + value + content[at + len(value) :]


def delete(content: bytes, draw: random.Random, _: bytes) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + content[at + draw.choice((1, 2, 4, 30)) :]


def insert(content: bytes, draw: random.Random, _: bytes) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.choice((draw.randbytes(draw.randrange(1, 9)), *POISON)) + content[at:]


def truncate(content: bytes, draw: random.Random, _: bytes) -> bytes:
    return content[: draw.randrange(len(content))]


def repeat(content: bytes, draw: random.Random, _: bytes) -> bytes:
    start = draw.randrange(len(content))
    part = content[start : start + draw.randrange(1, 60)]
    return content[:start] + part * draw.choice((2, 3, 50)) + content[start + len(part) :]


def splice(content: bytes, draw: random.Random, other: bytes) -> bytes:
    return content[: draw.randrange(len(content))] + other[draw.randrange(len(other)) :]


def operations(content: bytes) -> list[bytes]:
    """The first pickle in `content`, cut into its operations, and what follows it."""
    starts: list[int | None] = []
    with suppress(ValueError):  # of a torch zip's bytes, say
        starts.extend(at for _, _, at in pickletools.genops(content))
    cuts = [*(at or 0 for at in starts or [0]), len(content)]
    return [content[a:b] for a, b in pairwise(cuts)]


def change_operations(content: bytes, draw: random.Random, other: bytes) -> bytes:
    """Leaves every operation whole but takes some out, doubles, exchanges or replaces them."""
    parts, others = operations(content), operations(other)
    for _ in range(draw.choice((1, 1, 2, 5))):
        at, to = draw.randrange(len(parts)), draw.randrange(len(parts))
        kind = draw.randrange(6)
        if kind == 0:
            parts[at] = b""
        elif kind == 1:
            parts[at] *= 2
        elif kind == 2:
            parts[at], parts[to] = parts[to], parts[at]
        elif kind == 3:
            parts[at] = others[draw.randrange(len(others))][:200]
        elif kind == 4:
            parts[at] = parts[to]
        else:
            parts.insert(
                at, draw.choice((*POISON, b"N", b"}", b"]", b"(", b"t", b"K\x00", b"J\xff\xff\xff\xff", b"2"))
            )
    return b"".join(parts)


def change_arguments(content: bytes, draw: random.Random, other: bytes) -> bytes:
    """Changes or exchanges numbers and names; every operation stays whole."""
    parts = operations(content)
    long = [at for at, part in enumerate(parts) if 1 < len(part) < 200] or [0]
    for _ in range(draw.choice((1, 1, 2, 5))):
        at, to = draw.choice(long), draw.choice(long)
        part = bytearray(parts[at])
        part[-draw.choice((1, 1, 2, 4)) % len(part)] = draw.choice((0, 1, 2, 255, draw.randrange(256)))
        parts[at] = draw.choice((bytes(part), parts[to] if parts[at][:1] == parts[to][:1] else bytes(part)))
    return b"".join(parts)


MUTATIONS = (flip, overwrite, delete, insert, truncate, repeat, splice)
MUTATIONS += (change_operations,) * 4 + (change_arguments,) * 4


def mutated(content: bytes, draw: random.Random, other: bytes) -> bytes:
    """A mutation of the file; of a zip's often one of its pickle, under a checksum that is right."""
    mutate = draw.choice(MUTATIONS)
    if content[:2] != b"PK" or draw.random() < 0.3:
        return mutate(content, draw, other)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, mutate(part, draw, other) if name.endswith("data.pkl") else part)
    return stream.getvalue()


# ---- whole files with a strange value -----------------------------------------------------------

STRANGE = (
    *(None, True, -1, 0, 2**62, 2.5, float("nan"), float("inf"), "", "a\nb", "x" * 3000, b"\xff", [], {}, ()),
    *([None], [[]], {"a": {}}, {1: 2}, {"weight": None}, ("weight", None), slice(1)),
    *(np.zeros(0, np.float32), np.zeros((2, 0, 3), np.float32), np.full(3, np.nan), np.zeros((1,) * 9)),
    *(np.arange(4), np.zeros((4, 4), np.float64), np.float32(1), np.float32("nan"), np.bool_(True)),
    *(torch.zeros(0), torch.zeros(3, 0), torch.full((4,), torch.nan), torch.zeros(()), torch.zeros(6, 4)),
    *(
        torch.zeros(4, dtype=torch.int64),
        torch.zeros(2, 2).half(),
        torch.zeros((1,) * 9),
        torch.zeros(1, 3, 1, 1),
    ),
)
"""What may stand where a loader looks for something else."""

Put = Callable[[Any], None]


def places(content: Any) -> Iterator[tuple[Any, Put]]:
    """Everything inside `content` with a function that puts something else in its place."""
    if isinstance(content, (Persistent, Network)):
        content = content.state
    if isinstance(content, (dict, list)):
        for key, value in list(content.items() if isinstance(content, dict) else enumerate(content)):
            yield value, partial(content.__setitem__, key)
            yield from places(value)
            if isinstance(value, tuple) and len(value) == 2:  # a TensorFlow variable: name and array
                yield value[1], lambda new, key=key, value=value: content.__setitem__(key, (value[0], new))
    elif isinstance(content, tuple):
        for value in content:
            yield from places(value)


def with_strange_value(name: str, draw: random.Random) -> bytes:
    """A whole file of the format, one to three of whose values are others, or are left out or renamed."""
    written = formats()[name]
    content = written.content()
    for _ in range(draw.choice((1, 1, 2, 3))):
        value, put = draw.choice([*places(content)])
        kind = draw.randrange(4)
        if isinstance(value, (Tensor, np.ndarray)) and kind == 0:
            put(value[:1] if value.ndim else value[None])
        elif isinstance(value, (Tensor, np.ndarray)) and kind == 1:
            put(value.T if value.ndim == 2 else value[None])
        elif isinstance(value, dict) and value and kind < 3:
            moved = value.pop(draw.choice([*value]))
            if kind:
                value[draw.choice(("", "weight", "torgb", 3, None, "b16", "x" * 3000))] = moved
        else:
            put(draw.choice(STRANGE))
    return written.write(content)


# ---- a few bytes that ask for much ----------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def put(index: int) -> bytes:
    """Keeps what is on top of the stack under a number, and takes it off."""
    return b"r" + struct.pack("<I", index) + b"0"


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def mapping(entries: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def module(children: bytes = b"}", parameters: bytes = b"}") -> bytes:
    state = {"_modules": children, "_parameters": parameters, "_buffers": b"}"}
    return b"cnets\nNet\n)\x81" + mapping(state) + b"b"


def tf_network(variables: bytes, components: bytes) -> bytes:
    state = {"name": text("G"), "variables": variables, "components": components}
    return b"cdnnlib.tflib.network\nNetwork\n)\x81" + mapping(state) + b"b"


def array(*sides: int) -> bytes:
    """A float32 array of zeros."""
    num_bytes = 4 * int(np.prod(sides))
    shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in sides) + b"t"
    dtype = b"cnumpy\ndtype\n" + text("f4") + b"\x85R"
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    content = b"B" + struct.pack("<I", num_bytes) + bytes(num_bytes)
    return made + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"


def zip_of_many_entries() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        for index in range(8192):
            archive.writestr(f"archive/data/{index}", b"")
    return stream.getvalue()


NEW_OBJECT = b"ccopyreg\n__newobj__\n" + put(1)
NETS = {f"net{index}": get(0) for index in range(25)}
PARTS = {"mapping": get(0), "synthesis": get(0)}
STYLES = {"conv1.conv.modulation.weight": get(0), "input.input": array(1, 4, 4, 4)}
STYLES |= {f"style.{index}.{name}": get(0) for index in range(1, 70) for name in ("weight", "bias")}
SG1 = {"g_mapping.dense0.weight": array(4, 4), "g_synthesis.blocks.4x4.const": array(1, 1, 4, 4)}
SG1 |= {f"g_synthesis.blocks.{side}x{side}.k": array(1) for side in range(5, 20)}
LAUGHS = b"".join(
    tf_network(b"]", mapping({part: get(i) for part in ("mapping", "synthesis", "x", "y")})) + put(i + 1)
    for i in range(2)
)
ATTACKS: dict[str, tuple[bytes, str]] = {
    "copies of arguments": (
        b"(cnets\nNet\n" + b"N" * 63 + b"t" + put(0) + NEW_OBJECT + (get(1) + get(0) + b"R0") * 5_000 + b"N",
        "it unfolds to far more bytes than it holds",
    ),
    "many arguments and keywords": (
        b"(" + b"N" * 100 + b"t" + put(0) + b"cnets\nNet\n" + get(0) + mapping({"a": b"N"}) + b"\x92",
        "100 arguments",
    ),
    "keys of one hash": (
        b"}(" + b"".join(b"J" + struct.pack("<i", i) + b"K\x01\x86N" for i in range(500)) + b"u",
        "of class 'builtins.tuple'",
    ),
    "long names": (text("A" * 257) + put(0) + (get(0) + get(0) + b"\x930") * 100 + b"N", "256 characters"),
    "components of components": (
        tf_network(b"N", b"}") + put(0) + LAUGHS + get(2),  # what is no list is not looked at
        "found the TensorFlow network 'G'",
    ),
    "many variables": (
        tf_network(b"](" + (text("a") + b"N\x86") * 2001 + b"e", b"}"),
        "many more tensors and modules",
    ),
    "one tensor of many names": (
        array(4, 4) + put(0) + mapping(SG1 | {f"g_mapping.x{i}": get(0) for i in range(2001)}),
        "many more tensors and modules",
    ),
    "many mapping layers": (array(4, 4) + put(0) + mapping(STYLES), "got 69 mapping layers"),
    "modules that share their parameters": (
        module(b"}", mapping({f"p{i}": b"N" for i in range(1000)})) + put(0)
        + mapping({"G": module(mapping(PARTS | NETS))}),
        "many more tensors and modules",
    ),
    "many sides": (mapping(SG1), "got blocks of 16 sides, expected at most 11"),
    "one large dict under many keys": (
        mapping({f"g_mapping.{i}": b"N" for i in range(20_001)}) + put(0) + mapping(NETS),
        "found a dict with the keys 'net0', 'net1', 'net2' (25 in all)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*ATTACKS, "many entries of a zip"])
def test_a_few_bytes_that_ask_for_much_are_refused_before_it_is_done(tmp_path: Path, name: str) -> None:
    if name in ATTACKS:
        content, words = ATTACKS[name]
        content = b"\x80\x04" + content + b"."
    else:
        content, words = zip_of_many_entries(), "more than 8,192 entries"
    path = tmp_path / "small"
    path.write_bytes(content)
    with watched() as events:
        assert words in outcome(path)
    assert events == []


# ---- tests --------------------------------------------------------------------------------------


@cache
def originals() -> dict[str, bytes]:
    return tiny_checkpoints()


@pytest.mark.parametrize("name", [*originals()])
def test_the_originals_load_and_nothing_is_executed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "original"
    path.write_bytes(originals()[name])
    load_generator(path)  # imports what reading needs once
    with watched() as events:
        assert outcome(path) == "loaded"
    assert events == []


def fuzz(tmp_path: Path, seeds: range) -> None:
    path = tmp_path / "mutated"
    names = [*originals()]
    for name in names:
        path.write_bytes(originals()[name])
        outcome(path)  # imports what reading needs
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = 0
    for seed in seeds:
        draw = random.Random(seed)
        name = draw.choice(names)
        if seed % 4 == 3:
            path.write_bytes(with_strange_value(draw.choice(names), draw))
        else:
            path.write_bytes(mutated(originals()[name], draw, originals()[draw.choice(names)]) or b"\x00")
        with watched() as events:
            try:
                found = outcome(path)
            except BaseException as error:
                raise AssertionError(f"seed {seed}, {name}: {type(error).__name__}: {error}") from error
        assert events == [], f"seed {seed}, {name}: {found}"
        loaded += found == "loaded"
    assert 0 < loaded < len(seeds)  # mutations reach behind the reader, and do harm
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES


def test_mutated_files_are_loaded_or_refused_in_one_line(tmp_path: Path) -> None:
    fuzz(tmp_path, range(150))


@pytest.mark.slow
def test_ten_thousand_mutated_files_are_loaded_or_refused_in_one_line(tmp_path: Path) -> None:
    fuzz(tmp_path, range(150, 10_500))
