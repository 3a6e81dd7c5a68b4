"""What goes wrong while a store is written, and that the next attempt ends as if nothing had."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
import zarr
from support.stores import fill, filled, make_image, make_maps, make_meta, store_bytes, tree_bytes
from support.variants import variants

import fstore
from fstore import bands, durable, local_files, location, lock
from fstore import format as fmt
from fstore.errors import StoreError, StoreWarning, UnreadableError
from fstore.location import Location
from fstore.lock import FolderLock
from fstore.shards import ShardWriter

META = {"grid": (100, 40), "crop_rows": (3, 99)}  # three bands
DATASET = fmt.DatasetMeta((6, 5), make_meta().classes, 4, keypoints=fmt.KeypointInfo(("a", "b"), 1.5))


def create(path: Path, layout: str, band_buffers: int = 3, overwrite: bool = False) -> fstore.FeatureWriter:
    meta = make_meta(layout, **META)
    options = {"band_buffers": band_buffers, "overwrite": overwrite}
    return fstore.create(path, meta, num_images=2, latent_shape=(8,), **options)


def write(writer: fstore.FeatureWriter, image: int) -> None:
    picture, mask = make_image(writer.meta, image)
    latent = np.random.default_rng(1000 + image).standard_normal(8).astype(np.float32)
    writer.write_image(image, make_maps(image), picture, mask, latent)


class DiskFull:
    """Lets some writes through, then none."""

    def __init__(self, room: int) -> None:
        self.room, self.original = room, ShardWriter.write

    def __call__(self, shards: ShardWriter, *arguments) -> list[str]:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.original(shards, *arguments)


@pytest.mark.parametrize("layout", ["dense", "pyramid"])
@pytest.mark.parametrize("first_room", variants(3, 1, 6))
def test_an_image_that_fails_twice_does_not_spoil_the_next(
    tmp_path: Path, layout: str, first_room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "usual.zarr", make_meta(layout, **META), num_images=2)
    writer = create(tmp_path / "s.zarr", layout)
    for room in (first_room, 0):  # the second attempt deletes what the first left, and writes nothing
        with monkeypatch.context() as patch:
            full = DiskFull(room)
            patch.setattr(ShardWriter, "write", lambda *arguments, full=full: full(*arguments))
            with pytest.raises(OSError, match="No space left"):
                write(writer, 0)
    write(writer, 1)
    assert writer.pending() == [0]
    write(writer, 0)
    assert store_bytes(tmp_path / "s.zarr") == store_bytes(tmp_path / "usual.zarr")


def test_a_task_that_fails_twice_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = fstore.create_dataset(tmp_path / "d.zarr", DATASET, num_images=70)

    def parts(task: int) -> dict[str, np.ndarray]:
        specs = fmt.dataset_arrays(DATASET, len(writer.task_images(task)))
        return {spec.name: np.ones(spec.shape, spec.dtype) for spec in specs}

    for room in (4, 0):
        with monkeypatch.context() as patch:
            full = DiskFull(room)
            patch.setattr(ShardWriter, "write", lambda *arguments, full=full: full(*arguments))
            with pytest.raises(OSError, match="No space left"):
                writer.write_task(0, parts(0))
    rest = parts(0)
    heatmaps = rest.pop("heatmaps")
    with pytest.raises(StoreError, match="array 'heatmaps' has shape None"):  # deleted by the second attempt
        writer.write_task(0, rest)
    writer.write_task(1, parts(1))
    writer.write_task(0, rest | {"heatmaps": heatmaps})
    assert writer.pending_tasks() == []
    assert fstore.verify_store(tmp_path / "d.zarr").ok


@pytest.mark.parametrize("band_buffers", [1, 2])
@pytest.mark.parametrize("failing", variants(1, 0, 2))
def test_an_error_while_a_band_is_computed_loses_no_buffer(
    tmp_path: Path, band_buffers: int, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = create(tmp_path / "s.zarr", "dense", band_buffers)
    compute, calls = bands.concatenate_block, []

    def computing(*arguments, **options):
        calls.append(None)
        if len(calls) == failing + 1:
            raise RuntimeError("out of memory")
        return compute(*arguments, **options)

    for _ in range(3):  # more often than there are buffers
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(bands, "concatenate_block", computing)
            with pytest.raises(RuntimeError, match="out of memory"):
                write(writer, 0)
    for image in (0, 1):  # without a buffer this would wait for ever
        write(writer, image)
    assert fstore.verify_store(tmp_path / "s.zarr").ok


def complete_dataset(path: Path, num_images: int = 8) -> None:
    writer = fstore.create_dataset(path, DATASET, num_images=num_images)
    for task in writer.pending_tasks():
        specs = fmt.dataset_arrays(DATASET, len(writer.task_images(task)))
        writer.write_task(task, {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs})
    writer.close()


def test_the_filter_is_unset_on_the_disk_before_kept_changes_and_set_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.zarr"
    complete_dataset(path)
    fstore.set_kept(path, np.arange(8) < 4, "0.5", 0.0)
    synced: list[tuple[str, object, int]] = []
    sync = durable.force_to_disk

    def recording(file: Path) -> None:
        sync(file)
        if file.is_file():
            group = zarr.open_group(path, mode="r")
            keep = group.attrs["fstore"]["keep"]
            synced.append((str(file.relative_to(path)), keep, int(group["kept"][:].sum())))

    monkeypatch.setattr(durable, "force_to_disk", recording)
    fstore.set_kept(path, np.arange(8) < 2, "0.25", 0.0)
    assert synced == [("zarr.json", None, 4), ("kept/c/0", None, 2), ("zarr.json", "0.25", 2)]


def test_a_dataset_is_lengthened_in_an_order_that_holds_after_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.zarr"
    complete_dataset(path)
    synced: list[str] = []
    sync = durable.force_to_disk
    monkeypatch.setattr(
        durable, "force_to_disk", lambda file: (sync(file), synced.append(str(file.relative_to(tmp_path))))
    )
    fstore.create_dataset(path, DATASET, num_images=70).close()
    files = [name for name in synced if name.endswith("zarr.json")]
    assert (files[0], files[-1]) == ("d.zarr/zarr.json", "d.zarr/committed/zarr.json")
    assert len(files) == 2 + len(fmt.dataset_arrays(DATASET, 70)) + 1


def test_a_file_of_committed_images_is_forced_before_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.zarr"
    forced: list[str] = []
    replace = local_files.replace_durably
    monkeypatch.setattr(
        local_files,
        "replace_durably",
        lambda file, content: (replace(file, content), forced.append(str(file.relative_to(path)))),
    )
    arrays = [spec.name for spec in fmt.dataset_arrays(DATASET, 8)]
    complete_dataset(path, 8)
    assert not {file.partition("/")[0] for file in forced if not file.endswith("zarr.json")} - {"committed"}
    forced.clear()
    complete_dataset(path, 70)  # the first 64 images are one task, of which 8 are there
    written = [file for file in forced if not file.endswith("zarr.json")]
    assert {file.partition("/")[0] for file in written} == {*arrays, "committed"}
    others = {file for file in written if "committed" not in file and file.split("/")[2] != "0"}
    assert others == {"heatmaps/c/1/0/0/0"}  # a file of heat maps has four images


def test_arrays_that_are_deleted_are_gone_before_what_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.zarr"
    complete_dataset(path)
    seen: list[set[str]] = []
    force = location.force_to_disk

    def recording(folder: Path) -> None:
        force(folder)
        seen.append({entry.name for entry in path.iterdir()})

    monkeypatch.setattr(location, "force_to_disk", recording)
    fstore.create_dataset(path, DATASET, num_images=8, overwrite=True).close()
    assert {name for name in seen[0] if not name.startswith(".")} == {"zarr.json"}


@pytest.mark.parametrize("name", variants("features", "committed", "masks", fast=2))
@pytest.mark.parametrize("dangling", [False, True])
def test_an_overwrite_takes_links_for_links(tmp_path: Path, name: str, dangling: bool) -> None:
    path, elsewhere = tmp_path / "s.zarr", tmp_path / "elsewhere"
    filled(path, make_meta("dense", **META), num_images=2)
    (path / name).rename(elsewhere)
    (path / name).symlink_to(tmp_path / "nowhere" if dangling else elsewhere)
    before = tree_bytes(elsewhere)
    writer = create(path, "dense", overwrite=True)
    for image in writer.pending():
        write(writer, image)
    assert fstore.verify_store(path).ok and len(fstore.open(path)) == 2
    assert tree_bytes(elsewhere) == before
    assert not (path / name).is_symlink()


def test_an_overwrite_refuses_a_plain_file_of_a_parts_name_before_it_deletes(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    filled(path, make_meta("dense", **META), num_images=2)
    (path / "labels").write_text("mine")
    before = tree_bytes(path)
    with pytest.raises(StoreError, match="labels is a plain file"):
        create(path, "dense", overwrite=True)
    assert tree_bytes(path) == before
    assert len(fstore.open(path)) == 2


@pytest.mark.parametrize("name", ["notes.txt", "c/0/mine/a.png", "c/0 (copy)"])
def test_an_overwrite_refuses_files_of_others_in_the_parts_of_a_store(tmp_path: Path, name: str) -> None:
    path = tmp_path / "s.zarr"
    filled(path, make_meta("dense", **META), num_images=2)
    mine = path / "masks" / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    before = tree_bytes(path)
    with pytest.raises(
        StoreError, match=re.escape(f"s.zarr: masks/{name} is a file that no store has; move")
    ):
        create(path, "dense", overwrite=True)
    with pytest.raises(StoreError, match="is a file that no store has"):
        fstore.check_create(path, make_meta("dense", **META), num_images=2, latent_shape=(8,), overwrite=True)
    assert tree_bytes(path) == before
    mine.unlink()
    (path / "masks/.DS_Store").touch()  # it appears by itself
    create(path, "dense", overwrite=True).close()


@pytest.mark.parametrize("number", variants(errno.ENOLCK, errno.EBADF, errno.ENOTSUP, errno.ENOSYS))
def test_a_file_system_without_locks_is_said_and_written_to(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with pytest.warns(StoreWarning, match=f"{tmp_path}.* cannot be locked .{os.strerror(number)}") as caught:
        fill(tmp_path / "s.zarr", make_meta("dense", **META), num_images=2)
    assert len(caught) == 1
    assert fstore.verify_store(tmp_path / "s.zarr").ok


def test_a_lock_that_fails_otherwise_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    open_files = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else None
    with pytest.raises(UnreadableError, match="cannot be locked"):
        FolderLock(tmp_path)
    if open_files is not None:
        assert len(os.listdir("/proc/self/fd")) == open_files


@pytest.mark.parametrize("name", ["nowhere", "a_file"])
def test_a_filter_of_no_store_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "a_file").write_text("x")
    with pytest.raises(StoreError, match=f"^{tmp_path / name}: "):
        fstore.set_kept(tmp_path / name, np.ones(3, bool), "1", 0.0)
    assert Location.parse(tmp_path / "nowhere").state() == "absent"
