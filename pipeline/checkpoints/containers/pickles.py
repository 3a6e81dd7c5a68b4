"""Reads a pickle as data: a stack machine of this project over `pickletools.genops`, which only parses.

What names may mean is in `allowed_names`, what they become in `inert_values`, what reading may cost in
`limits`. Python's own unpicklers are not used: they import and call what a pickle names, and the one in C
allocates gigabytes for one forged index. Nothing here walks what it has read, so that deep or self-containing
content costs nothing. This module does not know files.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from pipeline.checkpoints.containers.allowed_names import Load, call, instantiate, resolve
from pipeline.checkpoints.containers.inert_values import (
    BadPickle,
    Record,
    UnsafePickle,
)
from pipeline.checkpoints.containers.limits import Allowance, bounded_integer, checked_key
from pipeline.checkpoints.containers.rebuilt_arrays import fill_array

_IGNORED = frozenset({"PROTO", "FRAME"})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_VALUES = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    }
)
_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})


def read_first_pickle(
    stream: BinaryIO,
    *,
    persistent_load: Callable[[Any], Any] | None = None,
    load: Load | None = None,
    allowance: Allowance | None = None,
) -> Any:
    """What the pickle at `stream` holds, as plain containers, numbers, arrays, `StoredTensor` and `Record`.

    The stream is left just after it. `persistent_load` gives the value of a persistent id; `load` reads the
    torch files that ``torch.storage._load_from_bytes`` is given; `allowance` is shared by the pickles of one
    file. Raises UnsafePickle, naming the global, when the pickle asks for anything that data does not need,
    and BadPickle when it is damaged. MemoryError is left to the caller.
    """
    start = stream.tell()
    allowance = allowance or Allowance.of(stream.seek(0, io.SEEK_END) - start)
    stream.seek(start)
    machine = _Machine(persistent_load or _no_persistent_ids, load or _no_torch_files, allowance)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            allowance.spend_operation()
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, argument)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, Warning) as error:
        place = stream.tell() - start  # damaged bytes can fail in any of these ways, all meaning the same
        raise BadPickle(f"its pickle is truncated or damaged near byte {place}") from error
    raise BadPickle("its pickle has no end")


def _no_persistent_ids(_: Any) -> Any:
    raise BadPickle("it refers to data outside the pickle, as only PyTorch's files do")


def _no_torch_files(_: bytes, __: Allowance) -> Any:
    raise BadPickle("it holds a PyTorch file inside, which is not expected here")


class _Machine:
    """Stack, marks and memo: the state that a pickle's opcodes work on."""

    def __init__(self, persistent_load: Callable[[Any], Any], load: Load, allowance: Allowance) -> None:
        self.persistent_load = persistent_load
        self.load = load
        self.allowance = allowance
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """One opcode other than STOP."""
        if name in _VALUES:
            self.stack.append(bounded_integer(argument))
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EXTENSIONS:
            raise UnsafePickle(f"copyreg extension {argument}")
        elif name not in _IGNORED:
            operation = _OPERATIONS.get(name)
            if operation is None:
                raise BadPickle(f"its pickle has the operation {name}, which no checkpoint needs")
            operation(self, argument)

    def pop(self) -> Any:
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        """Takes what lies above the last mark, and the mark."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def mark(self, _: Any) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def drop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def put(self, index: Any) -> None:
        self.memo[len(self.memo) if index is None else int(index)] = self.stack[-1]

    def get(self, index: Any) -> None:
        self.stack.append(self.memo[int(index)])

    def append(self, _: Any) -> None:
        self.extend([self.pop()])

    def extend(self, items: list[Any]) -> None:
        """APPENDS and ADDITEMS into the object on top."""
        target = self.stack[-1]
        if isinstance(target, Record):
            target.items = target.items or []
            target = target.items
        if isinstance(target, set):
            target.update(checked_key(item) for item in items)
        elif isinstance(target, list):
            target.extend(items)
        else:
            raise BadPickle(f"it appends to {type(target).__name__}")

    def set_item(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Record):
            target = target.items
        if not isinstance(target, dict):
            raise BadPickle(f"it sets keys of {type(target).__name__}")
        target.update(_pairs(items))

    def global_(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(resolve(module, name))

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise BadPickle("it names a class or function by something that is no text")
        self.stack.append(resolve(module, name))

    def reduce(self, _: Any) -> None:
        args, function = self.pop(), self.pop()
        self.stack.append(call(function, args, self.allowance, self.load))

    def new_object(self, _: Any) -> None:
        args, cls = self.pop(), self.pop()
        self.stack.append(instantiate(cls, args, self.allowance, self.load))

    def new_object_with_keywords(self, _: Any) -> None:
        keywords, args, cls = self.pop(), self.pop(), self.pop()
        self.stack.append(instantiate(cls, args, self.allowance, self.load, keywords or None))

    def instance(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        cls = resolve(module, name)
        self.stack.append(call(cls, tuple(self.since_mark()), self.allowance, self.load))

    def object_(self, _: Any) -> None:
        cls, *args = self.since_mark()
        self.stack.append(call(cls, tuple(args), self.allowance, self.load))

    def build(self, _: Any) -> None:
        """Gives the object on top its state; a dict's attributes (a state dict's `_metadata`) are dropped."""
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, Record):
            target.state = state
        elif isinstance(target, np.ndarray):
            self.allowance.spend_bytes(fill_array(target, state))
        elif not isinstance(target, dict):
            raise BadPickle(f"it sets the state of {type(target).__name__}")

    def persistent(self, argument: Any) -> None:
        self.stack.append(self.persistent_load(self.pop() if argument is None else argument))


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise BadPickle("a dict has a key without a value")
    return {checked_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def operation(machine: _Machine, _: Any) -> None:
        if len(machine.stack) < count:
            raise BadPickle("a tuple lacks elements")
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return operation


def _pushing(make: Callable[[_Machine], Any]) -> Callable[[_Machine, Any], None]:
    def operation(machine: _Machine, _: Any) -> None:
        made = make(machine)  # first, as it may put another stack in place
        machine.stack.append(made)

    return operation


_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "EMPTY_LIST": _pushing(lambda machine: []),
    "EMPTY_DICT": _pushing(lambda machine: {}),
    "EMPTY_SET": _pushing(lambda machine: set()),
    "LIST": _pushing(_Machine.since_mark),
    "TUPLE": _pushing(lambda machine: tuple(machine.since_mark())),
    "DICT": _pushing(lambda machine: _pairs(machine.since_mark())),
    "FROZENSET": _pushing(lambda machine: frozenset(map(checked_key, machine.since_mark()))),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _Machine.append,
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": _Machine.set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "POP": _Machine.drop,
    "POP_MARK": lambda machine, _: machine.since_mark().clear(),
    "DUP": _Machine.duplicate,
    "MARK": _Machine.mark,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "NEWOBJ_EX": _Machine.new_object_with_keywords,
    "INST": _Machine.instance,
    "OBJ": _Machine.object_,
    "BUILD": _Machine.build,
    "PERSID": _Machine.persistent,
    "BINPERSID": _Machine.persistent,
}
