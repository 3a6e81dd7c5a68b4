"""Opens a store for a process that writes some of its images on behalf of another one, which has the lock.

It knows writers. It does not know who directs them.
"""

from __future__ import annotations

from collections.abc import Iterable

from fstore import format as fmt
from fstore.creation import OpenGroup
from fstore.dataset_writer import DatasetWriter
from fstore.durable import sync_folders
from fstore.inventory import read_inventory
from fstore.location import Location
from fstore.shards import ShardWriter
from fstore.writer import FeatureWriter


class JoinedShards(ShardWriter):
    """Shards of which the directing process deletes what is left over, before, and marks the images, after.

    A process that was taken for dead may go on for a while. Were it to delete, it could delete files that are
    marked by now; were it to mark, it could mark what a new run has deleted meanwhile.
    """

    def clear(self, name: str, first: int) -> None:
        """Nothing: it has been done."""

    def commit(self, start: int, count: int, keys: Iterable[str]) -> None:
        """Force the folders of the files ``keys`` to the disk, and mark nothing."""
        sync_folders(self.location, keys)


def join_store(location: Location, band_buffers: int) -> FeatureWriter | DatasetWriter:
    """Does what ``fstore.join`` says."""
    inventory = read_inventory(location)
    opened = OpenGroup(location.open_group("r+"), None)
    meta, num_images = inventory.meta, inventory.num_images
    if isinstance(meta, fmt.DatasetMeta):
        return DatasetWriter(location, opened, meta, num_images, JoinedShards)
    latent_shape = inventory.specs["latents"].shape[1:]
    return FeatureWriter(location, opened, meta, num_images, latent_shape, band_buffers, JoinedShards)
