"""Arrays of all images as one binary answer: a browser makes typed arrays of it without a copy, where JSON of
100,000 images would be megabytes of digits to parse.

The first 4 bytes are the length of the JSON that follows, little-endian. It says of every array ``name``,
``type`` (of JavaScript), ``offset`` in bytes behind the JSON, and ``length`` in values; beside them stand
other values. The JSON is filled up with spaces, so that every array begins at a multiple of 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

ALIGNMENT = 4
TYPES = {"Uint8Array": "u1", "Uint32Array": "<u4", "Float32Array": "<f4"}
_NAMES = {np.dtype(code): name for name, code in TYPES.items()}


def pack(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> bytes:
    """The bytes of one-dimensional arrays, uint8, uint32 or float32, and of JSON values beside them."""
    entries, parts, offset = [], [], 0
    for name, array in arrays.items():
        content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        entries.append({"name": name, "type": _NAMES[array.dtype], "offset": offset, "length": len(array)})
        parts.append(content + b"\0" * (-len(content) % ALIGNMENT))
        offset += len(parts[-1])
    head = json.dumps({**values, "arrays": entries}, allow_nan=False).encode()
    head += b" " * (-len(head) % ALIGNMENT)
    return b"".join([len(head).to_bytes(4, "little"), head, *parts])
