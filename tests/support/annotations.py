"""Reads annotations as a run does, and what is said of those that it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.inputs.annotations.load import Annotations, load_annotations, open_annotations
from pipeline.settings.schema import AnnotationsConfig


def load_masks(location: Path, *, grid: tuple[int, int], **options: Any) -> Annotations:
    """All masks of a folder or file on the grid. No class is too small, unless ``options`` say so."""
    config = AnnotationsConfig(folder=location, **{"min_pixels": 0, **options})
    source = open_annotations(config)
    return load_annotations(source, source.numbers, grid=grid, config=config)


def refusal_of(location: Path, *, grid: tuple[int, int], **options: Any) -> str:
    """The one line in which these annotations are refused."""
    with pytest.raises(UsageError) as caught:
        load_masks(location, grid=grid, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message
