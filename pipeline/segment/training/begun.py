"""What an earlier run has left in the folder of a segmenter: whether a run may go on with it, or replace it.

It knows names of files and descriptions. It knows no tensors.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UsageError, count
from pipeline.resumable.begun import (
    ABSENT,
    FINISHED,
    UNFINISHED,
    Difference,
    find_begun,
    first_difference,
    refuse_difference,
)
from pipeline.resumable.kind import STATE
from pipeline.segment.description import SegmenterInfo
from pipeline.segment.folder import SEGMENTER, epoch_files

_IMAGES = ("data.",)
# What may differ where a run goes on.
_UNSEMANTIC = ("created", "training.pretrained.name")
_PLACES = ("data.synthetic.store", "data.real.images", "data.real.annotations")


def check_begun(folder: Path, info: SegmenterInfo, *, overwrite: bool) -> str:
    """``absent`` (or to be overwritten), ``unfinished`` or ``finished``: what there is of the segmenter
    ``info``.

    Raises UsageError, one line, for a folder with anything else, which says how it differs.
    """
    _refuse_released(folder)
    found = find_begun(folder, SEGMENTER, overwrite=overwrite)
    if found is None:
        return ABSENT
    other = first_difference(found, info, (*_UNSEMANTIC, *_PLACES), _IMAGES)
    if other is not None:
        _refuse_epochs(folder, other)
        refuse_difference(folder, other, _IMAGES)
    whole = set(epoch_files(folder)) == set(range(info.epochs))
    return FINISHED if whole and not (folder / STATE).exists() else UNFINISHED


def _refuse_released(folder: Path) -> None:
    """Refuse weights without a description: nothing says that this program may delete them."""
    if folder.is_dir() and not (folder / SEGMENTER.description).exists() and epoch_files(folder):
        raise UsageError(
            f"{folder}: holds weights without {SEGMENTER.description}, as the released code writes them; "
            "choose another --out, or move them"
        )


def _refuse_epochs(folder: Path, other: Difference) -> None:
    """Refuse another number of epochs: it cannot be had by going on."""
    if other.key != "training.epochs":
        return
    weights = list(epoch_files(folder).values())[-1:]
    begin = f", or another --out with --pretrained {weights[0]}" if weights else ""
    raise UsageError(
        f"{folder}: is a training of {count(other.there, 'epoch')}, this run has {other.here}, and what a "
        f"training needs to go on is deleted at its end; use the same --epochs, --overwrite to start "
        f"anew{begin}"
    )
