"""Why photographs and annotations are not paired, in one line each: what was found, and what to do.

It knows names. It opens no file, and pairs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError, count, few, printable
from pipeline.inputs.annotations.formats.mask_files import PICTURES_OR_MASKS, unread_hint
from pipeline.inputs.numbers import natural_order, plain_stem
from pipeline.inputs.picture_names import PictureNames
from pipeline.settings.file_names import is_hidden

WHOLE_MASKS = (".npy", ".png")
"""Files of which each is a whole annotation, so that their order may pair them."""
_PHOTOGRAPHS = (".jpg", ".jpeg", ".webp")  # of two files of one stem these are not the mask


def check_order(pictures: Sequence[str], masks: Sequence[str], where: Path) -> None:
    """Refuse pairs by the order of names, sorted as text, that are others by the numbers in the names.

    Raises UsageError, one line, that names the first picture whose annotation differs.
    """
    by_text = dict(zip(sorted(pictures), sorted(masks), strict=True))
    by_numbers = dict(zip(sorted(pictures, key=natural_order), sorted(masks, key=natural_order), strict=True))
    for picture, mask in by_text.items():
        if by_numbers[picture] != mask:
            raise UsageError(
                f"{where}: by the order of names, as text, {printable(picture)} belongs to "
                f"{printable(mask)}, and by the order of the numbers in them to "
                f"{printable(by_numbers[picture])}; give a picture and its annotation the same name, or "
                "write all numbers with as many digits (009, 010)"
            )


def refuse_twins(files: Sequence[Path]) -> None:
    """Raise UsageError where the pictures of one annotation are several."""
    if len(files) > 1:
        raise UsageError(
            f"{printable(files[1])}: {printable(files[0].name)} in the same folder has the same name or "
            "number, and an annotation of it may be of either; rename one, or take it out of the folder"
        )


def unread_masks(pictures: Sequence[Path], annotations: Path) -> str | None:
    """The message where files are annotations of the pictures but for their formats: those of the pictures'
    names, else all in a folder that has no other masks.
    """
    rule, there = PictureNames([path.name for path in pictures]), names_in(annotations)
    beside = is_same(pictures[0].parent, annotations)
    times = Counter(plain_stem(name) for name in there)

    def is_of_picture(name: str) -> bool:
        stem, suffix = plain_stem(name), Path(name).suffix.lower()
        if not beside:
            return rule.split(f"{stem}.png") is not None
        return rule.around(stem) is not None or (times[stem] > 1 and suffix not in _PHOTOGRAPHS)

    likely = [name for name in there if Path(name).suffix.lower() in PICTURES_OR_MASKS]
    named = [name for name in likely if is_of_picture(name)]
    if not named and not beside and not any(name.lower().endswith(WHOLE_MASKS) for name in there):
        named = likely
    hint = unread_hint(dict(enumerate(named)))
    return None if hint is None else f"{annotations}: {hint}"


def none_paired(pictures: Sequence[Path], annotations: Path) -> str:
    """The message where nothing pairs."""
    names = [path.name for path in pictures]
    if annotations.is_dir():
        beside = is_same(pictures[0].parent, annotations)
        there = few([name for name in names_in(annotations) if not (beside and name in names)], 2)
        holds = f"{annotations}, which holds {there or 'no others'}"
    else:
        holds = f"{annotations}"
    return (
        f"{pictures[0].parent}: none of {count(len(names), 'picture')} ({few(names, 2)}) has an annotation "
        f"in {holds}; expected equal names (cat.jpg, cat.png or cat_mask.png), equal numbers in them, or as "
        "many masks as pictures"
    )


def names_in(folder: Path) -> list[str]:
    """The files of a folder, sorted; none where it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if not is_hidden(path.name) and path.is_file())


def is_same(folder: Path, other: Path) -> bool:
    """Whether both are one folder."""
    return other.is_dir() and other.samefile(folder)
