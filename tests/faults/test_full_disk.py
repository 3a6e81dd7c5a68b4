"""A disk that is full, from the start or at a random moment: the command stops with a line that says so, and
after room was made the same command ends in the bytes of an undisturbed run. Also disks that fail otherwise.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.fault_cases import drawn, numbers
from support.fault_commands import MORE, NAMES, Command, Workshop
from support.fault_table import REFUSED, SURVIVED
from support.processes import At, Ending
from support.small_disk import AMPLE_BYTES, PAGE_BYTES, SmallDisk, small_disk

import fstore
from fstore.errors import StoreError
from pipeline.exports.marks import MARK
from pipeline.interpreter.folder import folder_state
from pipeline.segment.folder import open_segmenter

FORMATS = ("voc", "coco", "parquet", "ome-zarr")  # the released one names its own folder in its files
IMAGES = 9  # of the workshop's extraction
COMMANDS = (*NAMES, *MORE, *(f"export-{name}" for name in FORMATS))
BALLAST = "ballast"
Note = Callable[[str], None]


@dataclass(frozen=True)
class Fill:
    """To be the ``act`` of ``At``: another program fills the disk but for some bytes."""

    ballast: Path
    room_bytes: int

    def __call__(self, _: str) -> None:
        usage = os.statvfs(self.ballast.parent)
        free = usage.f_bavail * usage.f_frsize - self.room_bytes
        descriptor = os.open(self.ballast, os.O_WRONLY | os.O_CREAT, 0o600)
        if free > 0:
            os.posix_fallocate(descriptor, 0, free)
        os.close(descriptor)


@pytest.mark.parametrize("number", numbers(1, 3))
@pytest.mark.parametrize(
    "name",
    [name if name == "extract-pyramid" else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS],
)
def test_a_command_on_a_full_disk_stops_and_goes_on_when_there_is_room(
    workshop: Workshop, tmp_path: Path, name: str, number: int, note: Note
) -> None:
    command, random = workshop.command(name), drawn("disk", name, number)
    with small_disk(tmp_path / "disk") as disk:
        work, seen = disk.folder / "work", disk.seen / "work"
        seen.mkdir()
        command.prepare(seen)
        needed = written_bytes(command)
        if number % 2:
            disk.leave_room(random.randrange(0, max(1, needed), PAGE_BYTES))
            ending = run_on(disk, command, work, tmp_path)
        else:
            fill = Fill(disk.folder / BALLAST, random.randrange(0, max(1, needed // 4), PAGE_BYTES))
            ending = run_on(disk, command, work, tmp_path, At(command.moment(random), fill).begin)
        if ending.code == 0:  # the ballast left just enough
            assert command.is_whole(seen), ending.text
        else:
            check_stopped(ending, command, seen)
            assert any(words in ending.lines[-1] for words in ("make room", "free some")), ending.text
            note(REFUSED)
        (disk.seen / BALLAST).unlink(missing_ok=True)
        disk.resize(AMPLE_BYTES)
        ending = run_on(disk, command, work, tmp_path)
        assert ending.code == 0, ending.text
        assert command.is_whole(seen)
    note(SURVIVED)


def run_on(
    disk: SmallDisk, command: Command, work: Path, notes: Path, *begin: Callable[[Path], None]
) -> Ending:
    seen = disk.seen / work.name
    return command.disturbed(work, disk.namespace.enter, *begin, notes=notes, seen=seen)


def written_bytes(command: Command) -> int:
    """About how many bytes of pages the files of ``out`` take."""
    sizes = [len(content) if isinstance(content, bytes) else 1 for content in command.whole.values()]
    return sum(-(-size // PAGE_BYTES) * PAGE_BYTES for size in sizes)


def check_stopped(ending: Ending, command: Command, folder: Path) -> None:
    """One line that names a file or folder, and nothing half-written that counts as whole."""
    assert ending.code == 1, ending.text
    place = rf"\bout\b|{re.escape(str(folder))}: "  # the folder that holds the name of ``out``
    assert ending.lines[-1].startswith("Error: ") and re.search(place, ending.lines[-1]), ending.text
    assert "Traceback" not in ending.text and "unexpected" not in ending.text
    assert not counts_as_whole(folder / "out", command.name) or command.is_whole(folder)


def counts_as_whole(out: Path, name: str) -> bool:
    """Whether what a command left says that it is finished. What a store says is held to its files."""
    if not out.is_dir():
        return False
    if name == "train":
        return folder_state(out) == "finished"
    if name == "segment-train":
        return any(out.glob("*.pth")) and open_segmenter(out).is_finished
    if name.startswith("export"):
        return (out / MARK).exists()
    try:
        report = fstore.verify_store(out)
        store = fstore.open(out)
    except StoreError:
        return False
    assert report.ok, report
    if isinstance(store, fstore.Dataset):
        return store.complete and store.meta.keep is not None
    return len(store) == IMAGES


@dataclass(frozen=True)
class Fail:
    """To be the ``act`` of ``At``: the change fails with an error of the system."""

    number: int

    def __call__(self, path: str) -> None:
        raise OSError(self.number, os.strerror(self.number), path)


@dataclass(frozen=True)
class FailToSync:
    """In a command's process: the disk takes the bytes, and from some call on cannot keep them."""

    call: int

    def begin(self, _: Path) -> None:
        """Called before the command."""
        sync, calls = os.fsync, iter(range(1, 10**6))

        def fsync(descriptor: int) -> None:
            if next(calls) >= self.call:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            sync(descriptor)

        os.fsync = fsync


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["EDQUOT", "EIO", "EROFS", "sync"])
@pytest.mark.parametrize("name", ["extract-dense", "train", "synthesize", "export-png", *MORE])
def test_a_disk_that_fails_is_named_and_the_command_goes_on_later(
    workshop: Workshop, tmp_path: Path, name: str, kind: str, note: Note
) -> None:
    command, random = workshop.command(name), drawn("failing", name, kind)
    at = command.moment(random)
    begin = (
        FailToSync(random.randint(1, 8)).begin
        if kind == "sync"
        else At(at, Fail(getattr(errno, kind)), lasting=True).begin
    )
    ending = command.disturbed(tmp_path, begin)
    if ending.code == 0:  # what failed was only being deleted
        assert command.is_whole(tmp_path), ending.text
    else:
        check_stopped(ending, command, tmp_path)
        note(REFUSED)
    command.run(tmp_path)
    assert command.is_whole(tmp_path)
    note(SURVIVED)


@dataclass(frozen=True)
class TemporaryFolder:
    """In a command's process: where temporary files go."""

    folder: Path

    def begin(self, _: Path) -> None:
        """Called before the command."""
        os.environ["TMPDIR"] = str(self.folder)
        tempfile.tempdir = str(self.folder)  # also where the library would look for another


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_folder_of_temporary_files_is_harmless(
    workshop: Workshop, tmp_path: Path, name: str, note: Note
) -> None:
    command, work = workshop.command(name), tmp_path / "work"
    work.mkdir()
    with small_disk(tmp_path / "disk") as disk:
        (disk.seen / BALLAST).write_bytes(b"x" * PAGE_BYTES)
        disk.leave_room(0)
        ending = command.disturbed(work, disk.namespace.enter, TemporaryFolder(disk.folder).begin)
    assert ending.code == 0, ending.text
    assert command.is_whole(work)
    note(SURVIVED)
