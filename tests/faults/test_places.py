"""Odd paths: each option that takes one refuses what it cannot use with one line, and waits for nothing; and
names that are only unusual work. Also stores that may not be written, from the start or from some moment on.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import Result
from support.commands import dgan, done
from support.fault_cases import drawn, numbers
from support.fault_commands import MORE, TASK_IMAGES, Workshop
from support.fault_table import REFUSED, SURVIVED
from support.odd_places import PLACES, WORKING, commands, odd_place, path_parameters
from support.processes import At, disturbed
from support.scored_segmenters import use_color_networks, write_segmenter
from support.small_disk import small_disk
from support.stores import fill, make_meta, tree_bytes
from support.tiny import input_flags, write_inputs
from support.toy_project import make_project
from support.translating import write_translator
from support.variants import variants

from pipeline.cli import main
from pipeline.exports.marks import MARK

Note = Callable[[str], None]
HANGS_AFTER_SECONDS = 60
ENDLESS = (("demo",), ("view",))  # what a good place would begin
LIGHT = (("extract-features",), ("sample",), ("info",), ("verify",), ("inspect-checkpoint",))
OPTIONS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("extract-features",): ("--dry-run",),
    ("train",): ("--dry-run",),
    ("synthesize",): ("--dry-run",),
    ("sample",): ("--num", "2", "--dry-run"),
    ("export",): ("--format", "png", "--dry-run"),
    ("segment", "train"): ("--data", "dataset.zarr", "--dry-run"),
    ("segment", "test"): ("--images", "photos", "--annotations", "photo_masks"),
    ("segment", "predict"): ("--images", "photos", "--out", "predicted"),
    ("translate", "train"): ("--source", "dataset.zarr", "--target", "photos", "--dry-run"),
    ("translate", "apply"): ("--data", "dataset.zarr", "--dry-run"),
    ("evaluate",): ("--store", "held_out.zarr"),
    ("calibrate",): ("--dry-run",),
    ("filter",): ("--keep", "0.5"),
    ("repair",): ("--dry-run",),
    ("view",): ("--no-browser",),
}
"""By the command: options with which it runs in the project and takes little time."""
ARGUMENTS = {
    "out": "exported",
    "segmenter": "segmenter",
    "translator": "translator",
    "interpreter": "interpreter",
    "file": "network-snapshot.pkl",
}


class WaitsError(BaseException):
    """No Exception, which a command would take for an error of its own."""


@contextmanager
def no_waiting() -> Iterator[None]:
    """A block that fails where it waits, such as for somebody who writes into a pipe."""

    def rung(*_: object) -> None:
        raise WaitsError

    before = signal.signal(signal.SIGALRM, rung)
    signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER_SECONDS, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def with_path(words: tuple[str, ...], parameter: click.Parameter, value: str) -> list[str]:
    """The command with a value of one of its paths, and good values of all that it needs besides."""
    command = next(each for name, each in commands(main) if name == words)
    arguments = [
        value if each is parameter else ARGUMENTS.get(str(each.name), "dataset.zarr")
        for each in command.params
        if isinstance(each, click.Argument)
    ]
    option = [] if isinstance(parameter, click.Argument) else [f"{parameter.opts[0]}={value}"]
    return [*words, *OPTIONS.get(words, ()), *option, *(["--", *arguments] if arguments else [])]


def check_ending(result: Result, words: list[str]) -> None:
    """It ends well, or with one line."""
    said = f"{words}: {result.output} {result.exception!r}"
    assert result.exception is None or isinstance(result.exception, SystemExit), said
    assert result.exit_code in (0, 1, 2), said
    assert "Traceback" not in result.output and "unexpected " not in result.stderr.replace(
        "unexpected extra", ""
    ), said
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(errors) == (result.exit_code != 0), said
    if errors:
        assert result.stderr.splitlines()[-1] == errors[0], said


PARAMETERS = list(path_parameters())


def names_of(words: tuple[str, ...], parameter: click.Parameter) -> str:
    return " ".join((*words, parameter.opts[0]))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with everything that a command may ask for. What a command writes there is not looked at."""
    project = make_project(tmp_path_factory.mktemp("project") / "toy")
    write_translator(project / "translator", resolution=32)
    write_segmenter(project / "segmenter")
    return project


@pytest.mark.slow
@pytest.mark.parametrize(("words", "parameter"), PARAMETERS, ids=[names_of(*each) for each in PARAMETERS])
def test_every_path_may_be_odd(
    words: tuple[str, ...],
    parameter: click.Parameter,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    note: Note,
) -> None:
    monkeypatch.chdir(project)
    use_color_networks(monkeypatch)
    for kind in PLACES:
        if words in ENDLESS and kind in ("nothing", "folder", "newline", "dash", "home of nobody"):
            continue
        command = with_path(words, parameter, odd_place(kind, tmp_path))
        with no_waiting():
            result = dgan(*command)
        check_ending(result, [kind, *command])
        note(REFUSED if result.exit_code else SURVIVED)


def test_some_paths_are_odd(folder: Path, note: Note) -> None:
    """Of the commands that begin with files; the slow test above has all commands and kinds."""
    random = drawn("places")
    for number, (words, parameter) in enumerate(each for each in PARAMETERS if each[0] in LIGHT):
        kind = random.choice(PLACES)
        (folder / str(number)).mkdir()
        command = with_path(words, parameter, odd_place(kind, folder / str(number)))
        with no_waiting():
            result = dgan(*command)
        check_ending(result, [kind, *command])
        note(REFUSED if result.exit_code else SURVIVED)


@pytest.mark.parametrize("where", ["masks/image_mask2.npy", "images/image_2.png", "codes/latents_2.npy"])
def test_a_pipe_in_a_folder_of_inputs_is_not_waited_for(folder: Path, where: str, note: Note) -> None:
    path = folder / "in" / where
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    more = {"images": ("--images", path.parent), "codes": ("--latents", path.parent)}.get(
        path.parent.name, ()
    )
    with no_waiting():
        result = dgan("extract-features", *input_flags(folder / "in"), *more, "--dry-run")
    check_ending(result, [where])
    assert result.exit_code == 2 and f"{path}: is a pipe; expected a file or a folder" in result.stderr
    note(REFUSED)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one image: change a copy."""
    path = tmp_path_factory.mktemp("filled") / "usual.zarr"
    fill(path, make_meta("pyramid"), num_images=1)
    return path


@pytest.mark.parametrize("name", variants(*WORKING.values(), fast=6), ids=WORKING)
def test_a_store_may_have_an_unusual_name(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, note: Note
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(filled, tmp_path / name)
    assert os.listdir() == [name]
    for words in (("info",), ("verify",)):
        for typed in (f"./{name}", str(tmp_path / name), f"nowhere/../{name}"):
            (tmp_path / "nowhere").mkdir(exist_ok=True)
            done(*words, "--", typed)
    done("verify", "--", name)
    note(SURVIVED)


def chain(folder: Path, name: str) -> dict[str, bytes]:
    """What the commands write in a folder, each into one of that name; without the files that say names."""
    store, interpreter, dataset, exported = (f"{folder}/{part}/{name}" for part in "sied")
    checkpoint = str(folder / "in" / "checkpoint.pt")
    done("extract-features", *input_flags(folder / "in"), f"--store={store}")
    done("train", f"--store={store}", f"--out={interpreter}", "--members", "2", "--steps", "20")
    made = (f"--checkpoint={checkpoint}", f"--interpreter={interpreter}", f"--store={dataset}")
    done("synthesize", *made, "--num", "3")
    done("export", dataset, exported, "--format", "png")
    (folder / "r" / name).mkdir(parents=True)
    done("report", dataset, f"--out={folder}/r/{name}/page.html")
    named = ("zarr.json", "interpreter.json", "page.html", MARK, "dataset.json")
    found = {part: tree_bytes(folder / part / name) for part in "sied"}
    return {
        f"{part} {file}": content
        for part, files in found.items()
        for file, content in files.items()
        if file not in named
    }


@pytest.mark.slow
@pytest.mark.parametrize("number", numbers(0, 5))
def test_every_output_may_have_an_unusual_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, note: Note
) -> None:
    """In a folder of an unusual name, too."""
    random = drawn("names", number)
    outer, name = (random.choice(sorted(WORKING)) for _ in range(2))
    usual = chain(folder, "usual")
    place = folder / "o" / WORKING[outer]
    write_inputs(place / "in")
    monkeypatch.chdir(place)
    assert chain(place, WORKING[name]) == usual
    note(SURVIVED)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["store", "interpreter"])
def test_a_link_to_an_output_is_that_output(built: Path, tmp_path: Path, name: str, note: Note) -> None:
    target = built / ("features.zarr" if name == "store" else name)
    (tmp_path / "one").symlink_to(target)
    (tmp_path / "two").symlink_to("one")
    done("info", tmp_path / "two")
    note(SURVIVED)


READING = ("info", "verify", "export", "train")
WRITING = ("filter", "repair", "extract-features", "report")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*READING, *WRITING])
def test_a_read_only_disk_can_be_read_from_and_is_named_by_who_writes(
    workshop: Workshop, tmp_path: Path, name: str, note: Note
) -> None:
    is_features = name in ("train", "extract-features", "repair")
    made = workshop.out("extract-pyramid" if is_features else "synthesize")
    words: dict[str, tuple[str, ...]] = {
        "export": ("export", "../disk/s", "out", "--format", "png"),
        "train": ("train", "--store", "../disk/s", "--members", "2", "--steps", "20"),
        "filter": ("filter", "../disk/s", "--keep", "0.25"),
        "extract-features": (
            "extract-features", *input_flags(workshop.inputs), "--resolution", "64", "--store", "../disk/new"
        ),
        "report": ("report", "../disk/s", "--out", "../disk/page.html"),
    }  # fmt: skip
    work = tmp_path / "work"
    work.mkdir()
    with small_disk(tmp_path / "disk") as disk:
        shutil.copytree(made, disk.seen / "s")
        if name == "repair":
            (disk.seen / "s" / "images/c/1/0/0/0").write_bytes(b"damaged")
        before = tree_bytes(disk.seen)
        disk.set_read_only(True)
        asked = words.get(name, (name, "../disk/s"))
        threads = () if name in ("info", "verify", "repair", "report") else ("--threads", "1")
        ending = disturbed(asked, work, disk.namespace.enter, threads=threads, task_images=TASK_IMAGES)
        assert tree_bytes(disk.seen) == before
    assert "Traceback" not in ending.text and "unexpected" not in ending.text, ending.text
    if name in READING:
        assert ending.code == 0, ending.text
        note(SURVIVED)
        return
    assert ending.code in (1, 2), ending.text
    assert re.search(r"disk/.*(Read-only file system|no file can be made)", ending.lines[-1]), ending.text
    note(REFUSED)


def without_privileges(_: Path) -> None:
    """In a command's process: permissions bind it, though it may be root's."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing):
        raise OSError(ctypes.get_errno(), "privileges cannot be given up")


@dataclass(frozen=True)
class Forbid:
    """To be the ``act`` of ``At``: somebody takes the right to write away from every folder of the output."""

    out: Path

    def __call__(self, _: str) -> None:
        for folder, _names, _files in os.walk(self.out, topdown=False):
            os.chmod(folder, 0o500)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="privileges are given up by a call of Linux")
@pytest.mark.parametrize("name", ["extract-pyramid", "train", "synthesize", "export-png", *MORE])
def test_permissions_that_change_while_a_command_runs_are_named(
    workshop: Workshop, tmp_path: Path, name: str, note: Note
) -> None:
    command, out = workshop.command(name), tmp_path / "out"
    at = At(command.moment(drawn("permissions", name)), Forbid(out))
    ending = command.disturbed(tmp_path, without_privileges, at.begin)
    for folder, _names, _files in os.walk(out):
        os.chmod(folder, 0o700)
    assert "Traceback" not in ending.text and "unexpected" not in ending.text, ending.text
    if ending.code == 0:  # nothing more was to be written
        assert command.is_whole(tmp_path)
    else:
        assert ending.code in (1, 2), ending.text
        assert re.search(r"\bout\b.*Permission denied|permission", ending.lines[-1]), ending.text
        note(REFUSED)
    command.run(tmp_path)
    assert command.is_whole(tmp_path)
    note(SURVIVED)
