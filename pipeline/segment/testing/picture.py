"""The scores as a picture: the confusion matrix, or the PCK of each keypoint.

An SVG from the JSON values alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.evaluation.picture import confusion_matrix, points_picture
from pipeline.evaluation.svg import document
from pipeline.settings.schema import KEYPOINTS


def picture_of(scores: Mapping[str, Any]) -> str:
    """The SVG's text."""
    if scores["task"] == KEYPOINTS:
        return points_picture(scores)
    elements, width, height = confusion_matrix(scores)
    return document(width, height, "Confusion matrix", elements)
