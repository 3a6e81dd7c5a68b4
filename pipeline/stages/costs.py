"""Computes what a run will cost in bytes, on disk and in memory, and refuses a run that the disk cannot hold.

It is arithmetic on a store's meta. Only ``check_disk`` and ``committed_images`` ask the file system.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import fstore
from fstore import format as fmt
from fstore.display import human_bytes
from fstore.errors import StoreError
from fstore.location import Location
from pipeline.errors import RunError
from pipeline.models.generator import Generator
from pipeline.models.selection import computed_layers

IMPORTS_BYTES = 350 * 2**20  # torch, zarr, dask, Python: 255 MB measured, and what threads keep
GPU_IMPORTS_BYTES = 1500 * 2**20  # with a CUDA context and its libraries: a cautious guess, not measured
COMPRESSION = (
    1.15  # float16 features under zstd compress 1.17 to 1.38 times (docs/performance.md): a cautious figure
)


def store_bytes(meta: fmt.FeatureMeta, num_images: int) -> int:
    """Raw bytes of all arrays of a feature store of ``num_images``."""
    return sum(spec.raw_bytes for spec in fmt.feature_arrays(meta, num_images, (1,)))


def estimated_store_bytes(meta: fmt.FeatureMeta, num_images: int) -> int:
    """Bytes on disk to expect of a feature store."""
    return int(store_bytes(meta, num_images) / COMPRESSION)


def dataset_bytes(meta: fmt.DatasetMeta, num_images: int) -> int:
    """Raw bytes of all arrays of a dataset. No more is promised: photographs hardly compress."""
    return sum(spec.raw_bytes for spec in fmt.dataset_arrays(meta, num_images))


def render_bytes(generator: Generator, batch: int) -> int:
    """Peak bytes that rendering a batch takes on its device.

    These are the weights, all feature maps, and the workspace of the largest layer.
    """
    maps = [layer.channels * prod(layer.resolution) * 4 for layer in computed_layers(generator)]
    return weight_bytes(generator) + batch * (sum(maps) + 5 * max(maps))


def weight_bytes(generator: Generator) -> int:
    """Bytes of the network's float32 parameters."""
    return sum(p.numel() * 4 for p in generator.parameters())  # type: ignore[attr-defined]


def pyramid_note(meta: fmt.FeatureMeta, num_images: int) -> str | None:
    """One line on what the pyramid would save, for a dense store of over 1 GB on disk; else None.

    How many times less is counted in raw bytes of all arrays, before compression.
    """
    if meta.layout != "dense" or estimated_store_bytes(meta, num_images) < 10**9:
        return None
    dense = store_bytes(meta, num_images)
    pyramid = store_bytes(replace(meta, layout="pyramid"), num_images)
    return (
        f"dense features take {human_bytes(dense)} raw; --layout pyramid holds the same bits in "
        f"{human_bytes(pyramid)} raw, {dense / pyramid:.0f} times less, read through `fstore`"
    )


def committed_images(location: Location) -> int:
    """Images that an earlier run has written; their share of the disk is already taken."""
    if location.state() != "store":
        return 0
    try:
        return len(fstore.open(location.target))
    except StoreError:
        return 0


def check_disk(location: Location, needed: int, what: str, way_out: str, *, overwrite: bool = False) -> None:
    """Refuse to start what the disk cannot hold, naming both figures. Raises RunError.

    With ``overwrite`` the bytes of the present store count as free: it is about to be deleted.
    """
    free = location.free_bytes()
    if free is not None and overwrite and location.state() == "store":
        free += location.used_bytes() or 0
    if free is not None and needed > free:
        raise RunError(
            f"{location}: {what} needs about {human_bytes(needed)} and the disk has {human_bytes(free)} "
            f"free; {way_out}"
        )
