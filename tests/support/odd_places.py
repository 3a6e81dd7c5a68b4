"""Paths that no command expects, and names that each must take."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from pipeline.cli import main

PLACES = (
    "nothing",
    "dangling link",
    "link loop",
    "file",
    "empty file",
    "folder",
    "below a file",
    "pipe",
    "device",
    "256 bytes",
    "long path",
    "newline",
    "empty",
    "dash",
    "home of nobody",
    "null byte",
)
WORKING = {
    "space": "two words",
    "percent": "100%25 %s %20",
    "hash": "a#b",
    "question mark": "why?not",
    "brackets": "[x]{y}(z)*",
    "quotes": 'it\'s "so"',
    "backslash": "a\\nb",
    "composed": unicodedata.normalize("NFC", "Käse-é-日本"),
    "decomposed": unicodedata.normalize("NFD", "Käse-é"),
    "newline": "one\ntwo",
    "dash": "-x",
    "255 bytes": "n" * 255,
    "dots": "a..b.",
}
"""Names of files and folders, by what is odd about them."""


def odd_place(kind: str, folder: Path) -> str:
    """One of ``PLACES``, made in a folder; its text as a user types it."""
    path = folder / kind.replace(" ", "_")
    if kind in _MAKERS:
        _MAKERS[kind](path)
        return str(path / "x") if kind == "below a file" else str(path)
    return {
        "256 bytes": str(folder / ("n" * 256)),
        "long path": str(folder / "/".join(["n" * 200] * 30)),
        "newline": str(folder / "one\ntwo"),
        "empty": "",
        "dash": "-",
        "home of nobody": "~nobody-of-that-name/x",
        "null byte": "a\0b",
    }.get(kind, str(path))


def _make_device(path: Path) -> None:
    """A device of its own that is like ``/dev/null``: a fault of a command run by root must not hurt that."""
    if os.geteuid():
        path.symlink_to("/dev/null")
        return
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError as error:
        pytest.skip(f"no device can be made here ({error.strerror})")


def _make_loop(path: Path) -> None:
    with suppress(FileExistsError):
        path.symlink_to(path.name)


_MAKERS: dict[str, Callable[[Path], object]] = {
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link loop": _make_loop,
    "file": lambda path: path.write_bytes(b"\x80\x02text\n" * 100),
    "empty file": Path.touch,
    "folder": Path.mkdir,
    "below a file": lambda path: path.write_text("x"),
    "pipe": os.mkfifo,
    "device": _make_device,
}


def path_parameters() -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    """Every option and argument of every command that takes a path, with the words of the command."""
    for words, command in commands(main):
        for parameter in command.params:
            if getattr(getattr(parameter.type, "rule", None), "is_path", False) or isinstance(
                parameter.type, click.Path | click.File
            ):
                yield words, parameter


def commands(
    group: click.Command, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words."""
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*words, name))
    else:
        yield words, group
