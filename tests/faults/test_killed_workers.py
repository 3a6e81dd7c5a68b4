"""``kill -9`` of a worker, or of the command, at a random moment of a run on two workers; then it is run
again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.exports import make_dataset
from support.fault_cases import drawn, named
from support.fault_commands import Workshop, content, prepare
from support.fault_table import SURVIVED
from support.on_workers import start, workers_of
from support.processes import run

NAMES = ("extract-pyramid", "train", "synthesize", "export-png")
NUM = 200  # images of a dataset
DEADLINE_SECONDS = 300

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")


def num_files(out: Path) -> int:
    return sum(1 for _ in out.rglob("*")) if out.is_dir() else 0


@pytest.mark.parametrize(("name", "number"), named(NAMES, (), 1))
def test_a_run_on_workers_of_which_one_is_killed_ends_in_the_bytes_of_one_process(
    workshop: Workshop, tmp_path: Path, name: str, number: int, note: Callable[[str], None]
) -> None:
    words, chance = list(workshop.words(name)), drawn("workers", name, number)
    # Workers know tasks of 64 images alone.
    if name == "synthesize":
        words[words.index("--num") + 1] = str(NUM)
    if name == "export-png":
        make_dataset(tmp_path / "d.zarr", num_images=NUM)
        words[1] = str(tmp_path / "d.zarr")
    whole, disturbed = tmp_path / "whole", tmp_path / "disturbed"
    for folder in (whole, disturbed):
        folder.mkdir()
        prepare(folder)
    run(words, whole)
    words += ["--workers", "2"]
    files = chance.randint(1, max(1, num_files(whole / "out") * 3 // 4))
    kills_command = chance.random() < 0.5
    process, end = start(words, disturbed), time.monotonic() + DEADLINE_SECONDS
    while num_files(disturbed / "out") < files and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    workers = workers_of(process.pid)
    if kills_command:
        process.kill()
    elif workers:
        os.kill(chance.choice(workers), signal.SIGKILL)
    error = process.communicate(timeout=DEADLINE_SECONDS)[1]
    # The run may have ended before anything was killed: an undisturbed run is a case too.
    assert process.returncode in (0, -signal.SIGKILL if kills_command else 0), error
    run(words, disturbed)
    assert content(disturbed / "out") == content(whole / "out")
    note(SURVIVED)
