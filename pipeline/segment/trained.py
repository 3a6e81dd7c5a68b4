"""A trained segmenter that is to be used: its network, and what its outputs mean.

Its own description says both. A folder of the released code holds weights alone: they tell the network, and
the classes come from elsewhere. It does not know pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from fstore.meta import ClassInfo, KeypointInfo
from pipeline.checkpoints.read import file_sha256
from pipeline.errors import UsageError, count
from pipeline.segment.folder import SegmenterFolder, open_segmenter
from pipeline.segment.networks import NetworkKind, build_network, load_epoch, recognised
from pipeline.settings.classes import default_names, default_palette
from pipeline.settings.schema import ClassConfig

RELEASED_SIZE = 512
"""Side of the images that the released networks were trained on."""


@dataclass(frozen=True)
class TrainedSegmenter:
    """A segmenter with at least one epoch. ``ignore`` is the label of its data that no class has.

    image_size: (H, W) to which pictures are resized for the network. notes: lines for the user.
    """

    folder: SegmenterFolder
    kind: NetworkKind
    classes: tuple[ClassInfo, ...]
    ignore: int | None
    keypoints: KeypointInfo | None
    image_size: tuple[int, int]
    notes: tuple[str, ...] = ()

    @property
    def last_epoch(self) -> int:
        """The last epoch that is there."""
        return max(self.folder.epochs)

    def network(self, epoch: int, device: torch.device) -> nn.Module:
        """The network with an epoch's weights, for use: [N, 3, H, W] to [N, K, H, W].

        Raises UsageError, one line, where the file is damaged or of another network.
        """
        with torch.random.fork_rng([]):  # the caller's random numbers stay as they are
            network = build_network(*self.kind)
        load_epoch(self.folder, epoch, network)
        return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def weights_sha256(self, epoch: int) -> str:
        """The hash of the file of an epoch's weights."""
        return file_sha256(self.folder.epochs[epoch])


def open_trained(path: Path, resolution: int | None) -> TrainedSegmenter:
    """The segmenter in a folder; ``resolution``: the side that pictures are resized to, None: as in training.

    The classes of a released one are numbers, until `with_classes` names them. Raises UsageError, one line.
    """
    folder = open_segmenter(path)
    info, notes = folder.info, []
    if info is None:
        kind = recognised(folder)
        side = resolution or RELEASED_SIZE
        notes.append(
            f"{path}: has no segmenter.json, as the released code leaves it: by its weights it is "
            f"{kind.architecture} on {kind.backbone} with {count(kind.num_outputs, 'output')}; pictures are "
            f"resized to {side} x {side}"
        )
        classes = class_infos([ClassConfig(name) for name in default_names(kind.num_outputs)])
        return TrainedSegmenter(folder, kind, classes, None, None, (side, side), tuple(notes))
    if not folder.is_finished:
        notes.append(
            f"{path}: its training is not finished: of {info.epochs} epochs {len(folder.epochs)} are there "
            "to be used"
        )
    return TrainedSegmenter(
        folder,
        NetworkKind(info.architecture, info.backbone, info.output_stride, info.num_outputs),
        info.classes,
        info.ignore,
        info.keypoints,
        info.image_size if resolution is None else (resolution, resolution),
        tuple(notes),
    )


def with_classes(
    segmenter: TrainedSegmenter, classes: tuple[ClassConfig, ...], origin: str
) -> TrainedSegmenter:
    """A released segmenter whose outputs are these classes, in their order; ``origin`` says where they stand.

    Raises UsageError where they are not as many as the outputs.
    """
    if len(classes) != segmenter.kind.num_outputs:
        raise UsageError(
            f"{origin}: lists {count(len(classes), 'class')}, and the network in {segmenter.folder.path} has "
            f"{count(segmenter.kind.num_outputs, 'output')}; expected as many, in the outputs' order"
        )
    return replace(segmenter, classes=class_infos(classes))


def class_infos(classes: list[ClassConfig] | tuple[ClassConfig, ...]) -> tuple[ClassInfo, ...]:
    """Classes with their places as ids, and a colour each."""
    spare = default_palette(len(classes))
    return tuple(
        ClassInfo(place, each.name, each.color or spare[place]) for place, each in enumerate(classes)
    )


def check_epoch(segmenter: TrainedSegmenter, epoch: int | None) -> int:
    """The epoch that is asked for, None: the last. Raises UsageError where it is not there."""
    epochs: Mapping[int, Path] = segmenter.folder.epochs
    if epoch is None:
        return segmenter.last_epoch
    if epoch not in epochs:
        raise UsageError(
            f"--epoch is {epoch}; {segmenter.folder.path} has {count(len(epochs), 'epoch')}, "
            f"{min(epochs)} to {max(epochs)}"
        )
    return epoch
