"""Writes a safetensors file, as their own library would, through the one file that it is given.

That library writes a file of its own beside it, ``.tmpXXXXXX``, and renames that. After a kill nobody knows
its name, and it stays for ever. So this program writes the format itself, which is short: the length of a
JSON object in eight bytes, the object, the tensors. The library reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_CODES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint64: "U64",
}
"""What the format calls each dtype. The last of them come first in a file, so that all are aligned."""
_ORDER = {dtype: -place for place, dtype in enumerate(_CODES)}
_ALIGNMENT = 8


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write ``tensors``, of any shape, into the file ``path``; equal ones give equal bytes. None is copied
    that is contiguous and on the CPU.

    Raises OSError where the system cannot write, and KeyError for a dtype that is not in the table above.
    """
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    placed, begin = sorted(tensors.items(), key=lambda item: (_ORDER[item[1].dtype], item[0])), 0
    for name, tensor in placed:
        end = begin + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in placed:
            file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
