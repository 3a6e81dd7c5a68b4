"""Which images a run of ``dgan extract-features`` finds in its store, and what it changes there, in words.

A run keeps the order of the store that it goes on with, and appends what is new. It knows numbers of images.
It knows no latents, masks or features.
"""

from __future__ import annotations

from dataclasses import dataclass

import fstore
from fstore.location import Location
from pipeline.errors import count, few

MAX_NAMED = 6  # images and classes in a message


@dataclass(frozen=True)
class Begun:
    """The images of a store that is gone on with, by their numbers.

    numbers: of the images up to the last committed one, in the store's order. known: of all images that the
    store was made for, committed or not.
    """

    numbers: tuple[int, ...] = ()
    known: frozenset[int] = frozenset()


def begun_images(store: str, *, overwrite: bool) -> Begun:
    """The images of the feature store at that place; none where there is none, or it is to be overwritten.

    Raises StoreError for a store that is damaged.
    """
    location = Location.parse(store)
    if overwrite or location.state() != "store":
        return Begun()
    found = fstore.open(location.target)
    if not isinstance(found, fstore.FeatureStore):
        return Begun()
    end = int(found.image_ids[-1]) + 1 if len(found) else 0
    return Begun(found.image_numbers[:end], frozenset(found.image_numbers))


def change_line(
    store: str, revision: fstore.Revision | None, numbers: tuple[int, ...], *, keypoints: bool
) -> str | None:
    """What the run changes in a store that holds images already; None where it changes nothing there.

    ``numbers``: of the run's images, in the store's order.
    """
    if revision is None or not revision.committed:
        return None
    changes = []
    if revision.num_added:
        changes.append(f"{count(revision.num_added, 'image')} added to the {revision.num_stored} there")
    if revision.corrected:
        named = few([numbers[image] for image in revision.corrected], MAX_NAMED)
        what = "keypoints" if keypoints else "mask"
        plural = "s" if len(revision.corrected) > 1 else ""
        what = what if keypoints else f"{what}{plural}"
        changes.append(f"the {what} of image{plural} {named} corrected")
    changes += _class_changes(revision)
    if not changes:
        return None
    return f"{Location.parse(store)}: {', '.join(changes)}; nothing else in it is written"


def _class_changes(revision: fstore.Revision) -> list[str]:
    """What happens to the list of classes. A class is its position there: the label that masks have."""
    before = [info.name for info in revision.classes]
    after = [info.name for info in revision.new_classes]
    renamed = [f"{was} to {now}" for was, now in zip(before, after, strict=False) if was != now]
    changes = {"renamed": renamed, "added": after[len(before) :], "dropped": before[len(after) :]}
    return [
        f"{'class' if len(names) == 1 else 'classes'} {few(names, MAX_NAMED)} {what}"
        for what, names in changes.items()
        if names
    ]
