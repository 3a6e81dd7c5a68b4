"""Runs the network of each epoch once over all pictures, and counts what it predicts by picture.

Of labels the cells of each picture's confusion matrix that are not 0 are kept: twelve bytes a cell, and a
picture of 34 classes has a few hundred. Of keypoints their places are kept. So a cross-validation needs each
prediction once, and an interrupted run goes on where it was. It knows no figures and no files of results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import RunError
from pipeline.inputs.photograph_keypoints import PhotographKeypoints
from pipeline.inputs.pictures.resized import resized_picture
from pipeline.machine.progress import Bar, progress
from pipeline.machine.read_ahead import read_ahead
from pipeline.segment.inference import BATCH, found_points, outputs_of
from pipeline.segment.testing.folds import blocks
from pipeline.segment.testing.job import ScoringJob
from pipeline.segment.testing.saved import SavedEpochs

SAVE_SECONDS = 120
PCK_PERCENT = (5, 10, 15)
_DENSE_CLASSES = 1024  # with more, a picture's cells are counted by sorting

Found = dict[str, NDArray[Any]]
"""What was found in the first pictures, by name; ``done`` says in how many."""
_OF_LABELS, _OF_POINTS = ("done", "pictures", "cells", "counts"), ("done", "points")


def measure(
    job: ScoringJob, device: torch.device, saved: SavedEpochs, weights: Mapping[int, str]
) -> NDArray[np.int64]:
    """What each epoch predicts, counted over the pictures of each block of the folds: [E, F + 1, ...].

    Of labels confusion matrices [K, K], truth in rows; of keypoints [K, 4]: those within 5, 10 and 15 percent
    of the picture's larger side, and those that are labelled. ``weights`` are the epochs' hashes: RunError is
    raised where a file is no longer of its hash.
    """
    total = len(job.photographs)
    names = _OF_POINTS if job.has_points else _OF_LABELS
    known = {epoch: saved.load(epoch, names) for epoch in job.epochs}
    done = sum(int(found["done"]) for found in known.values())
    counted = []
    with progress("testing", total * len(job.epochs), "pictures", done) as bar:
        for epoch in job.epochs:
            found = known.pop(epoch)
            if int(found["done"]) < total:
                bar.begin(f"testing epoch {epoch}")
                network = job.segmenter.network(epoch, device)
                if job.segmenter.weights_sha256(epoch) != weights[epoch]:
                    raise RunError(
                        f"{job.segmenter.folder.epochs[epoch]}: has changed meanwhile; begin again"
                    )
                found = _run(job, network, device, found, partial(saved.save, epoch), bar)
            counted.append(_counted(job, found))
    return np.stack(counted)


def _run(
    job: ScoringJob,
    network: nn.Module,
    device: torch.device,
    found: Found,
    save: Callable[[Found], None],
    bar: Bar,
) -> Found:
    """The rest of an epoch's pictures; what is done is saved now and then, and at the end."""
    parts, last = [found], monotonic()
    for part in _parts(job, network, device, int(found["done"])):
        parts.append(part)
        bar.advance(int(part["done"]))
        if monotonic() - last > SAVE_SECONDS:
            parts, last = [_joined(parts)], monotonic()
            save(parts[0])
    found = _joined(parts)
    save(found)
    return found


def _parts(job: ScoringJob, network: nn.Module, device: torch.device, first: int) -> Iterator[Found]:
    """What is found in each batch of pictures, from the place ``first`` on."""
    photographs, size = job.photographs, job.segmenter.image_size
    batches = [
        range(start, min(start + BATCH, len(photographs))) for start in range(first, len(photographs), BATCH)
    ]
    if isinstance(photographs, PhotographKeypoints):
        for places, pictures in read_ahead(lambda places: (places, _pictures(job, places)), batches, 2):
            points = found_points(outputs_of(network, pictures, device), photographs.sizes[list(places)])
            yield {"done": np.array(len(places)), "points": points}
        return

    def read(places: range) -> tuple[range, list[NDArray[np.uint8]], list[NDArray[np.int64]]]:
        return places, _pictures(job, places), [photographs.read_labels(place, size) for place in places]

    for places, pictures, labels in read_ahead(read, batches, 2):
        predicted = outputs_of(network, pictures, device).max(1).indices.cpu().numpy()  # [N, H, W]
        yield _cells(places, labels, predicted, job.segmenter.kind.num_outputs)


def _pictures(job: ScoringJob, places: range) -> list[NDArray[np.uint8]]:
    size = job.segmenter.image_size
    return [resized_picture(job.photographs.read_picture(place), size) for place in places]


def _cells(
    places: range, labels: list[NDArray[np.int64]], predicted: NDArray[np.int64], num_classes: int
) -> Found:
    """The cells of confusion matrices that are not 0: of which picture, which cell, how many pixels."""
    pictures, cells, counts = [], [], []
    for place, truth, found in zip(places, labels, predicted, strict=True):
        known = truth >= 0
        pairs = truth[known] * num_classes + found[known]
        if num_classes <= _DENSE_CLASSES:
            table = np.bincount(pairs)
            cell = np.flatnonzero(table)
            number = table[cell]
        else:
            cell, number = np.unique(pairs, return_counts=True)
        pictures.append(np.full(len(cell), place, np.int32))
        cells.append(cell.astype(np.uint32))
        counts.append(number.astype(np.uint32))
    return {
        "done": np.array(len(places)),
        "pictures": np.concatenate(pictures),
        "cells": np.concatenate(cells),
        "counts": np.concatenate(counts),
    }


def _joined(parts: list[Found]) -> Found:
    """Parts in their order as one."""
    full = [part for part in parts if int(part["done"])]
    names = [name for name in full[0] if name != "done"] if full else []
    joined: Found = {name: np.concatenate([part[name] for part in full]) for name in names}
    return {"done": np.array(sum(int(part["done"]) for part in parts)), **joined}


def _counted(job: ScoringJob, found: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """What was found in all pictures, added up in each block: [F + 1, ...]."""
    block, num_blocks = blocks(len(job.photographs), job.folds), job.folds + 1
    if isinstance(job.photographs, PhotographKeypoints):
        return _hits(job.photographs, found["points"], block, num_blocks)
    classes = job.segmenter.kind.num_outputs
    places = block[found["pictures"]] * classes**2 + found["cells"].astype(np.int64)
    # sums of whole numbers in float64 are exact below 2^53 pixels
    sums = np.bincount(places, found["counts"], num_blocks * classes**2)
    return sums.astype(np.int64).reshape(num_blocks, classes, classes)  # [F + 1, truth, predicted]


def _hits(
    photographs: PhotographKeypoints, points: NDArray[np.float32], block: NDArray[np.int64], num_blocks: int
) -> NDArray[np.int64]:
    truth, sides = photographs.points.astype(np.float64), photographs.sizes.max(1)
    distance = np.linalg.norm(points[..., :2].astype(np.float64) - truth[..., :2], axis=-1)  # (n, K)
    labelled = truth[..., 2] > 0
    near = [labelled & (distance <= percent / 100 * sides[:, None]) for percent in PCK_PERCENT]
    table = np.stack([*near, labelled], -1).astype(np.int64)  # (n, K, 4)
    sums = np.zeros((num_blocks, *table.shape[1:]), np.int64)
    np.add.at(sums, block, table)
    return sums
