"""Decides about every name in a pickle: rebuilt, kept as an inert record, or refused. Nothing is imported.

1. Rebuilt: what tensors, arrays and plain containers need (`_REBUILT`), by functions of this project.
2. Inert `Record`: instances of third-party classes, of those in submodules of torch and numpy (networks'
   modules, optimisers, schedulers), of the harmless data classes in `_DATA_CLASSES`, and tensors of other
   kinds than dense ones. Classes have names of which each part begins with a capital; third-party ones may
   also be instantiated by the pickle's own instantiation opcodes. A name that is only mentioned stays a
   `Global`.
3. Refused (`UnsafePickle`) as soon as it is seen: any other name of Python's standard library, of Python 2's
   too, and any name that reaches through attributes. Refused when called: any other function, and every other
   name of torch and numpy.

Reading is safe also without refusals, because nothing can run in any case. They keep a malicious file from
being taken for a checkpoint. This module knows neither opcodes nor files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from pipeline.checkpoints.containers.builtin_types import (
    elements,
    encoded,
    number,
    pairs_to_dict,
    plain_bytes,
    plain_slice,
    plain_text,
)
from pipeline.checkpoints.containers.inert_values import BadPickle, Global, Record, UnsafePickle
from pipeline.checkpoints.containers.limits import MAX_ARGUMENTS, MAX_NAME, Allowance, checked_key
from pipeline.checkpoints.containers.rebuilt_arrays import (
    DTYPES,
    array_from_buffer,
    empty_array,
    rebuild_parameter,
    rebuild_tensor,
    rebuild_tensor_v3,
    scalar,
)

_PYTHON_2 = frozenset({"__builtin__", "commands", "copy_reg", "cPickle", "exceptions", "popen2", "cStringIO"})
_STANDARD_LIBRARY = frozenset(sys.stdlib_module_names) | _PYTHON_2
_LIBRARIES = frozenset({"torch", "numpy", "torchvision"})
_SINGLETONS = ("Ellipsis", "NotImplemented", "NoneType")
_DATA_CLASSES = frozenset(
    {
        *(f"collections.{name}" for name in ("defaultdict", "Counter", "deque", "UserDict", "UserList")),
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *(
            f"{module}.{name}"
            for module in ("pathlib", "pathlib._local")
            for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
        ),
        *("argparse.Namespace", "types.SimpleNamespace", "functools.partial", "decimal.Decimal"),
        *("fractions.Fraction", "uuid.UUID", "builtins.object", "__builtin__.object"),
        *("builtins.range", "__builtin__.range", "__builtin__.xrange"),
        *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _SINGLETONS),
        *("numpy.dtype", "numpy.ma.core._mareconstruct"),
        *("torch.device", "torch.Generator", "torch.serialization._get_layout"),
        *(f"typing.{name}" for name in ("Any", "Dict", "List", "Optional", "Tuple", "Union")),  # of omegaconf
        *(
            f"numpy.random.{name}"
            for name in ("__RandomState_ctor", "mtrand.RandomState", "_mt19937.MT19937", "_pcg64.PCG64")
        ),
        *(f"numpy.random._pickle.__{name}_ctor" for name in ("randomstate", "generator", "bit_generator")),
    }
)
_NEW_OBJECT = frozenset({"copyreg.__newobj__", "copy_reg.__newobj__"})

Load = Callable[[bytes, Allowance], Any]
"""Reads the torch file inside the bytes of ``torch.storage._load_from_bytes``."""


def resolve(module: str, name: str) -> Any:
    """What a mention of a name becomes: a torch dtype or a `Global`. Raises UnsafePickle or BadPickle."""
    if max(len(module), len(name)) > MAX_NAME:
        raise BadPickle(f"it names a class or function by more than {MAX_NAME} characters")
    parts = name.split(".")
    if not all(part.isidentifier() for part in (*module.split("."), *parts)):
        raise BadPickle("it names a class or function by something that is no name")
    found = Global(module, name)
    if str(found) in _REBUILT or str(found) in _DATA_CLASSES:
        return found
    nested = len(parts) > 1 and not all(part[:1].isupper() for part in parts)
    if module.split(".")[0] in _STANDARD_LIBRARY or nested:
        raise UnsafePickle(str(found))
    if module == "torch" and name in DTYPES:
        return DTYPES[name]
    return found


def call(function: Any, args: Any, allowance: Allowance, load: Load) -> Any:
    """What ``function(*args)`` becomes (REDUCE, INST, OBJ). Raises UnsafePickle or BadPickle."""
    if isinstance(function, Record):
        raise UnsafePickle(f"{function.module}.{function.name}")
    if not isinstance(function, Global):
        raise BadPickle(f"it calls {type(function).__name__}, expected a class or function")
    args = _arguments(args)
    if str(function) == "torch.storage._load_from_bytes":
        return _load_nested(args, allowance, load)
    if str(function) in _NEW_OBJECT:
        allowance.spend_copies((args,))
        return instantiate(args[0], args[1:], allowance, load)
    if str(function) == "torch._tensor._rebuild_from_type_v2":
        return call(_rebuild_function(args[0]), args[2], allowance, load)
    rebuild = _REBUILT.get(str(function))
    if rebuild is not None:
        allowance.spend_copies(args)
        return rebuild(*args)
    if str(function) in _DATA_CLASSES or _is_class(function) or _is_reconstruction(function):
        return Record(function.module, function.name, args)
    raise UnsafePickle(str(function))


def instantiate(cls: Any, args: Any, allowance: Allowance, load: Load, keywords: Any = None) -> Any:
    """What ``cls.__new__(cls, *args, **keywords)`` becomes (NEWOBJ, NEWOBJ_EX). Raises as `call` does.

    Any third-party name stands for a class here.
    """
    if isinstance(cls, Global) and str(cls) in _NEW_OBJECT:  # of itself of itself, without end
        raise BadPickle(f"it makes an instance of {cls}")
    if isinstance(cls, Global) and cls.module.split(".")[0] not in _STANDARD_LIBRARY | _LIBRARIES:
        return Record(cls.module, cls.name, _arguments(args), keywords=keywords)
    made = call(cls, args, allowance, load)
    if keywords and not isinstance(made, Record):
        raise BadPickle(f"it makes an instance of {cls} by keywords")
    if keywords:
        made.keywords = keywords
    return made


def _arguments(args: Any) -> tuple[Any, ...]:
    if not isinstance(args, tuple):
        raise BadPickle(f"it calls with {type(args).__name__}, expected a tuple of arguments")
    if len(args) > MAX_ARGUMENTS:
        raise BadPickle(f"it calls with {len(args)} arguments, expected at most {MAX_ARGUMENTS}")
    return args


def _is_class(function: Global) -> bool:
    """True for a third-party class, or one in a submodule of a library, by its name."""
    if function.module in _LIBRARIES:  # tensors and arrays, which are rebuilt in ways of their own
        return False
    return all(part.lstrip("_")[:1].isupper() for part in function.name.split("."))


def _is_reconstruction(function: Global) -> bool:
    """True for a persistent module of NVIDIA's, wherever its program stood, and for sparse tensors."""
    if function.name == "_reconstruct_persistent_obj":  # its argument holds source code
        return f".{function.module}".endswith(".torch_utils.persistence")
    return function.module == "torch._utils" and function.name.startswith("_rebuild_")


def _rebuild_function(function: Any) -> Global:
    if isinstance(function, Global) and function.module == "torch._utils" and str(function) in _REBUILT:
        return function
    raise BadPickle("a tensor of a subclass is not rebuilt from a plain tensor")


def _load_nested(args: tuple[Any, ...], allowance: Allowance, load: Load) -> Any:
    if not (len(args) == 1 and isinstance(args[0], (bytes, bytearray))):
        raise BadPickle("a tensor's storage is not bytes")
    if allowance.nesting <= 0:
        raise BadPickle("it has pickles inside pickles inside pickles")
    allowance.spend_bytes(len(args[0]))
    allowance.nesting -= 1
    try:
        return load(bytes(args[0]), allowance)
    finally:
        allowance.nesting += 1


def _reconstruct(cls: Any, base: Any, state: Any) -> Any:
    """``copyreg._reconstructor(cls, base, state)`` of protocols 0 and 1; a dict's `state` is its items."""
    if not (isinstance(cls, Global) and isinstance(base, Global)):
        raise BadPickle("an instance is not of a class")
    if str(cls) in _REBUILT:
        raise BadPickle(f"it makes {cls} in a way that Python does not")
    if cls.module.split(".")[0] in _LIBRARIES and not _is_class(cls):
        raise UnsafePickle(str(cls))
    record = Record(cls.module, cls.name, () if state is None else (state,))
    if isinstance(state, (dict, list)):
        record.args, record.items = (), state
    return record


def _type_of(*args: Any) -> Global:
    """``type(None)`` and ``type(Ellipsis)``, which is how pickles name these classes."""
    if len(args) == 1 and args[0] is None:
        return Global("builtins", "NoneType")
    if len(args) == 1 and isinstance(args[0], Global) and args[0].name in _SINGLETONS:
        return Global("builtins", f"type({args[0].name})")
    raise UnsafePickle("builtins.type")


def _special(*_: Any) -> Any:
    raise BadPickle("a tensor is rebuilt in an unknown way")


def _both(
    modules: tuple[str, str], functions: dict[str, Callable[..., Any]]
) -> dict[str, Callable[..., Any]]:
    return {f"{module}.{name}": function for module in modules for name, function in functions.items()}


_REBUILT: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": pairs_to_dict,
    "_codecs.encode": encoded,
    "torch.Size": lambda *args: tuple(elements(*args)),
    "torch.storage._load_from_bytes": _special,
    "torch._tensor._rebuild_from_type_v2": _special,
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter,
    **_both(("copyreg", "copy_reg"), {"_reconstructor": _reconstruct, "__newobj__": _special}),
    **_both(
        ("numpy.core.multiarray", "numpy._core.multiarray"), {"_reconstruct": empty_array, "scalar": scalar}
    ),
    **_both(("numpy.core.numeric", "numpy._core.numeric"), {"_frombuffer": array_from_buffer}),
    **_both(
        ("builtins", "__builtin__"),
        {
            "set": lambda *args: {checked_key(element) for element in elements(*args)},
            "frozenset": lambda *args: frozenset(checked_key(element) for element in elements(*args)),
            "list": elements,
            "tuple": lambda *args: tuple(elements(*args)),
            "dict": pairs_to_dict,
            "int": number(int),
            "long": number(int),
            "float": number(float),
            "bool": number(bool),
            "complex": number(complex),
            "str": plain_text,
            "unicode": plain_text,
            "bytes": plain_bytes,
            "bytearray": lambda *args: bytearray(plain_bytes(*args)),
            "slice": plain_slice,
            "type": _type_of,
        },
    ),
}
