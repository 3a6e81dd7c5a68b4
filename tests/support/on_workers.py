"""Commands that start workers, in processes as a user's shell starts them, and the workers' process ids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.places import REPOSITORY


def start(words: Sequence[str], place: Path) -> subprocess.Popen[str]:
    """A command, in a group of processes of its own, with ``place`` as current folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *words, "--threads", "1"],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
        preexec_fn=default_signals,
    )


def default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def workers_of(client: int) -> list[int]:
    """Process ids of the workers that a command has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == client and b"local_worker" in words:
            found.append(int(entry.name))
    return found
