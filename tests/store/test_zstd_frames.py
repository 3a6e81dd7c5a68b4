"""A frame says how large its content is: held against numcodecs, which writes it and unpacks it."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numcodecs.zstd import compress, decompress

from fstore.local_shards import decode_chunk
from fstore.zstd_frames import declared_size


@given(st.integers(1, 70_000) | st.integers(1, 600), st.sampled_from((0, 3, 19)), st.booleans())
def test_it_is_the_size_of_the_content(num_bytes: int, level: int, checksum: bool) -> None:
    frame = compress(bytes(num_bytes), level, checksum)
    assert declared_size(frame) == num_bytes == len(decompress(frame))


def test_a_header_without_a_size_says_none() -> None:
    assert declared_size(b"\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00") is None


@pytest.mark.parametrize(
    "frame", [b"", b"\x28\xb5\x2f\xfd", b"PK\x03\x04\x00\x00", b"\x28\xb5\x2f\xfd\xe0\x01"]
)
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match="zstd"):
        declared_size(frame)


@pytest.mark.parametrize("num_bytes", [11, 13, 2**31])
def test_a_chunk_of_another_size_is_refused_before_it_is_unpacked(num_bytes: int) -> None:
    """Also where it would fit into the memory that waits for it."""
    from google_crc32c import value as crc32c

    header = b"\x28\xb5\x2f\xfd\xa0" + num_bytes.to_bytes(4, "little")  # one segment, a size of 4 bytes
    frame = header + b"\x03\x00\x00" if num_bytes == 2**31 else compress(bytes(num_bytes))
    content = frame + crc32c(frame).to_bytes(4, "little")
    for into in (None, np.zeros(12, np.uint8)):
        with pytest.raises(ValueError, match=f"unpacks to {num_bytes} bytes, and a chunk has 12"):
            decode_chunk(content, (3, 4), np.dtype(np.uint8), into)
