"""Takes back the commitment of damaged images, so that the run that wrote a store makes just those again.

It deletes no data and mends no file: a writer replaces the files of an image that is not committed. Only
markers of images that are not there it deletes itself. It knows what ``fstore.verify`` finds. It does not
know what writes a store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fstore import format as fmt
from fstore.creation import delete_array, delete_markers_beyond
from fstore.dataset_writer import set_filter
from fstore.errors import StoreError
from fstore.inventory import read_inventory, require_array
from fstore.location import RESTORE, Location
from fstore.shards import ShardWriter
from fstore.verify import Report, verify
from fstore.writer_lock import lock_place


@dataclass(frozen=True)
class Repair:
    """What a repair does, or has done.

    ``report``: of the check before it. ``images``: those that are no longer committed, ascending: the damaged
    ones, in a dataset with all others of their tasks of 64, which are written together. ``unsets_filter``:
    whether the dataset's filter is taken away with them, and ``keep``, what it was. ``markers``: how many
    files have markers of images beyond the last one, which are deleted. ``maker``: the command that makes the
    images again.
    """

    report: Report
    images: tuple[int, ...]
    unsets_filter: bool
    keep: str | None
    markers: int
    maker: str

    @property
    def is_nothing(self) -> bool:
        """Whether the store needs no repair."""
        return not (self.images or self.unsets_filter or self.markers)


def repair(
    location: Location, *, dry_run: bool = False, advance: Callable[[int], None] = lambda count: None
) -> Repair:
    """Check a store, and un-commit its damaged images; ``advance(n)`` is called after every n images checked.

    Raises StoreError where another process writes there, where there is no store of this version, and where
    something is damaged that no image owns: metadata, the average latent.
    """
    read_inventory(location)  # before its folder is locked: there may be none
    lock = lock_place(location)
    try:
        report = verify(location, advance)
        if report.of_rest:
            reason = report.of_rest[0].removesuffix(f"; {RESTORE}")
            raise StoreError(f"{reason}; it belongs to no image, and no run makes it anew: {RESTORE}")
        found = _plan(location, report)
        if not dry_run and not found.is_nothing:
            _carry_out(location, found)
        return found
    finally:
        if lock is not None:
            lock.release()


def _plan(location: Location, report: Report) -> Repair:
    inventory = read_inventory(location)
    meta, images = inventory.meta, sorted(report.of_images)
    keep, maker = None, "dgan extract-features"
    if isinstance(meta, fmt.DatasetMeta):
        keep, maker = meta.keep, meta.maker
        tasks = {image // fmt.TASK_IMAGES for image in images}
        images = [image for image in range(inventory.num_images) if image // fmt.TASK_IMAGES in tasks]
    unsets = keep is not None and bool(images or report.of_filter)
    return Repair(report, tuple(images), unsets, keep, len(report.of_markers), maker)


def _carry_out(location: Location, found: Repair) -> None:
    """The filter first, on the disk: there is never one over images that are not committed."""
    inventory, group = read_inventory(location), location.open_group("r+")
    if found.unsets_filter:
        set_filter(group, location, None, None)
        delete_array(group, location, fmt.FILTER_SCORE)
    if found.markers:
        delete_markers_beyond(require_array(group, "committed", location), location)
    if not found.images:
        return
    writer = ShardWriter(location, group, [inventory.specs["committed"]])
    markers = writer.markers()
    markers[list(found.images)] = False
    step = inventory.specs["committed"].chunks[0]
    for chunk in sorted({image // step for image in found.images}):
        part = slice(chunk * step, min((chunk + 1) * step, inventory.num_images))
        writer.clear("committed", chunk)  # zarr would read a damaged file to write a part of it
        writer.set_markers(chunk * step, markers[part].astype(np.uint8))
