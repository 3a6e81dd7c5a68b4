"""Places that no run can write to or read a store from, refused before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UsageError
from pipeline.settings.file_names import check_names


def check_folder(path: Path | str) -> None:
    """Refuse a place to write to that is a link to nowhere, or lies behind one, in a file or in a store.

    Raises UsageError.
    """
    _check_way(path)
    for folder in Path(path).resolve().parents:
        if (folder / "zarr.json").is_file():
            raise UsageError(f"{path}: lies in the store {folder}; name a place outside of it")


def _check_way(path: Path | str) -> None:
    """Refuse a link to nowhere, what lies behind one or in a file, and a name that no file can have.

    Raises UsageError.
    """
    check_names(path)
    place = Path(path)
    for folder in (place, *place.parents):
        if folder.is_symlink() and not folder.exists():
            raise UsageError(
                f"{path}: {folder} is a link to {folder.readlink()}, which does not exist; mend or "
                "remove the link"
            )
        if folder is not place and folder.exists() and not folder.is_dir():
            raise UsageError(f"{path}: {folder} is a file; expected a folder, name another place")


def check_store(store: str) -> None:
    """Refuse a place of a store that a command cannot use. Raises UsageError."""
    if store.lower().startswith("memory://"):
        from fstore.urls import shown

        raise UsageError(
            f"{shown(store)}: lies in the memory of one process and ends with it; expected a "
            "folder, or a URL that lasts"
        )
    if "://" not in store:
        _check_way(store)
