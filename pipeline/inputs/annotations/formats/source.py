"""What every reader of annotations hands over: which images are annotated, and the labels that one holds.

Knows no file format, and no classes: a label is what the files call it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.inputs.annotations.classes.label_map import SourceLabel
from pipeline.inputs.annotations.formats.mask_files import MAX_PIXELS, MaskFile

MAX_LABEL_LENGTH = 200
OUTSIDE = SourceLabel(None, ("background",), outside=True)
_ROBOFLOW = re.compile(r"_(?:png|jpe?g|bmp|webp)\.rf\.[^/]*", re.IGNORECASE)  # its suffix, a hash
_SUFFIX = re.compile(r"\.(?:png|jpe?g|bmp|webp|tiff?|json|npy)\Z", re.IGNORECASE)


@dataclass(frozen=True)
class AnnotationSource:
    """An opened set of annotations.

    location: the folder or file. format: "masks", "color", "binary", "labelme" or "coco".
    files: image number -> the file, or the entry of a COCO file, that annotates it, for messages.
    read: image number -> (h, w) values and, of a palette PNG, its colours. Raises UsageError.
    labels: what values 0, 1, ... mean; None where a value is a label's number ("masks") or a colour
    0xRRGGBB ("color"; ``color_masks.TRANSPARENT`` where nothing is drawn).
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


def image_number(name: str) -> int | None:
    """The image that a file name means: the last integer of its stem, whatever folders stand before it.

    ``images/abcd1234-image_3.png`` -> 3; a Roboflow suffix (``image_3_png.rf.<hash>.jpg``) is no part of the
    stem. None where there is no integer of at most nine digits.
    """
    stem = _SUFFIX.sub("", _ROBOFLOW.sub("", re.split(r"[/\\]", name)[-1]))
    runs = re.findall(r"[0-9]+", stem)
    return int(runs[-1]) if runs and len(runs[-1]) <= 9 else None


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


def few(names: Sequence[str], num: int = 4) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - num} more" if len(names) > num else ""
    return ", ".join(names[:num]) + more
