"""Tar shards of WebDataset with a mask a sample: ``000012.seg.png``, as ``dgan export`` writes them.

A sample is all members of one name up to its first dot, and the image's number is in that name. Pictures and
JSON of a sample are left alone. The classes are those of ``classes.toml`` beside the shards or in the folder
above, where there is one. Only headers are read at first; members are never unpacked to the disk.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.inputs.annotations.raster.png import read_labels
from pipeline.inputs.annotations.source import MAX_PIXELS, AnnotationSource, MaskFile
from pipeline.inputs.numbers import listed_number
from pipeline.settings.classes import read_classes_file
from pipeline.settings.schema import ClassConfig

FILES = "[!.]*.tar"
MASK = "seg.png"
CLASSES = "classes.toml"
MAX_BYTES = 4 * MAX_PIXELS  # of one member; PNG of two bytes a pixel is smaller
_END = bytes(2 * tarfile.BLOCKSIZE)
WHAT = f"tar shards with members {{i}}.{MASK}"


@dataclass(frozen=True)
class _Member:
    """A mask in a shard: the shard, the member's name, and where its bytes are."""

    path: Path
    name: str
    offset: int
    num_bytes: int


def find_shards(folder: Path) -> str | None:
    """The first shard in ``folder`` that has a mask or cannot be read, or None."""
    return next((path.name for path in _files(folder) if _may_have_masks(path)), None)


def _files(folder: Path) -> list[Path]:
    """Plain files: a pipe would be waited for, and a device has no end."""
    return sorted(path for path in folder.glob(FILES) if path.is_file())


def _may_have_masks(path: Path) -> bool:
    try:
        return next(_masks(path), None) is not None
    except UsageError:  # opening it as annotations says so
        return True


def open_shards(folder: Path) -> AnnotationSource:
    """The masks in all shards of ``folder``.

    Raises UsageError, one line, for a shard that is damaged, for a mask without a number, and for two masks
    of one image.
    """
    members: dict[int, _Member] = {}
    for path in _files(folder):
        for member in _masks(path):
            number = listed_number(_key(member.name))
            if number is None:
                raise UsageError(
                    f"{path}: {member.name!r:.80}: its name has no number; expected that of the image"
                )
            if number in members:
                first = members[number]
                raise UsageError(
                    f"{path}: {member.name!r:.80} and {first.name!r:.80} in {first.path.name} are both masks "
                    f"of image {number}; keep one of them"
                )
            members[number] = member
    classes, classes_from = _classes(folder)

    def read(number: int) -> MaskFile:
        member = members[number]
        return read_labels(io.BytesIO(_content(member)), f"{member.path}: {member.name}")

    return AnnotationSource(
        folder,
        "masks",
        {number: f"{member.path.name}/{member.name}" for number, member in members.items()},
        read,
        classes=classes,
        classes_from=classes_from,
    )


def _classes(folder: Path) -> tuple[tuple[ClassConfig, ...], Path | None]:
    """The classes that are listed, and the file; a list of one class is not filled in yet."""
    for path in (folder / CLASSES, folder.parent / CLASSES):
        if path.is_file():
            classes = read_classes_file(path)
            return (classes, path) if len(classes) > 1 else ((), None)
    return (), None


def _masks(path: Path) -> Iterator[_Member]:
    """The masks of a shard, by their headers."""
    try:
        _check_end(path)
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                name = member.name
                if name.rpartition("/")[2].partition(".")[2].lower() != MASK or not member.isreg():
                    continue
                if member.issparse() or not 0 <= member.size <= MAX_BYTES or not name.isprintable():
                    raise UsageError(
                        f"{path}: {name!r:.80} has {member.size:,} bytes; expected a plain file of at most "
                        f"{MAX_BYTES:,}"
                    )
                yield _Member(path, name, member.offset_data, member.size)
    except UsageError:
        raise
    except Exception as error:  # headers that are wrong raise many kinds, RecursionError among them
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{path}: cannot be read as a tar, or is truncated ({reason:.200}); expected {WHAT}"
        ) from error


def _check_end(path: Path) -> None:
    """Raise ReadError unless the file ends as every tar does. ``tarfile`` takes a header that is cut off for
    the end.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - len(_END)))
        if size % tarfile.BLOCKSIZE or file.read() != _END:
            raise tarfile.ReadError("its end is missing")


def _key(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _content(member: _Member) -> bytes:
    with member.path.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.num_bytes)
