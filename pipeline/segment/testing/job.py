"""All that a run of ``dgan segment test`` needs, read and checked. It runs no network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.inputs.photograph_keypoints import PhotographKeypoints
from pipeline.inputs.photographs import AnnotatedPhotographs
from pipeline.segment.trained import TrainedSegmenter

Photographs = AnnotatedPhotographs | PhotographKeypoints


@dataclass(frozen=True)
class ScoringJob:
    """What is tested on what.

    folds: of the cross-validation; 0: the last epoch is scored on all pictures. epochs: those that are run,
    ascending. notes: what a user should know, a line each.
    """

    segmenter: TrainedSegmenter
    photographs: Photographs
    out: Path
    folds: int
    epochs: tuple[int, ...]
    overwrite: bool = False
    notes: Sequence[str] = ()

    @property
    def has_points(self) -> bool:
        """Whether keypoints are tested, and not labels."""
        return isinstance(self.photographs, PhotographKeypoints)

    def identity(self) -> dict[str, Any]:
        """What decides every prediction but the weights, and what these are compared with, as JSON values."""
        kind = self.segmenter.kind
        return {
            "network": {
                "architecture": kind.architecture,
                "backbone": kind.backbone,
                "output_stride": kind.output_stride,
            },
            "classes": [entry.name for entry in self.segmenter.classes],
            "image_size": list(self.segmenter.image_size),
            "pictures": pictures_sha256(self.photographs.paths),
            "annotations": self.photographs.record["sha256"],
        }


def pictures_sha256(paths: Sequence[Path]) -> str:
    """Of the names of pictures, and of the sizes and times of their files: to hash what is in them would take
    as long as to read them.
    """
    found = hashlib.sha256()
    for path in paths:
        status = path.stat()
        found.update(repr((path.name, status.st_size, status.st_mtime_ns)).encode())
    return found.hexdigest()
