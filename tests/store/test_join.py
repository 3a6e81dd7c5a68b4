"""Writers of some images on behalf of another one: any order, more than once, marks by that one alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from support.labelled import dataset_meta, fill_dataset
from support.stores import filled, make_image, make_maps, make_meta, store_bytes

import fstore
from fstore import durable
from fstore import format as fmt
from fstore.errors import CorruptionError, StoreError

SHAPES = [(40, 40), (23, 9)]  # shards that are cut at the array's end, and an array smaller than a chunk


def latent_of(image: int) -> np.ndarray:
    return np.random.default_rng(1000 + image).standard_normal(8).astype(np.float32)


def write_rendered(joined: fstore.FeatureWriter, image: int) -> None:
    picture, _ = make_image(joined.meta, image)
    joined.write(joined.prepare_rendered(image, make_maps(image), picture))


def begin(writer: fstore.FeatureWriter, image: int) -> None:
    writer.begin_image(image, make_image(writer.meta, image)[1], latent_of(image))


@pytest.mark.parametrize(
    ("layout", "grid"),
    [
        ("dense", SHAPES[0]),
        ("pyramid", SHAPES[1]),
        pytest.param("dense", SHAPES[1], marks=pytest.mark.slow),
        pytest.param("pyramid", SHAPES[0], marks=pytest.mark.slow),
    ],
)
def test_two_writers_of_a_directed_store_write_the_bytes_of_one(
    tmp_path: Path, layout: str, grid: tuple[int, int]
) -> None:
    meta = make_meta(layout, grid)
    filled(tmp_path / "one.zarr", meta)
    writer = fstore.create(tmp_path / "many.zarr", meta, num_images=3, latent_shape=(8,))
    joined = [fstore.join(tmp_path / "many.zarr", band_buffers=buffers) for buffers in (1, 3)]
    for image, each in zip((2, 0, 1), itertools.cycle(joined), strict=False):
        begin(writer, image)
        assert isinstance(each, fstore.FeatureWriter) and each.id == writer.id
        write_rendered(each, image)
        assert image in writer.pending()  # a joined writer marks nothing
        writer.commit_image(image)
    writer.close()
    assert store_bytes(tmp_path / "many.zarr") == store_bytes(tmp_path / "one.zarr")


@pytest.mark.parametrize("layout", ["dense", "pyramid"])
def test_a_writer_that_was_given_up_may_still_write(tmp_path: Path, layout: str) -> None:
    """Whoever comes last replaces the files by the same bytes, also once they are marked."""
    meta = make_meta(layout, (23, 9))
    filled(tmp_path / "one.zarr", meta, num_images=1)
    writer = fstore.create(tmp_path / "many.zarr", meta, num_images=1, latent_shape=(8,))
    slow, quick = fstore.join(tmp_path / "many.zarr"), fstore.join(tmp_path / "many.zarr")
    assert isinstance(slow, fstore.FeatureWriter) and isinstance(quick, fstore.FeatureWriter)
    begin(writer, 0)
    given_up = slow.prepare_rendered(0, make_maps(0), make_image(meta, 0)[0])
    write_rendered(quick, 0)
    write_rendered(quick, 0)
    writer.commit_image(0)
    slow.write(given_up)
    writer.close()
    assert store_bytes(tmp_path / "many.zarr") == store_bytes(tmp_path / "one.zarr")
    assert fstore.verify_store(tmp_path / "many.zarr").ok


def test_what_an_unfinished_attempt_left_is_deleted_before_and_not_by_the_joined_writer(
    tmp_path: Path,
) -> None:
    meta = make_meta("dense", (23, 9))
    filled(tmp_path / "one.zarr", meta, num_images=1)
    filled(tmp_path / "many.zarr", meta, num_images=1)
    (tmp_path / "many.zarr/committed/c/0").unlink()
    for part in (tmp_path / "many.zarr/features/c/0").rglob("*"):
        if part.is_file():
            part.write_bytes(part.read_bytes()[:-3])
    writer = fstore.create(tmp_path / "many.zarr", meta, num_images=1, latent_shape=(8,))
    begin(writer, 0)
    assert not (tmp_path / "many.zarr/features/c/0").exists()
    joined = fstore.join(tmp_path / "many.zarr")
    assert isinstance(joined, fstore.FeatureWriter)
    write_rendered(joined, 0)
    writer.commit_image(0)
    assert store_bytes(tmp_path / "many.zarr") == store_bytes(tmp_path / "one.zarr")


def test_files_and_their_folders_are_forced_to_the_disk_before_the_joined_writer_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = fstore.create(tmp_path / "s.zarr", make_meta(), num_images=1, latent_shape=(8,))
    joined = fstore.join(tmp_path / "s.zarr")
    assert isinstance(joined, fstore.FeatureWriter)
    begin(writer, 0)
    forced: list[Path] = []
    monkeypatch.setattr(durable, "force_to_disk", forced.append)
    write_rendered(joined, 0)
    written = [path for path in (tmp_path / "s.zarr/features/c").rglob("*") if path.is_file()]
    assert written and set(written) <= set(forced)
    for path in written:
        assert {folder for folder in path.parents if folder.is_relative_to(tmp_path)} <= set(forced)
    forced.clear()
    writer.commit_image(0)
    assert forced[0] == tmp_path / "s.zarr/committed/c/0"


def test_latents_are_read_of_images_that_are_not_committed_and_never_as_zeros(tmp_path: Path) -> None:
    writer = fstore.create(tmp_path / "s.zarr", make_meta(), num_images=3, latent_shape=(8,))
    begin(writer, 2)
    joined = fstore.join(tmp_path / "s.zarr")
    assert isinstance(joined, fstore.FeatureWriter)
    np.testing.assert_array_equal(joined.latents([2, 2]), np.stack([latent_of(2)] * 2))
    with pytest.raises(CorruptionError, match="latents"):
        joined.latents([2, 1])


def test_a_committed_image_is_begun_no_more(tmp_path: Path) -> None:
    filled(tmp_path / "s.zarr", make_meta(), num_images=1)
    writer = fstore.create(tmp_path / "s.zarr", make_meta(), num_images=1, latent_shape=(8,))
    with pytest.raises(StoreError, match="committed already"):
        begin(writer, 0)


def test_a_store_that_is_not_there_cannot_be_joined(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        fstore.join(tmp_path / "none.zarr")


def test_joining_takes_no_lock_and_the_directing_writer_keeps_its_own(tmp_path: Path) -> None:
    writer = fstore.create(tmp_path / "s.zarr", make_meta(), num_images=1, latent_shape=(8,))
    fstore.join(tmp_path / "s.zarr").close()
    with pytest.raises(StoreError, match="another writer"):
        fstore.create(tmp_path / "s.zarr", make_meta(), num_images=1, latent_shape=(8,))
    writer.close()


def parts_of(meta: fmt.DatasetMeta, whole: fstore.Dataset, images: range) -> dict[str, np.ndarray]:
    """What a finished dataset has of some images."""
    names = [spec.name for spec in fmt.dataset_arrays(meta, len(whole))]
    group = whole.location.open_group()
    return {name: np.asarray(group[name][images.start : images.stop]) for name in names}


@pytest.mark.usefixtures("tasks_of_16")
@pytest.mark.parametrize("keypoints", [False, True])
def test_tasks_of_a_dataset_are_written_by_joined_writers(tmp_path: Path, keypoints: bool) -> None:
    meta = dataset_meta(keypoints=keypoints)
    fill_dataset(tmp_path / "one.zarr", 38, meta)
    whole = fstore.open(tmp_path / "one.zarr")
    assert isinstance(whole, fstore.Dataset)
    fill_dataset(tmp_path / "many.zarr", 18, meta)  # the second task is committed for two images
    writer = fstore.create_dataset(tmp_path / "many.zarr", meta, num_images=38)
    for task in reversed(writer.pending_tasks()):
        joined = fstore.join(tmp_path / "many.zarr")
        assert isinstance(joined, fstore.DatasetWriter) and joined.id == writer.id
        writer.begin_task(task)
        assert task != 1 or (tmp_path / "many.zarr/images/c/1").exists()  # readers may have it open
        for _ in range(2):
            joined.write_task(task, parts_of(meta, whole, joined.task_images(task)))
        assert task in writer.pending_tasks()
        writer.commit_task(task)
    writer.close()
    assert store_bytes(tmp_path / "many.zarr") == store_bytes(tmp_path / "one.zarr")
