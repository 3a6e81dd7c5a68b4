"""Reads a checkpoint file as data. The bytes of the file say which container it is.

Every fault is a `UsageError` of one line that names the file. This module knows containers and no networks:
the loaders say which generator the content is.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.checkpoints.containers.inert_values import BadPickle, OtherArchive, UnsafePickle
from pipeline.checkpoints.containers.limits import Allowance
from pipeline.checkpoints.containers.pickles import read_first_pickle
from pipeline.checkpoints.containers.safetensors_files import is_safetensors, read_safetensors
from pipeline.checkpoints.containers.torch_files import (
    is_legacy_magic,
    load_from_bytes,
    read_torch_legacy,
    read_torch_zip,
)
from pipeline.errors import UsageError, short

Kind = Literal["torch-zip", "torch-legacy", "pickle", "safetensors"]

_SOURCE = "download or copy it again"
_MAX_LINE = 1 << 28  # bytes: in the oldest protocol an array is one line
_MAX_REASON = 300  # characters: a shape in a damaged file may have many digits
_WEB_PAGE = (
    "a web page",
    "the download was refused or redirected; open the address in a browser and save the file",
)
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x89HDF", "an HDF5 file (Keras?)"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x1f\x8b", "gzip-compressed; unpack it and name the file in it"),
    (b"BZh", "bzip2-compressed; unpack it and name the file in it"),
    (b"\xfd7zXZ", "xz-compressed; unpack it and name the file in it"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it and name the file in it"),
    (b"Rar!", "a RAR archive; unpack it and name the file in it"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
)


@dataclass(frozen=True)
class CheckpointContent:
    """What a checkpoint file holds."""

    kind: Kind
    content: Any
    """Plain containers, numbers, arrays; `StoredTensor` for tensors; `Record` and `Global` for the rest."""


def read_checkpoint(path: Path) -> CheckpointContent:
    """The content of the checkpoint file `path`. Nothing in it is imported or executed.

    Raises UsageError when the file cannot be read, is empty, truncated or damaged, is of another kind, or
    asks for anything to be called that no generator needs.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        _refuse_other_kinds(head, path)
        return _read_container(path, head)
    except OSError as error:
        raise UsageError(
            f"checkpoint {path}: cannot be read ({error.strerror}); check path and permissions"
        ) from error
    except MemoryError as error:
        raise UsageError(
            f"checkpoint {path}: reading it needs more memory than there is; "
            "free some, or pass another checkpoint"
        ) from error
    except UnsafePickle as error:
        raise UsageError(
            f"checkpoint {path}: it asks for {short(error.name)}, which no generator needs; nothing was "
            "executed; get the file from those who made it, or export its weights as a plain state dict"
        ) from error
    except OtherArchive as error:
        raise UsageError(f"checkpoint {path}: {error}") from error
    except BadPickle as error:
        known = head.startswith((b"PK", b"\x80"))  # what torch.save and NVIDIA's exports begin with
        if not known and not is_safetensors(head):
            raise UsageError(
                f"checkpoint {path}: the file is no PyTorch file, pickle or safetensors file; expected a "
                f"generator's checkpoint, check the path or {_SOURCE}"
            ) from error
        raise _damaged(path, str(error)) from error


def _read_container(path: Path, head: bytes) -> CheckpointContent:
    num_bytes = path.stat().st_size
    if head[:2] == b"PK":
        found = read_torch_zip(lambda: _Bounded(path), num_bytes, fault=lambda text: _damaged(path, text))
        return CheckpointContent("torch-zip", found)
    if is_safetensors(head):
        return CheckpointContent("safetensors", read_safetensors(path, head))
    allowance = Allowance.of(num_bytes)
    with _Stream(_Bounded(path)) as stream:  # not read whole before it is known to be a pickle
        first = read_first_pickle(stream, load=load_from_bytes, allowance=allowance)
    if is_legacy_magic(first):
        return CheckpointContent("torch-legacy", read_torch_legacy(path.read_bytes(), allowance))
    return CheckpointContent("pickle", first)


class _Bounded(io.FileIO):
    """A file whose reads never ask for more than is left: a forged size must not allocate gigabytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.num_bytes = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self.num_bytes - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left)) or b""


class _Stream(io.BufferedReader):
    """A file that is read a piece at a time, as a pickle's operations name them.

    What is no pickle may name any size: a piece that is larger than what is left is not read at all, and a
    line that has no end not whole. The reader takes either for damage.
    """

    def __init__(self, file: _Bounded) -> None:
        super().__init__(file)
        self.num_bytes = file.num_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self.num_bytes - self.tell(), 0)
        if size is None or size < 0:
            return super().read(left)
        return super().read(size) if size <= left else b""

    def readline(self, size: int | None = -1, /) -> bytes:
        return super().readline(_MAX_LINE if size is None or size < 0 else size)


def _damaged(path: Path, what: str) -> UsageError:
    reason = what[:_MAX_REASON]
    return UsageError(
        f"checkpoint {path}: cannot be read ({reason}); expected a generator's checkpoint, {_SOURCE}"
    )


def _refuse_other_kinds(head: bytes, path: Path) -> None:
    """Raises UsageError for files that begin as some other well-known kind does."""
    if not head:
        raise UsageError(f"checkpoint {path}: the file is empty; {_SOURCE}")
    found = next((name for signature, name in _SIGNATURES if head.startswith(signature)), None)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if text == b"<":
        raise UsageError(f"checkpoint {path}: looks like {_WEB_PAGE[0]}, not a checkpoint; {_WEB_PAGE[1]}")
    if head[257:262] == b"ustar":
        found = "a tar archive; unpack it and name the file in it"
    elif head[:1] == b"\x08" and (b"pytorch" in head[:64] or b"onnx" in head[:64]):
        found = "an ONNX model; pass the checkpoint that it was exported from"
    if found is not None:
        raise UsageError(f"checkpoint {path}: found {found}, expected a generator's checkpoint")
