"""The folder of a segmenter: the names of its files, and in which state it is.

    segmenter/
        segmenter.json           what it is; written before the first step
        deeplab_epoch_0.pth      {"model_state_dict": ...} after each epoch, as the released code writes it;
                                 of another architecture epoch_0.pth
        log.jsonl                a line for each epoch, and for some steps
        training_state.pt        only until training is finished: weights, moments and step

Each file is written under a temporary name, forced to disk and renamed. A folder of the released code has
only the epochs' weights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.interpreter.folder import check_place
from pipeline.resumable.kind import STATE, Kind
from pipeline.segment.description import KIND, SegmenterInfo

DEEPLAB = "deeplabv3"
_EPOCH = re.compile(r"(?:deeplab_)?epoch_([0-9]{1,6})\.pth")
SEGMENTER = Kind(KIND, SegmenterInfo.from_json, _EPOCH)


@dataclass(frozen=True)
class SegmenterFolder:
    """A segmenter on disk. ``info`` is None of a released one, which does not say what it is.

    epochs: epoch to the file of its weights, ascending. is_finished: whether no training goes on with it.
    """

    path: Path
    info: SegmenterInfo | None
    epochs: dict[int, Path]
    is_finished: bool


def open_segmenter(path: Path) -> SegmenterFolder:
    """The segmenter in a folder. Raises UsageError, one line, for anything else, or one without an epoch."""
    check_place(path)
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder; pass the folder that `dgan segment train` wrote")
    info, epochs = SEGMENTER.read_description(path), epoch_files(path)
    if not epochs:
        what = "has no finished epoch yet" if info is not None else "holds no segmenter"
        raise UsageError(f"{path}: {what}; expected deeplab_epoch_0.pth, as `dgan segment train` writes it")
    finished = not (path / STATE).exists() and (info is None or len(epochs) >= info.epochs)
    return SegmenterFolder(path, info, epochs, finished)


def epoch_files(path: Path) -> dict[int, Path]:
    """Epoch to the file of its weights, ascending by the number (the released code sorts by the text)."""
    found = ((epoch_of(file.name), file) for file in path.iterdir())
    return dict(sorted((epoch, file) for epoch, file in found if epoch is not None))


def epoch_of(name: str) -> int | None:
    """The epoch whose weights a file of this name holds, or None."""
    match = _EPOCH.fullmatch(name)
    return int(match[1]) if match else None


def epoch_name(architecture: str, epoch: int) -> str:
    """The name of an epoch's file."""
    return f"{'deeplab_' if architecture == DEEPLAB else ''}epoch_{epoch}.pth"
