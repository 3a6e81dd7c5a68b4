"""A store that was written anew while somebody read it is told from the one that was opened."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from support.stores import fill, filled, make_meta, store_bytes, tree_bytes

import fstore
from fstore import format as fmt
from fstore.cache import CachedPyramid
from fstore.errors import StoreError

META = make_meta("pyramid")
DATASET = fmt.DatasetMeta((6, 5), META.classes, 4)


def begin(path: Path | str, overwrite: bool = False) -> fstore.FeatureWriter:
    return fstore.create(path, META, num_images=3, latent_shape=(8,), overwrite=overwrite)


def fill_dataset(path: Path, num_images: int) -> None:
    writer = fstore.create_dataset(path, DATASET, num_images=num_images)
    for task in writer.pending_tasks():
        specs = fmt.dataset_arrays(DATASET, len(writer.task_images(task)))
        writer.write_task(task, {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs})
    writer.close()


def test_every_store_that_is_created_has_an_id_of_its_own(tmp_path: Path) -> None:
    ids = []
    for name in ("a", "b"):
        fill(tmp_path / name, META)
        ids.append(fstore.open(tmp_path / name).id)
    begin(tmp_path / "a", overwrite=True).close()
    ids.append(fstore.open(tmp_path / "a").id)
    assert len(set(ids)) == 3
    assert all(len(text) == 32 and int(text, 16) >= 0 for text in ids)


def test_a_store_that_is_gone_on_with_keeps_its_id_and_differs_in_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path / "a", replace(META, created={"time": "early"}), images=[1])
    store = fstore.open(tmp_path / "a")
    fill(tmp_path / "a", replace(META, created={"time": "late"}))
    store.check_unchanged()
    assert fstore.open(tmp_path / "a").id == store.id
    assert fstore.open(tmp_path / "a").meta.created == {"time": "early", "id": store.id}
    fill(tmp_path / "b", META)
    assert tree_bytes(tmp_path / "a") != tree_bytes(tmp_path / "b")
    assert store_bytes(tmp_path / "a") == store_bytes(tmp_path / "b")


def anew(path: Path) -> None:
    begin(path, overwrite=True).close()


def emptied(path: Path) -> None:
    zarr.open_group(path).attrs.put({"fstore": {"creating": True}})


def without_group(path: Path) -> None:
    (path / "zarr.json").unlink()


def another_kind(path: Path) -> None:
    shutil.rmtree(path)
    fill_dataset(path, 3)


def foreign(path: Path) -> None:
    shutil.rmtree(path)
    zarr.create_group(path, attributes={"created": 3})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (anew, r"id [0-9a-f]{32}, expected [0-9a-f]{32}"),
        (another_kind, r"id [0-9a-f]{32}, expected [0-9a-f]{32}"),
        (shutil.rmtree, "no such store"),
        (emptied, "being written anew"),
        (without_group, "no Zarr v3 group"),
        (foreign, "id None, expected"),
    ],
)
def test_a_reader_is_told_that_its_store_is_no_longer_there(tmp_path: Path, change, says: str) -> None:
    path = tmp_path / "s.zarr"
    filled(path, META)
    store = fstore.open(path)
    held = CachedPyramid(store, [0, 1])
    for reader in (store, held):
        reader.check_unchanged()
    change(path)
    for reader in (store, held):
        with pytest.raises(StoreError, match=f"no longer the store that was opened .*{says}") as caught:
            reader.check_unchanged()
        assert str(caught.value).startswith(f"{path}: ") and str(caught.value).count(str(path)) == 1
        assert "\n" not in str(caught.value)


def test_a_dataset_that_is_filtered_anew_is_another_to_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    fill_dataset(path, 4)
    before = fstore.open(path)
    fstore.set_kept(path, np.array([True, True, False, False]), "0.5", 0.0)
    after = fstore.open(path)
    with pytest.raises(StoreError, match=r"filter was changed while it was read \(keep 0.5, expected None"):
        before.check_unchanged()
    after.check_unchanged()
    assert before.id == after.id


def test_a_dataset_that_is_lengthened_before_its_filter_is_set_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    fill_dataset(path, 4)
    store = fstore.open(path)
    fill_dataset(path, 9)
    store.check_unchanged()


def test_a_store_at_a_url_has_an_id_too(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    url = "memory://identity/s.zarr"
    fill(url, META)
    store = fstore.open(url)
    store.check_unchanged()
    begin(url, overwrite=True).close()
    with pytest.raises(StoreError, match=r"^memory://identity/s\.zarr: is no longer"):
        store.check_unchanged()


def test_a_store_without_an_id_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "s.zarr", META)
    group = zarr.open_group(tmp_path / "s.zarr")
    group.attrs.put({"fstore": {**group.attrs["fstore"], "created": {"time": "early"}}})
    with pytest.raises(StoreError, match=r"created\.id is None: expected text"):
        fstore.open(tmp_path / "s.zarr")
