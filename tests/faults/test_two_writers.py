"""Two processes that want to write one store or folder: the second is refused and told who the first is; when
that one has ended or was killed, it goes on. And file systems without locks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.fault_cases import drawn, numbers
from support.fault_commands import MORE, Workshop
from support.fault_table import REFUSED, SURVIVED

from fstore import processes
from fstore.errors import StoreError
from fstore.lock import FolderLock

COMMANDS = ("extract-dense", "train", "synthesize", "export-png", *MORE)
BREAK_LOCK = ("extract-dense", "synthesize", "filter", "translate-apply")  # what has this flag
Note = Callable[[str], None]


HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_a_lock_names_the_process_that_holds_it_until_that_has_ended(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        holder = int(process.stdout.readline())
        try:
            with pytest.raises(StoreError) as refused:
                FolderLock(tmp_path)
        finally:
            process.kill()
    assert re.fullmatch(
        rf"{tmp_path}: another writer has it open, process {holder} on host {socket.gethostname()}, started "
        r"\d+ seconds ago; wait for it, or end it: the lock ends with its process",
        str(refused.value),
    )
    FolderLock(tmp_path).release()


def test_a_lock_of_this_process_is_told_from_another(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(StoreError, match=r"has it open, in this process; close that writer$"):
        FolderLock(tmp_path)
    lock.release()


def test_a_lock_of_a_process_out_of_sight_is_one_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = FolderLock(tmp_path)
    monkeypatch.setattr(processes, "_flocks", list)
    with pytest.raises(StoreError, match="has it open, a process that cannot be seen from here; wait"):
        FolderLock(tmp_path)
    lock.release()


def test_a_lock_is_found_where_the_system_names_another_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As btrfs does: then the process is asked what it has open."""
    lock = FolderLock(tmp_path)
    found = [(process, device + 1, inode) for process, device, inode in processes._flocks()]
    monkeypatch.setattr(processes, "_flocks", lambda: found)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert processes.flock_holder(descriptor) == os.getpid()
    os.close(descriptor)
    lock.release()


@pytest.mark.slow
@pytest.mark.parametrize("number", numbers(0, 2))
@pytest.mark.parametrize("name", COMMANDS)
def test_the_second_of_two_writers_is_refused_and_goes_on_after_the_first(
    workshop: Workshop, tmp_path: Path, name: str, number: int, note: Note
) -> None:
    command, random = workshop.command(name), drawn("writers", name, number)
    folder, one, other = (tmp_path / part for part in ("work", "one", "other"))
    for place in (folder, one, other):
        place.mkdir()
    more = ("--break-lock",) if name in BREAK_LOCK and random.random() < 0.5 else ()
    last = command.changes if name == "filter" else command.moment(random)  # it locks late
    with command.waiting(max(2, last), folder, one) as first:
        refused = command.disturbed(folder, more=more, notes=other)
        assert refused.code == 2, refused.text
        assert "another writer has it open" in refused.lines[-1]
        assert f"process {first.process.pid} on host {socket.gethostname()}" in refused.lines[-1]
        if number % 2:
            assert first.finish() == 0
        else:
            first.kill()
    note(REFUSED)
    command.run(folder)
    assert command.is_whole(folder)
    note(SURVIVED)


@dataclass(frozen=True)
class WithoutLocks:
    """In a command's process: no file system knows ``flock``."""

    number: int

    def begin(self, _: Path) -> None:
        """Called before the command."""

        def flock(descriptor: int, operation: int) -> None:
            raise OSError(self.number, os.strerror(self.number))

        fcntl.flock = flock  # type: ignore[assignment]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_system_without_locks_is_one_line(
    workshop: Workshop, tmp_path: Path, name: str, note: Note
) -> None:
    number = drawn("no locks", name).choice([errno.ENOLCK, errno.EOPNOTSUPP])
    command = workshop.command(name)
    ending = command.disturbed(tmp_path, WithoutLocks(number).begin)
    said = [line for line in ending.lines if "cannot be locked" in line]
    assert ending.code == 0 and len(said) == 1, ending.text
    assert said[0].startswith("Warning: out: its file system cannot be locked (")
    assert said[0].endswith("let only one process write there at a time")
    assert command.is_whole(tmp_path)
    note(SURVIVED)
