"""What every reader of annotations returns: which images are annotated, and the labels of each.

It knows no file format, and no classes of a run: a label has the name that the files give it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.settings.classes import BACKGROUND_NAMES, IGNORE_NAME
from pipeline.settings.schema import ClassConfig

MAX_PIXELS = 2**26  # of one annotated image, 8192 x 8192: no more is allocated on a file's word
TOO_LARGE = f"has too many pixels; expected at most {MAX_PIXELS}"
"""What messages say of a file with so many that Pillow does not open it."""
MAX_LABEL_LENGTH = 200
TRANSPARENT = 1 << 24  # in colour masks, the value of a pixel without any opacity: nothing is drawn there
Key = str | int
"""What a label map calls a label: its name, in lower case, or its number."""


def not_readable(error: Exception) -> str | None:
    """What messages say of a file that the system does not give; None where its content is at fault."""
    if isinstance(error, FileNotFoundError):
        return "is no longer there"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    return None


@dataclass(frozen=True)
class SourceLabel:
    """A label as the annotations have it.

    number: a mask's value, a COCO category's id, or None. names: what it is called, the title first.
    outside: whether it stands for the pixels that nothing was drawn on.
    """

    number: int | None
    names: tuple[str, ...]
    outside: bool = False

    @property
    def title(self) -> str:
        """The label in a message."""
        if self.number is not None:
            return f"{self.number} ({self.names[0]})"
        return repr(self.names[0]) + (f" ({self.names[1]})" if len(self.names) > 1 else "")

    @property
    def is_background(self) -> bool:
        """Whether its name means background, whatever the classes are."""
        return self.outside or any(name.casefold() in BACKGROUND_NAMES for name in self.names)

    @property
    def is_ignored(self) -> bool:
        """Whether its name says that its pixels count nowhere, whatever the classes are."""
        return any(name.casefold() == IGNORE_NAME for name in self.names)

    def has(self, key: Key) -> bool:
        """Whether ``key`` names it."""
        if isinstance(key, int):
            return key == self.number or (self.number is None and str(key) in self.names)
        return key in (name.casefold() for name in self.names)


OUTSIDE = SourceLabel(None, ("background",), outside=True)


@dataclass(frozen=True)
class MaskFile:
    """What one image's annotation holds.

    labels: (h, w), whole numbers of any dtype. palette: "#rrggbb" of labels 0, 1, ..., or None. transparent:
    how many pixels are transparent, which is background.
    """

    labels: NDArray[Any]
    palette: tuple[str, ...] | None = None
    transparent: int = 0


@dataclass(frozen=True)
class AnnotationSource:
    """An opened set of annotations.

    location: the folder or file. format: "masks", "color", "binary", "labelme" or "coco".
    files: image number -> the file, or the entry of a COCO file, that annotates it, for messages.
    read: image number -> what its annotation holds. Raises UsageError.
    labels: what values 0, 1, ... mean; None where a value is a label's number ("masks") or a colour
    0xRRGGBB ("color"; TRANSPARENT where nothing is drawn).
    classes, classes_from: the classes, in the order of the values, as a file beside the masks lists them, and
    that file; () and None where there is none.
    by_place: whether ``classes`` are the values' classes by place alone, and not by what they are called.
    ignored: values that count nowhere by the rules of the format, unless a class has them.
    hint: half a sentence on what was there and not taken, for a message about missing annotations; or None.
    notes: sentences for the user, such as how many shapes have no area and were left out.
    unread: image number -> a file by whose name it is annotated, and which was not read.
    """

    location: Path
    format: str
    files: Mapping[int, str]
    read: Callable[[int], MaskFile]
    labels: tuple[SourceLabel, ...] | None = None
    hint: str | None = None
    notes: tuple[str, ...] = ()
    unread: Mapping[int, str] = field(default_factory=dict)
    classes: tuple[ClassConfig, ...] = ()
    classes_from: Path | None = None
    ignored: frozenset[int] = frozenset()
    by_place: bool = False

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the annotated images, ascending."""
        return tuple(sorted(self.files))

    def where(self, number: int) -> str:
        """The annotation of one image, for the beginning of a message."""
        return (
            f"{self.location}: {self.files[number]}"
            if self.format == "coco"
            else str(self.location / self.files[number])
        )


def check_size(height: object, width: object, where: str) -> tuple[int, int]:
    """(height, width) that a file declares, as integers within MAX_PIXELS. Raises UsageError."""
    sides = [
        side for side in (height, width) if isinstance(side, (int, float)) and not isinstance(side, bool)
    ]
    if len(sides) != 2 or any(side != side or side < 1 or side != side // 1 for side in sides):
        raise UsageError(
            f"{where}: height is {height!r:.40}, width {width!r:.40}; expected the image's size in pixels"
        )
    if sides[0] * sides[1] > MAX_PIXELS:
        raise UsageError(f"{where}: is {height!r:.40} x {width!r:.40}; expected at most {MAX_PIXELS} pixels")
    return int(sides[0]), int(sides[1])


def label_text(value: object, where: str) -> str:
    """A class's name as a file has it, without the space around it. Raises UsageError unless it can be
    shown.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not text or not text.isprintable() or len(text) > MAX_LABEL_LENGTH:
        raise UsageError(f"{where} is {value!r:.60}; expected the name of a class")
    return text
