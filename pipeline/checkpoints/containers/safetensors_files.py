"""Reads safetensors files with their own library: named tensors, each of which is read when it is first
needed.

The library checks that the header is plain JSON and that the tensors fill the file without gaps or overlaps,
so that nothing a header says is larger than the file. This module does not know networks or error texts for
users.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import torch

from pipeline.checkpoints.containers.inert_values import BadPickle, Storage, StoredTensor, num_elements_of

MAX_HEADER_BYTES = 1 << 24
"""A hundred thousand tensors' names; a generator's header has some ten thousand bytes."""
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON object, then the object."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40


def read_safetensors(path: Path, head: bytes) -> dict[str, StoredTensor]:
    """The tensors of a file, unread; those of other than the usual number types are left out.

    Raises BadPickle where the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    (header_bytes,) = struct.unpack("<Q", head[:8])
    if header_bytes > MAX_HEADER_BYTES:
        raise BadPickle(f"its safetensors header has {header_bytes} bytes, more than any generator's")
    try:
        file = safe_open(path, framework="pt", device="cpu")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise BadPickle("its safetensors header is truncated or damaged") from error
    return {
        name: _stored(file, name, _DTYPES[each.get_dtype()], tuple(each.get_shape()))
        for name, each in slices.items()
        if each.get_dtype() in _DTYPES
    }


def _stored(file: Any, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> StoredTensor:
    strides = tuple(num_elements_of(shape[axis + 1 :]) for axis in range(len(shape)))
    num_bytes = num_elements_of(shape) * dtype.itemsize

    def read() -> bytes:
        tensor = file.get_tensor(name).contiguous()
        return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()

    return StoredTensor(dtype, shape, strides, 0, Storage(dtype, num_bytes, read))
