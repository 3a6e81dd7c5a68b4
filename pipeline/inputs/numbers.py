"""The one rule that says which image a file is of: the number in its name.

Masks, pictures, latents, LabelMe and COCO files all follow it. It knows names alone, and opens no file.

A stem (the name without its suffixes) is split into words at everything that is neither a letter nor a digit.
A word has a number if it is digits, or letters and then digits: ``3``, ``seed0003``, but not ``512x512`` nor
``8f3a``. Of several numbers in a stem the image's is

1. the last one that a word of ``WORDS`` stands before: ``abcd1234-image_3_512.png`` is image 3;
2. else the one that the stem begins with, if a word without a number follows: ``00000_hair2.png`` is image 0;
3. else the last one: ``faces2_0003.png`` is image 3.

What programs add to a name is no part of the stem: a second suffix (``image_3.jpg.json``), the hash of
Roboflow (``image_3_png.rf.0a1b2c.png``), and the mark of a copy (``image_3 (1).png``,
``image_3 - Copy.png``), unless it has the only number.
"""

from __future__ import annotations

import re

WORDS = frozenset(
    {
        *("image", "images", "img", "imgs", "picture", "pic", "photo", "frame", "seed", "sample"),
        *("mask", "masks", "label", "labels", "annotation", "latent", "latents"),
    }
)
MAX_LENGTH = 255  # of a file's name, as file systems have it; a COCO file may say more
MASK_WORDS = r"(?:masks?|labels?|seg|segm|segmentations?)"
_SUFFIX = re.compile(
    r"\.(?:png|jpe?g|bmp|webp|tiff?|gif|json|npy|npz|pth?|txt|xml|mat|toml)\Z", re.IGNORECASE
)
_ROBOFLOW = re.compile(r"_(?:png|jpe?g|bmp|webp|tiff?)\.rf\..*", re.IGNORECASE | re.DOTALL)
_COPY = re.compile(r"(?:[\s-]*\bcopy(?:\s*[0-9]+)?)?(?:\s*\([0-9]+\))?\Z", re.IGNORECASE)
_GLUED = re.compile(rf"(?<=[0-9])(?={MASK_WORDS}(?![^\W_]))", re.IGNORECASE)  # 0mask
_WORD = re.compile(r"[^\W_]+")
_NUMBERED = re.compile(r"([^\W\d_]*)([0-9]{1,9})")
# Label Studio's PNGs: the numbers are of its database, and none is the picture's.
_LABEL_STUDIO = re.compile(r"task-[0-9]+-annotation-[0-9]+-.*", re.IGNORECASE | re.DOTALL)


def image_number(name: str) -> int | None:
    """The number of the image that a file is of, from its name or path; None where the name has none.

    Numbers have at most nine digits; a longer run of digits, such as a time stamp, is no number.
    """
    stem = stem_of(name)
    if _LABEL_STUDIO.fullmatch(stem):
        return None
    number = _number(_COPY.sub("", stem))
    return _number(stem) if number is None else number


def stem_of(name: str) -> str:
    """The last part of a path, without the suffixes that say a format, and without Roboflow's hash."""
    stem = _ROBOFLOW.sub("", re.split(r"[/\\]", name)[-1][-MAX_LENGTH:])
    while _SUFFIX.search(stem):
        stem = _SUFFIX.sub("", stem)
    return stem


def _number(stem: str) -> int | None:
    words = _WORD.findall(_GLUED.sub("_", stem))
    matches = [_NUMBERED.fullmatch(word) for word in words]
    numbers = [int(match[2]) for match in matches if match]
    named = [
        int(match[2])
        for place, match in enumerate(matches)
        if match and _word_before(match[1], words, place) in WORDS
    ]
    if named:
        return named[-1]
    if len(words) > 1 and matches[0] and not matches[0][1] and matches[1] is None:
        return numbers[0]
    return numbers[-1] if numbers else None


def _word_before(letters: str, words: list[str], place: int) -> str:
    """The letters that a number stands after: those of its own word, else the word before."""
    if letters or not place:
        return letters.casefold()
    return words[place - 1].casefold()
