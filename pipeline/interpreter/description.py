"""What an interpreter is apart from its tensors: the settings of its training, and what each epoch reached.

Pure values, to and from JSON. It reads and writes no file, opens no store, and knows no tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fstore.compare import differences
from fstore.errors import StoreError
from fstore.meta import UPSAMPLE_MODES, ClassInfo, KeypointInfo, LayerInfo
from pipeline.interpreter.json_values import (
    color,
    flag,
    integer,
    items,
    mapping,
    number,
    one_of,
    optional,
    record,
    text,
)
from pipeline.settings.schema import KEYPOINTS, NOISE_MODES, PRECISIONS, SEGMENTATION

FORMAT_VERSION = 1
_RESULTS = ("version", "kind", "epochs", "best_epoch", "created")  # all other keys are settings
# They are recorded, but a run may be resumed with others: a memory budget, and a file's name where the hash
# beside it counts. For the store's id see `pipeline.stages.train.inputs`.
_UNSEMANTIC = ("training.buffer_mb", "generator.checkpoint", "store.id")
# What differs where images were added to a store, or its annotations corrected.
_OF_ANNOTATIONS = (
    *("classes", "ignore", "store.num_images", "store.class_counts_sha256", "store.features_sha256"),
    "training.held_out_images",
)


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch reached.

    ``steps`` have been taken so far, and ``loss`` is the mean of this epoch's. ``miou`` is measured on pixels
    of held-out images; it is None where none are held out, and for keypoints. ``final`` epochs come after the
    stopping rule has spoken, and learn from all images, the held-out ones too.

    Keypoints have these of their held-out images: ``heat_error`` is the mean squared error of the heat maps;
    ``pck15`` and ``pck10`` are the shares of keypoints found within 15% and 10% of the larger image side.
    """

    epoch: int
    steps: int
    loss: float
    miou: float | None
    final: bool = False
    heat_error: float | None = None
    pck15: float | None = None
    pck10: float | None = None
    member_losses: tuple[float, ...] | None = None
    """The loss of each member, whose mean is ``loss``; None where an older program trained."""

    def to_json(self) -> dict[str, Any]:
        """JSON values. What only keypoints or newer programs have is left out where it is not known."""
        optional = ("heat_error", "pck15", "pck10", "member_losses")
        return {k: v for k, v in asdict(self).items() if v is not None or k not in optional}


@dataclass(frozen=True)
class InterpreterInfo:
    """Everything but the tensors. Only ``epochs``, ``best_epoch`` and ``created`` result from training.

    ``generator`` is copied from the feature store: architecture, checkpoint, sha256, truncation and so on.
    ``store`` and ``training`` hold the other settings that must be equal when a run repeats this one or goes
    on with it. ``keypoints``: the names of the peaks that the members have learnt, and the sigma of their
    heat maps; None where the members have learnt ``classes``.
    """

    members: int
    widths: tuple[int, int]
    channels: int
    classes: tuple[ClassInfo, ...]
    ignore: int | None
    layers: tuple[LayerInfo, ...]
    grid: tuple[int, int]
    crop_rows: tuple[int, int]
    upsample: str
    generator: Mapping[str, Any]
    store: Mapping[str, Any]
    training: Mapping[str, Any]
    seeds: tuple[int, ...]
    epochs: tuple[EpochMetrics, ...] = ()
    best_epoch: int | None = None
    created: Mapping[str, Any] | None = None
    keypoints: KeypointInfo | None = None

    @property
    def task(self) -> str:
        """``segmentation`` or ``keypoints``."""
        return SEGMENTATION if self.keypoints is None else KEYPOINTS

    @property
    def num_outputs(self) -> int:
        """Values that a member gives a pixel: a logit a class, or a heat a keypoint."""
        return len(self.classes) if self.keypoints is None else len(self.keypoints.names)

    def to_json(self) -> dict[str, Any]:
        """JSON values, tuples as lists. ``task`` and ``keypoints`` are left out for segmentation."""
        values = {**asdict(self), "epochs": [epoch.to_json() for epoch in self.epochs]}
        del values["keypoints"]
        if self.keypoints is not None:
            values |= {"task": self.task, "keypoints": self.keypoints.to_json()}
        return {"version": FORMAT_VERSION, "kind": "interpreter", **json.loads(json.dumps(values))}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> InterpreterInfo:
        """The inverse of ``to_json``. Raises ValueError, which names the key, for a malformed document."""
        values = {k: v for k, v in document.items() if k not in ("version", "kind", "sha256", "task")}
        try:
            info: InterpreterInfo = _INFO(values, "")
        except StoreError as error:  # of the checks that the store has too
            raise ValueError(str(error)) from None
        if document.get("task", SEGMENTATION) != info.task:
            raise ValueError(f"task is {document['task']!r}, and the rest is of {info.task}")
        _check_consistent(info)
        return info


def _check_consistent(info: InterpreterInfo) -> None:
    """Raise ValueError where two keys contradict each other."""
    first, last = info.crop_rows
    expected = {
        "crop_rows": 0 <= first < last <= info.grid[0],
        "channels": sum(layer.channels for layer in info.layers) == info.channels,
        "seeds": len(info.seeds) == info.members,
        "classes": [entry.id for entry in info.classes] == list(range(len(info.classes))),
        "epochs": [metrics.epoch for metrics in info.epochs] == list(range(len(info.epochs))),
        "member_losses": all(len(e.member_losses or info.seeds) == info.members for e in info.epochs),
        "best_epoch": info.best_epoch in ([*range(len(info.epochs))] or [None]),
    }
    for key, fits in expected.items():
        if not fits:
            raise ValueError(f"{key} does not fit the other keys")


_SIDE = integer(1, 2**31)
_INDEX = integer(0)
_CLASS = record(ClassInfo, {"id": integer(0, 2**16), "name": text, "color": color})
_LAYER = record(
    LayerInfo, {"name": text, "resolution": items(_SIDE, 2), "channels": _SIDE, "offset": integer(0, 2**31)}
)
_EPOCH = record(
    EpochMetrics,
    {"epoch": _INDEX, "steps": integer(1), "loss": number, "miou": optional(number)},
    {
        "final": flag,
        "heat_error": number,
        "pck15": number,
        "pck10": number,
        "member_losses": items(number),
    },
)
_KEYPOINTS = record(KeypointInfo, {"names": items(text), "sigma": number})
_GENERATOR = {
    "architecture": text,
    "checkpoint": text,
    "sha256": text,
    "latent_space": text,
    "truncation": number,
    "truncation_layers": integer(0),
    "noise": one_of(*NOISE_MODES),
    "noise_seed": _INDEX,
    "class_label": optional(_INDEX),
}
_INFO = record(
    InterpreterInfo,
    {
        "members": _SIDE,
        "widths": items(_SIDE, 2),
        "channels": _SIDE,
        "classes": items(_CLASS),
        "ignore": optional(integer(0, 2**16)),
        "layers": items(_LAYER),
        "grid": items(_SIDE, 2),
        "crop_rows": items(_INDEX, 2),
        "upsample": one_of(*UPSAMPLE_MODES),
        "generator": mapping(_GENERATOR),
        "store": mapping({"id": text}),
        "training": mapping({"buffer_mb": optional(integer(1)), "precision": one_of(*PRECISIONS)}),
        "seeds": items(_INDEX),
        "epochs": items(_EPOCH),
        "best_epoch": optional(_INDEX),
        "created": optional(mapping()),
    },
    {"keypoints": _KEYPOINTS},
)


def settings_differences(found: InterpreterInfo, asked: InterpreterInfo) -> list[tuple[str, Any, Any]]:
    """The settings that differ, in the fields' order: (dotted key, ``found``'s value, ``asked``'s value)."""
    return differences(_settings(found), _settings(asked), _UNSEMANTIC)


def has_grown(found: InterpreterInfo, asked: InterpreterInfo) -> bool:
    """Whether ``asked`` differs from ``found`` only because the store that both are of was added to, or its
    annotations were corrected.
    """
    return bool(settings_differences(found, asked)) and not unexplained_differences(found, asked)


def unexplained_differences(found: InterpreterInfo, asked: InterpreterInfo) -> list[tuple[str, Any, Any]]:
    """The settings that differ for another reason than that the store has grown; all, of two stores."""
    differing = settings_differences(found, asked)
    if found.store.get("id") is None or found.store.get("id") != asked.store.get("id"):
        return differing
    explained = set(_OF_ANNOTATIONS)
    if len(found.classes) != len(asked.classes):
        explained.add("widths")  # which follow from the number of classes
    return [
        entry for entry in differing if entry[0] not in explained and not entry[0].startswith("store.inputs.")
    ]


def with_epoch(info: InterpreterInfo, metrics: EpochMetrics, best_epoch: int) -> InterpreterInfo:
    """``info`` after one more epoch."""
    return replace(info, epochs=(*info.epochs, metrics), best_epoch=best_epoch)


def _settings(info: InterpreterInfo) -> dict[str, Any]:
    return {key: value for key, value in info.to_json().items() if key not in _RESULTS}
