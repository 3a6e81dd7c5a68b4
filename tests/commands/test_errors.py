"""What a command says of a warning: one line; and values in messages that are never long."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fstore import lock
from fstore.lock import FolderLock
from pipeline.commands.warning_lines import warnings_in_one_line
from pipeline.errors import short


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
