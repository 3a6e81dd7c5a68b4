"""All that the training of one segmenter needs, checked. It writes nothing.

`make_job` takes the images from whoever has opened them, so that segmenters which learn from synthetic
images, from photographs or from both are trained alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fstore.location import Location
from fstore.meta import KeypointInfo
from pipeline.errors import UsageError, count
from pipeline.interpreter.folder import check_writable
from pipeline.machine.provenance import created_record
from pipeline.models.deeplab import BACKBONES
from pipeline.resumable.begun import FINISHED, used_bytes
from pipeline.resumable.precision import definite_precision
from pipeline.segment.description import SegmenterInfo
from pipeline.segment.folder import DEEPLAB, SEGMENTER
from pipeline.segment.networks import build_network, load_pretrained
from pipeline.segment.training.augmentation import Augmentation
from pipeline.segment.training.batches import BatchPlan
from pipeline.segment.training.begun import check_begun
from pipeline.segment.training.data import Source, Task, TrainingImages
from pipeline.segment.training.images import OpenedImages
from pipeline.segment.training.learner import seed_torch
from pipeline.segment.training.left_right import checked_pairs, named_pairs, swap_table
from pipeline.segment.training.plan import TrainPlan, measure
from pipeline.segment.weights_file import check_place
from pipeline.settings.schema import SegmentConfig
from pipeline.stages.costs import check_disk


@dataclass(frozen=True)
class SegmentJob:
    """A training that may begin, or go on. ``options`` have a definite precision.

    info: what the segmenter is. batches: how its batches are made. plan: what it costs. notes: lines for the
    user. overwrite: whether what is in ``folder`` is to be deleted first.
    """

    folder: Path
    options: SegmentConfig
    info: SegmenterInfo
    batches: BatchPlan
    plan: TrainPlan
    overwrite: bool
    notes: tuple[str, ...]

    def make_network(self) -> tuple[nn.Module, tuple[str, ...]]:
        """The network with its first weights, and notes on them. Raises UsageError, one line."""
        seed_torch(self.options.seed, 0)
        info = self.info
        network = build_network(info.architecture, info.backbone, info.output_stride, info.num_outputs)
        pretrained = self.options.pretrained
        return network, () if pretrained is None else load_pretrained(network, pretrained)


def make_job(
    options: SegmentConfig,
    sources: Sequence[Source],
    opened: OpenedImages,
    device: torch.device,
    *,
    overwrite: bool,
) -> SegmentJob:
    """The training of one segmenter into ``options.out`` on the images of all ``sources``.

    ``opened`` says what is to be learnt, and the images' size. Raises UsageError, one line, for settings that
    fit neither the images nor the folder; RunError where the disk is too small.
    """
    folder = Path.cwd() if options.out == Path() else options.out
    precision = definite_precision(SEGMENTER, folder, device, options.precision, overwrite=overwrite)
    options = replace(options, out=folder, precision=precision)
    images = TrainingImages(tuple(sources))
    _check_pretrained(options, overwrite=overwrite)
    _check_batch(options, images)
    size = opened.size if options.resolution is None else (options.resolution, options.resolution)
    task = replace(opened.task, keypoints=_resized_keypoints(opened.task.keypoints, opened.size, size))
    pairs = _pairs(options, task)
    augmentation = Augmentation(swap_table(pairs, task.names), options.flip, options.crop, options.color)
    info = SegmenterInfo(
        architecture=options.architecture,
        backbone=options.backbone,
        output_stride=_output_stride(options),
        image_size=size,
        classes=task.classes,
        ignore=task.ignore,
        keypoints=task.keypoints,
        data=images.record,
        training=_recorded(options, pairs),
        created=created_record(torch=torch.__version__, device=str(device)),
    )
    batches = BatchPlan(images, size, augmentation, options.batch_size, options.seed)
    plan = measure(info, options, batches)
    found = check_begun(folder, info, overwrite=overwrite)
    if found != FINISHED:
        check_writable(folder)
        needed = max(0, plan.disk_bytes - used_bytes(folder, SEGMENTER))
        check_disk(Location.parse(folder), needed, "training", "free some, or choose another --out")
    notes = (*opened.notes, *_notes(options, task, pairs))
    return SegmentJob(folder, options, info, batches, plan, overwrite, notes)


def _output_stride(options: SegmentConfig) -> int | None:
    """The stride that is set, or else the backbone's own; None where there is none to choose."""
    if options.output_stride is not None or options.architecture != DEEPLAB:
        return options.output_stride
    trunk = BACKBONES.get(options.backbone)  # an unknown one is refused by `build_network`
    return None if trunk is None else trunk.usual_stride


def _check_pretrained(options: SegmentConfig, *, overwrite: bool) -> None:
    path = options.pretrained
    if overwrite and path is not None and path.resolve().parent == options.out.resolve():
        raise UsageError(
            f"{path}: is in the folder that --overwrite empties, and a run that goes on reads it again; "
            "choose another --out, or copy the file"
        )


def _check_batch(options: SegmentConfig, images: TrainingImages) -> None:
    number = len(images)
    if number < options.batch_size:
        lower = f"pass --batch-size {number} or less, or " if number > 1 else ""  # a batch norm needs two
        raise UsageError(
            f"{options.data}: {count(number, 'image')} to learn from, and a step takes {options.batch_size}; "
            f"{lower}make more images"
        )


def _resized_keypoints(
    keypoints: KeypointInfo | None, size: tuple[int, int], new_size: tuple[int, int]
) -> KeypointInfo | None:
    """The keypoints with the sigma that their heat maps have at another size of the images."""
    if keypoints is None:
        return None
    scale = sqrt(new_size[0] * new_size[1] / (size[0] * size[1]))
    return replace(keypoints, sigma=keypoints.sigma * scale)


def _pairs(options: SegmentConfig, task: Task) -> tuple[tuple[str, str], ...]:
    if options.left_right is None:
        return named_pairs(task.names)
    what = "the classes" if task.keypoints is None else "the keypoints"
    return checked_pairs(options.left_right, task.names, what)


def _recorded(options: SegmentConfig, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The settings that must be equal where a run goes on."""
    return {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "learning_rate": options.learning_rate,
        "precision": options.precision,
        "flip": options.flip,
        "crop": options.crop,
        "color": options.color,
        "left_right": [list(pair) for pair in pairs] if options.flip else None,
        "pretrained": None if options.pretrained is None else _file_record(options.pretrained),
    }


def _file_record(path: Path) -> dict[str, str]:
    """Name and digest of a file. Raises UsageError where it cannot be read."""
    check_place(path)
    try:
        with path.open("rb") as file:
            return {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); pass a file of weights with --pretrained"
        ) from None


def _notes(options: SegmentConfig, task: Task, pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    if not options.flip:
        return ()
    kind = "classes" if task.keypoints is None else "keypoints"
    if not pairs:
        return (f"--flip mirrors images and swaps no {kind}: no two names differ in left and right",)
    swapped = ", ".join(f"{one} / {other}" for one, other in pairs)
    return (f"--flip mirrors images and swaps these {kind}: {swapped}",)
