"""Checks the filter of a dataset against its specification: what it went by, and which images it keeps.

It is given every image once, divergence and labels, and computes scores and classes anew. What sets a filter
shares with it the rule alone, and none of the code that scores images or chooses among them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fstore import format as fmt
from fstore.chunks import CheckedArray
from fstore.errors import StoreError
from fstore.filter_rule import kept_per_class, num_kept, order_problems, threshold_problems
from fstore.image_scores import image_score
from fstore.inventory import Inventory

TOLERANCE = 1e-5  # of a stored score, relative: it is a float32


class FilterCheck:
    """What is known of a filter after some images. A class, because images come one by one."""

    def __init__(self, inventory: Inventory, meta: fmt.DatasetMeta) -> None:
        self._inventory, self._meta = inventory, meta
        num, own = inventory.num_images, meta.filter_score != meta.score
        self._scores_array = fmt.FILTER_SCORE if own else "uncertainty"
        self._scores = np.full(num, np.nan) if own else None
        per_class = meta.filter is not None and meta.filter.per_class
        self._shown = np.zeros((num, len(meta.classes)), bool) if per_class else None

    def add(self, image: int, divergence: np.ndarray, labels: np.ndarray | None) -> None:
        """One image: divergence (H, W), labels (H, W), None of keypoints."""
        if self._scores is not None:
            self._scores[image] = image_score(divergence, labels, self._meta.filter_score)
        if self._shown is not None and labels is not None:
            found = np.unique(labels)
            self._shown[image, found[found < len(self._meta.classes)]] = True

    def problems(self) -> Iterator[str]:
        """What is wrong with the filter, once every image was added."""
        where = str(self._inventory.location)
        try:
            kept, scores = (self._whole(name) for name in ("kept", self._scores_array))
        except StoreError as error:
            yield str(error)
            return
        for line in (*self._score_problems(scores), *self._kept_problems(kept, scores)):
            yield f"{where}: {line}"

    def _score_problems(self, scores: np.ndarray) -> Iterator[str]:
        if self._scores is None:
            return
        same = np.isclose(scores, self._scores, rtol=TOLERANCE, atol=1e-9, equal_nan=True)
        for image in np.flatnonzero(~same)[:1]:
            yield (
                f"array {fmt.FILTER_SCORE!r}, image {image}: is {scores[image]:.6g}, expected "
                f"{self._scores[image]:.6g}, its score {self._meta.filter_score}"
            )

    def _kept_problems(self, kept: np.ndarray, scores: np.ndarray) -> Iterator[str]:
        keep, name = str(self._meta.keep), self._scores_array
        finite = np.isfinite(scores)
        for image in np.flatnonzero(kept & ~finite)[:1]:
            yield f"array 'kept', image {image}: is kept, and its {name} is not finite"
        yield from threshold_problems(self._meta.threshold, kept, scores, name)
        if self._shown is not None:
            wrong = np.flatnonzero(kept != kept_per_class(keep, scores, self._shown))
            for image in wrong[:1]:
                is_, rule = ("kept", "drops") if kept[image] else ("dropped", "keeps")
                yield f"array 'kept', image {image}: is {is_}, and the rule per class {rule} it (keep {keep})"
            return
        wanted = num_kept(keep, scores)
        if int(kept.sum()) != wanted:
            count = f"{int(kept.sum())} of {len(kept)} images"
            yield f"array 'kept' keeps {count}, expected {wanted} (keep {keep})"
        yield from order_problems(kept, scores)

    def _whole(self, name: str) -> np.ndarray:
        array = self._inventory.array(name)
        return CheckedArray(array, self._inventory.location).read(((0, array.shape[0]),))
