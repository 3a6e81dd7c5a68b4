"""Heat maps written file by file, ahead of their task: the files of one call, no image too early."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.stores import make_meta, store_bytes, tree_bytes
from support.variants import variants

import fstore
from fstore import format as fmt
from fstore.dataset_writer import DatasetWriter
from fstore.errors import StoreError

pytestmark = pytest.mark.usefixtures("tasks_of_16")
META = fmt.DatasetMeta((6, 5), make_meta().classes, 4, keypoints=fmt.KeypointInfo(("left", "right"), 1.5))


def values_of(images: range) -> dict[str, np.ndarray]:
    """Every array of these images, a function of the image."""
    parts = {}
    for spec in fmt.dataset_arrays(META, images.stop):
        rows = [np.random.default_rng(i).integers(0, 100, spec.shape[1:]) for i in images]
        parts[spec.name] = np.array(rows).astype(spec.dtype)
    return parts


def write(writer: DatasetWriter, task: int, parts: int | None = None) -> None:
    """A task with its heat maps ahead, file by file; cut off after some ``parts`` of them, None: whole."""
    images = writer.task_images(task)
    values = values_of(images)
    heatmaps = values.pop("heatmaps")
    for part, place in enumerate(range(0, len(images), fmt.HEATMAP_IMAGES)):
        if part == parts:
            return
        writer.write_part(
            task, "heatmaps", images.start + place, heatmaps[place : place + fmt.HEATMAP_IMAGES]
        )
    writer.write_task(task, values)


def fill(path: Path, num_images: int) -> None:
    writer = fstore.create_dataset(path, META, num_images=num_images)
    for task in writer.pending_tasks():
        write(writer, task)
    writer.close()


def filled_at_once(path: Path, num_images: int) -> dict[str, bytes]:
    """The files of a dataset whose tasks were each written by one call."""
    writer = fstore.create_dataset(path, META, num_images=num_images)
    for task in writer.pending_tasks():
        writer.write_task(task, values_of(writer.task_images(task)))
    writer.close()
    return store_bytes(path)


@pytest.mark.parametrize("num_images", variants(7, 16, 22, 1, 4, fast=3))
def test_heat_maps_ahead_of_their_task_are_the_same_files(tmp_path: Path, num_images: int) -> None:
    fill(tmp_path / "parts.zarr", num_images)
    assert store_bytes(tmp_path / "parts.zarr") == filled_at_once(tmp_path / "whole.zarr", num_images)
    assert fstore.verify_store(tmp_path / "parts.zarr").ok


@pytest.mark.parametrize("parts", [0, 1, 2])
def test_a_task_cut_off_between_its_files_counts_for_nothing_and_is_redone(
    tmp_path: Path, parts: int
) -> None:
    path = tmp_path / "d.zarr"
    writer = fstore.create_dataset(path, META, num_images=11)
    write(writer, 0, parts)
    writer.close()
    assert len(fstore.open(path)) == 0
    for left in (path / "heatmaps" / "c").rglob("*"):
        if left.is_file():
            left.write_bytes(left.read_bytes()[:-9])  # as after a loss of power
    fill(path, 11)
    assert store_bytes(path) == filled_at_once(tmp_path / "whole.zarr", 11)


@pytest.mark.parametrize("before", variants(18, 19, 20, 5))
def test_a_longer_dataset_keeps_what_readers_have_open_at_every_moment(
    tmp_path: Path, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.zarr"
    fill(path, before)
    reader = fstore.open(path)
    expected = values_of(range(before))["heatmaps"]
    reader.heatmaps[before - 1].compute(scheduler="sync")  # it has looked where its files' chunks are
    write_part, looks = DatasetWriter.write_part, []

    def looked_at(self: DatasetWriter, task: int, name: str, first: int, values: np.ndarray) -> None:
        write_part(self, task, name, first, values)
        looks.append(reader.heatmaps[-4:].compute(scheduler="sync"))

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "write_part", looked_at)
        fill(path, 22)
    assert len(looks) > 4
    assert all(np.array_equal(found, expected[-4:]) for found in looks)
    assert store_bytes(path) == filled_at_once(tmp_path / "whole.zarr", 22)


def test_no_file_of_committed_images_is_ever_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "d.zarr", 6)
    writer = fstore.create_dataset(tmp_path / "d.zarr", META, num_images=20)
    cleared = []
    monkeypatch.setattr(writer._shards, "clear", lambda name, first: cleared.append((name, first)))
    write(writer, 0)
    assert cleared == [("heatmaps", first) for first in (2, 3)]  # what images 0 to 5 are not in


def test_an_array_that_was_not_written_whole_is_missed(tmp_path: Path) -> None:
    writer = fstore.create_dataset(tmp_path / "d.zarr", META, num_images=22)
    values = values_of(range(16))
    heatmaps = values.pop("heatmaps")
    writer.write_part(0, "heatmaps", 0, heatmaps[:12])
    with pytest.raises(StoreError, match=r"array 'heatmaps' has shape None, expected \(16, 6, 5, 2\)"):
        writer.write_task(0, values)
    writer.write_part(0, "heatmaps", 12, heatmaps[12:])
    writer.write_task(0, values)
    with pytest.raises(StoreError, match="array 'heatmaps' has shape None"):  # those were another task's
        writer.write_task(1, {name: part[:6] for name, part in values.items()})


@pytest.mark.parametrize(
    ("task", "first", "count", "says"),
    [
        (0, 2, 4, "one shard has one writer"),  # cuts two files
        (0, 0, 3, "one shard has one writer"),  # cuts one
        (0, 12, 8, "images 12 to 19, expected some of 0 to 15"),  # the next task's too
        (1, 0, 4, "images 0 to 3, expected some of 16 to 21"),
        (0, 0, 0, "expected some of 0 to 15"),
    ],
)
def test_a_part_that_does_not_fit_is_refused_and_deletes_nothing(
    tmp_path: Path, task: int, first: int, count: int, says: str
) -> None:
    writer = fstore.create_dataset(tmp_path / "d.zarr", META, num_images=22)
    writer.write_part(0, "heatmaps", 0, values_of(range(16))["heatmaps"])
    before = tree_bytes(tmp_path / "d.zarr")
    with pytest.raises(StoreError, match=says):
        writer.write_part(task, "heatmaps", first, np.zeros((count, 6, 5, 2), np.float16))
    with pytest.raises(StoreError, match="has shape"):
        writer.write_part(0, "heatmaps", 0, np.zeros((4, 6, 5, 3), np.float16))
    assert tree_bytes(tmp_path / "d.zarr") == before
