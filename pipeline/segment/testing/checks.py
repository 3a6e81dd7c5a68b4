"""What ``dgan segment test`` refuses before it reads a picture.

It knows settings, and what a segmenter says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import UsageError, count
from pipeline.segment.folder import SegmenterFolder
from pipeline.segment.trained import TrainedSegmenter
from pipeline.segment.training.images import RELEASED
from pipeline.settings.schema import FOR_KEYPOINTS, SegmentTestConfig

RELEASED_FOLDS = 5
_RELEASED_FOLDER = re.compile(r"deeplab_class_[0-9]+_checkpoint_[0-9]+_filter_out_(0\.[0-9]+)")


def check_images(config: SegmentTestConfig) -> Path:
    """The folder of the pictures. Raises UsageError where none is named."""
    if config.images is None:
        raise UsageError(
            "no pictures are given; pass --images DIR with annotated photographs, or a --config of a "
            "released experiment with its testing_path"
        )
    return config.images


def check_released_filter(folder: SegmenterFolder) -> None:
    """Refuse a segmenter that does not say that it was trained on the released slice. Raises UsageError.

    A folder of the released code says so by its name, where that was not changed.
    """
    if folder.info is not None:
        sources = [source for source in folder.info.data.values() if isinstance(source, Mapping)]
        is_slice = any(source.get("chosen_by") == RELEASED for source in sources)
        what = "does not say that it was trained on the released slice"
    else:
        match = _RELEASED_FOLDER.fullmatch(folder.path.absolute().name)
        is_slice = match is not None and float(match[1]) > 0
        what = "is of the released code, and its name does not say that images were filtered out"
    if not is_slice:
        raise UsageError(
            f"{folder.path}: {what}; leave --released-filter out, or train with `dgan segment train "
            "--released-filter`"
        )


def check_of_labels(segmenter: TrainedSegmenter, config: SegmentTestConfig) -> None:
    """Refuse settings of labels where keypoints are tested. Raises UsageError."""
    if segmenter.keypoints is None:
        return
    named = config.annotation_format
    asked = {
        "--label-map": config.label_map,
        "--annotation-format": None if named in FOR_KEYPOINTS else named,
    }
    for flag, value in asked.items():
        if value is not None:
            raise UsageError(f"{flag} is {value}, and {segmenter.folder.path} finds keypoints; leave it out")


def check_num_classes(segmenter: TrainedSegmenter, config: SegmentTestConfig, source: str) -> None:
    """Refuse a segmenter with other classes than the annotations, by their number, which ``source`` says.

    The release merges the 20 parts of its cars to 12 for the test set of ADE. With a label map the
    annotations' classes may be any. Raises UsageError.
    """
    found, outputs = config.num_classes, segmenter.kind.num_outputs
    if found is None or segmenter.keypoints is not None or config.label_map is not None or found == outputs:
        return
    raise UsageError(
        f"{source}: the photographs are annotated with {count(found, 'class')}, and the segmenter "
        f"{segmenter.folder.path} has {outputs}; train one with `dgan segment train --label-map FILE` that "
        f"merges to {found} (configs/label_maps/car_20_to_12.toml does so for the release's cars), or pass "
        "--label-map"
    )


def number_of_folds(asked: int | None, num_pictures: int) -> tuple[int, tuple[str, ...]]:
    """The folds of a run, and notes. ``asked`` None: five, as the release; 0 of fewer pictures.

    Raises UsageError for one fold, and for more folds than pictures.
    """
    if asked is None and num_pictures < RELEASED_FOLDS:
        note = (
            f"{count(num_pictures, 'picture')} are too few for {RELEASED_FOLDS} folds: the last epoch is "
            "scored on all of them"
        )
        return 0, (note,)
    folds = RELEASED_FOLDS if asked is None else asked
    if folds == 1 or folds > num_pictures:
        raise UsageError(
            f"--cross-validate is {folds}, of {count(num_pictures, 'annotated picture')}; expected 0, which "
            f"scores the last epoch, or 2 to {num_pictures}"
        )
    return folds, ()
