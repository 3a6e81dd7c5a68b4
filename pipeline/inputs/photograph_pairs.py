"""Says which annotation is of which photograph: by equal names, else by the numbers in the names, else, where
there are as many of both, by the order of their names.

It knows names, and how annotations are opened. It does not know what they hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pipeline.errors import UsageError, count, few
from pipeline.inputs.annotations.formats.detect import NoAnnotations
from pipeline.inputs.annotations.formats.file_names import MASK_WORDS
from pipeline.inputs.annotations.raster.png import is_rgb
from pipeline.inputs.numbers import image_number, names_say, plain_stem
from pipeline.inputs.picture_names import PictureNames

BY_NAME, BY_NUMBER, BY_ORDER = "name", "number", "order"
WHOLE_MASKS = (".npy", ".png")
"""Files of which each is a whole annotation, so that their order may pair them."""

T = TypeVar("T")


@dataclass(frozen=True)
class Opened(Generic[T]):
    """Annotations that were opened. files: image number -> the file in ``location``, or the entry of a file,
    that annotates it.
    """

    value: T
    location: Path
    files: Mapping[int, str]


@dataclass(frozen=True)
class Pairs(Generic[T]):
    """Photographs that are annotated, in the order of their names, and the number of each in the annotations.

    how: by name, number or order. notes: lines for the user.
    """

    opened: Opened[T]
    pictures: tuple[Path, ...]
    numbers: tuple[int, ...]
    how: str
    notes: tuple[str, ...] = ()


def pair_pictures(
    pictures: Sequence[Path], annotations: Path, open_them: Callable[[], Opened[T]]
) -> Pairs[T]:
    """Which annotation each of ``pictures``, the files of one folder, has.

    ``annotations`` is a folder or a file, and may be the pictures' folder. ``open_them`` opens it, and asks
    `pipeline.inputs.numbers` for the number of each name. Raises UsageError, one line, where two pictures
    have one name, where none is annotated, and what ``open_them`` raises.
    """
    try:
        pairs = _by_name(pictures, annotations, open_them)
    except NoAnnotations:
        pairs = None
    except UsageError:  # names may look odd to it whose numbers are plain
        pairs = _unless_refused(lambda: _by_number(pictures, open_them))
        if pairs is None:
            raise
    pairs = pairs or _by_number(pictures, open_them) or _by_order(pictures, annotations, open_them)
    if pairs is None:
        raise UsageError(_none_paired(pictures, annotations))
    return pairs


def _by_name(
    pictures: Sequence[Path], annotations: Path, open_them: Callable[[], Opened[T]]
) -> Pairs[T] | None:
    """Pairs by names; None where no name is common."""
    beside = _is_same(pictures[0].parent, annotations)
    groups = _by_stem(pictures, beside)
    rule = PictureNames([f"{stem}.png" for stem in groups])
    with names_say(rule):
        opened = open_them()
    taken = _taken(opened, pictures)
    found: dict[int, Path] = {}
    bare: list[str] = []
    for place, files in enumerate(groups.values()):
        left = [path for path in files if path not in taken]
        _refuse_twins(left)
        if left and place in opened.files:
            found[place] = left[0]
        bare += [path.name for path in left if place not in opened.files]
    if not found:
        return None
    lone = [text for number, text in opened.files.items() if number not in found]
    masks = _without_picture(opened.location, rule) if not beside else []
    return _pairs(opened, found, BY_NAME, bare, [*lone, *masks])


def _by_stem(pictures: Sequence[Path], beside: bool) -> dict[str, list[Path]]:
    """Stem -> the pictures of it. ``beside``: masks may be among them, which are of another's stem."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in pictures:
        groups[plain_stem(path.name)].append(path)
    if not beside:
        return groups
    rule = PictureNames(list(groups))

    def is_mask(stem: str) -> bool:
        parts = rule.around(stem)
        if parts is None:
            return False
        words = {word.casefold() for word in (parts.before + parts.after).replace("-", "_").split("_")}
        return bool(words & MASK_WORDS) or not any(is_rgb(path) for path in groups[stem] if _is_png(path))

    return {stem: files for stem, files in groups.items() if not (_all_png(files) and is_mask(stem))}


def _by_number(pictures: Sequence[Path], open_them: Callable[[], Opened[T]]) -> Pairs[T] | None:
    """Pairs by the numbers in names; None where no number is common."""
    try:
        opened = open_them()
    except NoAnnotations:
        return None
    taken = _taken(opened, pictures)
    named: dict[int, list[Path]] = defaultdict(list)
    bare: list[str] = []
    for path in pictures:
        number = image_number(path.name)
        if path in taken:
            continue
        if number in opened.files and number is not None:
            named[number].append(path)
        else:
            bare.append(path.name)
    for files in named.values():
        _refuse_twins(files)
    if not named:
        return None
    lone = [text for number, text in opened.files.items() if number not in named]
    return _pairs(opened, {number: files[0] for number, files in named.items()}, BY_NUMBER, bare, lone)


def _by_order(
    pictures: Sequence[Path], annotations: Path, open_them: Callable[[], Opened[T]]
) -> Pairs[T] | None:
    """Pairs by the order of names, where a folder has as many whole masks of one kind as pictures."""
    names = _names_in(annotations)
    if _is_same(pictures[0].parent, annotations):
        names = sorted(set(names) - {path.name for path in pictures})
    for suffix in WHOLE_MASKS:
        masks = [name for name in names if name.lower().endswith(suffix)]
        if len(masks) != len(pictures):
            continue
        with names_say(PictureNames(masks)):
            opened = open_them()
        if len(opened.files) == len(masks) == len(set(opened.files) & set(range(len(masks)))):
            note = (
                f"{annotations}: names and numbers pair nothing: the {len(masks)} pictures and annotations "
                f"are paired by the order of their names, {pictures[0].name} with {masks[0]} to "
                f"{pictures[-1].name} with {masks[-1]}"
            )
            numbers = tuple(range(len(masks)))
            return Pairs(opened, tuple(pictures), numbers, BY_ORDER, (note,))
    return None


def _pairs(
    opened: Opened[T], found: Mapping[int, Path], how: str, bare: Sequence[str], lone: Sequence[str]
) -> Pairs[T]:
    """The pairs in the order of the pictures, with notes on what is left over."""
    rows = sorted(found.items(), key=lambda row: row[1].name)
    folder, notes = rows[0][1].parent, []
    if bare:
        notes.append(
            f"{folder}: {count(len(bare), 'picture')} of {len(bare) + len(rows)} without an annotation, left "
            f"out: {few(bare)}"
        )
    if lone:
        notes.append(
            f"{opened.location}: {count(len(lone), 'annotation')} without a picture in {folder}, left out: "
            f"{few(lone)}"
        )
    return Pairs(
        opened, tuple(path for _, path in rows), tuple(number for number, _ in rows), how, tuple(notes)
    )


def _taken(opened: Opened[T], pictures: Sequence[Path]) -> set[Path]:
    """The pictures that are annotations."""
    folder = pictures[0].parent
    begins = next((begin for begin in ("", folder.name) if _is_same(folder, opened.location / begin)), None)
    if begins is None:
        return set()
    names = {Path(text) for text in opened.files.values()}
    return {path for path in pictures if Path(begins, path.name) in names}


def _is_same(folder: Path, other: Path) -> bool:
    return other.is_dir() and other.samefile(folder)


def _without_picture(folder: Path, rule: PictureNames) -> list[str]:
    """The masks in a folder, by their suffixes, that are of no picture."""
    return [
        name for name in _names_in(folder) if name.lower().endswith(WHOLE_MASKS) and rule.split(name) is None
    ]


def _names_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _all_png(files: Sequence[Path]) -> bool:
    return all(_is_png(path) for path in files)


def _refuse_twins(files: Sequence[Path]) -> None:
    if len(files) > 1:
        raise UsageError(
            f"{files[1]}: {files[0].name} in the same folder has the same name or number, and an annotation "
            "of it may be of either; rename one, or take it out of the folder"
        )


def _unless_refused(open_them: Callable[[], Pairs[T] | None]) -> Pairs[T] | None:
    try:
        return open_them()
    except UsageError:
        return None


def _none_paired(pictures: Sequence[Path], annotations: Path) -> str:
    """The message where nothing pairs."""
    names = [path.name for path in pictures]
    if annotations.is_dir():
        beside = _is_same(pictures[0].parent, annotations)
        there = few([name for name in _names_in(annotations) if not (beside and name in names)], 2)
        holds = f"{annotations}, which holds {there or 'no others'}"
    else:
        holds = f"{annotations}"
    return (
        f"{pictures[0].parent}: none of {count(len(names), 'picture')} ({few(names, 2)}) has an annotation "
        f"in {holds}; expected equal names (cat.jpg, cat.png or cat_mask.png), equal numbers in them, or as "
        "many masks as pictures"
    )
