"""The rule that says which picture an annotation is of by the picture's name, not by a number in it.

Photographs' names may have no number, or numbers that mean something else.

A picture's stem is its name without the suffix that says its format. An annotation is of the picture

1. of the same stem (``COCO_val2014_000000123.jpg``, ``COCO_val2014_000000123.png``);
2. whose stem its own begins with, if it is a ``.png`` or ``.npy``: ``cat_mask.png`` is the mask of
   ``cat.jpg``, and ``cat_left eye.png`` the mask of one of its classes. What follows has a letter, and begins
   with neither a letter nor a digit; of several stems the longest counts;
3. whose stem its own ends with, if a word for masks stands before: ``mask_cat.png``.

Stems also count without what Roboflow adds, and a picture's without a last word that says that it is a
picture (``_leftImg8bit``), where that is clear. Knows names alone, and opens no file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from pipeline.inputs.annotations.formats.file_names import MASK_WORDS
from pipeline.inputs.numbers import PICTURE_WORDS, NumberedName, plain_stem, stem_of

_MASKS = (".png", ".npy")
_PICTURE_WORD = re.compile(
    rf"[\W_]+(?:{'|'.join(sorted(PICTURE_WORDS))}|leftimg8bit|rgb|color)\Z", re.IGNORECASE
)
_WORDS = "|".join(sorted(MASK_WORDS, key=len, reverse=True))
_MASK_WORD = re.compile(rf"(?:(?:{_WORDS})[\W_]+)+", re.IGNORECASE)
_SEPARATOR = re.compile(r"[\W_]")
_LETTER = re.compile(r"[^\W\d_]")


class PictureNames:
    """A rule for `pipeline.inputs.numbers.names_say`: the number of an annotation is the place of its picture
    in ``names``. A class, because names that a list has besides get numbers of their own, from the number of
    pictures on.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._places: dict[str, int] = {}
        self._num_pictures = len(names)
        self._others: dict[str, int] = {}
        for form in (plain_stem, stem_of, _without_picture_word):
            self._add(names, form)

    def _add(self, names: Sequence[str], form: Callable[[str], str]) -> None:
        """Forms that two names share tell neither."""
        forms = [form(name) for name in names]
        times = Counter(forms)
        for place, text in enumerate(forms):
            if times[text] == 1:
                self._places.setdefault(text, place)

    def split(self, name: str) -> NumberedName | None:
        """The place of the picture that a file is of, and the text before and after the picture's stem."""
        place = self._exact(name)
        if place is not None:
            return NumberedName("", place, "")
        if not name.lower().endswith(_MASKS):
            return None
        found = (self.around(text) for text in (plain_stem(name), stem_of(name)))
        return next((parts for parts in found if parts is not None), None)

    def listed(self, name: str) -> int:
        """The place of the picture that has this name; another number where none has."""
        place = self._exact(name)
        if place is not None:
            return place
        return self._others.setdefault(name, self._num_pictures + len(self._others))

    def _exact(self, name: str) -> int | None:
        for text in (plain_stem(name), stem_of(name)):
            if text in self._places:
                return self._places[text]
        return None

    def around(self, text: str) -> NumberedName | None:
        """The parts of a stem that begins or ends with a picture's; None also where it is a picture's."""
        for cut in reversed([match.start() for match in _SEPARATOR.finditer(text)]):
            place = self._places.get(text[:cut])
            if place is not None and _LETTER.search(text[cut:]):
                return NumberedName("", place, text[cut:])
        words = _MASK_WORD.match(text)
        place = None if words is None else self._places.get(text[words.end() :])
        return None if words is None or place is None else NumberedName(words[0], place, "")


def _without_picture_word(name: str) -> str:
    return _PICTURE_WORD.sub("", stem_of(name))
