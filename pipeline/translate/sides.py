"""A side of a translator: a folder of pictures, a dataset, or a feature store.

Pictures are read when their turn comes, so that memory does not grow with their number. It knows pictures. It
does not know how they are cropped, nor what is learnt.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fstore
from fstore.urls import is_url
from pipeline.errors import UsageError
from pipeline.inputs.numbers import image_number, plain_stem
from pipeline.inputs.photographs import open_pictures

SOURCE, TARGET, PAIR = 0, 1, 2
"""Which stream of random numbers is meant."""
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Side:
    """The pictures of one side, at places 0 to n - 1.

    where: the folder or store, as it is shown. names: (n) of the pictures, for messages. numbers: (n) ids in
    a store, or the numbers in the pictures' names, None where there is none. stems: (n) the names without
    suffix, of a folder. size: (h, w) of all of them; None where they may differ. read: places -> pictures
    (h, w, 3) uint8. record: which pictures they are, as JSON; its ``name`` is the last part of the place.
    check_unchanged: raises StoreError where they are no longer those of the record.
    """

    where: str
    names: Sequence[str]
    numbers: Sequence[int | None]
    stems: Sequence[str] | None
    size: tuple[int, int] | None
    read: Callable[[Sequence[int]], list[Picture]]
    record: Mapping[str, Any]
    check_unchanged: Callable[[], None]

    def __len__(self) -> int:
        return len(self.names)


def open_side(place: str) -> Side:
    """The pictures of a folder, the kept ones of a dataset, or the annotated ones of a feature store.

    Raises UsageError, one line, for a file or a folder without a picture; StoreError for an unreadable store.
    """
    folder = None if is_url(place) else Path(place)
    if folder is not None and not folder.exists():
        raise UsageError(f"{place}: no such folder; expected pictures, a dataset or a feature store")
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{place}: is a file; expected a folder of pictures, a dataset or a feature store")
    if folder is not None and not (folder / "zarr.json").exists():
        return _folder_side(folder)
    return _store_side(place)


def _folder_side(folder: Path) -> Side:
    paths, read = open_pictures(folder)
    stats = "".join(f"{path.name}\0{os.stat(path).st_size}\0" for path in paths)
    record = {
        "name": folder.resolve().name,
        "kind": "pictures",
        "num_images": len(paths),
        "files_sha256": hashlib.sha256(os.fsencode(stats)).hexdigest(),
    }
    return Side(
        where=str(folder),
        names=[path.name for path in paths],
        numbers=[image_number(path.name) for path in paths],
        stems=[plain_stem(path.name) for path in paths],
        size=None,
        read=lambda places: [read(paths[place]) for place in places],
        record=record,
        check_unchanged=lambda: None,
    )


def _store_side(place: str) -> Side:
    store, images = fstore.open(place), fstore.torch_dataset(place)
    store.check_unchanged()  # both are of one store
    height, width = store.array("images").array.shape[1:3]

    def read(places: Sequence[int]) -> list[Picture]:
        batch, _ = images[list(places)]  # [B, 3, H, W] uint8
        return list(batch.permute(0, 2, 3, 1).numpy())

    ids = images.ids.astype("<i8")
    record = {
        "name": str(store.location).rstrip("/").rpartition("/")[2],
        "kind": store.meta.kind,
        "id": store.id,
        "revision": store.revision,
        "num_images": len(ids),
        "images_sha256": hashlib.sha256(ids.tobytes()).hexdigest(),
    }
    return Side(
        where=str(store.location),
        names=[f"image {i}" for i in ids.tolist()],
        numbers=ids.tolist(),
        stems=None,
        size=(height, width),
        read=read,
        record=record,
        check_unchanged=store.check_unchanged,
    )
