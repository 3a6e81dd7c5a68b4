"""What an error means to people: one line, the right exit code, and the exception of a function."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import pipeline
from fstore import errors as store_errors
from pipeline.api import runs
from pipeline.api.explanation import errors_explained, explain
from pipeline.api.keywords import command_flags
from pipeline.cli import main
from pipeline.errors import RunError, UsageError
from pipeline.interpreter.folder import replace_file


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
        (RuntimeError("CUDA out of memory. Tried to allocate"), 1, "end other programs"),
        (KeyError("x"), 1, "unexpected KeyError"),
    ],
)
def test_an_error_has_its_exit_code_and_its_line(error: Exception, code: int, part: str) -> None:
    found, line = explain(error)
    assert found == code and part in line and "\n" not in line


def test_a_full_disk_names_the_file_that_was_written(tmp_path: Path) -> None:
    def fill(path: Path) -> None:
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write says it

    with pytest.raises(OSError) as caught:
        replace_file(tmp_path / "labels.png", fill)
    assert f"the disk is full ({tmp_path / 'labels.png'})" in explain(caught.value)[1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "ways"),
    [
        ("extract-features", "a smaller --render-batch, or --device cpu"),
        ("train", "a smaller --batch-size, or --device cpu"),
        ("synthesize", "a smaller --render-batch or --tile, or --device cpu"),
        ("segment train", "a smaller --batch-size, or --device cpu"),
        ("segment predict", "--device cpu"),
        ("translate train", "a smaller --batch-size, or --device cpu"),
        ("translate apply", "--device cpu"),
    ],
)
def test_out_of_memory_names_the_settings_that_the_command_has(command: str, ways: str) -> None:
    _, line = explain(MemoryError(), flags=command_flags(command))
    assert line == f"out of memory (host); use {ways}"


@pytest.mark.parametrize("command", ["segment train", "translate train", "translate apply", "view"])
def test_a_command_out_of_memory_names_what_it_has_itself(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise MemoryError

    *groups, name = command.split()
    place: Any = main
    for group in (*groups, name):
        place = place.commands[group]
    monkeypatch.setattr(place, "callback", failing)
    monkeypatch.chdir(tmp_path)
    arguments = {"translate apply": ["t", "--data", "d.zarr"], "view": ["d.zarr"]}.get(command, [])
    found = CliRunner().invoke(main, [*command.split(), *arguments])
    flags = {"--port"} if command == "view" else command_flags(command)
    assert (found.exit_code, found.stderr) == (1, f"Error: {explain(MemoryError(), flags=flags)[1]}\n")


def test_a_function_out_of_memory_names_what_it_has_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(runs, "translate_train", failing)
    with pytest.raises(
        RunError, match=r"^out of memory \(host\); use a smaller --batch-size, or --device cpu$"
    ):
        pipeline.translate_train(target="photos")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (store_errors.MismatchError("x.zarr: was begun otherwise"), UsageError),
        (store_errors.CorruptionError("x.zarr: chunk 3 is damaged"), RunError),
        (OSError(errno.ENOSPC, "No space left", "x.zarr"), RunError),
        (MemoryError(), RunError),
        (UsageError("two\nlines"), UsageError),
    ],
)
def test_an_error_becomes_one_of_two_with_the_same_line_and_its_cause(
    error: Exception, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught, errors_explained():
        raise error
    assert type(caught.value) is kind and str(caught.value) == explain(error)[1]
    assert caught.value.__cause__ is error


def test_an_error_that_no_code_foresaw_says_so_without_a_flag() -> None:
    with pytest.raises(RunError) as caught, errors_explained():
        raise KeyError("x")
    assert str(caught.value) == "unexpected KeyError: 'x'; report it with this traceback"


@pytest.mark.parametrize("error", [UsageError("a"), RunError("b"), KeyboardInterrupt()])
def test_the_two_errors_and_an_interruption_pass_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, errors_explained():
        raise error
    assert caught.value is error and error.__cause__ is None
