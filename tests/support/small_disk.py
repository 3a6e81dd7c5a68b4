"""A small file system of its own, in memory, which really becomes full or read-only.

It is mounted in a mount namespace that a helper process holds, as root or in a user namespace: no other
process sees it, and it goes with the helper, however the tests end.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
AMPLE_BYTES = 2**28


@dataclass(frozen=True)
class Namespace:
    """The mounts, and the users where it is not root's, of a process. It can be sent to another process."""

    process: int
    kinds: tuple[str, ...]

    def enter(self, _: Path) -> None:
        """Let this process, of one thread, see the same mounts. Called in a command's process."""
        libc = ctypes.CDLL(None, use_errno=True)
        for kind in self.kinds:
            descriptor = os.open(f"/proc/{self.process}/ns/{kind}", os.O_RDONLY)
            if libc.setns(descriptor, 0):
                raise OSError(ctypes.get_errno(), f"the {kind} namespace cannot be entered")
            os.close(descriptor)


@dataclass(frozen=True)
class SmallDisk:
    """``folder``: where processes in the ``namespace`` see it; ``seen``: where all others do."""

    folder: Path
    seen: Path
    namespace: Namespace
    _commands: IO[str]
    _answers: IO[str]

    def resize(self, num_bytes: int) -> None:
        """Give it that size, rounded up to pages, and at least one: 0 would be without a limit."""
        pages = max(1, -(-num_bytes // PAGE_BYTES))
        self._do(f"mount -o remount,size={pages * PAGE_BYTES} {shlex.quote(str(self.folder))}")

    def leave_room(self, num_bytes: int) -> None:
        """Make it so small that only so many bytes more fit."""
        self.resize(self.used_bytes() + num_bytes)

    def set_read_only(self, is_read_only: bool) -> None:
        """Let nobody write there, also not root; or let them again."""
        mode = "ro" if is_read_only else "rw"
        self._do(f"mount -o remount,{mode} {shlex.quote(str(self.folder))}")

    def used_bytes(self) -> int:
        """Bytes of the pages that files take."""
        usage = os.statvfs(self.seen)
        return (usage.f_blocks - usage.f_bfree) * usage.f_frsize

    def _do(self, command: str) -> None:
        self._commands.write(f"{command} 2>&1; echo; echo ended $?\n")
        self._commands.flush()
        said = []
        while not (line := self._answers.readline()).startswith("ended"):
            assert line, f"the helper has ended: {''.join(said)}"
            said.append(line)
        assert line.split()[1] == "0", f"{command}: {''.join(said)}"


@contextmanager
def small_disk(folder: Path, num_bytes: int = AMPLE_BYTES) -> Iterator[SmallDisk]:
    """A file system of that size at a new folder. The test is skipped where none can be mounted."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs Linux's unshare, to mount a small disk that nobody else sees")
    folder.mkdir()
    as_root = os.geteuid() == 0
    flags = ["--mount"] if as_root else ["--user", "--map-root-user", "--mount"]
    helper = subprocess.Popen(
        ["unshare", *flags, "--propagation", "private", "sh"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert helper.stdin is not None and helper.stdout is not None
    namespace = Namespace(helper.pid, ("mnt",) if as_root else ("user", "mnt"))
    seen = Path(f"/proc/{helper.pid}/root{folder}")
    disk = SmallDisk(folder, seen, namespace, helper.stdin, helper.stdout)
    try:
        try:
            disk._do(f"mount -t tmpfs -o size={num_bytes} tmpfs {shlex.quote(str(folder))}")
        except (AssertionError, BrokenPipeError) as error:
            pytest.skip(f"no tmpfs can be mounted here, as root or in a user namespace: {error}")
        yield disk
    finally:
        helper.kill()
        helper.communicate()
