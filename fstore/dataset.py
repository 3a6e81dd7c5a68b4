"""A dataset that is open for reading: labelled images, their uncertainty, and which of them are kept."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fstore import format as fmt
from fstore.errors import StoreError
from fstore.inventory import Inventory
from fstore.store import Store

if TYPE_CHECKING:
    import dask.array as da


class Dataset(Store):
    """An open dataset: labelled images with their divergence; ``kept`` says which of them the filter
    keeps.
    """

    def __init__(self, inventory: Inventory, image_ids: np.ndarray, meta: fmt.DatasetMeta) -> None:
        super().__init__(inventory, image_ids)
        self.meta: fmt.DatasetMeta = meta

    @property
    def labels(self) -> da.Array:
        """(n, H, W) uint8 or uint16: class ids by majority vote. Raises StoreError for keypoints."""
        if self.meta.keypoints is not None:
            raise StoreError(f"{self.location}: holds keypoints, not labels; see `heatmaps` and `keypoints`")
        return self.lazy("labels")

    @property
    def heatmaps(self) -> da.Array:
        """(n, H, W, K) float16: mean of the members' heat maps, 1 at a certain keypoint, 0 far from it."""
        if self.meta.keypoints is None:
            raise StoreError(f"{self.location}: holds labels, no heat maps; see `labels`")
        return self.lazy("heatmaps")

    @property
    def divergence(self) -> da.Array:
        """(n, H, W) float16: the Jensen-Shannon divergence of the members at each pixel, in nats.

        For heat maps it is the variance between members, averaged over the keypoints.
        """
        return self.lazy("divergence")

    @property
    def member_votes(self) -> da.Array:
        """(n, K, K) uint32: [i, a, b] is how often a member said b where the label of image i is a.

        Row a adds up to the members times the pixels with label a. Raises StoreError where the dataset was
        written without it, as ``meta.member_votes`` says: by an older program, or with over 256 classes.
        """
        if not self.meta.member_votes:
            raise StoreError(
                f"{self.location}: has no array 'member_votes'; write it again with --overwrite to have it"
            )
        return self.lazy("member_votes")

    @cached_property
    def uncertainty(self) -> np.ndarray:
        """(n,) float32: each image's score; larger is less certain."""
        return self._vector("uncertainty")

    @property
    def complete(self) -> bool:
        """Whether every image is committed."""
        return len(self.image_ids) == self.num_images

    @property
    def kept(self) -> np.ndarray:
        """(n,) bool: the images that the filter keeps. Raises StoreError before the filter has been set."""
        self.require_filter()
        return self._vector("kept")

    @cached_property
    def filter_score(self) -> np.ndarray:
        """(n,) float32: what the filter went by: ``uncertainty``, unless ``meta.filter`` names another score.

        Raises StoreError before the filter has been set.
        """
        self.require_filter()
        own = self.meta.filter_score != self.meta.score
        return self._vector(fmt.FILTER_SCORE) if own else self.uncertainty

    def require_filter(self) -> None:
        """Raise StoreError before the filter has been set."""
        if self.meta.keep is None:
            raise StoreError(
                f"{self.location}: no filter is set yet; run `{self.meta.maker}` to its end, or `dgan filter`"
            )

    def _vector(self, name: str) -> np.ndarray:
        checked = self.array(name)
        size = checked.array.shape[0]
        return (
            checked.read(((0, size),))[self.image_ids]
            if len(self.image_ids) == size
            else self._partial_vector(name)
        )

    def _partial_vector(self, name: str) -> np.ndarray:
        checked = self.array(name)
        runs = np.split(self.image_ids, np.flatnonzero(np.diff(self.image_ids) != 1) + 1)
        values = [checked.read(((int(run[0]), int(run[-1]) + 1),)) for run in runs if len(run)]
        return np.concatenate(values) if values else np.empty(0, checked.array.dtype)
