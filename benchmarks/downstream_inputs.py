"""What `benchmarks.downstream` compares: the demo's stores for some annotated images, sources of images that
all count alike, and photographs of the renderer to test on.

It calls the stages as users do. It trains no segmenter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fstore
import pipeline
from pipeline import embedded
from pipeline.demo.photographs import METADATA, write_photographs
from pipeline.inputs.photographs import AnnotatedPhotographs, open_photographs
from pipeline.labelling.confusion import confusion, mean_iou
from pipeline.segment.training.data import PhotographSource, Source, StoreSource, Task, output_table
from pipeline.segment.training.images import OpenedImages
from pipeline.segment.training.sample import Sample
from pipeline.settings.options import PLAIN

CONFIG = """
[generator]
checkpoint = "{checkpoint}"
truncation = 1.0
[latents]
file = "latents.npy"
max_images = {annotated}
[annotations]
folder = "masks"
min_pixels = 0
num_classes = {num_classes}
[features]
resolution = 64
layout = "pyramid"
"""
SIZE = (64, 64)
TEST_SEED = 2**32  # of photographs: those of a seed below are learnt


@dataclass(frozen=True)
class Stores:
    """The stores of some annotated images, and how good the labels of the dataset are by themselves."""

    features: Path
    dataset: Path
    label_miou: float


class Cycled:
    """A source that counts as ``num`` images: at its end it begins anew, so that rows have equal steps."""

    def __init__(self, source: Source, num: int) -> None:
        self.name, self._source, self._num = source.name, source, num
        self.record: Mapping[str, Any] = {**source.record, "counted_as": num}

    def __len__(self) -> int:
        return self._num

    def read(self, places: Sequence[int]) -> list[Sample]:
        """The images at these places."""
        return self._source.read([place % len(self._source) for place in places])

    def check_unchanged(self) -> None:
        """Nobody changes them."""


def make_stores(
    folder: Path, seed: int, annotated: int, num: int, *, members: int, interpreter_steps: int
) -> Stores:
    """Annotate, extract, train and synthesize ``num`` images, or go on with it."""
    folder.mkdir(parents=True, exist_ok=True)
    embedded.write_inputs(folder, annotated, seed)
    config = folder / "dgan.toml"
    checkpoint, num_classes = embedded.checkpoint_path(), len(embedded.class_names())
    config.write_text(CONFIG.format(checkpoint=checkpoint, annotated=annotated, num_classes=num_classes))
    features, interpreter, dataset = (folder / n for n in ("features.zarr", "interpreter", "dataset.zarr"))
    pipeline.extract_features(config=config, store=features, say=None)
    pipeline.train(
        config=config,
        store=features,
        out=interpreter,
        members=members,
        steps=interpreter_steps,
        seed=seed,
        say=None,
    )
    made = pipeline.synthesize(
        config=config, interpreter=interpreter, num=num, keep=0.9, seed=seed, store=dataset, say=None
    )
    assert isinstance(made, fstore.Dataset)
    truth = torch.from_numpy(embedded.exact_masks(made.latents.compute())).flatten()
    labels = torch.from_numpy(made.labels.compute()).flatten()
    return Stores(features, dataset, mean_iou(confusion(truth, labels, num_classes)))


def images_of(path: Path, num: int, *, kept_only: bool) -> OpenedImages:
    """The labelled images of a store, counted as ``num``."""
    store, images = fstore.open(path), fstore.torch_dataset(path, kept_only=kept_only)
    classes = store.meta.classes
    table = output_table(len(classes), None, None, None)
    record = {"store": str(path), "num_images": len(images), "kept_only": kept_only}
    source = StoreSource(store, images, np.arange(len(images)), table, record)
    return OpenedImages(Cycled(source, num), SIZE, Task(tuple(classes), None, None))


def real_images(folder: Path, num: int, seed: int, like: OpenedImages) -> OpenedImages:
    """As many photographs with exact masks, which nobody could annotate."""
    photographs = open_written(folder, num, seed, like)
    return OpenedImages(Cycled(PhotographSource(photographs), num), SIZE, like.task)


def open_written(folder: Path, num: int, seed: int, like: OpenedImages) -> AnnotatedPhotographs:
    """Photographs of the renderer with exact masks, of the classes of ``like``; they are written first."""
    if not (folder / METADATA).exists():  # which is written last
        write_photographs(folder, num, PLAIN, seed)
    return open_photographs(
        folder / "images", folder / "labels", classes=like.task.classes, ignore=None, label_map=None
    )
