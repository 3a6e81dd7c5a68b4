"""`dgan segment predict`: the labels that a segmenter gives to photographs, as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import count
from pipeline.inputs.photographs import open_pictures
from pipeline.inputs.pictures.resized import resized_picture
from pipeline.machine.background import BackgroundCalls
from pipeline.machine.progress import progress
from pipeline.machine.read_ahead import read_ahead
from pipeline.segment.inference import BATCH, found_points, outputs_of
from pipeline.segment.predictions import KEYPOINTS, PredictionFolder, check_names, picture_record
from pipeline.segment.trained import TrainedSegmenter, check_epoch, open_trained
from pipeline.segment.upsampling import labels_in_size

Size = tuple[int, int]
Read = tuple[NDArray[np.uint8], Size]
"""A picture in the network's size, and its own (height, width)."""


@dataclass(frozen=True)
class PredictionJob:
    """What is labelled by what. read: picture -> (h, w, 3) uint8, as it is shown."""

    segmenter: TrainedSegmenter
    epoch: int
    pictures: tuple[Path, ...]
    read: Callable[[Path], NDArray[np.uint8]]
    folder: PredictionFolder
    overwrite: bool


def prepare(
    segmenter: Path, images: Path, out: Path, *, epoch: int | None, resolution: int | None, overwrite: bool
) -> PredictionJob:
    """All that the run needs, checked. Raises UsageError, one line."""
    trained = open_trained(segmenter, resolution)
    chosen = check_epoch(trained, epoch)
    pictures, read = open_pictures(images)
    points = trained.keypoints
    if points is None:
        check_names(pictures)
    made_by: dict[str, Any] = {
        "segmenter": {
            "folder": str(segmenter),
            "epoch": chosen,
            "weights_sha256": trained.weights_sha256(chosen),
        },
        "images": str(images),
        "image_size": list(trained.image_size),
        "classes": [entry.name for entry in trained.classes],
        "keypoints": None if points is None else list(points.names),
    }
    folder = PredictionFolder(out, made_by)
    folder.check(pictures, overwrite=overwrite)
    return PredictionJob(trained, chosen, pictures, read, folder, overwrite)


def predict(job: PredictionJob, device: torch.device, *, say: Callable[[str], None]) -> str:
    """Write the labels, and return a line on them. Pictures that were labelled before are left out.

    Of labels each picture gets a PNG of its own size: a batch's outputs and one picture of that size are in
    memory, and of the outputs in that size a band of rows. Raises UsageError for a picture that cannot be
    read.
    """
    for note in job.segmenter.notes:
        say(note)
    classes = job.segmenter.classes if job.segmenter.keypoints is None else ()
    network = job.segmenter.network(job.epoch, device)  # before what is overwritten is deleted: it may fail
    job.folder.begin(classes, overwrite=job.overwrite)
    return (_predict_labels if job.segmenter.keypoints is None else _predict_points)(job, network, device)


def _predict_labels(job: PredictionJob, network: torch.nn.Module, device: torch.device) -> str:
    left = [path for path in job.pictures if not job.folder.has(path)]
    done = len(job.pictures) - len(left)
    with (
        progress("labelling", len(job.pictures), "pictures", done) as bar,
        BackgroundCalls(BATCH) as writing,
    ):
        for paths, read in _batches(job, left):
            outputs = outputs_of(network, [picture for picture, _ in read], device)
            for path, (_, size), one in zip(paths, read, outputs, strict=True):
                labels = labels_in_size(one, size)
                writing.submit(job.folder.write_labels, path, labels, job.segmenter.classes)
                bar.advance()
    before = f", {done:,} of them before" if done else ""
    pictures = count(len(job.pictures), "picture")
    return f"{job.folder.path}: the labels of {pictures}{before}, by epoch {job.epoch}"


def _predict_points(job: PredictionJob, network: torch.nn.Module, device: torch.device) -> str:
    assert job.segmenter.keypoints is not None
    place = job.folder.path / KEYPOINTS
    said = f"{place}: the keypoints of {count(len(job.pictures), 'picture')}, by epoch {job.epoch}"
    if job.folder.has_points(job.pictures):
        job.folder.remove_point_lines()
        return said
    lines, wanted = job.folder.point_lines(), map(picture_record, job.pictures)
    lines.cut(lambda row: row.get("picture") == next(wanted, None))  # whose pictures are still the same
    rows = lines.rows()
    with progress("finding keypoints", len(job.pictures), "pictures", len(rows)) as bar:
        for paths, read in _batches(job, job.pictures[len(rows) :]):
            outputs = outputs_of(network, [picture for picture, _ in read], device)
            points = found_points(outputs, np.array([size for _, size in read]))
            for path, (_, size), one in zip(paths, read, points.tolist(), strict=True):
                row = {"picture": picture_record(path), "size": list(size), "points": one}
                lines.append(row)
                rows.append(row)
                bar.advance()
    job.folder.write_points(rows, job.segmenter.keypoints.names)
    return said


def _batches(job: PredictionJob, pictures: Sequence[Path]) -> Any:
    """(paths, what was read of each) of a few pictures at a time, which are read ahead."""
    parts = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]

    def read(paths: Sequence[Path]) -> tuple[Sequence[Path], list[Read]]:
        found = []
        for path in paths:
            picture = job.read(path)
            size = (picture.shape[0], picture.shape[1])
            found.append((resized_picture(picture, job.segmenter.image_size), size))
        return paths, found

    return read_ahead(read, parts, 1)
