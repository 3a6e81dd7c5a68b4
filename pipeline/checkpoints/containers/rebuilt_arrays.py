"""Rebuilds NumPy's and PyTorch's arrays from what pickles say of them, every size checked against the bytes.

Formats: NumPy's ``ndarray.__reduce__`` (protocols 0 to 5), ``torch._utils._rebuild_*``. Only plain numbers:
an array of anything else (text, objects, dates) stays an empty one of dtype void, and such a scalar a record,
since a training checkpoint may hold one beside its networks. This module does not know opcodes, globals'
policy or where storages come from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pipeline.checkpoints.containers.inert_values import (
    BadPickle,
    Global,
    Record,
    Storage,
    StoredTensor,
    num_elements_of,
)

_PLAIN = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
_OTHER = np.dtype("V1")
_SIDE_LIMIT = 1 << 31

DTYPES = {name: dtype for name, dtype in sorted(vars(torch).items()) if isinstance(dtype, torch.dtype)}
"""Names in ``torch`` such as ``float32`` -> dtype."""

STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "QInt8Storage": torch.int8,
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}


def storage_dtype(storage_class: Any) -> torch.dtype:
    """dtype of ``torch.FloatStorage`` and its like. Raises BadPickle for anything else."""
    if isinstance(storage_class, Global) and storage_class.name in STORAGE_DTYPES:
        return STORAGE_DTYPES[storage_class.name]
    found = str(storage_class) if isinstance(storage_class, Global) else type(storage_class).__name__
    raise BadPickle(f"a tensor's storage is of {found}, expected one of PyTorch's plain number types")


def rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    """``_rebuild_tensor(storage, offset, size, stride)`` and ``_v2``; further arguments are autograd's."""
    dtype = storage.dtype if isinstance(storage, Storage) else None
    return _stored(dtype, storage, offset, shape, stride)


def rebuild_tensor_v3(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> StoredTensor:
    """``_rebuild_tensor_v3``: as v2, over an untyped storage, with the dtype beside it."""
    return _stored(dtype, storage, offset, shape, stride)


def rebuild_parameter(data: Any, *_: Any) -> StoredTensor:
    """``_rebuild_parameter(data, requires_grad, hooks)``: the data."""
    if not isinstance(data, StoredTensor):
        raise BadPickle(f"a parameter holds {type(data).__name__}, expected a tensor")
    return data


def _stored(dtype: Any, storage: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
    if not (isinstance(storage, Storage) and isinstance(dtype, torch.dtype)):
        raise BadPickle(f"a tensor's storage is {type(storage).__name__}, expected a storage")
    if dtype != storage.dtype and storage.swap_bytes:
        raise BadPickle("a tensor of the other byte order has no plain type")
    return StoredTensor(dtype, _integers(shape), _integers(stride), _integers((offset,))[0], storage)


def empty_array(array_class: Any, *_: Any) -> np.ndarray:
    """``_reconstruct(ndarray, (0,), b"b")``: an array that `fill_array` gives its shape and bytes."""
    if array_class != Global("numpy", "ndarray"):
        raise BadPickle("an array is of a subclass of numpy.ndarray, expected plain arrays")
    return np.empty(0, _OTHER)


def fill_array(array: np.ndarray, state: Any) -> int:
    """Gives an empty array its state (version, shape, dtype, column order, bytes). Returns the number of
    bytes.

    An array of anything but plain numbers stays empty.
    """
    if not (isinstance(state, tuple) and len(state) == 5):
        raise BadPickle("an array's state is not (version, shape, dtype, order, bytes)")
    _, shape, dtype, columns_first, content = state
    if not _is_plain(dtype):
        return 0
    content = _octets(content)
    sides, plain = _shape_of(shape, dtype, len(content))
    state = (1, sides, plain, columns_first is True, content)
    array.__setstate__(state)  # fills the same object, which the pickle may refer to already
    return len(content)


def array_from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    """``_frombuffer`` of protocol 5, in this machine's byte order as NumPy's older way gives it."""
    if not _is_plain(dtype):
        return np.empty(0, _OTHER)
    content = _octets(buffer)
    sides, plain = _shape_of(shape, dtype, len(content))
    flat = np.frombuffer(content, plain) if content else np.empty(0, plain)
    flat = flat.astype(plain.newbyteorder("="), copy=False)
    if order == "K" and axes is not None:
        return flat.reshape(sides).transpose(_integers(axes))
    if order not in ("C", "F"):
        raise BadPickle("an array's element order is neither C nor F")
    return flat.reshape(sides, order=order)


def scalar(dtype: Any, content: Any = b"") -> Any:
    """``scalar(dtype, bytes)`` as a Python number; a record of one that is no number."""
    if not _is_plain(dtype):
        return Record("numpy", "generic", (dtype,))
    content = _octets(content)
    _, plain = _shape_of((), dtype, len(content))
    return np.frombuffer(content, plain)[0].item()


def _shape_of(shape: Any, dtype: Any, num_bytes: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype, once their bytes are known to be `num_bytes`."""
    plain, sides = _plain_dtype(dtype), _integers(shape)
    if len(sides) > 32 or not all(0 <= side < _SIDE_LIMIT for side in sides):
        raise BadPickle("an array has a negative or impossibly long side")
    needed = num_elements_of(sides) * plain.itemsize
    if needed != num_bytes:
        raise BadPickle(f"an array of shape {sides} and type {plain} holds {num_bytes} bytes, not {needed}")
    return sides, plain


def _is_plain(dtype: Any) -> bool:
    """Whether a record of a dtype names plain numbers. Raises BadPickle for what is no dtype at all."""
    if not (isinstance(dtype, Record) and dtype.module.split(".")[0] == "numpy"):
        raise BadPickle(f"an array's type is {type(dtype).__name__}, expected numpy.dtype")
    name = dtype.args[0] if dtype.args else None
    return dtype.name == "dtype" and isinstance(name, str) and name in _PLAIN


def _plain_dtype(dtype: Record) -> np.dtype:
    """The dtype that a record of ``numpy.dtype("f4", ...)`` and its state ``(3, "<", ...)`` name."""
    name, order = dtype.args[0], "="
    if isinstance(dtype.state, tuple) and len(dtype.state) > 1:
        order = "=" if dtype.state[1] == "|" else dtype.state[1]
    if not (isinstance(order, str) and order in ("=", "<", ">")):
        raise BadPickle("an array's byte order is neither < nor >")
    return np.dtype(order + name)


def _octets(content: Any) -> bytes:
    """Bytes; text of Python 2 stands for bytes one to one."""
    if isinstance(content, str):
        return content.encode("latin-1")
    if not isinstance(content, (bytes, bytearray)):
        raise BadPickle(f"an array's bytes are {type(content).__name__}")
    return bytes(content)


def _integers(sides: Any) -> tuple[int, ...]:
    if not (isinstance(sides, (tuple, list)) and all(isinstance(side, int) for side in sides)):
        raise BadPickle("an array's shape, strides or offset are not whole numbers")
    return tuple(int(side) for side in sides)
