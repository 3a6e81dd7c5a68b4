"""Small feature stores for tests, with maps that are a seeded function of the image: no network is needed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

import fstore
from fstore import format as fmt

NATIVE = (("b4_out", (4, 4), 6), ("b8_out", (8, 8), 5), ("b16_out", (16, 16), 4), ("b64_out", (64, 64), 3))


def make_meta(
    layout: str = "dense",
    grid: tuple[int, int] = (40, 40),
    crop_rows: tuple[int, int] | None = None,
    num_classes: int = 4,
    native: tuple[tuple[str, tuple[int, int], int], ...] = NATIVE,
    ignore: int | None = 255,
    upsample: str = "bilinear",
) -> fmt.FeatureMeta:
    """Meta of a small store; b64_out is finer than the default grid and is reduced to it."""
    classes = tuple(fmt.ClassInfo(i, f"class_{i}", f"#{i * 20:02x}8040") for i in range(num_classes))
    layers = fmt.build_layers(native, grid)
    rows = crop_rows or (0, grid[0])
    generator = {"sha256": "0" * 64}
    return fmt.FeatureMeta(layout, grid, rows, layers, classes, ignore, upsample, generator=generator)


def make_maps(image: int, native: tuple[tuple[str, tuple[int, int], int], ...] = NATIVE) -> list[Tensor]:
    """Feature maps [c, h, w] float32 of one image."""
    generator = torch.Generator().manual_seed(image)
    return [torch.randn((c, *size), generator=generator) * 3 for _, size, c in native]


def make_image(meta: fmt.FeatureMeta, image: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W, 3) uint8 and mask (H, W) uint8 with every class and some ignored pixels."""
    random = np.random.default_rng(image)
    shape = (meta.height, meta.width)
    mask = random.integers(0, len(meta.classes), shape).astype(np.uint8)
    if meta.ignore is not None:
        mask[random.random(shape) < 0.05] = meta.ignore
    return random.integers(0, 256, (*shape, 3)).astype(np.uint8), mask


def fill(
    path: Path | str,
    meta: fmt.FeatureMeta,
    num_images: int = 3,
    native: tuple[tuple[str, tuple[int, int], int], ...] = NATIVE,
    images: list[int] | None = None,
) -> None:
    """Create a store, or resume it, and write the pending images (or those of ``images``)."""
    writer = fstore.create(path, meta, num_images=num_images, latent_shape=(8,))
    for image in writer.pending():
        if images is None or image in images:
            picture, mask = make_image(meta, image)
            latent = np.random.default_rng(1000 + image).standard_normal(8).astype(np.float32)
            writer.write_image(image, make_maps(image, native), picture, mask, latent)
    writer.close()


def filled(
    path: Path,
    meta: fmt.FeatureMeta,
    num_images: int = 3,
    native: tuple[tuple[str, tuple[int, int], int], ...] = NATIVE,
    images: list[int] | None = None,
) -> None:
    """As ``fill`` of a new store, for tests that are not about writing: writing takes thirty times as long as
    the copy that this is.
    """
    copy_written(
        path, (meta, num_images, native, images), lambda to: fill(to, meta, num_images, native, images)
    )


def copy_written(path: Path, key: object, write: Callable[[Path], object]) -> None:
    """A new store at ``path``, copied from what ``write`` wrote when it was called first for ``key``, which
    must tell apart what it writes by its ``repr``; with an id of its own, as every store has.
    """
    known = repr((key, fmt.TASK_IMAGES))  # which tests change
    source = _written() / sha256(known.encode()).hexdigest()
    if not source.exists():
        write(source)
    assert not path.exists()
    shutil.copytree(source, path, copy_function=shutil.copyfile)
    root = path / "zarr.json"
    content = root.read_text()
    old = json.loads(content)["attributes"]["fstore"]["created"]["id"]
    root.write_text(content.replace(old, uuid4().hex))


@cache
def _written() -> Path:
    """A folder that lasts as long as this process."""
    folder = tempfile.TemporaryDirectory(prefix="written-stores-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def brute_features(
    meta: fmt.FeatureMeta, image: int, native: tuple[tuple[str, tuple[int, int], int], ...] = NATIVE
) -> np.ndarray:
    """(H, W, C) by ``F.interpolate`` of whole maps: what the store holds before its last float16 rounding.

    The last resize is in float64: torch's float32 places the taps by a float32 position, whose rounding grows
    with the map and moves with the processor. A map that is rounded on the way is reduced in float32 as the
    store reduces it; of an axis that is halved no order of operations has another result.
    """

    def resized(batch: Tensor, size: tuple[int, ...]) -> Tensor:
        align = None if meta.upsample == "nearest" else False
        return torch.nn.functional.interpolate(batch, size=size, mode=meta.upsample, align_corners=align)

    exact = torch.float32 if meta.upsample == "nearest" else torch.float64  # nearest is defined by float32
    parts = []
    for values in make_maps(image, native):
        batch = values[None]
        size = tuple(values.shape[1:])
        reduced = tuple(min(a, b) for a, b in zip(size, meta.grid, strict=True))
        if reduced != meta.grid:
            batch = (batch if reduced == size else resized(batch, reduced)).half()
        parts.append(resized(batch.to(exact), meta.grid))
    first, last = meta.crop_rows
    return torch.cat(parts, 1)[0].permute(1, 2, 0)[first:last].numpy()  # [H, W, C]


def tree_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def store_bytes(folder: Path) -> dict[str, bytes]:
    """As ``tree_bytes``, of a store, without the one part in which two equal runs differ: ``created``."""
    files = tree_bytes(folder)
    root = json.loads(files["zarr.json"])
    del root["attributes"]["fstore"]["created"]
    return {**files, "zarr.json": json.dumps(root).encode()}
