"""Which images are committed: a marker that is missing or damaged says no, any other trouble says nothing."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from support.stores import fill, filled, make_meta
from zarr.storage import LocalStore

import fstore
from fstore import format as fmt
from fstore import local_shards, stored_files
from fstore.errors import StoreError, UnreadableError
from pipeline.cli import main

DATASET = fmt.DatasetMeta((6, 5), make_meta().classes, 4)


def make_dataset(path: Path, num_images: int = 70, keep: bool = True) -> None:
    writer = fstore.create_dataset(path, DATASET, num_images=num_images)
    for task in writer.pending_tasks():
        specs = fmt.dataset_arrays(DATASET, len(writer.task_images(task)))
        writer.write_task(task, {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs})
    writer.close()
    if keep:
        fstore.set_kept(path, np.ones(num_images, bool), "1", 0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole store, which no test changes."""
    path = tmp_path_factory.mktemp("whole") / "s.zarr"
    filled(path, make_meta())
    return path


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.EACCES, errno.EIO, errno.ENFILE, errno.ESTALE], ids=errno.errorcode.get
)
@pytest.mark.parametrize("use", [fstore.open, fstore.verify_store, lambda p: fill(p, make_meta())])
def test_a_marker_that_cannot_be_read_is_an_error_and_not_a_no(
    whole: Path, tmp_path: Path, number: int, use, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "s.zarr"))
    read = local_shards.read_file

    def failing(file: Path) -> bytes | None:
        if file == path / "committed/c/1":
            raise OSError(number, os.strerror(number), str(file))
        return read(file)

    monkeypatch.setattr(stored_files, "read_file", failing)
    says = rf"^{path}: array 'committed', chunk \[1\] cannot be read .{os.strerror(number)}: .*committed/c/1"
    with pytest.raises(UnreadableError, match=says) as caught:
        use(path)
    assert "--overwrite" not in str(caught.value) and "corrupt" not in str(caught.value)


def test_with_too_many_open_files_a_store_is_not_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    filled(path, make_meta())
    fstore.open(path)  # whatever zarr opens once is open
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    outcomes, taken = set(), [os.open(os.devnull, os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 30, hard))
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(6):  # with no file left, then one, two, ...
            try:
                outcomes.add(len(fstore.open(path)))
            except StoreError as error:
                assert "Too many open files" in str(error)
                outcomes.add(-1)
            os.close(taken.pop())
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert -1 in outcomes and outcomes <= {-1, 3}


@pytest.mark.parametrize("content", [b"", b"x", b"\x00garbage", None])
def test_a_missing_or_damaged_marker_says_no_and_verify_says_which(tmp_path: Path, content) -> None:
    path = tmp_path / "s.zarr"
    filled(path, make_meta())
    marker = path / "committed" / "c" / "1"
    if content is None:
        marker.unlink()
    else:
        marker.write_bytes(content)
    assert fstore.open(path).image_ids.tolist() == [0, 2]
    problems = fstore.verify_store(path).problems
    if content is None:
        assert problems == ()  # an image that is not done yet
    else:
        assert len(problems) == 1
        assert problems[0].startswith(f"{path}: array 'committed', chunk [1] is damaged (")


def test_a_damaged_marker_of_a_task_fails_verify_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    make_dataset(path, keep=False)
    marker = path / "committed" / "c" / "0"
    marker.write_bytes(marker.read_bytes()[:-1])
    result = CliRunner().invoke(main, ["verify", str(path)])
    assert result.exit_code == 1
    assert "array 'committed', chunk [0] is damaged" in result.output


def test_a_marker_that_is_neither_0_nor_1_is_found(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    make_dataset(path, keep=False)
    zarr.open_group(path)["committed"][66] = np.uint8(7)
    assert len(fstore.open(path)) == 69
    assert fstore.verify_store(path).problems == (
        f"{path}: array 'committed', image 66: is 7, expected 0 or 1",
    )


def test_a_filter_over_images_that_are_not_committed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    make_dataset(path)
    assert fstore.verify_store(path).ok
    (path / "committed" / "c" / "1").unlink()
    says = f"{path}: attribute 'keep' is 1, and 6 of 70 images are not committed; expected null"
    assert fstore.verify_store(path).problems == (says,)
    with pytest.raises(StoreError, match="64 of 70 images are committed"):
        fstore.set_kept(path, np.ones(70, bool), "1", 0.0)


@pytest.mark.parametrize("name", ["features/c/1/0/0/0", "masks/c/1/0/0"])
def test_a_file_without_permission_is_not_called_damaged(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.zarr"
    filled(path, make_meta())
    store = fstore.open(path)
    array = name.split("/")[0]
    get, local_open = LocalStore.get, os.open
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path / name))

    async def get_refused(self, key: str, *arguments, **options):
        if key == name:
            raise refused
        return await get(self, key, *arguments, **options)

    def open_refused(file, *arguments):
        if str(file).endswith(name):
            raise refused
        return local_open(file, *arguments)

    monkeypatch.setattr(LocalStore, "get", get_refused)
    monkeypatch.setattr(local_shards.os, "open", open_refused)
    with pytest.raises(
        UnreadableError, match=f"array '{array}', image 1, .* cannot be read .Permission"
    ) as e:
        store.lazy(array)[1].compute(scheduler="sync")
    assert "give this user the permission" in str(e.value) and "--overwrite" not in str(e.value)
    assert any("cannot be read (Permission denied" in line for line in fstore.verify_store(path).problems)


@pytest.mark.parametrize("name", ["zarr.json", "masks/zarr.json"])
def test_metadata_without_permission_is_not_called_damaged(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.zarr"
    filled(path, make_meta())
    get = LocalStore.get

    async def get_refused(self, key: str, *arguments, **options):
        if key == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path / name))
        return await get(self, key, *arguments, **options)

    monkeypatch.setattr(LocalStore, "get", get_refused)
    for use in (lambda: fstore.open(path).masks, lambda: fill(path, make_meta())):
        with pytest.raises(UnreadableError, match=r"zarr\.json cannot be read .Permission denied"):
            use()
