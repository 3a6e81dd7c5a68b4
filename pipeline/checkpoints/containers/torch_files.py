"""The containers that ``torch.save`` writes: the zip of PyTorch 1.6 and later, the legacy stream before it.

Pickles inside go through `pickles`, never through PyTorch; tensors' bytes are read when first needed.
Format source: ``torch.serialization`` (``_save``, ``_legacy_save``). This module does not know generators
or error texts for users; every fault is a BadPickle or UnsafePickle.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pipeline.checkpoints.containers.inert_values import BadPickle, OtherArchive, Storage
from pipeline.checkpoints.containers.limits import Allowance
from pipeline.checkpoints.containers.pickles import read_first_pickle
from pipeline.checkpoints.containers.rebuilt_arrays import storage_dtype

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,
    struct.error,
)
_MAX_PICKLE_BYTES = 1 << 30
_MAX_ENTRIES = 8192
"""Of a zip: one a tensor. A whole training state has some thousand."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature; lengths of name and extra field
_LOCAL_SIGNATURE = b"PK\x03\x04"

Open = Callable[[], BinaryIO]


def load_from_bytes(content: bytes, allowance: Allowance | None = None) -> Any:
    """What ``torch.storage._load_from_bytes(content)`` stands for, under the same rules."""
    allowance = allowance or Allowance.of(len(content))
    if content[:2] == b"PK":
        return read_torch_zip(lambda: io.BytesIO(content), len(content), allowance=allowance)
    return read_torch_legacy(content, allowance)


def is_legacy_magic(value: Any) -> bool:
    """True for the number that the first pickle of a legacy file holds."""
    return isinstance(value, int) and value == LEGACY_MAGIC


# ---- zip ----------------------------------------------------------------------------------------------


def read_torch_zip(
    open_file: Open,
    num_bytes: int,
    *,
    allowance: Allowance | None = None,
    fault: Callable[[str], Exception] = BadPickle,
) -> Any:
    """The object in a zip of ``torch.save``, `open_file` giving the file of `num_bytes` each time it is read.

    `fault` makes the exception that a tensor raises whose bytes turn out damaged when they are read later.
    """
    try:
        with open_file() as file, zipfile.ZipFile(file) as archive:
            if len(archive.infolist()) > _MAX_ENTRIES:
                raise BadPickle(f"its zip archive has more than {_MAX_ENTRIES:,} entries")
            entries = {entry.filename: entry for entry in archive.infolist()}
            root = _root(entries)
            content = _stored(file, entries[f"{root}data.pkl"], min(num_bytes, _MAX_PICKLE_BYTES))
            byte_order = "little"
            if f"{root}byteorder" in entries:
                byte_order = _stored(file, entries[f"{root}byteorder"], 16).decode("ascii")
    except _ZIP_FAULTS as error:
        raise BadPickle("its zip archive is truncated or damaged") from error
    if byte_order not in ("little", "big"):
        raise BadPickle("its entry byteorder is neither little nor big")
    storages = _ZipStorages(open_file, entries, root, num_bytes, byte_order != sys.byteorder, fault)
    return read_first_pickle(
        io.BytesIO(content),
        persistent_load=storages.persistent_load,
        load=load_from_bytes,
        allowance=allowance or Allowance.of(len(content)),
    )


def _root(entries: dict[str, zipfile.ZipInfo]) -> str:
    """The folder inside the archive, with its slash. Raises BadPickle when it is no plain ``torch.save``."""
    roots = [name.removesuffix("data.pkl") for name in entries if name.rsplit("/", 1)[-1] == "data.pkl"]
    roots = [root for root in roots if root.count("/") <= 1]
    folder = roots[0] if roots else ""
    scripted = f"{folder}constants.pkl" in entries or any(n.startswith(f"{folder}code/") for n in entries)
    if roots and scripted:
        raise OtherArchive(
            "found a TorchScript archive, whose code would have to run; save the network's state dict instead"
        )
    if len(roots) == 1:
        return folder
    if any(name.endswith(".npy") for name in entries):
        raise OtherArchive("found a NumPy archive (.npz), expected a generator's checkpoint")
    raise OtherArchive(
        "found a zip archive without PyTorch's data.pkl; unpack it and name the checkpoint in it"
    )


def _stored(file: BinaryIO, entry: zipfile.ZipInfo, most_bytes: int) -> bytes:
    """An entry's bytes, once it is known not to grow: ``torch.save`` never compresses.

    The archive's directory is read once and says where they are; a new `ZipFile` would read it for each
    tensor.
    """
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise BadPickle("its entries are compressed, expected them stored as torch.save writes them")
    if entry.flag_bits & 0x1 or entry.file_size > most_bytes:
        raise BadPickle("an entry of its zip archive is encrypted or larger than the file")
    file.seek(entry.header_offset)
    signature, *lengths = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    file.seek(sum(lengths), io.SEEK_CUR)
    content = file.read(entry.file_size)
    whole = signature == _LOCAL_SIGNATURE and len(content) == entry.file_size
    if not whole or zlib.crc32(content) != entry.CRC:
        raise BadPickle("its zip archive is truncated or damaged")
    return content


@dataclass(frozen=True)
class _ZipStorages:
    """The storages of one archive, each made once."""

    open_file: Open
    entries: dict[str, zipfile.ZipInfo]
    root: str
    num_bytes: int
    swap_bytes: bool
    fault: Callable[[str], Exception]
    found: dict[Any, Storage] = field(default_factory=dict)

    def persistent_load(self, identity: Any) -> Storage:
        """The storage that ``("storage", class, key, location, numel)`` names."""
        dtype, key, num_elements, _ = _storage_identity(identity)
        name = f"{self.root}data/{key}"
        if name not in self.entries:
            raise BadPickle(f"its tensor data {key[:40]!r} is missing")
        num_bytes = self.entries[name].file_size
        if num_elements * dtype.itemsize != num_bytes:
            raise BadPickle(
                f"its tensor data {key[:40]!r} holds {num_bytes} bytes, not {num_elements} {dtype}"
            )
        if (key, dtype) not in self.found:
            self.found[key, dtype] = Storage(dtype, num_bytes, lambda: self._read(name), self.swap_bytes)
        return self.found[key, dtype]

    def _read(self, name: str) -> bytes:
        try:
            with self.open_file() as file:
                return _stored(file, self.entries[name], self.num_bytes)
        except (*_ZIP_FAULTS, BadPickle) as error:
            raise self.fault(f"its tensor data {name[:60]!r} is truncated or damaged") from error


def _storage_identity(identity: Any) -> tuple[Any, str, int, Any]:
    """(dtype, key, number of elements, view) of a storage's persistent id."""
    if not (
        isinstance(identity, tuple) and len(identity) in (5, 6) and identity[0] in ("storage", b"storage")
    ):
        raise BadPickle("it refers to data in an unknown way")
    _, storage_class, key, _, num_elements, *view = identity
    if not (isinstance(key, (str, int)) and isinstance(num_elements, int) and num_elements >= 0):
        raise BadPickle("it refers to data without a key or a number of elements")
    return storage_dtype(storage_class), str(key), num_elements, view[0] if view else None


# ---- legacy -------------------------------------------------------------------------------------------


def read_torch_legacy(content: bytes, allowance: Allowance) -> Any:
    """The object of a legacy file.

    Format: pickles of magic number, protocol number, system's facts, object and storages' keys; then for each
    key its number of elements as int64 and its bytes.
    """
    stream = io.BytesIO(content)
    magic, protocol, facts = (read_first_pickle(stream, allowance=allowance) for _ in range(3))
    numbered = is_legacy_magic(magic) and isinstance(protocol, int) and protocol == _LEGACY_PROTOCOL
    if not (numbered and isinstance(facts, dict)):
        raise BadPickle("its PyTorch header is damaged")
    storages = _LegacyStorages("<" if facts.get("little_endian") is not False else ">")
    found = read_first_pickle(
        stream, persistent_load=storages.persistent_load, load=load_from_bytes, allowance=allowance
    )
    keys = read_first_pickle(stream, allowance=allowance)
    if not (isinstance(keys, list) and all(isinstance(key, (str, int)) for key in keys)):
        raise BadPickle("its list of tensor data is damaged")
    storages.locate(memoryview(content)[stream.tell() :], [str(key) for key in keys])
    return found


@dataclass(frozen=True)
class _LegacyStorages:
    """The storages of one legacy file. They are named before their bytes have been found."""

    byte_order: str
    roots: dict[str, Storage] = field(default_factory=dict)
    content: dict[str, memoryview] = field(default_factory=dict)

    def persistent_load(self, identity: Any) -> Any:
        """The storage of an id, whole or a view ``(key, offset, elements)``; or a network module's class."""
        if isinstance(identity, tuple) and len(identity) >= 2 and identity[0] in ("module", b"module"):
            return identity[1]
        dtype, key, num_elements, view = _storage_identity(identity)
        if key not in self.roots:
            self.roots[key] = self._storage(dtype, key, 0, num_elements)
        root = self.roots[key]
        if root.dtype != dtype or num_elements * dtype.itemsize != root.num_bytes:
            raise BadPickle(f"its tensor data {key[:40]!r} is named twice, with different sizes")
        if view is None:
            return root
        if not (isinstance(view, tuple) and len(view) == 3 and all(isinstance(n, int) for n in view[1:])):
            raise BadPickle("it refers to a part of data in an unknown way")
        _, offset, length = view
        if not 0 <= offset <= offset + length <= num_elements:
            raise BadPickle("it refers to a part of data outside of it")
        return self._storage(dtype, key, offset, length)

    def _storage(self, dtype: Any, key: str, offset: int, num_elements: int) -> Storage:
        start, num_bytes = offset * dtype.itemsize, num_elements * dtype.itemsize
        swap = self.byte_order != ("<" if sys.byteorder == "little" else ">")
        return Storage(dtype, num_bytes, lambda: self.content[key][start:][:num_bytes], swap)

    def locate(self, content: memoryview, keys: list[str]) -> None:
        """Finds each storage's bytes. Raises BadPickle unless all are there, of the sizes named."""
        for key in keys:
            root = self.roots.get(key)
            if len(content) < 8 or root is None:
                raise BadPickle("its tensor data is truncated or damaged")
            (num_elements,) = struct.unpack(f"{self.byte_order}q", content[:8])
            if num_elements * root.dtype.itemsize != root.num_bytes:
                raise BadPickle(f"its tensor data {key[:40]!r} has another size than it is named with")
            self.content[key], content = content[8:][: root.num_bytes], content[8 + root.num_bytes :]
            if len(self.content[key]) != root.num_bytes:
                raise BadPickle("its tensor data is truncated")
        missing = sorted(set(self.roots) - set(self.content))
        if missing:
            raise BadPickle(f"its tensor data {missing[0][:40]!r} is missing")
