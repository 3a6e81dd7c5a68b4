"""Reads one array out of a ``.npy``, ``.npz`` or PyTorch file that another program wrote.

Nothing that a file carries is executed, and every fault is one line. No file allocates more than it holds; a
compressed ``.npz``, which holds less than it unfolds to, at most ``MAX_ARRAY_BYTES`` an array.
`pipeline.inputs.keyed_arrays` decides which of several arrays is meant, and which image each entry of a
collection is of. This module does not know what an array means.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.inputs.keyed_arrays import MAX_ARRAY_BYTES, Choose, FoundArray, Leaf, find_array, the_only_one
from pipeline.machine.torch_files import PackedError, load_plain

TORCH_SUFFIXES = (".pt", ".pth")
SUFFIXES = (".npy", ".npz", *TORCH_SUFFIXES)
MAX_MEMBERS = 2**16
"""Arrays of an archive."""
MAX_ENTRIES = 2**20
"""Of the dicts and lists of a PyTorch file."""


def read_array(path: Path, what: str, choose: Choose = the_only_one, *, numbered: bool = False) -> FoundArray:
    """The array in a file, of several the one that ``choose`` picks by name.

    With ``numbered`` a collection of equal arrays is one as well, if each has the number of an image in its
    name; see `pipeline.inputs.keyed_arrays.find_array`. ``what`` names the array in errors ("latents"). The
    kind of file follows from the suffix, and anything but ``.npz``, ``.pt`` and ``.pth`` is taken for a
    ``.npy``. Raises UsageError, one line, naming the file.
    """
    suffix = path.suffix.lower()
    kind = suffix if suffix in SUFFIXES else ".npy"
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{path}: {found}; expected {what} in a {kind} file")
    if kind == ".npy":
        return FoundArray(_read_npy(path, what))
    if kind == ".npz":
        return _read_npz(path, what, choose, numbered)
    return _read_torch(path, what, choose, numbered)


def _read_npy(path: Path, what: str) -> NDArray[Any]:
    """Read-only, and mapped from the file once its header fits the file's length."""
    try:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); expected {what}") from error
    except Exception as error:  # a damaged header can raise nearly anything: SyntaxError, TypeError, ...
        found = "holds Python objects" if "objects" in str(error) else "is not a .npy file, or is truncated"
        raise UsageError(
            f"{path}: {found}; expected {what} as saved by numpy.save with a plain dtype"
        ) from error


# ---- archives -------------------------------------------------------------------------------------------


def _read_npz(path: Path, what: str, choose: Choose, numbered: bool) -> FoundArray:
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > MAX_MEMBERS:
                raise UsageError(f"{path}: holds more than {MAX_MEMBERS:,} arrays; expected {what}")
            members = {
                info.filename.removesuffix(".npy"): _Member(archive, info) for info in archive.infolist()
            }
            return find_array(members, choose, numbered=numbered)
    except UsageError:
        raise
    except _Damaged as error:
        raise UsageError(f"{path}: {error}; expected {what} as saved by numpy.savez") from error
    except ValueError as error:
        raise _unclear(path, what, error) from error
    except Exception as error:  # damage raises BadZipFile, zlib.error, EOFError, KeyError, ...
        raise UsageError(
            f"{path}: is not a .npz file, or is truncated; expected {what} as saved by numpy.savez"
        ) from error


class _Damaged(Exception):
    """An array of an archive cannot be read."""


@dataclass(frozen=True)
class _Member(Leaf):
    """An array in an archive, read when it is asked for."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def header(self) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        try:
            with self.archive.open(self.info) as stream:
                return _header(stream)
        except Exception as error:
            raise _Damaged("is not a .npz file, or is truncated") from error

    @property
    def shape(self) -> tuple[int, ...]:
        return self.header()[0]

    @property
    def kind(self) -> str:
        return self.header()[2].kind

    def array(self) -> NDArray[Any]:
        """The whole array. Its header must promise no more bytes than the archive says that there are."""
        shape, fortran_order, dtype = self.header()
        if dtype.hasobject:
            raise _Damaged("holds Python objects")
        count = math.prod(shape)
        if count * dtype.itemsize > MAX_ARRAY_BYTES and count * dtype.itemsize <= self.info.file_size:
            raise _Damaged(f"declares an array of over {MAX_ARRAY_BYTES} bytes")
        if count * dtype.itemsize > self.info.file_size:
            raise _Damaged("is not a .npz file, or is truncated")
        try:
            with self.archive.open(self.info) as stream:
                _header(stream)
                content = stream.read(count * dtype.itemsize)
                flat = np.frombuffer(content, dtype=dtype, count=count)
        except Exception as error:
            raise _Damaged("is not a .npz file, or is truncated") from error
        return flat.reshape(shape, order="F" if fortran_order else "C")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


# ---- PyTorch --------------------------------------------------------------------------------------------


def _read_torch(path: Path, what: str, choose: Choose, numbered: bool) -> FoundArray:
    content = _load_torch(path, what)
    try:
        return find_array(_leaves(content), choose, numbered=numbered)
    except (ValueError, TypeError, RuntimeError, KeyError, NotImplementedError, RecursionError) as error:
        raise _unclear(path, what, error) from error


def _load_torch(path: Path, what: str) -> Any:
    """Plain tensors and containers only (``weights_only=True``)."""
    try:
        return load_plain(path)
    except PackedError as error:
        raise UsageError(f"{path}: {error}; expected {what} as saved by torch.save(tensor)") from error
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path}: holds something other than plain tensors, or is damaged; expected {what} as saved by "
            "torch.save(tensor)"
        ) from error
    except Exception as error:  # damaged bytes fail in torch in many ways, all meaning the same to the user
        raise UsageError(
            f"{path}: is truncated, damaged or not a PyTorch file; expected {what} as saved by "
            "torch.save(tensor)"
        ) from error


def _leaves(content: Any) -> Any:
    """The same content with its tensors as `Leaf`. ValueError for more entries than any file has: a few bytes
    can refer to one list any number of times.
    """
    import torch

    left = MAX_ENTRIES

    def convert(value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"found more than {MAX_ENTRIES:,} entries")
        if isinstance(value, torch.Tensor):
            return _TensorLeaf(value)
        if isinstance(value, Mapping):
            return {key: convert(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [convert(entry) for entry in value]
        return value

    return convert(content)


@dataclass(frozen=True)
class _TensorLeaf(Leaf):
    tensor: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def kind(self) -> str:
        return "f" if self.tensor.is_floating_point() else "i"

    def array(self) -> NDArray[Any]:
        import torch

        tensor = self.tensor
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"found a {tensor.layout} tensor on {tensor.device}")
        if tensor.numel() * 8 > MAX_ARRAY_BYTES:  # a view of few values may declare any shape
            raise ValueError(f"found a tensor of shape {tuple(tensor.shape)}")
        if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
            tensor = tensor.float()
        return np.asarray(tensor.detach().numpy())


def _unclear(path: Path, what: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())[:300]
    return UsageError(
        f"{path}: {reason}; expected {what} as one array, or one for each image under its number"
    )
