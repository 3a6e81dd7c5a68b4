"""Decides which array of a file's content is meant, and which image each entry of a collection is of.

A projector saves a dict from each picture's name to what it found, in whatever order the pictures came. The
number in the name says which image an entry is of; its place says nothing. This module knows arrays, dicts
and lists. It opens no file.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import short
from pipeline.inputs.numbers import image_number
from pipeline.models.latent_shapes import one_latent_shape

MAX_ARRAY_BYTES = 2**31
"""Of what is read from one file: 10,000 W+ latents of 18 x 512 in float64 are a third of it."""
NUMBER_NAMES = frozenset(
    {"seed", "seeds", "index", "indices", "idx", "ids", "number", "numbers", "image_numbers", "image_ids"}
)
"""What programs call an array of the images' numbers that stands beside one of latents."""
_NAMES = re.compile(
    r"(?<!class_)(?<!class)(name|file|path|image|img|picture|pic|photo|frame|stem|fn|seed|key|id)s?\Z",
    re.IGNORECASE,
)
"""How programs call a list of the images' names that stands beside an array of latents."""

Choose = Callable[[list[str]], str | None]
"""Picks one of the names of a file's arrays; None where it cannot decide."""


class Leaf(ABC):
    """An array in a file, not read yet."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """As the file states it."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """The dtype's kind, as NumPy calls it: "f" of floating-point numbers."""

    @abstractmethod
    def array(self) -> NDArray[Any]:
        """The array itself. Raises an error of the container where it is damaged."""


@dataclass(frozen=True)
class FoundArray:
    """An array, its name in the file where it has one, and the numbers of its images where the file says
    them.
    """

    values: NDArray[Any]
    name: str | None = None
    numbers: tuple[int, ...] | None = None


def the_only_one(names: list[str]) -> str | None:
    """The name where there is one alone."""
    return names[0] if len(names) == 1 else None


def find_array(content: Any, choose: Choose, *, numbered: bool) -> FoundArray:
    """The array in `content`: a `Leaf`, or a dict or list of such things.

    Of a dict's arrays, and of what holds arrays in it, ``choose`` picks one. With ``numbered``, a dict of
    equal arrays or of dicts with one each, and a list of pairs (name, array) or of dicts that hold a name or
    a number, is one array of an entry for each image, in the order of the numbers; and names or numbers that
    stand beside an array say its images'. A list of arrays is one array in its own order. Raises ValueError
    where it is not clear which array is meant, or a name has no number or that of another.
    """
    return _Finder(choose, numbered).found(content)


@dataclass(frozen=True)
class _Finder:
    """What a search for an array knows besides the content."""

    choose: Choose
    numbered: bool

    def found(self, content: Any) -> FoundArray:
        if isinstance(content, Leaf):
            return FoundArray(content.array())
        if isinstance(content, Mapping):
            return self._in_dict(content)
        if isinstance(content, Sequence) and content and not isinstance(content, (str, bytes)):
            return self._in_list(content)
        raise ValueError(f"found a {type(content).__name__} without arrays")

    def _in_dict(self, content: Mapping[Any, Any]) -> FoundArray:
        arrays = {str(key): value for key, value in content.items() if isinstance(value, Leaf)}
        inner = {str(key): value for key, value in content.items() if _holds_arrays(value)}
        name = self.choose([*arrays, *inner])
        if name in inner:
            return self._of_dicts({name: inner[name]})
        if inner and not arrays and self.numbered:
            return self._of_dicts(inner)
        name = name or self.choose(list(arrays))
        if name is not None:
            found = FoundArray(arrays[name].array(), name)
            return self._with_numbers(found, content)
        if self.numbered and _are_equal(arrays):
            return _by_number([(name, FoundArray(leaf.array())) for name, leaf in arrays.items()])
        if not arrays:
            raise ValueError("found a dict without arrays")
        shown = ", ".join(short(name) for name in list(arrays)[:8])
        raise ValueError(f"found {len(arrays)} arrays ({shown}), and which to take is not clear")

    def _of_dicts(self, entries: Mapping[str, Any]) -> FoundArray:
        found = [(name, self.found(value)) for name, value in entries.items()]
        name, alone = found[0]
        if len(found) == 1 and (alone.numbers is not None or image_number(name) is None):
            return alone  # nothing that could be mixed up
        return _by_number(found)

    def _in_list(self, content: Sequence[Any]) -> FoundArray:
        if not self.numbered:
            return _stacked([self.found(entry) for entry in content])
        if len(content) == 2 and sum(_are_texts(part) for part in content) == 1:  # latents and their names
            names, latents = sorted(content, key=lambda part: not _are_texts(part))
            return self._with_numbers(self.found(latents), {"names": names})
        names = [_name_in(entry) for entry in content]
        unnamed = [place for place, name in enumerate(names) if name is None]
        if len(unnamed) == len(names):
            return _stacked([self.found(entry) for entry in content])
        if unnamed:
            raise ValueError(
                f"entry {unnamed[0]} of its list has no name, and others have one, so it is not clear which "
                "image it is of"
            )
        pairs = zip(names, content, strict=True)
        return _by_number([(str(name), self.found(_without_name(entry))) for name, entry in pairs])

    def _with_numbers(self, found: FoundArray, content: Mapping[Any, Any]) -> FoundArray:
        """The array with the numbers that stand beside it, as names or as integers, if there are as many."""
        if not self.numbered or not found.values.ndim:
            return found
        for key, value in content.items():
            numbers = _numbers_of(str(key), value, len(found.values))
            if numbers is not None:
                return FoundArray(found.values, found.name, numbers)
        return found


def _by_number(entries: Sequence[tuple[str, FoundArray]]) -> FoundArray:
    """The arrays of named images as one, in the order of the numbers in the names."""
    if any(found.numbers is not None for _, found in entries):
        raise ValueError("it holds collections of arrays in a collection")
    numbers = _checked_numbers([name for name, _ in entries])
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    stacked = _stacked([entries[place][1] for place in order])
    return FoundArray(stacked.values, stacked.name, tuple(numbers[place] for place in order))


def _checked_numbers(names: Sequence[str]) -> list[int]:
    numbers: dict[int, str] = {}
    for name in names:
        number = image_number(name)
        if number is None:
            raise ValueError(
                f"the key {short(name)} has no number, so it is not clear which image it is of; expected "
                "one in each of the keys, as in 'image_3.png'"
            )
        if number in numbers:
            raise ValueError(
                f"the keys {short(numbers[number])} and {short(name)} have the same number, {number}; "
                "expected one for each image"
            )
        numbers[number] = name
    return list(numbers)


def _stacked(parts: Sequence[FoundArray]) -> FoundArray:
    """One latent each, (D,) or (L, D) but for axes of length 1, as (N, D) or (N, L, D)."""
    shapes = [one_latent_shape(part.values.shape) for part in parts]
    different = next((shape for shape in shapes if shape != shapes[0]), None)
    if different is not None:
        raise ValueError(f"found arrays of different shapes, {shapes[0]} and {different}")
    names = {part.name for part in parts}
    if len(names) > 1:
        first, second = sorted(map(str, names))[:2]
        raise ValueError(f"found arrays {short(first)} in some entries and {short(second)} in others")
    if sum(part.values.nbytes for part in parts) > MAX_ARRAY_BYTES:
        raise ValueError(f"found arrays of over {MAX_ARRAY_BYTES} bytes")
    values = np.stack([part.values.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])
    return FoundArray(values, parts[0].name)


def _are_equal(arrays: Mapping[str, Leaf]) -> bool:
    """Whether these are one latent each, of one shape, and some have a number in their name."""
    kinds = {(leaf.shape, leaf.kind) for leaf in arrays.values()}
    if len(kinds) != 1 or not any(image_number(name) is not None for name in arrays):
        return False
    ((shape, kind),) = kinds
    num_large = sum(side > 1 for side in shape)
    return kind == "f" and 1 <= num_large <= 2


def _numbers_of(key: str, value: Any, count: int) -> tuple[int, ...] | None:
    """The images' numbers that `count` names, or integers under a name of `NUMBER_NAMES`, say; else None.

    Raises ValueError where Python objects stand in their place, as in a column of pandas.
    """
    if isinstance(value, Leaf):
        are_names, are_numbers = _NAMES.search(key) is not None, key.lower() in NUMBER_NAMES
        if value.kind == "O" and value.shape == (count,) and (are_names or are_numbers):
            way_out = "text, names.astype(str)" if are_names else "whole numbers, numbers.astype(int)"
            raise ValueError(
                f"what is under {short(key)} are Python objects, which are not read, so it is not clear "
                f"which image each is of; save it as {way_out}"
            )
        wanted = value.kind in "US" or (value.kind in "iu" and key.lower() in NUMBER_NAMES)
        value = value.array().tolist() if wanted and value.shape == (count,) else None
    if not isinstance(value, (list, tuple)) or len(value) != count:
        return None
    value = [each.decode(errors="replace") if isinstance(each, bytes) else each for each in value]
    if all(isinstance(each, str) for each in value):
        if _NAMES.search(key) is None:
            return None
        are_numbered = any(image_number(each) is not None for each in value)
        return tuple(_checked_numbers(value)) if are_numbered else None
    if key.lower() not in NUMBER_NAMES or not all(type(each) is int and each >= 0 for each in value):
        return None
    if len(set(value)) < count:
        raise ValueError(f"the numbers under {short(key)} are not all different; expected one an image")
    return tuple(value)


def _name_in(entry: Any) -> str | None:
    """The name or number in a pair with an array, or of the image in a dict; None where there is none.

    Raises ValueError for a dict with several texts of which it is not clear which one names the image.
    """
    if isinstance(entry, Mapping):
        return _name_in_dict(entry)
    if not isinstance(entry, (list, tuple)) or len(entry) != 2:
        return None
    names = [str(each) for each in entry if isinstance(each, str) or type(each) is int]
    return names[0] if len(names) == 1 else None


def _name_in_dict(entry: Mapping[Any, Any]) -> str | None:
    texts = {str(key): value for key, value in entry.items() if isinstance(value, str)}
    named = {key: text for key, text in texts.items() if _NAMES.search(key)} or texts
    numbers = {image_number(text) for text in named.values()} - {None}
    if len(numbers) > 1:
        first, second = list(named)[:2]
        raise ValueError(
            f"an entry of its list has a text under {short(first)} and one under {short(second)}, and which "
            "names the image is not clear"
        )
    if not numbers:
        known = [_whole(value) for key, value in entry.items() if str(key).lower() in NUMBER_NAMES]
        known = [number for number in known if number is not None]
        if len(known) == 1:
            return str(known[0])
    fitting = [text for text in named.values() if image_number(text) in (numbers or {None})]
    return fitting[0] if fitting else None


def _whole(value: Any) -> int | None:
    """A number of an image, which may be stored as an array of one."""
    if isinstance(value, Leaf) and value.kind in "iu" and set(value.shape) <= {1}:
        return int(value.array().reshape(())[()])
    return value if type(value) is int else None


def _without_name(entry: Any) -> Any:
    if isinstance(entry, Mapping):
        known = {key for key in entry if str(key).lower() in NUMBER_NAMES}
        return {k: value for k, value in entry.items() if not isinstance(value, str) and k not in known}
    return next(each for each in entry if not isinstance(each, str) and type(each) is not int)


def _are_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(each, str) for each in value)


def _holds_arrays(value: Any) -> bool:
    """Whether a dict or list has an array somewhere in it."""
    if isinstance(value, Mapping):
        return any(isinstance(each, Leaf) or _holds_arrays(each) for each in value.values())
    is_list = isinstance(value, (list, tuple))
    return is_list and any(isinstance(each, Leaf) or _holds_arrays(each) for each in value)
