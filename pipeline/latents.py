"""Latents: reading them from files, and drawing them from a seed so that latent i depends on (seed, i) alone.

Knows Z, W and W+ as shapes. Does not know mapping networks or truncation.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.npy import read_npy


@dataclass(frozen=True)
class LatentSet:
    """N latents of one space, each meaningless without the other field.

    values: float32, (N, D) for "z" and "w", (N, L, D) for "w+".
    space: "z", "w" or "w+".
    """

    values: NDArray[np.float32]
    space: str

    def __len__(self) -> int:
        return len(self.values)


class Stream(IntEnum):
    """What random numbers are for. Streams of one key never overlap: each starts at its own counter."""

    LATENTS = 0
    AVERAGE_LATENT = 1
    CONST_NOISE = 2
    RANDOM_NOISE = 3


def counter_based(stream: Stream, seed: int, index: int, part: int = 0) -> np.random.Generator:
    """A generator that is a pure function of its four arguments (Philox4x64-10, Salmon et al. 2011).

    ``seed`` and ``index`` in [0, 2^64) are the key; ``part`` and ``stream`` the upper words of the counter.
    """
    key = np.array([seed, index], dtype=np.uint64)
    counter = np.array([0, 0, part, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def seeded_latents(seed: int, indices: Iterable[int], latent_size: int) -> NDArray[np.float32]:
    """Z latents (n, D) float32, standard normal: row k is latent ``indices[k]`` of ``seed``."""
    rows = [counter_based(Stream.LATENTS, seed, int(i)).standard_normal(latent_size) for i in indices]
    return np.array(rows, dtype=np.float32).reshape(len(rows), latent_size)  # [n, D]


def average_latent_samples(latent_size: int, num: int = 8000) -> NDArray[np.float32]:
    """The Z samples (num, D) float32 whose mapped mean stands in for an average latent that was not given.

    Always the same ones, and none of them a latent of `seeded_latents`.
    """
    normal = counter_based(Stream.AVERAGE_LATENT, 0, 0).standard_normal((num, latent_size))
    return normal.astype(np.float32)


def load_latents(
    path: str | os.PathLike[str], space: str | None, *, latent_size: int, min_w_layers: int
) -> LatentSet:
    """Read N latents from a ``.npy`` file of float16, float32 or float64.

    (N, D) is Z unless ``space`` says "w"; (N, L, D) is W+ and needs L >= ``min_w_layers``. ``latent_size`` is
    the checkpoint's D. Raises UsageError, one line, naming the file, for anything else.
    """
    path = Path(path)
    array = read_npy(path, "latents")
    _check_dtype(path, array)
    expected = f"(N, {latent_size}) or (N, L, {latent_size}) with L >= {min_w_layers}"
    wanted = {"z": 2, "w": 2, "w+": 3}
    if space is not None and space not in wanted:
        raise ValueError(f"space is {space!r}; expected one of {sorted(wanted)}")
    if array.ndim not in (2, 3):
        raise UsageError(f"{path}: latents have shape {array.shape}; expected {expected}")
    if array.shape[-1] != latent_size:
        raise UsageError(
            f"{path}: latents have shape {array.shape}; expected {expected}: the checkpoint's latent size is "
            f"{latent_size}, so another checkpoint may belong to them"
        )
    space = space or ("z" if array.ndim == 2 else "w+")
    if array.ndim != wanted[space]:
        shape = f"(N, {latent_size})" if wanted[space] == 2 else f"(N, L, {latent_size})"
        raise UsageError(f"{path}: latents have shape {array.shape}; expected {shape} in space {space!r}")
    if array.ndim == 3 and array.shape[1] < min_w_layers:
        raise UsageError(
            f"{path}: W+ latents have {array.shape[1]} layers; the checkpoint needs at least {min_w_layers}"
        )
    if len(array) == 0:
        raise UsageError(f"{path}: latents have shape {array.shape}; expected at least one latent")
    return LatentSet(_finite_float32(path, array, "latents"), space)


def load_average_latent(
    path: str | os.PathLike[str], *, latent_size: int, num_w_layers: int
) -> NDArray[np.float32]:
    """Read an average latent in W from a ``.npy`` file: (D,), (1, D), or (L, D) with L >= ``num_w_layers``.

    Returns float32 (1, D), one row for every layer, or (L, D), a row a layer. Raises UsageError, one line,
    naming the file.
    """
    path = Path(path)
    array = read_npy(path, "an average latent")
    _check_dtype(path, array)
    rows = array[None] if array.ndim == 1 else array  # [1|L, D]
    if rows.ndim != 2 or rows.shape[1] != latent_size or not (len(rows) == 1 or len(rows) >= num_w_layers):
        raise UsageError(
            f"{path}: the average latent has shape {array.shape}; expected ({latent_size},), "
            f"(1, {latent_size}) or (L, {latent_size}) with L >= {num_w_layers}, as the checkpoint has"
        )
    return _finite_float32(path, rows, "the average latent")


def array_sha256(array: NDArray[Any]) -> str:
    """Hex digest of an array's dtype, shape and values; memory order and byte order do not matter."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str}{array.shape}".encode())
    digest.update(little.tobytes())
    return digest.hexdigest()


def _check_dtype(path: Path, array: NDArray[Any]) -> None:
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise UsageError(f"{path}: the array's dtype is {array.dtype}; expected float32, float64 or float16")


def _finite_float32(path: Path, array: NDArray[Any], what: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        values = np.array(array, dtype=np.float32, order="C")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        rows = len(np.unique(bad[:, 0]))
        more = f" (and {rows - 1} rows more)" if rows > 1 else ""
        raise UsageError(
            f"{path}: {what}: row {bad[0, 0]} holds {values[tuple(bad[0])]} as float32{more}; "
            "expected finite values; write the file anew"
        )
    return values
