"""The metadata of OME-Zarr 0.5 for one image and its label image, as JSON values.

It follows https://ngff.openmicroscopy.org/0.5/, sections "axes", "multiscales", "omero" and "labels". It
knows no arrays and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fstore.meta import ClassInfo
from pipeline.exports.encoding import IGNORE_COLOR

VERSION = "0.5"
LABEL_NAME = "segmentation"  # of the label image in the group `labels`
IGNORED_NAME = "__ignore__"  # of the label that belongs to no class, as the annotations call it
ALPHA = 128  # of a class's colour, so that the image shows through

_CHANNELS = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
_WINDOW = {"min": 0, "max": 255, "start": 0, "end": 255}


def image_metadata(name: str, factors: Sequence[int]) -> dict[str, Any]:
    """``ome`` of an image group. ``factors``: how much smaller each level is than the first, 1 first."""
    channels = [
        {"label": label, "color": color, "window": _WINDOW, "active": True} for label, color in _CHANNELS
    ]
    multiscale = _multiscale(name, ("c", "y", "x"), factors, "mean", "the mean of each block of pixels")
    return {
        "version": VERSION,
        "multiscales": [multiscale],
        "omero": {"name": name, "channels": channels, "rdefs": {"model": "color"}},
    }


def labels_metadata() -> dict[str, Any]:
    """``ome`` of the group ``labels``."""
    return {"version": VERSION, "labels": [LABEL_NAME]}


def label_image_metadata(
    classes: Sequence[ClassInfo], ignore: int | None, factors: Sequence[int]
) -> dict[str, Any]:
    """``ome`` of the label image: names and colours of all classes, and of the ignore label, which is
    transparent.
    """
    entries = [(entry.id, entry.name, (*bytes.fromhex(entry.color[1:]), ALPHA)) for entry in classes]
    if ignore is not None:
        entries.append((ignore, IGNORED_NAME, (*IGNORE_COLOR, 0)))
    multiscale = _multiscale(
        LABEL_NAME, ("y", "x"), factors, "nearest", "the first pixel of each block of pixels"
    )
    return {
        "version": VERSION,
        "multiscales": [multiscale],
        "image-label": {
            "version": VERSION,
            "colors": [{"label-value": value, "rgba": list(rgba)} for value, _, rgba in entries],
            "properties": [{"label-value": value, "name": name} for value, name, _ in entries],
            "source": {"image": "../../"},
        },
    }


def _multiscale(
    name: str, axes: Sequence[str], factors: Sequence[int], method: str, description: str
) -> dict[str, Any]:
    """One entry of ``multiscales``. The unit of y and x is a pixel of the first level."""
    return {
        "name": name,
        "axes": [{"name": axis, "type": "channel" if axis == "c" else "space"} for axis in axes],
        "datasets": [
            {"path": str(level), "coordinateTransformations": _transformations(axes, factor)}
            for level, factor in enumerate(factors)
        ],
        "type": method,
        "metadata": {"description": description},
    }


def _transformations(axes: Sequence[str], factor: int) -> list[dict[str, Any]]:
    """From a level's pixels to the first level's. Both count from the centre of their first pixel."""
    scale = [1.0 if axis == "c" else float(factor) for axis in axes]
    shift = [0.0 if axis == "c" else (factor - 1) / 2 for axis in axes]
    found: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if factor > 1:
        found.append({"type": "translation", "translation": shift})
    return found
