"""Finds the pictures that were annotated, by number, and reads them.

It knows file names, and how a picture differs from a mask. It does not know generators, nor how pictures are
compared.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.source import MAX_PIXELS, TOO_LARGE, not_readable
from pipeline.inputs.numbers import OTHER_WORDS, PICTURE_WORDS, image_number, split_name, stem_of
from pipeline.inputs.orientation import upright, upright_size
from pipeline.settings.file_names import check_entries, is_hidden

NAMES = "image_{i}.png, image{i}.jpg or {i}.jpg"
MAX_LOOKED_INTO = 256  # files of other names, for a note
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_PLAIN_WORDS = PICTURE_WORDS | (OTHER_WORDS & {"latent", "latents"})
_GREY_NAME = re.compile(r"image_[0-9]{1,9}\.jpe?g", re.IGNORECASE)  # greyscale PNGs are masks, JPEGs are not
_MASK_WORDS = re.compile(r"mask|label|segm|annot|overlay|[0-9]_[^0-9]+\Z", re.IGNORECASE)  # 0_hair: a class's
_COLOR_MODES = ("RGB", "RGBA", "RGBX")  # a mask has one channel, or is among the annotations' files


@dataclass(frozen=True)
class Pictures:
    """paths: image number -> its picture, of those that have one. note: a line about what was not taken, or
    that there are none; or None.
    """

    paths: Mapping[int, Path]
    note: str | None


def find_pictures(
    images: Path | None,
    annotations: Path,
    numbers: Sequence[int],
    taken: Collection[str] = (),
    latents: Mapping[int, int] | None = None,
) -> Pictures:
    """The pictures of the images ``numbers``.

    Looked for in the folder ``images`` or, if that is None, beside ``annotations`` (a folder or a file), in
    ``images/`` there, and in ``images/`` and VOC's ``JPEGImages/`` beside the folder; and in ``default/`` in
    each ``images/``. Names that say more than ``NAMES`` count only where no picture is named so alone. Files
    named in ``taken`` are annotations. ``latents``: latent's number -> image number, where these are paired
    by position: pictures may have the latents' numbers, as seeds. Raises UsageError, one line, when
    ``images`` is not a folder or holds none.
    """
    if images is not None and not images.is_dir():
        raise UsageError(f"{images}: not a folder; expected the annotated pictures, {NAMES}")
    base = annotations if annotations.is_dir() else annotations.parent
    inner = [base / "images", base / "images" / "default"]
    beside = [base.parent / name for name in ("images", "images/default", "JPEGImages")]
    folders = [base, *inner, *beside] if images is None else [images, images / "default"]
    left: dict[Path, str] = {}
    for folder in folders:
        files = _picture_files(folder, taken if folder == base else ())
        found = _of_numbers(files, numbers, latents or {})
        left |= _left(files, found, numbers, latents or {})
        if found:
            return Pictures(found, _note(left) if len(found) < len(set(numbers)) else None)
    if images is not None:
        there = f"; not taken: {_listed(left)}" if left else ""
        raise UsageError(
            f"{images}: no picture of an annotated image (numbers {min(numbers)} to {max(numbers)}){there}; "
            f"expected {NAMES}, in colour"
        )
    more = f"; not taken: {_listed(left)}, expected {NAMES}" if left else ""
    return Pictures(
        {},
        f"no annotated pictures are found beside {annotations}: latents are not checked (--images DIR names "
        f"them){more}",
    )


def _picture_files(folder: Path, taken: Collection[str]) -> list[Path]:
    try:
        if folder.is_dir():
            check_entries(folder, depth=1)
        files = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError:
        return []
    return [
        path
        for path in files
        if path.suffix.lower() in _SUFFIXES and path.name not in taken and not is_hidden(path.name)
    ]


def _of_numbers(files: Sequence[Path], numbers: Sequence[int], latents: Mapping[int, int]) -> dict[int, Path]:
    """Image number -> picture; by the images' numbers, or by the latents' if these find more."""
    found = _numbered(files, {number: number for number in numbers})
    by_latent = _numbered(files, latents) if latents else {}
    seeds = all(path.name.lower().startswith("seed") for path in by_latent.values())
    return by_latent if len(by_latent) > len(found) or (by_latent and seeds) else found


def _numbered(files: Sequence[Path], images: Mapping[int, int]) -> dict[int, Path]:
    """Number in the name -> image number: image number -> picture. Of names that are not plainly pictures'
    two of one image are left out.
    """
    plain: dict[int, list[Path]] = {}
    loose: dict[int, list[Path]] = {}
    for path in files:
        number = _number(path)
        image = None if number is None else images.get(number)
        if image is not None and _is_picture(path):
            kind = plain if _is_plain(path) else loose
            kind.setdefault(image, []).append(path)
    found = {number: _lossless(paths) for number, paths in plain.items()}
    if not found:
        found = {number: _lossless(paths) for number, paths in loose.items() if _one_stem(paths)}
    return dict(sorted(found.items()))


def _number(path: Path) -> int | None:
    return None if _MASK_WORDS.search(stem_of(path.name)) else image_number(path.name)


def _is_plain(path: Path) -> bool:
    """Whether a name is a number alone, or after a word for pictures: it is no other file's."""
    parts = split_name(path.name)
    if parts is None or parts.after or stem_of(path.name) != path.stem:
        return False
    words = [word.casefold() for word in re.findall(r"[^\W\d_]+", parts.before)]
    return set(words) <= _PLAIN_WORDS and _MASK_WORDS.search(path.stem) is None


def _lossless(paths: Sequence[Path]) -> Path:
    """Of image_3.jpg and image_3.png the latter, which lost nothing."""
    return next((path for path in paths if path.suffix.lower() == ".png"), paths[0])


def _one_stem(paths: Sequence[Path]) -> bool:
    return len({path.stem for path in paths}) == 1


def _left(
    files: Iterable[Path], found: Mapping[int, Path], numbers: Collection[int], latents: Mapping[int, int]
) -> dict[Path, str]:
    """Pictures that were not taken -> why, but those of images that are not annotated, and masks."""
    wanted = set(numbers) | set(latents)
    have = {path.stem for path in found.values()}
    left = {}
    for path in list(files)[:MAX_LOOKED_INTO]:
        plain = _is_plain(path)
        if path.stem in have or (plain and _number(path) not in wanted) or _MASK_WORDS.search(path.stem):
            continue
        mode = _mode(path)
        if mode is None:
            left[path] = "unreadable"
        elif mode in _COLOR_MODES and not plain:
            left[path] = "whose picture?"
    return left


def _listed(left: Mapping[Path, str]) -> str:
    return few([f"{path.name} ({why})" for path, why in left.items()])


def _note(left: Mapping[Path, str]) -> str | None:
    return f"not taken as annotated pictures: {_listed(left)}; expected {NAMES}" if left else None


def _is_picture(path: Path) -> bool:
    mode = _mode(path)
    return mode in _COLOR_MODES or (mode == "L" and _GREY_NAME.fullmatch(path.name) is not None)


def _mode(path: Path) -> str | None:
    """Pillow's mode of a file by its header; None for one that is no picture, or of too many pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return image.mode if image.width * image.height <= MAX_PIXELS else None
    except Exception:  # Pillow raises OSError, SyntaxError, ValueError, struct errors for damage
        return None


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) as the picture is shown, from its header. Raises UsageError, one line, naming the
    file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return upright_size(image)
    except Exception as error:
        raise UsageError(_unreadable(path, error)) from error


def read_reduced(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A picture as it is shown, averaged over boxes to ``size`` (h, w): (h, w, 3) float32 grey levels, 0 to
    255.

    Raises UsageError, one line, naming the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return reduced(np.asarray(upright(image).convert("RGB")), size)
    except Exception as error:
        raise UsageError(_unreadable(path, error)) from error


def reduced(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 -> (h, w, 3) float32, each pixel the mean of its box."""
    small = Image.fromarray(np.ascontiguousarray(picture)).resize((size[1], size[0]), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def _unreadable(path: Path, error: Exception) -> str:
    reason = not_readable(error) or "cannot be read as a picture, or is truncated"
    if isinstance(error, Image.DecompressionBombError):
        reason = TOO_LARGE
    return f"{path}: {reason}; replace it, or pass --no-check"
