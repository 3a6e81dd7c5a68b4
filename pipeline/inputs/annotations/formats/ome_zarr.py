"""OME-Zarr 0.5: a folder of image groups, each with a label image, as ``dgan export`` writes them.

An image group is a folder with the image's number in its name, such as ``000012.ome.zarr``, whose
``zarr.json`` has ``ome`` with ``multiscales``. The label image is the one that ``labels/zarr.json`` lists, or
the one named ``segmentation``; its first level is read. ``image-label`` may name the values, and give
them colours. All images must name them alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.formats.listed_values import Listed, listed_classes
from pipeline.inputs.annotations.json_file import read_json
from pipeline.inputs.annotations.source import MAX_PIXELS, AnnotationSource, MaskFile, check_size
from pipeline.inputs.numbers import listed_number

WHAT = "the metadata of Zarr"
PREFERRED = "segmentation"
MAX_CHUNK_BYTES = 16 * MAX_PIXELS  # of a file; labels of eight bytes that do not compress take half of it
# Of all codecs that may be installed these are the ones of which we know what they do.
_CODECS = ("bytes", "transpose", "zstd", "gzip", "blosc", "crc32c", "sharding_indexed")
_DTYPES = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
_PATH = re.compile(r"(?!\.)[^/\\]+(?:/(?!\.)[^/\\]+)*")  # no part begins with a dot


def find_ome_zarr(folder: Path) -> str | None:
    """The first image group in ``folder``, or None."""
    return next((path.name for path in sorted(folder.iterdir()) if _is_image(path)), None)


def open_ome_zarr(folder: Path) -> AnnotationSource:
    """The label images of all image groups in ``folder`` that have one.

    Raises UsageError, one line, for two groups of one image, and for metadata that is damaged.
    """
    groups: dict[int, Path] = {}
    labels: dict[int, str] = {}
    bare: list[str] = []
    for path in sorted(folder.iterdir()):
        number = _number(path)
        if number is None or not _is_image(path):
            continue
        if number in groups:
            raise UsageError(
                f"{path}: {groups[number].name} is image {number} too; keep one of them, or rename it"
            )
        groups[number] = path
        name = _label_name(path)
        if name is None:
            bare.append(path.name)
        else:
            labels[number] = f"{path.name}/labels/{name}"
    first = labels[min(labels)] if labels else None
    listed = [] if first is None else _listed(folder / first)
    classes, ignored = listed_classes(listed, f"{folder / (first or '')}: image-label")

    def read(number: int) -> MaskFile:
        place = folder / labels[number]
        if _listed(place) != listed:
            raise UsageError(
                f"{place}: image-label: its classes are not those of {first}; expected the same in all images"
            )
        return MaskFile(_read_labels(place))

    return AnnotationSource(
        folder,
        "masks",
        labels,
        read,
        hint=f"image groups without labels: {few(bare)}" if bare else None,
        classes=classes,
        classes_from=folder / first if first and classes else None,
        ignored=ignored,
    )


def _is_image(path: Path) -> bool:
    if not (path / "zarr.json").is_file() or _number(path) is None:
        return False
    return isinstance(_ome(path).get("multiscales"), list)


def _number(group: Path) -> int | None:
    """The number of an image group's image."""
    return listed_number(group.name.removesuffix(".zarr").removesuffix(".ome"))


def _ome(group: Path) -> Mapping[str, Any]:
    """What a node says under ``ome``; {} where it says nothing."""
    node = read_json(group / "zarr.json", WHAT)
    attributes = node.get("attributes") if isinstance(node, dict) else None
    found = attributes.get("ome") if isinstance(attributes, dict) else None
    return found if isinstance(found, dict) else {}


def _label_name(group: Path) -> str | None:
    """Which label image of an image group is read; None where there is none."""
    folder = group / "labels"
    if not (folder / "zarr.json").is_file():
        return None
    names = _ome(folder).get("labels")
    if not isinstance(names, list) or not all(_is_inside(name) for name in names):
        raise UsageError(f"{folder / 'zarr.json'}: labels is {names!r:.60}; expected names of label images")
    if len(names) > 1 and PREFERRED not in names:
        raise UsageError(
            f"{folder}: has the label images {few(names)}; expected one, or one named {PREFERRED}"
        )
    return PREFERRED if PREFERRED in names else names[0] if names else None


def _listed(label_image: Path) -> list[Listed]:
    """The values that ``image-label`` names, with their colours."""
    described = _ome(label_image).get("image-label")
    if not isinstance(described, dict):
        return []
    colors = {
        value: _color(entry.get("rgba"))
        for entry in _entries(described.get("colors"))
        if isinstance(value := entry.get("label-value"), int)
    }
    return [
        (value, entry["name"], colors.get(value) if isinstance(value, int) else None)
        for entry in _entries(described.get("properties"))
        if "name" in entry
        for value in [entry.get("label-value")]
    ]


def _entries(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _color(rgba: object) -> str | None:
    if not isinstance(rgba, list) or len(rgba) != 4 or not all(value in range(256) for value in rgba):
        return None
    return "#{:02x}{:02x}{:02x}".format(*(int(value) for value in rgba[:3]))


def _read_labels(label_image: Path) -> NDArray[Any]:
    """(h, w) of the first level. Raises UsageError, one line, where it is no such array."""
    try:
        path = _ome(label_image)["multiscales"][0]["datasets"][0]["path"]
    except (LookupError, TypeError):
        path = None
    if not _is_inside(path):
        raise UsageError(f"{label_image}: multiscales names no array of labels; expected that of OME-Zarr")
    place = label_image / str(path)
    _check_array(place)
    try:
        values = np.asarray(zarr.open_array(place, mode="r", zarr_format=3)[...])
    except Exception as error:  # zarr and its codecs raise many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{place}: cannot be read as a Zarr array ({reason}); expected labels") from error
    return values.reshape(values.shape[-2:])


def _check_array(place: Path) -> None:
    """Refuse an array whose metadata asks for more memory than labels of an image need, and codecs of which
    we do not know what they do.
    """
    node = read_json(place / "zarr.json", WHAT)
    node = node if isinstance(node, dict) else {}
    shape, dtype, grid = node.get("shape"), node.get("data_type"), node.get("chunk_grid")
    if not isinstance(shape, list) or len(shape) < 2 or any(size != 1 for size in shape[:-2]):
        raise UsageError(f"{place}: its shape is {shape!r:.60}; expected (height, width), a label a pixel")
    check_size(shape[-2], shape[-1], str(place))
    if dtype not in _DTYPES:
        raise UsageError(f"{place}: its data_type is {dtype!r:.40}; expected whole numbers, such as uint8")
    chunk = _configuration(grid).get("chunk_shape")
    sides = [side for side in chunk if isinstance(side, int)] if isinstance(chunk, list) else []
    if len(sides) != len(shape) or min(sides) < 1 or prod(sides) > MAX_PIXELS:
        raise UsageError(f"{place}: its chunks are {chunk!r:.60}; expected at most {MAX_PIXELS} pixels each")
    odd = next((path for path in place.rglob("*") if not _is_plain(path)), None)
    if odd is not None:
        raise UsageError(
            f"{odd}: is no folder and no plain file of at most {MAX_CHUNK_BYTES:,} bytes; expected chunks"
        )
    for name in _codec_names(node.get("codecs")):
        if name not in _CODECS:
            raise UsageError(f"{place}: codec {name!r:.40} is not read; expected {', '.join(_CODECS)}")


def _is_plain(path: Path) -> bool:
    """Whether it is a folder, or a file that comes to an end: a pipe or a device would be read for ever."""
    return path.is_dir() or (path.is_file() and path.stat().st_size <= MAX_CHUNK_BYTES)


def _codec_names(codecs: object) -> Iterator[object]:
    """The names of codecs, and of those that a shard has inside."""
    for codec in codecs if isinstance(codecs, list) else [codecs]:
        yield codec.get("name") if isinstance(codec, dict) else codec
        for key in ("codecs", "index_codecs"):
            if key in _configuration(codec):
                yield from _codec_names(_configuration(codec)[key])


def _configuration(node: object) -> Mapping[str, Any]:
    found = node.get("configuration") if isinstance(node, dict) else None
    return found if isinstance(found, dict) else {}


def _is_inside(path: object) -> bool:
    """Whether it is a path from a group to a node in it."""
    return isinstance(path, str) and path.isprintable() and bool(_PATH.fullmatch(path))
