"""``dgan translate train`` in processes of their own: killed at any moment, and measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.processes import peak_bytes, run, run_until
from support.translators import compared, write_domains

KILLS = 6
WORDS = [
    "translate",
    "train",
    "--source",
    "source",
    "--target",
    "target",
    "--width",
    "2",
    "--batch-size",
    "2",
]
pytestmark = pytest.mark.slow


def test_a_run_that_is_killed_ends_in_the_same_files(tmp_path: Path) -> None:
    write_domains(tmp_path)
    words = [*WORDS, "--epochs", "4", "--out"]
    changes = run([*words, "whole"], tmp_path)
    for kill in range(KILLS):
        run_until(changes // KILLS if kill else 1, [*words, "killed"], tmp_path)
    run([*words, "killed"], tmp_path)
    assert compared(tmp_path / "killed") == compared(tmp_path / "whole")


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    """600 more pictures of 256 x 256 are 118 MB."""
    peaks = []
    for num in (20, 620):
        folder = tmp_path / str(num)
        folder.mkdir()
        write_domains(folder, num=2, target=num, side=256)
        words = [*WORDS, "--resolution", "16", "--epochs", "1", "--out", "t"]
        peaks.append(peak_bytes(words, folder))
    assert peaks[1] < peaks[0] + 600 * 256 * 256 * 3 / 3
