"""``kill -9`` at any moment, then the same command: the files and bytes of an undisturbed run, but for
``created``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.stores import without_created
from support.tiny import input_flags, write_inputs

COMMAND = [sys.executable, "-c", "from pipeline.cli import main; main()"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}  # one thread: sums are rounded the same in every run


def run(words: list[str], cwd: Path, kill_after: float | None = None, watch: Path | None = None) -> bool:
    """Run a command; kill it ``kill_after`` seconds after ``watch`` appears. Returns whether it ended by
    itself.
    """
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if kill_after is not None:
        while watch is not None and not watch.exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    output = process.communicate(timeout=300)[0].decode()
    assert process.returncode in (0, -signal.SIGKILL), output
    return process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["dense", "pyramid"])
def test_extract_killed_at_several_moments_ends_in_the_same_bytes(tmp_path: Path, layout: str) -> None:
    write_inputs(tmp_path / "in", num=40)
    words = [
        "extract-features",
        *input_flags(tmp_path / "in"),
        "--layout",
        layout,
        "--resolution",
        "128",
        "--render-batch",
        "3",
    ]
    assert run([*words, "--store", "whole.zarr"], tmp_path)
    kills = 0
    for delay in (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4):
        kills += not run([*words, "--store", "killed.zarr"], tmp_path, delay, tmp_path / "killed.zarr")
    assert kills >= 3
    assert run([*words, "--store", "killed.zarr"], tmp_path)
    assert without_created(tmp_path / "killed.zarr") == without_created(tmp_path / "whole.zarr")


@pytest.mark.slow
def test_synthesize_killed_at_several_moments_ends_in_the_same_bytes(tmp_path: Path) -> None:
    flags = input_flags(write_inputs(tmp_path / "in"))
    assert run(["extract-features", *flags], tmp_path)
    assert run(["train", "--members", "2", "--steps", "10"], tmp_path)
    words = ["synthesize", "--checkpoint", str(tmp_path / "in" / "checkpoint.pt"), "--num", "500"]
    assert run([*words, "--store", "whole.zarr"], tmp_path)
    kills = 0
    for delay in (0.0, 0.02, 0.3, 0.6, 0.9):
        kills += not run([*words, "--store", "killed.zarr"], tmp_path, delay, tmp_path / "killed.zarr")
    assert kills >= 2
    assert run([*words, "--store", "killed.zarr"], tmp_path)
    assert without_created(tmp_path / "killed.zarr") == without_created(tmp_path / "whole.zarr")
