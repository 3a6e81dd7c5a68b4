"""Latents and average latents as users have them: ``.npy``, ``.npz``, ``.pt``, a folder of one file an image,
or seeds.

Knows file formats and the names that other programs give their arrays. Does not know generators, nor which
annotation belongs to which latent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.inputs.npy import read_npy
from pipeline.inputs.npz import read_npz
from pipeline.inputs.torch_tensors import read_torch
from pipeline.rendering.latents import LatentSet

SPACE_OF_NAME = {"z": "z", "w": "w", "ws": "w+", "w_plus": "w+", "dlatents": "w+"}
"""What an array's name says of its space, for arrays of two axes; one of three is W+ under any name."""
LATENT_NAMES = ("latents", "latent", *SPACE_OF_NAME, "latent_in")
AVERAGE_NAMES = ("latent_avg", "w_avg", "dlatent_avg", "avg_latent", "average_latent")
FOLDER_NAMES = "latents_image_{i}.npy (or .npz, .pt)"
_IN_FOLDER = re.compile(r"(?:latents?|latents?_image|w|projected_w)_?([0-9]{1,9})\.(?:npy|npz|pt|pth)")


def load_latents(
    path: str | os.PathLike[str],
    space: str | None,
    *,
    latent_size: int,
    min_w_layers: int,
    z_size: int | None = None,
) -> LatentSet:
    """Read N latents of float16, float32 or float64 from a file or from a folder of one file an image.

    (N, D) is Z unless ``space`` or the array's name says "w"; (N, L, D) is W+ and needs L >=
    ``min_w_layers``. ``latent_size`` is the checkpoint's D, ``z_size`` that of Z if it is another. In a
    folder each file holds (D,), (1, D), (L, D) or (1, L, D), and the number in its name is the image's.
    Raises UsageError, one line, naming the file, for anything else.
    """
    path = Path(path)
    if space not in (None, "z", "w", "w+"):
        raise ValueError(f"space is {space!r}; expected one of 'w', 'w+', 'z'")
    sizes = _Sizes(latent_size, z_size or latent_size, min_w_layers)
    if path.is_dir():
        return _load_folder(path, space, sizes)
    named, array = read_array(path, "latents", LATENT_NAMES, space)
    if array.ndim == 2 and space is None:
        space = SPACE_OF_NAME.get(named or "", "z").removesuffix("+")
    return _checked(path, array, space, sizes)


def load_average_latent(
    path: str | os.PathLike[str], *, latent_size: int, num_w_layers: int
) -> NDArray[np.float32]:
    """Read an average latent in W from a file: (D,), (1, D), or (L, D) with L >= ``num_w_layers``.

    Returns float32 (1, D), one row for every layer, or (L, D), a row a layer. Raises UsageError, one line,
    naming the file.
    """
    path = Path(path)
    _, array = read_array(path, "an average latent", AVERAGE_NAMES)
    _check_dtype(path, array)
    rows = array[None] if array.ndim == 1 else array  # [1|L, D]
    if rows.ndim != 2 or rows.shape[1] != latent_size or not (len(rows) == 1 or len(rows) >= num_w_layers):
        raise UsageError(
            f"{path}: the average latent has shape {array.shape}; expected ({latent_size},), "
            f"(1, {latent_size}) or (L, {latent_size}) with L >= {num_w_layers}, as the checkpoint has"
        )
    return _finite_float32(path, rows, "the average latent")


def seed_latents(seeds: Sequence[int], latent_size: int) -> LatentSet:
    """Z latents of ``seeds`` as NVIDIA's ``generate.py`` draws them: ``RandomState(seed).randn(1, D)`` each.

    The images' numbers are the seeds, as in its ``seed0003.png``. Raises UsageError for a repeated seed.
    """
    repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if repeated:
        raise UsageError(f"--seeds names seed {repeated[0]} twice; expected each seed once")
    rows = [np.random.RandomState(seed).randn(1, latent_size) for seed in seeds]  # [1, D] each
    return LatentSet(np.concatenate(rows).astype(np.float32), "z", tuple(seeds))


def read_array(
    path: Path, what: str, names: Sequence[str], space: str | None = None
) -> tuple[str | None, NDArray[Any]]:
    """The one array in a ``.npy``, ``.npz`` or PyTorch file, and its name there if it has one.

    Of several arrays that one is taken whose name is among ``names`` and, where that leaves several, belongs
    to ``space``. Raises UsageError, one line, naming the file.
    """

    def choose(found: list[str]) -> str | None:
        known = [name for name in found if name in names]
        fitting = [name for name in known if space and SPACE_OF_NAME.get(name, space)[0] == space[0]]
        for candidates in (found, known, fitting):
            if len(candidates) == 1:
                return candidates[0]
        return None

    suffix = path.suffix.lower()
    if suffix == ".npz":
        return read_npz(path, what, choose)
    if suffix in (".pt", ".pth"):
        return read_torch(path, what, choose)
    return None, read_npy(path, what)


@dataclass(frozen=True)
class _Sizes:
    """What a checkpoint takes: entries of a W latent, entries of a Z latent, least rows of a W+ latent."""

    w: int
    z: int
    min_w_layers: int


def _load_folder(folder: Path, space: str | None, sizes: _Sizes) -> LatentSet:
    files = _numbered(folder)
    sets = []
    for path in files.values():
        named, array = read_array(path, "a latent", LATENT_NAMES, space)
        one = _one_latent(path, array)
        if one.ndim == 2 and space is None:
            space = SPACE_OF_NAME.get(named or "", "z").removesuffix("+")
        sets.append(_checked(path, one, space, sizes))
        if sets[-1].values.shape != sets[0].values.shape:
            first = next(iter(files.values()))
            raise UsageError(
                f"{path}: the latent has shape {array.shape}, and that of {first.name} is another, "
                f"{sets[0].values.shape[1:]}; expected one shape in all files of the folder"
            )
    values = np.concatenate([each.values for each in sets])  # [N, ...]
    return LatentSet(values, sets[0].space, tuple(files))


def _numbered(folder: Path) -> dict[int, Path]:
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _IN_FOLDER.fullmatch(path.name)
        if match is None:
            continue
        number = int(match[1])
        if number in files:
            raise UsageError(
                f"{path}: {files[number].name} in the same folder is the latent of image {number} too; "
                "keep one"
            )
        files[number] = path
    if not files:
        raise UsageError(f"{folder}: a folder without latents; expected files {FOLDER_NAMES}, one an image")
    return dict(sorted(files.items()))


def _one_latent(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """(D,), (1, D) -> (1, D); (L, D), (1, L, D) -> (1, L, D)."""
    single = array[0] if array.ndim in (2, 3) and len(array) == 1 else array
    if single.ndim not in (1, 2):
        raise UsageError(
            f"{path}: the latent has shape {array.shape}; expected one latent, (D,), (1, D), (L, D) or "
            "(1, L, D)"
        )
    return single[None]


def _checked(path: Path, array: NDArray[Any], space: str | None, sizes: _Sizes) -> LatentSet:
    _check_dtype(path, array)
    min_w_layers = sizes.min_w_layers
    latent_size = sizes.z if array.ndim == 2 and space in (None, "z") else sizes.w
    expected = f"(N, {sizes.w if space == 'w' else sizes.z}) or (N, L, {sizes.w}) with L >= {min_w_layers}"
    wanted = {"z": 2, "w": 2, "w+": 3}
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
    return LatentSet(_finite_float32(path, array, "latents"), space, tuple(range(len(array))))


def _check_dtype(path: Path, array: NDArray[Any]) -> None:
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise UsageError(f"{path}: the array's dtype is {array.dtype}; expected float32, float64 or float16")


def _finite_float32(path: Path, array: NDArray[Any], what: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
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
