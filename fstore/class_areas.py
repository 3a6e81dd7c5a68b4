"""How many pixels of each image of a dataset have each class: from the members' votes, or from all labels.

It knows arrays and their chunks. It does not know what the counts are for.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fstore import format as fmt
from fstore.dataset import Dataset
from fstore.errors import StoreError


def class_areas(
    dataset: Dataset, *, num_threads: int = 2, advance: Callable[[int], None] = lambda count: None
) -> NDArray[np.int64]:
    """Pixels of each class in each committed image: (n, K), in the order of ``dataset.image_ids``.

    Where the dataset has ``member_votes``, these are read, and not the labels. Else all labels are, by
    ``num_threads`` threads, of which each has one image in memory. ``advance(m)`` is called after every m
    images. Raises StoreError for a dataset of keypoints, and CorruptionError for damage.
    """
    if dataset.meta.keypoints is not None:
        raise StoreError(f"{dataset.location}: holds keypoints, not labels; no class has an area")
    ids, num_classes = dataset.image_ids, len(dataset.meta.classes)
    count = _from_votes if dataset.meta.member_votes else _from_labels
    areas = np.zeros((len(ids), num_classes), np.int64)

    def fill(first: int) -> int:
        """One file's images at most; returns how many."""
        some = ids[first : first + fmt.TASK_IMAGES].tolist()
        for place, image in enumerate(some, first):
            areas[place] = count(dataset, image)
        return len(some)

    with ThreadPoolExecutor(num_threads, thread_name_prefix="fstore-areas") as pool:
        for num_images in pool.map(fill, range(0, len(ids), fmt.TASK_IMAGES)):
            advance(num_images)
    return areas


def _from_labels(dataset: Dataset, image: int) -> NDArray[np.int64]:
    num_classes = len(dataset.meta.classes)
    return np.bincount(_image(dataset, "labels", image).ravel(), minlength=num_classes)[:num_classes]


def _from_votes(dataset: Dataset, image: int) -> NDArray[np.int64]:
    """Each member has a vote at each pixel, so that each class has its share of the votes."""
    given = _image(dataset, "member_votes", image).sum(axis=1, dtype=np.int64)  # [K]
    height, width = dataset.meta.shape
    members, rest = divmod(int(given.sum()), height * width)
    if rest or not members or (given % members).any():
        raise StoreError(
            f"{dataset.location}: array 'member_votes', image {image}: is not of whole members; "
            "`dgan verify` says more"
        )
    return given // members


def _image(dataset: Dataset, name: str, image: int) -> NDArray[np.integer]:
    checked = dataset.array(name)
    rest = ((0, size) for size in checked.array.shape[1:])
    return checked.read_in_thread(((image, image + 1), *rest))[0]
