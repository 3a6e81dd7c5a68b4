"""A chunk or an index with right checksums and wrong claims is refused before memory is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from google_crc32c import value as crc32c
from support.commands import dgan
from support.confined import confined
from support.fault_table import REFUSED
from support.fuzzing import check_end
from support.stores import fill, make_meta

import fstore
from fstore.chunks import CheckedArray
from fstore.errors import CorruptionError
from fstore.location import Location

NATIVE = (("b4", (4, 4), 2), ("b64", (64, 64), 3))
ARRAYS = {"dense": "features", "pyramid": "layers/1_b64"}
HEADER = b"\x28\xb5\x2f\xfd"


def frame(size: int | None, blocks: list[bytes]) -> bytes:
    """A zstd frame that says its size, or does not, and its checksum."""
    described = b"\xe0" + size.to_bytes(8, "little") if size is not None else b"\x00\x58"
    packed = HEADER + described + b"".join(blocks)
    return packed + crc32c(packed).to_bytes(4, "little")


def run_length(num: int, last: bool) -> bytes:
    """A block of ``num`` zeros."""
    return (last | 1 << 1 | num << 3).to_bytes(3, "little") + b"\0"


BOMB = [run_length(2**17, i == 9_999) for i in range(10_000)]  # 40 kB that unpack to 1.3 GB
FRAMES = {
    "a frame that claims 10^15 bytes": frame(10**15, [run_length(16, True)]),
    "a frame that claims 2^64 - 1 bytes": frame(2**64 - 1, [run_length(16, True)]),
    "a frame that claims nothing and holds 1.3 GB": frame(None, BOMB),
    "a frame that claims too little": frame(16, [run_length(16, True)]),
    "no frame": b"abcd" + crc32c(b"abcd").to_bytes(4, "little"),
}
PLACES = {
    "10^15 bytes": lambda offset, num, length: (offset, 10**15),
    "2^63 bytes": lambda offset, num, length: (offset, 2**63),
    "at 2^63": lambda offset, num, length: (2**63 + 8, num),
    "at 2^64 - 2": lambda offset, num, length: (2**64 - 2, num),
    "beyond the end": lambda offset, num, length: (length, num),
    "over the index": lambda offset, num, length: (length - num + 1, num),
    "no bytes": lambda offset, num, length: (offset, 0),
}


def rewrite(shard: Path, chunks: int, how: str) -> None:
    """Change what the index says of the last chunk, or that chunk; all checksums are right afterwards."""
    content = shard.read_bytes()
    body, index = content[: -16 * chunks - 4], np.frombuffer(content[-16 * chunks - 4 : -4], "<u8").copy()
    offset, num = index[-2:].tolist()
    if how in FRAMES:
        index[-2:] = len(body), len(FRAMES[how])
        body += FRAMES[how]
    else:
        index[-2:] = PLACES[how](offset, num, len(body))
    shard.write_bytes(body + index.tobytes() + crc32c(index.tobytes()).to_bytes(4, "little"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A store of a layout: change a copy."""
    folder = tmp_path_factory.mktemp("filled")

    def of(layout: str) -> Path:
        if not (folder / layout).exists():
            meta = make_meta(layout, grid=(64, 64), native=NATIVE)
            fill(folder / layout, meta, num_images=2, native=NATIVE)
        return folder / layout

    return of


@pytest.mark.parametrize("layout", ["dense", pytest.param("pyramid", marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", [*FRAMES, *PLACES])
def test_a_chunk_that_claims_more_is_refused_by_name(
    filled: Callable[[str], Path], tmp_path: Path, layout: str, how: str, note: Callable[[str], None]
) -> None:
    path = shutil.copytree(filled(layout), tmp_path / "s.zarr")
    store, array = fstore.open(path), ARRAYS[layout]
    stored = zarr.open_group(path, mode="r")[array]
    chunks = int(np.prod([s // c for s, c in zip(stored.shards, stored.chunks, strict=True)]))
    shard = next(file for file in (path / array / "c" / "0").rglob("*") if file.is_file())
    rewrite(shard, chunks, how)
    everything = tuple((0, size) for size in stored.shape)
    with confined(tmp_path):
        for read in (
            lambda: store.features.compute(scheduler="sync"),
            lambda: CheckedArray(stored, Location.parse(path)).read(everything),
        ):
            with pytest.raises(CorruptionError, match=f"array '{array}', image 0, chunk"):
                read()
        for words in (("verify", path), ("repair", path, "--dry-run")):
            result = dgan(*words)
            check_end(result)
            assert result.exit_code == (1 if "verify" in words else 0), result.output
            named = f"array '{array}', image 0, chunk" if "verify" in words else "image 0 would no longer"
            assert named in result.output
    note(REFUSED)
