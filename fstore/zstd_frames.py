"""How large the content of a zstd frame is, by its header: known before memory is given to it.

RFC 8878, section 3.1.1.1.
"""

from __future__ import annotations

MAGIC = b"\x28\xb5\x2f\xfd"
DICTIONARY_BYTES = (0, 1, 2, 4)
SIZE_BYTES = (0, 2, 4, 8)
LONGEST_HEADER = 18


def declared_size(frame: bytes) -> int | None:
    """Bytes of the content, or None where the header does not say. Raises ValueError: no such frame."""
    if frame[:4] != MAGIC or len(frame) < 6:
        raise ValueError("it is no zstd frame")
    descriptor = frame[4]
    single_segment = bool(descriptor & 0x20)
    start = 5 + (not single_segment) + DICTIONARY_BYTES[descriptor & 3]
    num_bytes = SIZE_BYTES[descriptor >> 6] or int(single_segment)
    if num_bytes == 0:
        return None
    field = frame[start : start + num_bytes]
    if len(field) < num_bytes:
        raise ValueError("its zstd header is cut off")
    return int.from_bytes(field, "little") + (256 if num_bytes == 2 else 0)
