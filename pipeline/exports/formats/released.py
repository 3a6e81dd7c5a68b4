"""Format ``released``: the folder that DatasetGAN's released code generates, and that its training reads.

    12.png              (H, W, 3), RGB
    label_12.png        (H, W) class ids, 8-bit grey
    12.npy              (H, W) float32, each pixel's Jensen-Shannon divergence in nats
    1000_0.pickle       a list of images, at most 1,000: of 1,000 from the 0th of the split on
    classes.toml        the classes in the order of their labels; the released code does not read it

The numbers are those of the images in the store, which pair them with their latents. ``train_deeplab.py
--data_path OUT`` finds the images by the pickles alone, so gaps between the numbers do not matter. An entry
there has ``image_name``, ``image_label_name`` and ``js_name``, absolute paths, and ``uncertrainty_score``
(the key is spelled so), the image's uncertainty, by which ``--uncertainty_portion`` sorts. Where that is NaN
it is infinity. A folder that is moved has to be exported anew, for its paths. The pickles hold texts and
numbers alone. With ``--split`` each split is such a folder.

A feature store has no divergence: there is no .npy, and the score of its annotated images is 0, certain. The
label of pixels that belong to no class is written as 255. The released training knows none such: its loss
refuses it.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from pipeline.errors import UsageError, count
from pipeline.exports.class_lists import classes_toml
from pipeline.exports.content import Item
from pipeline.exports.encoding import BYTE_VALUES, encode_image, encode_png, one_byte
from pipeline.exports.formats.protocol import ExportInfo, Record
from pipeline.exports.plan import Part
from pipeline.exports.records import finite
from pipeline.exports.sink import Sink

PART_IMAGES = 16
LIST_IMAGES = 1000  # of one pickle; the released code writes one after so many images too
PICKLE_PROTOCOL = 2  # every Python of the released code reads it
IGNORED = BYTE_VALUES - 1  # what ``one_byte`` makes of the ignored label
SCORE = "uncertrainty_score"  # as the released code spells it


class ReleasedExporter:
    """Writes the format ``released``."""

    part_images = PART_IMAGES

    def __init__(self, info: ExportInfo) -> None:
        self._info = info

    def write_part(self, part: Part, items: Iterator[Item], sink: Sink) -> Iterable[Record]:
        """The pictures, labels and divergences of a part."""
        return [self._write(part.split, item, sink) for item in items]

    def _write(self, split: str | None, item: Item, sink: Sink) -> Record:
        assert item.labels is not None
        image, label = f"{item.number}.png", f"label_{item.number}.png"
        sink.write(_under(split, image), encode_image(item.image, self._info))
        sink.write(_under(split, label), encode_png(one_byte(item.labels, self._info.ignore)))
        record: Record = {"image_name": image, "image_label_name": label}
        if item.divergence is not None:
            record["js_name"] = f"{item.number}.npy"
            with sink.open(_under(split, record["js_name"])) as file:
                np.save(file, item.divergence().astype(np.float32))
        return record | {SCORE: 0.0 if item.uncertainty is None else finite(item.uncertainty)}

    def write_whole(self, split: str | None, records: Iterable[Record], sink: Sink) -> None:
        """The pickles, with the paths that the files have in the finished folder."""
        folder = self._info.out if split is None else self._info.out / split
        waiting, first = iter(records), 0
        while images := list(islice(waiting, LIST_IMAGES)):
            for image in images:
                image |= {key: str(folder / name) for key, name in image.items() if key != SCORE}
                image[SCORE] = math.inf if image[SCORE] is None else image[SCORE]
            with sink.open(_under(split, f"{len(images)}_{first}.pickle")) as file:
                pickle.dump(images, file, PICKLE_PROTOCOL)
            first += len(images)

    def write_last(self, sink: Sink) -> None:
        """``classes.toml``, in each of the folders, with the ignored label that the files have."""
        ignore = None if self._info.ignore is None else IGNORED
        classes = classes_toml(self._info.classes, ignore).encode()
        for split in self._info.splits:
            sink.write(_under(split, "classes.toml"), classes)


def open_exporter(info: ExportInfo) -> ReleasedExporter:
    """The exporter. Raises UsageError for keypoints, for JPEG, and for more labels than a byte has."""
    if info.keypoint_names is not None:
        raise UsageError(
            "--format released holds labels, and the store has keypoints; use coco, png or parquet"
        )
    if info.image_encoding != "png":
        raise UsageError("--format released holds PNG images; leave --image-encoding out")
    if len(info.classes) + (info.ignore is not None) > BYTE_VALUES:
        raise UsageError(
            f"--format released holds {BYTE_VALUES} labels, the ignored one among them, and there are "
            f"{count(len(info.classes), 'class')}; merge some with --label-map, or use coco or png"
        )
    return ReleasedExporter(info)


def _under(split: str | None, name: str) -> str:
    return name if split is None else f"{split}/{name}"
