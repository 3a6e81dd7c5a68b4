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
from pipeline.settings.options import begins_anew


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
        ("extract-features", ("a smaller --render-batch", "--memory-budget")),
        ("sample", ("a smaller --render-batch", "")),
        ("train", ("a smaller --batch-size", "--memory-budget")),
        ("synthesize", ("a smaller --render-batch or --tile", "--memory-budget")),
        ("calibrate", ("a smaller --batch-size", "--memory-budget")),
        ("segment train", ("a smaller --batch-size", "")),
        ("segment predict", ("", "")),
        ("translate train", ("a smaller --batch-size", "")),
        ("translate apply", ("", "")),
    ],
)
def test_out_of_memory_names_the_settings_that_the_command_has(command: str, ways: tuple[str, str]) -> None:
    smaller, budget = ways
    flags = command_flags(command)
    _, line = explain(MemoryError(), flags=flags)
    on_host = ", or ".join(filter(None, (smaller, budget)))
    expected = f"use {on_host}" if on_host else "end other programs, or use a machine with more"
    assert line == f"out of memory (host); {expected}"

    _, line = explain(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), flags=flags)
    on_gpu = ", or ".join(filter(None, (smaller, "--device cpu")))
    assert line == f"out of memory (CUDA out of memory. Tried to allocate 2 GiB); use {on_gpu}"


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


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("the scheduler is lost; run the same command again", "the same command again without --overwrite"),
        ("make room, then the same command goes on", "then the same command without --overwrite goes on"),
        ("lower the rate and run with --overwrite", "lower the rate and run with --overwrite"),
    ],
)
def test_of_a_run_that_began_anew_the_line_says_how_to_go_on(said: str, expected: str) -> None:
    assert explain(RunError(said)) == (1, said)
    assert explain(RunError(said), begins_anew=True)[1].endswith(expected)


def test_a_full_disk_says_how_a_run_that_began_anew_goes_on() -> None:
    line = explain(OSError(errno.ENOSPC, "No space left", "c/0"), begins_anew=True)[1]
    assert line.endswith("then the same command without --overwrite goes on from where it was")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        *((each, True) for each in ("extract-features", "train", "synthesize", "export", "calibrate")),
        *((each, True) for each in ("segment train", "segment test", "translate train", "translate apply")),
        # What is there stays until the new is whole; predictions of the same run are gone on with.
        *((each, False) for each in ("sample", "report", "segment predict")),
    ],
)
def test_overwriting_begins_anew_where_what_an_interrupted_run_has_left_is_deleted(
    command: str, expected: bool
) -> None:
    assert "--overwrite" in command_flags(command)
    assert begins_anew(command, {"overwrite": True}) is expected
    assert not begins_anew(command, {"overwrite": False, "num": 3}) and not begins_anew(command, {})


def test_a_function_out_of_memory_names_what_it_has_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(runs, "translate_train", failing)
    with pytest.raises(RunError, match=r"^out of memory \(host\); use a smaller --batch-size$"):
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
