"""What an interpreter is, beside its tensors: the settings it was trained with and what each epoch reached.

Pure values, to and from JSON. Reads and writes no file, opens no store, knows no tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fstore.compare import differences
from fstore.meta import ClassInfo, KeypointInfo, LayerInfo

FORMAT_VERSION = 1
_RESULTS = ("version", "kind", "epochs", "best_epoch", "created")  # all other keys are settings
# A memory budget, and a name where the hash beside it counts: recorded, but a run may be resumed with others.
_UNSEMANTIC = ("training.buffer_mb", "generator.checkpoint")
SEGMENTATION, KEYPOINTS = "segmentation", "keypoints"


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch reached. ``steps`` so far, mean ``loss``, ``miou`` on held-out pixels, None without.

    A ``final`` epoch came after the stopping rule had spoken, over all images, the held-out ones too. Of
    keypoints on held-out images: ``heat_error``, the mean squared error of the heat maps, and ``pck15`` and
    ``pck10``, the share of keypoints found within 15% and 10% of the larger image side.
    """

    epoch: int
    steps: int
    loss: float
    miou: float | None
    final: bool = False
    heat_error: float | None = None
    pck15: float | None = None
    pck10: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values; what only keypoints have stands only where it is known."""
        optional = ("heat_error", "pck15", "pck10")
        return {k: v for k, v in asdict(self).items() if v is not None or k not in optional}


@dataclass(frozen=True)
class InterpreterInfo:
    """Everything but the tensors. All but ``epochs``, ``best_epoch`` and ``created`` precedes training.

    ``generator`` is the feature store's, verbatim: architecture, checkpoint, sha256, truncation and so on.
    ``store`` and ``training`` say what else a repetition must have in common. ``keypoints``: what the members
    have learnt to put a peak at, with the sigma of the heat maps; None where they have learnt ``classes``.
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
        """JSON values, tuples as lists; of segmentation as before there were keypoints."""
        values = {**asdict(self), "epochs": [epoch.to_json() for epoch in self.epochs]}
        del values["keypoints"]
        if self.keypoints is not None:
            values |= {"task": self.task, "keypoints": self.keypoints.to_json()}
        return {"version": FORMAT_VERSION, "kind": "interpreter", **json.loads(json.dumps(values))}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> InterpreterInfo:
        """The inverse of ``to_json``.

        Raises LookupError, TypeError, ValueError, AttributeError or ArithmeticError for a malformed document.
        """
        values = {k: v for k, v in document.items() if k not in ("version", "kind", "sha256", "task")}
        if document.get("task", SEGMENTATION) != (KEYPOINTS if values.get("keypoints") else SEGMENTATION):
            raise ValueError(f"task is {document['task']!r}")
        for name in ("widths", "grid", "crop_rows", "seeds"):
            values[name] = tuple(int(v) for v in values[name])
        values["classes"] = tuple(ClassInfo(**entry) for entry in values["classes"])
        layers = [{**entry, "resolution": tuple(entry["resolution"])} for entry in values["layers"]]
        values["layers"] = tuple(LayerInfo(**entry) for entry in layers)
        values["epochs"] = tuple(EpochMetrics(**entry) for entry in values["epochs"])
        if values.get("keypoints") is not None:
            values["keypoints"] = KeypointInfo.from_json(values["keypoints"])
        info = cls(**values)
        _check_types(info)
        return info


def _check_types(info: InterpreterInfo) -> None:
    """Raises TypeError or ValueError for what no training writes."""
    pairs = (info.widths, info.grid, info.crop_rows, *(layer.resolution for layer in info.layers))
    integers = [info.members, info.channels, *info.seeds, *(side for pair in pairs for side in pair)]
    integers += [number for layer in info.layers for number in (layer.channels, layer.offset)]
    integers += [entry.id for entry in info.classes] + [n for e in info.epochs for n in (e.epoch, e.steps)]
    integers += [number for number in (info.ignore, info.best_epoch) if number is not None]
    texts = [info.upsample, *(layer.name for layer in info.layers)]
    texts += [text for entry in info.classes for text in (entry.name, entry.color)]
    numbers = [value for epoch in info.epochs for value in _measured(epoch)]
    records = [info.generator, info.store, info.training, info.created or {}]
    for kind, values in ((int, integers), (str, texts), ((int, float), numbers), (Mapping, records)):
        for value in values:
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{value!r} is of type {type(value).__name__}")
    if any(len(pair) != 2 for pair in pairs) or any(number < 0 for number in integers):
        raise ValueError("a size has not two sides, or is negative")
    if info.best_epoch is not None and info.best_epoch >= len(info.epochs):
        raise ValueError(f"the best epoch is {info.best_epoch} of {len(info.epochs)}")


def _measured(epoch: EpochMetrics) -> list[Any]:
    """What an epoch measured, without what its task has not."""
    found = (epoch.loss, epoch.miou, epoch.heat_error, epoch.pck15, epoch.pck10)
    return [value for value in found if value is not None]


def settings_differences(found: InterpreterInfo, asked: InterpreterInfo) -> list[tuple[str, Any, Any]]:
    """Settings in which the two differ: (dotted key, found value, asked value), in the fields' order."""
    return differences(_settings(found), _settings(asked), _UNSEMANTIC)


def with_epoch(info: InterpreterInfo, metrics: EpochMetrics, best_epoch: int) -> InterpreterInfo:
    """``info`` with one more epoch."""
    return replace(info, epochs=(*info.epochs, metrics), best_epoch=best_epoch)


def _settings(info: InterpreterInfo) -> dict[str, Any]:
    settings = {key: value for key, value in info.to_json().items() if key not in _RESULTS}
    # Interpreters from before there was a choice were trained in float32, and do not say so.
    return {**settings, "training": {"precision": "float32", **settings["training"]}}
