"""Finds the files of a folder that hold one latent for each image, and the image's number in their names.

It knows the names of files and folders. It opens none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.inputs.arrays import SUFFIXES
from pipeline.inputs.numbers import image_number
from pipeline.settings.file_names import check_entries, is_hidden

EXPECTED = "files latents_image_{i}.npy (or .npz, .pt), or folders {i}/projected_w.npz"
_LATENT = re.compile(
    r"(?:.*[^a-z])?(?:d?latents?|projected|inver(?:ted|sion)|w|ws|z|w_?plus)(?:[^a-z].*)?", re.IGNORECASE
)
_OTHER = re.compile(
    r"(?:.*[^a-z])?(?:avg|average|mean|masks?|labels?|noise|stylegan\d?)(?:[^a-z].*)?", re.IGNORECASE
)


def numbered_files(folder: Path) -> dict[int, Path]:
    """The file of each image's latent by the image's number, ascending.

    They are the files whose names say that they hold latents, as ``latents_image_3.npy``; without any, all
    arrays but averages and masks, as ``3.npy``; without any of these, the one such file in each folder of a
    number, as ``00003/projected_w.npz``. Raises UsageError where there is none, or two have one number.
    """
    check_entries(folder)
    inside = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    arrays = [path for path in inside if _is_array(path)]
    numbered = [path for path in arrays if image_number(path.name) is not None]
    files = _chosen(numbered)
    if files:
        return _by_number((path, path.name) for path in files)
    folders = [path for path in inside if path.is_dir()]
    inner = [
        (path, _chosen([file for file in sorted(path.iterdir()) if _is_array(file)])) for path in folders
    ]
    found = [(files[0], path.name) for path, files in inner if len(files) == 1]
    found = [pair for pair in found if image_number(pair[1]) is not None]
    if not found:
        without = f"; {arrays[0].name} has no number in its name" if arrays else ""
        raise UsageError(f"{folder}: a folder without latents{without}; expected {EXPECTED}, one an image")
    several = next((path for path, files in inner if len(files) > 1), None)
    if several is not None:
        raise UsageError(
            f"{several}: holds several arrays of latents; expected one for each image, {EXPECTED}"
        )
    return _by_number(found)


def _is_array(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file() and not is_hidden(path.name)


def _chosen(paths: list[Path]) -> list[Path]:
    """Those whose names say latents; else those that do not say anything else."""
    others = [path for path in paths if not _OTHER.fullmatch(path.stem)]
    return [path for path in others if _LATENT.fullmatch(path.stem)] or others


def _by_number(named: Iterable[tuple[Path, str]]) -> dict[int, Path]:
    files: dict[int, Path] = {}
    for path, name in named:
        number = image_number(name)
        assert number is not None
        if number in files:
            raise UsageError(
                f"{path}: {files[number].name} beside it is the latent of image {number} too; keep one"
            )
        files[number] = path
    return dict(sorted(files.items()))
