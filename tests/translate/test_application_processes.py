"""``dgan translate apply`` in processes of their own: killed at any moment, and measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.processes import peak_bytes, run, run_until
from support.stores import store_bytes
from support.translating import make_source, write_translator

TASK_IMAGES = 8
WORDS = ["translate", "apply", "translator", "--data", "dataset.zarr", "--store"]


KILLS = 12
pytestmark = pytest.mark.slow


def test_a_run_that_is_killed_ends_in_the_same_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fstore.format.TASK_IMAGES", TASK_IMAGES)
    make_source(tmp_path / "dataset.zarr", 19, shape=(16, 16), votes=True, by="class-mean", per_class=True)
    write_translator(tmp_path / "translator")
    changes = run([*WORDS, "whole.zarr"], tmp_path, TASK_IMAGES)
    for kill in range(KILLS):
        run_until(changes // KILLS if kill else 1, [*WORDS, "killed.zarr"], tmp_path, TASK_IMAGES)
    run([*WORDS, "killed.zarr"], tmp_path, TASK_IMAGES)
    assert store_bytes(tmp_path / "killed.zarr") == store_bytes(tmp_path / "whole.zarr")


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """Of 22 tasks it takes no more than of two: 1,280 images with labels and divergence are 31 MB."""
    write_translator(tmp_path / "translator", resolution=64)
    peaks = []
    for num in (128, 1408):
        make_source(tmp_path / "dataset.zarr", num, shape=(64, 64), votes=True)
        peaks.append(peak_bytes([*WORDS, f"t{num}.zarr"], tmp_path))
    assert peaks[1] < peaks[0] + 1280 * 64 * 64 * (3 + 1 + 2) / 2
