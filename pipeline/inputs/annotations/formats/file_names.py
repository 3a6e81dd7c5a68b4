"""What the names of mask files say: whose image, whether a whole mask, a picture, or the mask of one class.

It knows names alone. The number is that of ``pipeline.inputs.numbers``; the words around it say the rest:

    {i}.png  image_{i}.png  seed{i}.png     a mask, or a picture
    image_mask{i}.png  mask_{i}.png         a whole mask, by the word before the number
    {i}_mask.png  image_{i}_label.png       a whole mask, by the word behind it
    {i}_hair.png  image_{i}_hair.png        the mask of class hair
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.inputs.numbers import LABEL_STUDIO, PICTURE_WORDS, split_name, stem_of
from pipeline.settings.file_names import is_hidden

MASK_WORDS = frozenset(
    {
        *("mask", "masks", "label", "labels", "labelid", "labelids", "labeltrainids", "trainids"),
        *("seg", "segm", "segmentation", "segmentations", "semantic", "annotation", "annotations", "anno"),
        *("gt", "groundtruth", "gtfine", "gtcoarse"),
    }
)
_LATENT_WORDS = frozenset(("latent", "latents", "dlatent", "dlatents", "w", "ws", "z", "projected"))
_WORDS = re.compile(r"[^\W\d_]+")
_SIZE = re.compile(r"[\W_]*[0-9]+(?:x[0-9]+)?[\W_]*", re.IGNORECASE)  # _512x512
_EXTENT = re.compile(r"[\W_][0-9]+x[0-9]+(?![^\W_])", re.IGNORECASE)  # the same before another word
_CLASS = re.compile(r"[\W_]?(.*?[^\W\d_].*)", re.DOTALL)  # has a letter


@dataclass(frozen=True)
class MaskName:
    """A numbered file. says_mask, says_picture: by a word in the name. label: the class, or None of a whole
    mask or picture.
    """

    path: Path
    number: int
    says_mask: bool
    says_picture: bool
    label: str | None

    @property
    def is_png(self) -> bool:
        return self.path.suffix.lower() == ".png"


def parse_name(path: Path) -> MaskName | None:
    """What the name of a file says; None where it has no number, or says that the file holds latents."""
    parts = split_name(path.name)
    if parts is None or is_hidden(path.name):
        return None
    before = [word.casefold() for word in _WORDS.findall(parts.before)]
    words = {*before, *_WORDS.findall(parts.after.casefold())}
    if path.suffix.lower() != ".png" and _LATENT_WORDS & words:
        return None
    says_mask = bool(MASK_WORDS & set(before))
    label = class_of(parts.after)
    if label is None and _WORDS.search(parts.after) and not _SIZE.fullmatch(parts.after):
        says_mask = True
    says_picture = not says_mask and bool(before) and before[-1] in PICTURE_WORDS
    return MaskName(path, parts.number, says_mask, says_picture, label)


def class_of(after: str) -> str | None:
    """The class in what stands behind the number; None where that is nothing, a size, or says a whole mask.

    A word for masks around it is no part of it: ``_hair_mask`` is hair.
    """
    after = _EXTENT.sub("", after)
    if _SIZE.fullmatch(after):
        return None
    match = _CLASS.fullmatch(after)
    words = [word.casefold() for word in _WORDS.findall(after)]
    if match is None or all(word in MASK_WORDS for word in words):
        return None
    text = match[1]
    ends = "|".join(sorted(MASK_WORDS, key=len, reverse=True))
    text = re.sub(rf"[\W_]+(?:{ends})\Z", "", text, flags=re.IGNORECASE)
    return re.sub(rf"\A(?:{ends})[\W_]+(?=[^\W\d_])", "", text, flags=re.IGNORECASE)


def is_label_studio(name: str) -> bool:
    """Whether a name is one of Label Studio's PNGs, whose numbers are of its tasks and not of pictures."""
    return LABEL_STUDIO.fullmatch(stem_of(name)) is not None
