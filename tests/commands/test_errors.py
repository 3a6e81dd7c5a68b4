"""What a command says of an error: one line, the right exit code, and values that are never long."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fstore import errors as store_errors
from fstore import lock
from fstore.lock import FolderLock
from pipeline.api.explanation import explain
from pipeline.commands.warning_lines import warnings_in_one_line
from pipeline.errors import RunError, UsageError, short


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        ("a\nb", r"'a\nb'"),  # one line, whatever it holds
        (Path("in/g.pt"), "'in/g.pt'"),  # as it was written, not as PosixPath(...)
        ("x" * 58, repr("x" * 58)),  # 60 characters with the quotes
        ("x" * 59, "'" + "x" * 56 + "..."),
        ([0] * 1000, "[" + "0, " * 18 + "0," + "..."),
        ("s3://key:secret@host/a", "'s3://...@host/a'"),
        (["gs://k:s@h", "http://a@b"], "['gs://...@h', 'http://...@b']"),
        # Python writes no integer of over 4,300 digits
        pytest.param(16**5000, "a value of type int that is too long to show", id="huge"),
    ],
)
def test_a_value_is_shown_in_at_most_60_characters(value: Any, shown: str) -> None:
    assert short(value) == shown
    assert len(short(value)) <= 60


def test_a_file_system_without_locks_is_said_in_one_line_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    @click.command()
    def command() -> None:
        with warnings_in_one_line():
            warnings.simplefilter("default")  # as outside of tests
            for _ in range(3):
                FolderLock(tmp_path)

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    result = CliRunner().invoke(command)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Warning: {tmp_path}: its file system cannot be locked (Bad file descriptor)")


def family(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


@pytest.mark.parametrize("kind", list(family(store_errors.StoreError)))
def test_every_error_of_the_store_is_foreseen(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    error.args = ("x.zarr: array 'masks':\n  is damaged",)
    code, line = explain(error)
    assert code in (1, 2) and line == "x.zarr: array 'masks': is damaged"


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (UsageError("a"), 2, "a"),
        (RunError("a"), 1, "a"),
        (OSError(errno.ENOSPC, "No space left", "x.zarr"), 1, "the disk is full (x.zarr)"),
        (
            OSError(errno.EFBIG, "File too large"),
            1,
            "larger than is allowed (while writing); raise the limit",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 1, "x: Permission denied"),
        (MemoryError(), 1, "out of memory (host)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "out of memory (Default"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 1, "--device cpu"),
        (KeyError("x"), 1, "unexpected KeyError"),
    ],
)
def test_an_error_has_its_exit_code_and_its_line(error: Exception, code: int, part: str) -> None:
    found, line = explain(error)
    assert found == code and part in line and "\n" not in line
