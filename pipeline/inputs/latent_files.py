"""Reads latents and average latents: ``.npy``, ``.npz``, ``.pt``, a folder with one file an image, or seeds.

It knows the names that other programs give their arrays and files. It does not know generators, nor which
annotation belongs to which latent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.checkpoints.loaders.search import AVERAGE_NAMES
from pipeline.errors import UsageError, count
from pipeline.inputs.arrays import read_array
from pipeline.inputs.keyed_arrays import Choose
from pipeline.inputs.latent_folders import numbered_files
from pipeline.models.latent_shapes import LARGEST_W_PLUS, latents_shape, one_latent_shape
from pipeline.rendering.latents import LatentSet

SPACE_OF_NAME = {"z": "z", "w": "w", "ws": "w+", "w_plus": "w+", "dlatents": "w+"}
"""What an array's name says of its space."""
LATENT_NAMES = ("latents", "latent", *SPACE_OF_NAME, "latent_in")


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
    ``min_w_layers``; axes of length 1 are taken away as `pipeline.models.latent_shapes.latents_shape` says.
    ``latent_size`` is the checkpoint's D, ``z_size`` that of Z if it is another. A file may hold a collection
    of one latent for each image, as a projector's dict; in a folder each file holds one. Then the number in
    the key, or in the file's name, is the image's. Raises UsageError, one line, naming the file, for anything
    else.
    """
    path = Path(path)
    if space not in (None, "z", "w", "w+"):
        raise ValueError(f"space is {space!r}; expected one of 'w', 'w+', 'z'")
    sizes = _Sizes(latent_size, z_size or latent_size, min_w_layers)
    if path.is_dir():
        return _load_folder(path, space, sizes)
    found = read_array(path, "latents", _choice(LATENT_NAMES, space), numbered=True)
    values, found_space = _checked(path, found.values, space, SPACE_OF_NAME.get(found.name or ""), sizes)
    numbers = found.numbers if found.numbers is not None and len(found.numbers) == len(values) else None
    return LatentSet(values, found_space, numbers or tuple(range(len(values))))


def load_average_latent(
    path: str | os.PathLike[str], *, latent_size: int, num_w_layers: int
) -> NDArray[np.float32]:
    """Read an average latent in W from a file: (D,), or (L, D) with L >= ``num_w_layers``, and axes of length
    1.

    Returns float32 (1, D), one row for every layer, or (L, D), a row a layer. Raises UsageError, one line,
    naming the file.
    """
    path = Path(path)
    array = read_array(path, "an average latent", _choice(AVERAGE_NAMES)).values
    _check_dtype(path, array)
    shape = _one_latent(array.shape)
    rows = 1 if shape is None or len(shape) == 1 else shape[0]
    if shape is None or shape[-1] != latent_size or not (rows == 1 or rows >= num_w_layers):
        raise UsageError(
            f"{path}: the average latent has shape {array.shape}; expected ({latent_size},), "
            f"(1, {latent_size}) or (L, {latent_size}) with L >= {num_w_layers}, as the checkpoint has"
        )
    return _finite_float32(path, array.reshape(rows, latent_size), "the average latent")


def seed_latents(seeds: Sequence[int], latent_size: int) -> LatentSet:
    """Z latents of ``seeds`` as NVIDIA's ``generate.py`` draws them: ``RandomState(seed).randn(1, D)`` each.

    The images' numbers are the seeds, as in its ``seed0003.png``. Raises UsageError for a repeated seed.
    """
    seen: set[int] = set()
    values = np.empty((len(seeds), latent_size), np.float32)
    for row, seed in zip(values, seeds, strict=True):
        if seed in seen:
            raise UsageError(f"--seeds names seed {seed} twice; expected each seed once")
        seen.add(seed)
        row[:] = np.random.RandomState(seed).randn(1, latent_size)[0]
    return LatentSet(values, "z", tuple(seeds))


@dataclass(frozen=True)
class _Sizes:
    """What a checkpoint takes: entries of a W latent, entries of a Z latent, least rows of a W+ latent."""

    w: int
    z: int
    min_w_layers: int


def _choice(names: Sequence[str], space: str | None = None) -> Choose:
    """Picks the array that is alone, or whose name is alone among ``names``, or among those of ``space``."""

    def choose(found: list[str]) -> str | None:
        known = [name for name in found if name in names]
        fitting = [name for name in known if space and SPACE_OF_NAME.get(name, space)[0] == space[0]]
        for candidates in (found, known, fitting):
            if len(candidates) == 1:
                return candidates[0]
        return None

    return choose


def _load_folder(folder: Path, space: str | None, sizes: _Sizes) -> LatentSet:
    files = numbered_files(folder)
    latents: list[NDArray[Any]] = []
    named: str | None = None
    for path in files.values():
        found = read_array(path, "a latent", _choice(LATENT_NAMES, space), numbered=True)
        named = named or SPACE_OF_NAME.get(found.name or "")
        shape = _one_latent(found.values.shape)
        if shape is None:
            raise UsageError(
                f"{path}: the latent has shape {found.values.shape}; expected one latent, (D,), (1, D), "
                "(L, D) or (1, L, D)"
            )
        if latents and shape != latents[0].shape:
            first = next(iter(files.values()))
            raise UsageError(
                f"{path}: the latent has shape {shape}, and that of {first.name} is another, "
                f"{latents[0].shape}; expected one shape in all files of the folder"
            )
        in_space = "w+" if len(shape) == 2 and space is None else space
        _checked(path, found.values.reshape(1, *shape), in_space, named, sizes)
        latents.append(found.values.reshape(shape))
    in_space = "w+" if latents[0].ndim == 2 and space is None else space
    first = next(iter(files.values()))
    values, found_space = _checked(first, np.stack(latents), in_space, named, sizes)
    return LatentSet(values, found_space, tuple(files))


def _one_latent(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape without axes of length 1; None where it is not that of one latent."""
    try:
        return one_latent_shape(shape)
    except ValueError:
        return None


def _checked(
    path: Path, array: NDArray[Any], space: str | None, named: str | None, sizes: _Sizes
) -> tuple[NDArray[np.float32], str]:
    """Float32 latents (N, D) or (N, L, D), and their space. ``named`` is what the array's name says of it."""
    _check_dtype(path, array)
    found = f"{path}: latents have shape {array.shape}"
    expected = (
        f"(N, {sizes.w if space == 'w' else sizes.z}) or (N, L, {sizes.w}) with L >= {sizes.min_w_layers}"
    )
    if not array.ndim:
        raise UsageError(f"{found}; expected {expected}")
    try:
        shape, in_space = _shape_and_space(array.shape, space, named, sizes.min_w_layers)
    except ValueError as error:
        raise UsageError(f"{found}: {error}; expected {expected}") from error
    latent_size = sizes.z if in_space == "z" else sizes.w
    if shape[-1] != latent_size:
        raise UsageError(
            f"{found}; expected {expected}: the checkpoint's latent size is {latent_size}, so another "
            "checkpoint may belong to them"
        )
    return _finite_float32(path, array.reshape(shape), "latents"), in_space


def _shape_and_space(
    shape: tuple[int, ...], space: str | None, named: str | None, min_rows: int
) -> tuple[tuple[int, ...], str]:
    """As `latents_shape`, where the space may also follow from the array's name, and (N, D) of no space is Z.

    An array of the name "w" with an axis of rows is W+: NVIDIA's projector calls it so.
    """
    if space is not None or named == "z":
        known = space or "z"
        return latents_shape(shape, known, min_rows)[0], known
    try:
        found, in_space = latents_shape(shape, None, min_rows)
    except ValueError:
        if named != "w":
            raise
        return latents_shape(shape, "w", min_rows)[0], "w"
    if in_space is None and named == "w+":
        if min_rows <= found[0] <= max(min_rows, LARGEST_W_PLUS):
            raise ValueError(
                f"it may hold {found[0]} latents in W, or the {found[0]} rows of one in W+; pass "
                "--latent-space w or w+"
            )
        in_space = "w"
    return found, in_space or named or "z"


def _check_dtype(path: Path, array: NDArray[Any]) -> None:
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise UsageError(f"{path}: the array's dtype is {array.dtype}; expected float32, float64 or float16")


def _finite_float32(path: Path, array: NDArray[Any], what: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.array(array, dtype=np.float32, order="C")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        rows = len(np.unique(bad[:, 0]))
        more = f" (and {count(rows - 1, 'row')} more)" if rows > 1 else ""
        raise UsageError(
            f"{path}: {what}: row {bad[0, 0]} holds {values[tuple(bad[0])]} as float32{more}; "
            "expected finite values; write the file anew"
        )
    return values
