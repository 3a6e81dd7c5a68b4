"""Programs that know nothing of this one read its stores: xarray, tensorstore, plain dask.

Each gives the values that were written, by the names that the format gives to arrays and dimensions.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import dask.array as da
import numpy as np
import pytest
import zarr
from support.stores import make_image, make_maps, make_meta
from support.variants import variants

import fstore
from fstore import format as fmt

AVERAGE = np.arange(10, dtype=np.float32)  # of another size than the latents, as W may be of another than Z
KEYPOINTS = fmt.KeypointInfo(("left", "middle", "right"), 2.0)  # of four classes with the background


def optional(name: str) -> ModuleType:
    """A module of the ``dev`` extra; the test is skipped where it is not installed."""
    pytest.importorskip(name, reason=f"{name} is not installed; pip install -e .[dev]")
    return importlib.import_module(name)


def feature_store(path: Path, layout: str, with_keypoints: bool = False, style: int | None = None) -> Path:
    """Three images, of which the last is not written."""
    meta = replace(make_meta(layout, (40, 56)), keypoints=KEYPOINTS if with_keypoints else None)
    shape = (8,) if style is None else (style, 8)
    writer = fstore.create(path, meta, num_images=3, latent_shape=shape, average_latent=AVERAGE)
    for image in (0, 1):
        points = np.full((3, 3), image, np.float32) if with_keypoints else None
        picture, mask = make_image(meta, image)
        writer.write_image(image, make_maps(image), picture, mask, np.full(shape, image, np.float32), points)
    writer.close()
    return path


def dataset(path: Path, with_keypoints: bool = False) -> Path:
    keypoints = KEYPOINTS if with_keypoints else None
    meta = fmt.DatasetMeta((20, 24), make_meta().classes, 8, keypoints=keypoints)
    writer = fstore.create_dataset(path, meta, num_images=11)
    random = np.random.default_rng(0)
    for task in writer.pending_tasks():
        images = writer.task_images(task)
        specs = fmt.dataset_arrays(meta, len(images))
        writer.write_task(task, {s.name: random.integers(0, 4, s.shape).astype(s.dtype) for s in specs})
    writer.close()
    return path


STORES = {
    "dense-of-keypoints": lambda path: feature_store(path, "dense", with_keypoints=True),
    "pyramid": lambda path: feature_store(path, "pyramid", style=4),
    "dataset": dataset,
    "dataset-of-keypoints": lambda path: dataset(path, with_keypoints=True),
    "dense": lambda path: feature_store(path, "dense"),
    "pyramid-of-keypoints": lambda path: feature_store(path, "pyramid", with_keypoints=True),
}


@pytest.fixture(scope="module", autouse=True)
def _tasks_are_small() -> Iterator[None]:
    """Every image is a chunk of each array, and every program reads them all: fewer make two tasks too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fmt, "TASK_IMAGES", 8)
        yield


@pytest.fixture(scope="module", params=variants(*STORES, fast=4))
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of every kind, which no test changes."""
    return STORES[request.param](tmp_path_factory.mktemp("stores") / "s.zarr")


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """Every array by its path, read by zarr-python itself."""
    group = zarr.open_group(path, mode="r")
    return {name: item[...] for name, item in group.members(max_depth=2) if isinstance(item, zarr.Array)}


def test_xarray_opens_every_array_by_its_name(path: Path) -> None:
    xarray = optional("xarray")
    arrays = arrays_of(path)
    opened = xarray.open_zarr(path, consolidated=False)
    assert set(opened.data_vars) == {name for name in arrays if "/" not in name}
    for name in opened.data_vars:
        assert np.array_equal(opened[name].values, arrays[name]), name
        assert opened[name].dtype == arrays[name].dtype, name
    assert opened.sizes["image"] == len(arrays["committed"])
    assert opened["images"].dims == ("image", "y", "x", "rgb")


def test_xarray_opens_a_tree_with_the_layers(path: Path) -> None:
    xarray = optional("xarray")
    tree = xarray.open_datatree(path, engine="zarr", consolidated=False)
    for name, values in arrays_of(path).items():
        assert np.array_equal(tree[name].values, values), name


def test_xarray_opens_a_store_without_a_setting_too(tmp_path: Path) -> None:
    xarray = optional("xarray")
    path = STORES["dense"](tmp_path / "s.zarr")
    with pytest.warns(RuntimeWarning, match="consolidated"):  # it reads, and advises what would go stale
        opened = xarray.open_zarr(path)
    assert opened["class_counts"].dims == ("image", "tile_y", "tile_x", "class")
    assert opened["features"].dims == ("image", "y", "x", "channel")


def test_the_documented_selection_of_committed_images_is_that_of_the_store(tmp_path: Path) -> None:
    xarray = optional("xarray")
    path = STORES["dense"](tmp_path / "s.zarr")
    opened = xarray.open_zarr(path, consolidated=False)
    chosen = opened.isel(image=opened.committed.values == 1)
    assert np.array_equal(chosen["features"].values, fstore.open(path).features.compute())


def test_tensorstore_reads_every_array(path: Path) -> None:
    tensorstore = optional("tensorstore")
    for name, values in arrays_of(path).items():
        store = {"driver": "file", "path": f"{path / name}/"}
        opened = tensorstore.open({"driver": "zarr3", "kvstore": store}, open=True).result()
        assert np.array_equal(opened.read().result(), values), name
        assert all(opened.domain.labels), name


def test_plain_dask_reads_every_array_by_its_files(path: Path) -> None:
    group = zarr.open_group(path, mode="r")
    for name, values in arrays_of(path).items():
        array = group[name]
        assert isinstance(array, zarr.Array)
        assert np.array_equal(da.from_zarr(array, chunks=array.shards or array.chunks).compute(), values), (
            name
        )


@pytest.mark.parametrize("kind", ["dense", "pyramid", "dataset"])
def test_all_of_them_see_what_the_store_shows(tmp_path: Path, kind: str) -> None:
    path = STORES[kind](tmp_path / "s.zarr")
    arrays, store = arrays_of(path), fstore.open(path)
    assert np.array_equal(store.images.compute(), arrays["images"][store.image_ids])
    assert np.array_equal(store.latents.compute(), arrays["latents"][store.image_ids])
