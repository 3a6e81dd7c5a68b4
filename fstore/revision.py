"""What a run changes in a feature store that is there: images that are added, annotations that are corrected.

The latents and annotations of the run are compared with those of the committed images, one image at a time;
features are not read. It knows arrays and their values, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import zarr

from fstore import format as fmt
from fstore.chunks import CheckedArray, read_markers
from fstore.errors import MismatchError
from fstore.inventory import Inventory, read_inventory, require_array
from fstore.location import Location

WAY_OUT = "use those that it was begun with, another store, or --overwrite to start anew"
SAME_LATENT = 1e-3  # of its largest value: two latents differ by far more, roundings by far less


@dataclass(frozen=True)
class Annotated:
    """What a run has of its N images besides their features, in the order of the store.

    latents: (N, D) or (N, L, D) float32. masks: (N, H, W) integer. keypoints: (N, K, 3) float32, where the
    store holds keypoints. numbers: what messages call the images; None: their places. exact: whether an
    unchanged latent has the very bits that are stored; else it may differ by roundings. absent: numbers of
    committed images of the store that the run lacks.
    """

    latents: np.ndarray
    masks: np.ndarray
    keypoints: np.ndarray | None = None
    numbers: Sequence[int] | None = None
    exact: bool = True
    absent: Sequence[int] = ()

    def number(self, image: int) -> int:
        """What messages call the image at that place."""
        return image if self.numbers is None else self.numbers[image]


@dataclass(frozen=True)
class Revision:
    """What a run changes in a feature store that is there.

    ``num_stored``: images that the store was made for, committed or not. ``committed`` and ``corrected`` are
    places of images. ``classes`` were those of the store; ``new_classes`` are the run's.
    """

    num_stored: int
    num_images: int
    committed: tuple[int, ...]
    corrected: tuple[int, ...]
    classes: tuple[fmt.ClassInfo, ...]
    new_classes: tuple[fmt.ClassInfo, ...]

    @property
    def num_added(self) -> int:
        """Images beyond those that the store was made for."""
        return max(0, self.num_images - self.num_stored)


def plan_revision(
    location: Location,
    group: zarr.Group,
    meta: fmt.FeatureMeta,
    num_images: int,
    latent_shape: Sequence[int],
    annotated: Annotated | None,
) -> Revision:
    """Compare a run with the store that it goes on with. Their attributes have been compared already.

    Without ``annotated`` nothing may change. Raises MismatchError for what may not change, in one line that
    names the first image.
    """
    shape, expected = require_array(group, "latents", location).shape, (num_images, *latent_shape)
    if shape[1:] != expected[1:] or (annotated is None and shape != expected):
        raise MismatchError(
            f"{location}: holds latents of shape {shape}, this run has {expected}; "
            "use the same latents, another store, or --overwrite to start anew"
        )
    inventory = read_inventory(location)
    assert isinstance(inventory.meta, fmt.FeatureMeta)
    markers = read_markers(inventory.array("committed"), location, 0, inventory.num_images)
    committed = tuple(int(image) for image in np.flatnonzero(markers))
    corrected: tuple[int, ...] = ()
    if annotated is not None:
        _check_lengths(annotated, num_images, meta)
        _check_present(location, committed, annotated, num_images)
        corrected = tuple(_corrected(inventory, committed, annotated))
    return Revision(
        inventory.num_images, num_images, committed, corrected, inventory.meta.classes, meta.classes
    )


def _check_lengths(annotated: Annotated, num_images: int, meta: fmt.FeatureMeta) -> None:
    parts = {"latents": annotated.latents, "masks": annotated.masks}
    if (annotated.keypoints is None) != (meta.keypoints is None):
        raise MismatchError("keypoints are given and the store has none, or the other way round")
    if annotated.keypoints is not None:
        parts["keypoints"] = annotated.keypoints
    for name, values in parts.items():
        if len(values) != num_images:
            raise MismatchError(f"{name} are of {len(values)} images, expected {num_images}")


def _check_present(
    location: Location, committed: Sequence[int], annotated: Annotated, num_images: int
) -> None:
    """Refuse a run that lacks an image of the store."""
    absent = [*annotated.absent, *(image for image in committed if image >= num_images)]
    if absent:
        raise MismatchError(
            f"{location}: holds image {absent[0]}, which this run lacks; give its latent and its annotation "
            "again, use another store, or --overwrite to start anew"
        )


def _corrected(inventory: Inventory, committed: Sequence[int], annotated: Annotated) -> Iterator[int]:
    """Images with another annotation than the store's. Raises MismatchError for another latent."""
    names = [name for name in ("latents", "masks", "keypoints") if name in inventory.specs]
    arrays = {name: CheckedArray(inventory.array(name), inventory.location) for name in names}
    for image in committed:
        found = {name: _image(array, image) for name, array in arrays.items()}
        if not _same_latent(found["latents"], annotated.latents[image], annotated.exact):
            raise MismatchError(
                f"{inventory.location}: image {annotated.number(image)}: its latent is another one than the "
                f"store's; {WAY_OUT}"
            )
        same = np.array_equal(found["masks"], annotated.masks[image])
        if annotated.keypoints is not None:
            same &= np.array_equal(found["keypoints"], annotated.keypoints[image])
        if not same:
            yield image


def _image(array: CheckedArray, image: int) -> np.ndarray:
    return array.read(((image, image + 1), *((0, size) for size in array.array.shape[1:])))[0]


def _same_latent(stored: np.ndarray, asked: np.ndarray, exact: bool) -> bool:
    if exact:
        return np.array_equal(stored, asked)
    return float(np.abs(stored - asked).max()) <= SAME_LATENT * max(1.0, float(np.abs(stored).max()))
