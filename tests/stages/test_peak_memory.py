"""A stage keeps to its memory budget however many images there are: small, read off a process of its own.

The slow tests of each stage's memory measure the same at the true size.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.processes import peak_bytes, refusal
from support.tiny import input_flags, write_inputs

import fstore

NUM_IMAGES = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("memory"), num=NUM_IMAGES)


def peak_and_budget(words: list[str], folder: Path) -> tuple[int, int]:
    """Bytes: a command's peak under a small budget, and that budget.

    It is a tenth more than the least that the command does not refuse, because its process has imported
    what all the stages need.
    """
    refused = refusal([*words, "--memory-budget", "1MB"], folder)
    needed = re.search(r"([0-9]+) ?MB at least|at least ([0-9]+) ?MB", refused)
    assert needed, refused
    budget = int(1.1e6 * int(needed[1] or needed[2]))
    return peak_bytes([*words, "--memory-budget", str(budget)], folder), budget


@pytest.mark.slow
def test_extraction_and_training_keep_to_a_small_budget(folder: Path) -> None:
    extract = ["extract-features", *input_flags(folder), "--resolution", "384"]
    peak, budget = peak_and_budget(extract, folder)
    features = fstore.open(folder / "features.zarr").features
    assert features.nbytes > budget / 2  # all of it in memory would show
    assert peak <= budget
    peak, budget = peak_and_budget(["train", "--members", "2", "--steps", "100"], folder)
    assert peak <= budget
