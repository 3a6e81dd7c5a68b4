"""The one rule that says which image a file is of: the number in its name.

Masks, pictures, latents, LabelMe and COCO files all follow it. It knows names alone, and opens no file.

A stem (the name without its suffixes) is split into words at everything that is neither a letter nor a digit.
A word has a number if it is digits, or letters and then digits: ``3``, ``seed0003``, but not ``512x512`` nor
``8f3a``. Of several numbers in a stem the image's is

1. the last one that a word for pictures stands before, else the last that a word for masks or latents does:
   ``abcd1234-image_3_512.png`` is image 3, and so is ``image_mask3.png``;
2. else the one that the stem begins with, if a word without a number follows: ``00000_hair2.png`` is image 0;
3. else the last one: ``faces2_0003.png`` is image 3.

What programs add to a name is no part of the stem: a second suffix (``image_3.jpg.json``), the hash of
Roboflow (``image_3_png.rf.0a1b2c.png``), and the mark of a copy (``image_3 (1).png``,
``image_3 - Copy.png``), unless it has the only number.

Photographs have names of any kind. Within `names_say` another rule says which image a name is of, for all who
ask here (`pipeline.inputs.picture_names` has that rule).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

PICTURE_WORDS = frozenset(
    ("image", "images", "img", "imgs", "picture", "pic", "photo", "frame", "seed", "sample")
)
OTHER_WORDS = frozenset(("mask", "masks", "label", "labels", "annotation", "latent", "latents"))
MAX_LENGTH = 255  # of a file's name, as file systems have it; a COCO file may say more
_SUFFIX = re.compile(
    r"\.(?:png|jpe?g|bmp|webp|tiff?|gif|json|npy|npz|pth?|txt|xml|mat|toml)\Z", re.IGNORECASE
)
_ROBOFLOW = re.compile(r"_(?:png|jpe?g|bmp|webp|tiff?)\.rf\.[^\W_]*", re.IGNORECASE)
_COPY = re.compile(r"(?:[\s-]*\bcopy(?:\s*[0-9]+)?)?(?:\s*\([0-9]+\))?\Z", re.IGNORECASE)
_GLUED = re.compile(r"(?<=[0-9])(?=(?:mask|label|seg)s?(?![^\W_]))", re.IGNORECASE)  # 0mask
_WORD = re.compile(r"[^\W_]+")
_NUMBERED = re.compile(r"([^\W\d_]*)([0-9]{1,9})")
# Label Studio's PNGs: the numbers are of its database, and none is the picture's.
LABEL_STUDIO = re.compile(r"task-[0-9]+-annotation-[0-9]+-.*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class NumberedName:
    """A stem in three parts: the image's number, and the text before and after its digits."""

    before: str
    number: int
    after: str


class NameRule(Protocol):
    """Another rule than that of numbers in names."""

    def split(self, name: str) -> NumberedName | None:
        """The parts of a name of one of the rule's images; None for other names."""
        ...

    def listed(self, name: str) -> int:
        """The number of any name: of one that is of none of the images, a number that is no image's."""
        ...


_RULE: ContextVar[NameRule | None] = ContextVar("which image a name is of", default=None)


@contextmanager
def names_say(rule: NameRule) -> Iterator[None]:
    """A block in which ``rule`` says which image a name is of, and not the number in it."""
    before = _RULE.set(rule)
    try:
        yield
    finally:
        _RULE.reset(before)


def names_have_numbers() -> bool:
    """Whether the numbers in names count, as they do outside `names_say`."""
    return _RULE.get() is None


def image_number(name: str) -> int | None:
    """The number of the image that a file is of, from its name or path; None where the name has none.

    Numbers have at most nine digits; a longer run of digits, such as a time stamp, is no number.
    """
    found = split_name(name)
    return None if found is None else found.number


def listed_number(name: str) -> int | None:
    """``image_number`` of an entry of a list, such as a COCO file's, which may list more images than there
    are: where not the numbers in names count, every name has a number.
    """
    rule = _RULE.get()
    return image_number(name) if rule is None else rule.listed(name)


def split_name(name: str) -> NumberedName | None:
    """The parts of a file's name, or of a path's last part; None where it has no number of an image."""
    rule = _RULE.get()
    if rule is not None:
        return rule.split(name)
    stem = stem_of(name)
    if LABEL_STUDIO.fullmatch(stem):
        return None
    return _split(_COPY.sub("", stem)) or _split(stem)


def stem_of(name: str) -> str:
    """The last part of a path, without the suffixes that say a format, and without Roboflow's hash."""
    stem = _ROBOFLOW.sub("", re.split(r"[/\\]", name)[-1][-MAX_LENGTH:])
    while _SUFFIX.search(stem):
        stem = _SUFFIX.sub("", stem)
    return stem


def plain_stem(name: str) -> str:
    """The last part of a path without its last suffix that says a format, and nothing else left out."""
    return _SUFFIX.sub("", re.split(r"[/\\]", name)[-1][-MAX_LENGTH:])


def _split(stem: str) -> NumberedName | None:
    stem = _GLUED.sub("_", stem)
    words = list(_WORD.finditer(stem))
    matches = [_NUMBERED.fullmatch(word[0]) for word in words]
    numbered = [place for place, match in enumerate(matches) if match]
    if not numbered:
        return None
    named = [
        place
        for known in (OTHER_WORDS, PICTURE_WORDS)
        for place in numbered
        if _word_before(words, matches, place) in known
    ]
    first = matches[0]
    leads = first is not None and not first[1] and len(words) > 1 and matches[1] is None
    place = named[-1] if named else 0 if leads else numbered[-1]
    match, end = matches[place], words[place].end()
    assert match is not None
    return NumberedName(stem[: end - len(match[2])], int(match[2]), stem[end:])


def _word_before(words: list[re.Match[str]], matches: list[re.Match[str] | None], place: int) -> str:
    """The letters that a number stands after: those of its own word, else the word before."""
    match = matches[place]
    assert match is not None
    if match[1] or not place:
        return match[1].casefold()
    return words[place - 1][0].casefold()
