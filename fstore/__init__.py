"""An out-of-core store of per-pixel features, on Zarr v3.

    writer = fstore.create("features.zarr", meta, num_images=16, latent_shape=(512,))   # or resumes
    for image in writer.pending():
        writer.write_image(image, maps, picture, mask, latent)

    store = fstore.open("features.zarr")
    store.features            # lazy dask array (n, H, W, C) float16, from either layout
    store.pixels([0], [10], [20])

    training = fstore.torch_dataset("dataset.zarr")   # for a torch DataLoader; fstore.torch_iterable streams

The format is specified in ``docs/format.md``. Nothing here knows of GANs: any set of per-layer feature maps
fits.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from fstore.dataset import Dataset
    from fstore.dataset_writer import DatasetWriter
    from fstore.feature_store import FeatureStore
    from fstore.format import DatasetMeta, FeatureMeta, FilterRule
    from fstore.repair import Repair
    from fstore.revision import Annotated as Annotated
    from fstore.revision import Revision as Revision
    from fstore.sampler import StratifiedChunkSampler as StratifiedChunkSampler
    from fstore.torch_data import torch_dataset as torch_dataset
    from fstore.torch_data import torch_iterable as torch_iterable
    from fstore.verify import Report
    from fstore.writer import FeatureWriter
    from fstore.writer import PreparedImage as PreparedImage

_LAZY = {
    "Annotated": "revision",
    "Dataset": "dataset",
    "DatasetMeta": "format",
    "DatasetWriter": "dataset_writer",
    "FeatureMeta": "format",
    "FeatureStore": "feature_store",
    "FeatureWriter": "writer",
    "FilterRule": "format",
    "KeypointInfo": "format",
    "PreparedImage": "writer",
    "Revision": "revision",
    "StratifiedChunkSampler": "sampler",
    "torch_dataset": "torch_data",
    "torch_iterable": "torch_data",
}

__all__ = [
    *_LAZY, "break_lock", "check_create", "check_create_dataset", "create", "create_dataset", "join", "open",
    "repair_store", "set_kept", "verify_store",
]  # fmt: skip

Path = str | os.PathLike[str]


def __getattr__(name: str) -> Any:
    """Load a name of `_LAZY` when it is first asked for, because its module imports torch or dask."""
    if name in _LAZY:
        return getattr(importlib.import_module(f"fstore.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'fstore' has no attribute {name!r}")


def create(
    path: Path,
    meta: FeatureMeta,
    *,
    num_images: int,
    latent_shape: Sequence[int],
    average_latent: np.ndarray | None = None,
    overwrite: bool = False,
    band_buffers: int = 3,
    annotated: Annotated | None = None,
    break_lock: bool = False,
) -> FeatureWriter:
    """Create a feature store, or go on with one that was begun with the same ``meta``.

    With ``annotated`` a store that is there may be of fewer images, of other annotations, or of other
    classes. Latents and annotations are then compared image by image. New images are appended, after which
    they are pending; masks and keypoints that differ are written anew, with the index of classes; features
    are not touched. The store holds what it held until that is whole, and a call that was cut off is gone
    on with by the same call.

    Args:
        path: folder or URL.
        meta: the store's attribute; all of it but ``created`` must equal that of a store found there.
        num_images: N, the images that the store is made for.
        latent_shape: (D,) or (L, D), the shape of one image's latent.
        average_latent: (D,) or (L, D) float32 to keep beside the latents, or None.
        overwrite: delete a store of the same kind found there first.
        band_buffers: how many bands of dense features, of 32 rows each, are in memory at once. It does not
            change the bytes that are written.
        annotated: latents and annotations of the N images. ``classes``, ``ignore`` and ``inputs`` of ``meta``
            may then differ from the store's; None: nothing may.
        break_lock: first do what ``fstore.break_lock`` does.

    Raises:
        MismatchError: the store there was begun with other settings, an image has another latent there, or
        is not among the run's. StoreError: something else lies there, also a dataset, or a mask has a label
        that is no class.
    """
    from fstore.writer import open_features

    if break_lock:
        _break_lock(path)
    return open_features(
        path, meta, num_images, latent_shape, average_latent, overwrite, band_buffers, annotated
    )


def create_dataset(
    path: Path, meta: DatasetMeta, *, num_images: int, overwrite: bool = False, break_lock: bool = False
) -> DatasetWriter:
    """Create a dataset of ``num_images``, go on with one of the same ``meta``, or lengthen a shorter one.

    Args:
        path: folder or URL.
        meta: the store's attribute; all of it but ``created``, ``keep`` and ``threshold`` must equal that of
            a store found there. One that was begun without ``member_votes`` is gone on with without them:
            see ``meta`` of the writer.
        num_images: N.
        overwrite: delete a store of the same kind found there first.
        break_lock: first do what ``fstore.break_lock`` does.

    Raises:
        MismatchError: the store there was begun with other settings. StoreError: something else lies there,
        also a feature store, or it is longer.
    """
    from fstore.dataset_writer import open_dataset

    if break_lock:
        _break_lock(path)
    return open_dataset(path, meta, num_images, overwrite)


def check_create(
    path: Path,
    meta: FeatureMeta,
    *,
    num_images: int,
    latent_shape: Sequence[int],
    overwrite: bool = False,
    annotated: Annotated | None = None,
) -> Revision | None:
    """Raise what ``create`` would raise for what lies at ``path``, or while another writer has it open.

    Nothing is written. Returns what ``create`` would change in the store that it goes on with, and None where
    it would create one.
    """
    from fstore.writer import check_features

    return check_features(path, meta, num_images, latent_shape, overwrite, annotated)


def check_create_dataset(path: Path, meta: DatasetMeta, *, num_images: int, overwrite: bool = False) -> None:
    """Raise what ``create_dataset`` would raise for what lies at ``path``, or while another has it open.

    Nothing is written.
    """
    from fstore.dataset_writer import check_dataset

    check_dataset(path, meta, num_images, overwrite)


def join(path: Path, *, band_buffers: int = 3) -> FeatureWriter | DatasetWriter:
    """A writer of some images of a store that another process has open for writing and directs.

    It takes no lock, deletes nothing and marks nothing, so that several may write at a time, and one that was
    given up may still write what another has written: the same bytes. The other process calls ``begin_image``
    or ``begin_task`` before, and ``commit_image`` or ``commit_task`` after this one's ``write`` or
    ``write_task`` has returned: files and folders are then forced to the disk.

    ``band_buffers`` is that of ``create``. Raises StoreError where there is no store.
    """
    from fstore.joining import join_store
    from fstore.location import Location

    return join_store(Location.parse(path), band_buffers)


def open(path: Path) -> FeatureStore | Dataset:
    """Open a store for reading: a ``FeatureStore`` or a ``Dataset``, by its kind. Raises StoreError."""
    from fstore.location import Location
    from fstore.opening import open_store

    return open_store(Location.parse(path))


def set_kept(
    path: Path,
    kept: np.ndarray,
    keep: str,
    threshold: float | None,
    *,
    rule: FilterRule | None = None,
    scores: np.ndarray | None = None,
    break_lock: bool = False,
) -> None:
    """Replace the filter of a complete dataset.

    Args:
        path: folder or URL.
        kept: (N,) bool, the images to keep: ceil(keep * N) of them, or all with a finite score where these
            are fewer; by a ``rule`` that is per class these and more. One whose score is NaN is never kept.
        keep: their share as decimal text, such as ``"0.9"``.
        threshold: the largest score of a kept image, or None where none is kept.
        rule: what else there is to say of how they were chosen; None: by ``uncertainty`` and ``keep`` alone.
        scores: (N,) float, NaN where there is none, to store as ``filter_score``: what the filter went by,
            given exactly where the rule's score is another than the dataset's.
        break_lock: first do what ``fstore.break_lock`` does.

    Raises:
        StoreError: the store is no complete dataset, or the filter is not what the format says.
    """
    from fstore.filter import Filter, write_filter
    from fstore.location import Location

    if break_lock:
        _break_lock(path)
    write_filter(Location.parse(path), Filter(kept, keep, threshold, rule, scores))


def break_lock(path: Path) -> None:
    """Remove the writer's lock that a killed run left on object storage; a StoreWarning says whose it was.

    Where there is none, and in a folder, whose lock ends with its process, nothing is done. Raises StoreError
    where the process that holds it still runs on this machine.
    """
    from fstore import writer_lock
    from fstore.location import Location

    writer_lock.break_lock(Location.parse(path))


_break_lock = break_lock  # where a keyword has its name


def verify_store(path: Path, advance: Callable[[int], None] = lambda count: None) -> Report:
    """Read a store whole and check it against the format. Raises StoreError where there is none to check."""
    from fstore.location import Location
    from fstore.verify import verify

    return verify(Location.parse(path), advance)


def repair_store(
    path: Path, *, dry_run: bool = False, advance: Callable[[int], None] = lambda count: None
) -> Repair:
    """Check a store, and take back the commitment of its damaged images: the run that wrote them, run again,
    makes them anew.

    Args:
        path: folder or URL.
        dry_run: say what would be done, and do nothing.
        advance: is called with the number of images after these were checked.

    Raises:
        StoreError: there is no store, another process writes there, or something that is no image's is
            damaged.
    """
    from fstore.location import Location
    from fstore.repair import repair

    return repair(Location.parse(path), dry_run=dry_run, advance=advance)
