"""Datasets for torch: the store's own values, in any worker, and a clear word where the store is not that."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from support.labelled import dataset_meta, fill_dataset, keep_some
from support.stores import copy_written, fill, make_image, make_maps, make_meta
from support.variants import variants
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, Subset
from torch.utils.data.distributed import DistributedSampler

import fstore
from fstore import format as fmt
from fstore.errors import CorruptionError, StoreError

NUM = 150  # three files, the last one short


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete dataset of labels, of which half is kept; no test changes it."""
    path = tmp_path_factory.mktemp("torch") / "d.zarr"
    fill_dataset(path, NUM, dataset_meta())
    keep_some(path, "0.5")
    return path


@pytest.fixture(scope="module")
def keypoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torch") / "k.zarr"
    fill_dataset(path, 9, dataset_meta(keypoints=True))
    return path


def stored(path: Path | str, target: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images [3, H, W] and targets as the store's own arrays have them."""
    store = fstore.open(path)
    images = store.images.compute(scheduler="sync").transpose(0, 3, 1, 2)
    return list(zip(images, store.lazy(target).compute(scheduler="sync"), strict=True))


def check_items(items: Any, expected: list[tuple[np.ndarray, np.ndarray]]) -> None:
    count = 0
    for (image, target), (wanted_image, wanted_target) in zip(items, expected, strict=True):
        np.testing.assert_array_equal(image.numpy(), wanted_image)
        np.testing.assert_array_equal(target.numpy(), wanted_target)
        count += 1
    assert count == len(expected)


def loader(dataset: Any, **settings: Any) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=None if "sampler" in settings else 8, **settings)


def images_of(batches: Any) -> list[bytes]:
    """Every image of some batches, as bytes: no two of the dataset are equal."""
    return [image.numpy().tobytes() for images, _ in batches for image in images]


def all_images(path: Path, kept_only: bool = True) -> list[bytes]:
    return [image.numpy().tobytes() for image, _ in fstore.torch_dataset(path, kept_only=kept_only)]


def test_items_are_the_kept_images_and_their_labels(path: Path) -> None:
    dataset = fstore.torch_dataset(path)
    kept = np.flatnonzero(fstore.open(path).kept)
    np.testing.assert_array_equal(dataset.ids, kept)
    pairs = stored(path, "labels")
    check_items(dataset, [pairs[i] for i in kept])
    image, label = dataset[0]
    assert (image.shape, image.dtype, label.shape, label.dtype) == (
        (3, 6, 5),
        torch.uint8,
        (6, 5),
        torch.int64,
    )
    assert image.is_contiguous() and label.is_contiguous()
    assert dataset.classes == ["class_0", "class_1", "class_2", "class_3"] and dataset.ignore == 255
    assert dataset.meta.classes[1].color == "#148040"
    assert repr(dataset) == f"<fstore.torch_dataset '{path}': 75 images, 4 classes>"


def test_without_the_filter_they_are_all_images(path: Path) -> None:
    dataset = fstore.torch_dataset(path, kept_only=False)
    check_items(dataset, stored(path, "labels"))
    assert dataset.ids.tolist() == list(range(NUM))


def test_an_unfinished_dataset_gives_what_is_committed(tmp_path: Path) -> None:
    fill_dataset(tmp_path / "d.zarr", 100, dataset_meta(), tasks=1)
    dataset = fstore.torch_dataset(tmp_path / "d.zarr", kept_only=False)
    assert dataset.ids.tolist() == list(range(64))
    check_items(dataset, stored(tmp_path / "d.zarr", "labels"))
    with pytest.raises(StoreError, match=r"64 of 100 images are committed, and no filter .* kept_only=False"):
        fstore.torch_dataset(tmp_path / "d.zarr")


@pytest.mark.parametrize("ignore", [None, 255, 300], ids=["none", "one byte", "masks of two bytes"])
def test_a_feature_store_gives_its_annotated_images(tmp_path: Path, ignore: int | None) -> None:
    meta = make_meta(ignore=ignore)
    writer = fstore.create(tmp_path / "f.zarr", meta, num_images=4, latent_shape=(8,))
    for image in (0, 2):
        picture, mask = make_image(make_meta(), image)
        mask = np.where(mask == 255, ignore or 0, mask.astype(int)).astype(fmt.mask_dtype(meta))
        writer.write_image(image, make_maps(image), picture, mask, np.zeros(8, np.float32))
    dataset = fstore.torch_dataset(tmp_path / "f.zarr")
    assert dataset.ids.tolist() == [0, 2] and dataset.ignore == ignore
    check_items(dataset, stored(tmp_path / "f.zarr", "masks"))
    assert len(list(fstore.torch_iterable(tmp_path / "f.zarr", shuffle_buffer=1))) == 2


def test_keypoints_come_with_their_images(keypoints: Path) -> None:
    dataset = fstore.torch_dataset(keypoints, kept_only=False)
    check_items(dataset, stored(keypoints, "keypoints"))
    points = dataset[3][1]
    assert (points.shape, points.dtype) == ((3, 3), torch.float32)
    points += 1  # the item is a copy
    check_items(dataset, stored(keypoints, "keypoints"))
    assert dataset.meta.keypoints is not None and dataset.meta.keypoints.names[2] == "nose"
    assert "keypoints>" in repr(fstore.torch_iterable(keypoints, kept_only=False))


def test_indices_are_those_of_a_list(path: Path) -> None:
    dataset = fstore.torch_dataset(path)
    expected = list(dataset)
    assert len(expected) == len(dataset) == 75
    for index in (-1, -75, np.int64(3), torch.tensor(74)):
        assert torch.equal(dataset[index][0], expected[int(index)][0])
    for index in (75, -76):
        with pytest.raises(IndexError, match=rf"index {index} is out of range for 75 images"):
            dataset[index]
    with pytest.raises(TypeError):
        dataset["3"]  # type: ignore[index]


def test_a_batch_is_its_items_in_the_order_that_was_asked_for(path: Path) -> None:
    dataset = fstore.torch_dataset(path)
    places = [70, 3, -1, 40, 3]
    check_items(dataset.__getitems__(places), [tuple(t.numpy() for t in dataset[i]) for i in places])
    check_items(Subset(dataset, [5, 4]), [tuple(t.numpy() for t in dataset[i]) for i in (5, 4)])


@pytest.mark.parametrize(
    ("mirror", "num_workers"),
    [
        (False, 0),
        (True, 2),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((True, 0), (False, 2))),
    ],
)
def test_batches_are_those_that_a_loader_makes_of_items(path: Path, mirror: bool, num_workers: int) -> None:
    def mirrored(image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image.flip(2), label.flip(1)

    how = {"transform": mirrored if mirror else None, "image_dtype": torch.float32}
    dataset = fstore.torch_dataset(path, **how)
    in_order = BatchSampler(SequentialSampler(dataset), 8, drop_last=False)
    more = {"num_workers": num_workers}
    if num_workers:
        more["multiprocessing_context"] = "fork"
    found = DataLoader(dataset, batch_size=None, sampler=in_order, **more)
    for batch, expected in zip(found, DataLoader(dataset, batch_size=8), strict=True):
        assert torch.equal(batch[0], expected[0]) and torch.equal(batch[1], expected[1])
        assert [each.dtype for each in batch] == [torch.float32, torch.int64]
    stream = fstore.torch_iterable(path, batch_size=8, shuffle_buffer=1, **how)
    images = images_of(DataLoader(stream, batch_size=None, **more))
    assert sorted(images) == sorted(images_of(DataLoader(dataset, batch_size=8)))


def test_a_batch_of_keypoints_and_an_empty_one(path: Path, keypoints: Path) -> None:
    images, points = fstore.torch_dataset(keypoints, kept_only=False)[[2, -1]]
    expected = [stored(keypoints, "keypoints")[i] for i in (2, 8)]
    check_items(zip(images, points, strict=True), expected)
    assert points.dtype == torch.float32
    assert [tuple(each.shape) for each in fstore.torch_dataset(path)[[]]] == [(0, 3, 6, 5), (0, 6, 5)]
    with pytest.raises(StoreError, match="batch_size is 0: expected an integer"):
        fstore.torch_iterable(path, batch_size=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_floating_dtype_is_the_stored_value_over_255(path: Path, dtype: torch.dtype) -> None:
    image, label = fstore.torch_dataset(path, image_dtype=dtype)[7]
    exact = fstore.torch_dataset(path)[7][0].double() / 255
    assert image.dtype == dtype and label.dtype == torch.int64
    torch.testing.assert_close(image.double(), exact, rtol=torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("make", [fstore.torch_dataset, fstore.torch_iterable])
def test_a_transform_gets_both_and_its_result_is_the_item(path: Path, make: Callable[..., Any]) -> None:
    def mirrored(image: torch.Tensor, label: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pixels": image.flip(2), "label": label.flip(1)}

    items = list(make(path, transform=mirrored, image_dtype=torch.float32))
    for item, (image, label) in zip(items, make(path, image_dtype=torch.float32), strict=True):
        assert torch.equal(item["pixels"], image.flip(2)) and torch.equal(item["label"], label.flip(1))


@pytest.mark.parametrize("make", [fstore.torch_dataset, fstore.torch_iterable])
def test_a_pickle_holds_no_open_store_and_reads_the_same(path: Path, make: Callable[..., Any]) -> None:
    dataset = make(path, image_dtype=torch.float32)
    before = list(dataset)
    packed = pickle.dumps(dataset)
    assert b"_Opened" not in packed and b"zarr.core" not in packed
    check_items(pickle.loads(packed), [(i.numpy(), t.numpy()) for i, t in before])


def test_a_relative_path_is_read_from_another_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    dataset = fstore.torch_dataset(path.name)
    monkeypatch.chdir("/")
    assert torch.equal(dataset[0][0], fstore.torch_dataset(path)[0][0])


def test_forked_workers_read_what_their_parent_has_read_before(path: Path) -> None:
    dataset, stream = fstore.torch_dataset(path), fstore.torch_iterable(path, shuffle_buffer=20)
    expected = all_images(path)  # zarr's event loop now runs in this process
    first = next(iter(stream))
    assert first[0].numpy().tobytes() in expected
    for _ in range(2):
        forked = {"num_workers": 2, "multiprocessing_context": "fork"}
        assert images_of(loader(dataset, **forked)) == expected
        streamed = images_of(loader(stream, **forked))
        assert sorted(streamed) == sorted(expected) and streamed != expected


@pytest.mark.slow
def test_spawned_workers_read_the_same(path: Path) -> None:
    spawned = {"num_workers": 2, "multiprocessing_context": "spawn"}
    assert images_of(loader(fstore.torch_dataset(path), **spawned)) == all_images(path)
    stream = fstore.torch_iterable(path, shuffle_buffer=20)
    stream.set_epoch(3)
    found = images_of(loader(stream, **spawned))
    assert sorted(found) == sorted(all_images(path))
    assert found == images_of(loader(stream, num_workers=2, multiprocessing_context="fork"))


def test_a_distributed_sampler_gives_every_image_once(path: Path) -> None:
    dataset = fstore.torch_dataset(path)
    found = []
    for rank in range(3):
        sampler = DistributedSampler(dataset, num_replicas=3, rank=rank, shuffle=True)
        sampler.set_epoch(1)
        found += [image.numpy().tobytes() for image, _ in loader(dataset, sampler=sampler)]
    assert sorted(found) == sorted(all_images(path))


def _noise(image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(4), torch.from_numpy(np.random.rand(4))


@pytest.mark.parametrize("make", variants(fstore.torch_iterable, fstore.torch_dataset))
def test_a_random_transform_differs_between_workers_and_repeats_by_seed(
    path: Path, make: Callable[..., Any]
) -> None:
    dataset = make(path, transform=_noise)

    def drawn() -> list[list[float]]:
        torch.manual_seed(5)
        batches = DataLoader(dataset, batch_size=8, num_workers=2, multiprocessing_context="fork")
        return [row.tolist() for of_torch, of_numpy in batches for row in (*of_torch, *of_numpy)]

    once = drawn()
    assert len({tuple(row) for row in once}) == len(once) == 150
    assert drawn() == once


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("num_ranks", variants(2, 1))
def test_a_stream_gives_every_image_once(path: Path, num_workers: int, num_ranks: int) -> None:
    found = []
    for rank in range(num_ranks):
        stream = fstore.torch_iterable(path, shuffle_buffer=10, rank=rank, world_size=num_ranks)
        found += images_of(loader(stream, num_workers=num_workers))
    assert sorted(found) == sorted(all_images(path))


def test_a_stream_repeats_by_seed_and_epoch_and_holds_no_more_than_its_buffer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fstore.labelled_items import LabelledItems

    held, most, fetch = set(), 0, LabelledItems.fetch

    def fetched(self: LabelledItems, places: list[int]) -> Any:
        nonlocal most
        held.update(places)
        most = max(most, len(held))
        return fetch(self, places)

    monkeypatch.setattr(LabelledItems, "fetch", fetched)
    orders = []
    for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0)):
        stream = fstore.torch_iterable(path, shuffle_buffer=20, seed=seed)
        stream.set_epoch(epoch)
        places = {image: place for place, image in enumerate(all_images(path))}
        held.clear()
        most = 0
        order = []
        for image, _ in stream:
            order.append(image.numpy().tobytes())
            held.remove(places[order[-1]])
        assert 10 < most <= 20 and not held
        orders.append(order)
    assert orders[0] == orders[1]
    assert orders[0] != orders[2] and orders[0] != orders[3]


def test_workers_that_live_on_are_told_of_the_next_epoch(path: Path) -> None:
    stream = fstore.torch_iterable(path, shuffle_buffer=20)
    persistent = loader(stream, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append(images_of(persistent))
    assert orders[0] == orders[2] != orders[1]


def test_a_stream_asks_torch_for_its_rank_and_takes_it_to_spawned_workers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = pickle.dumps(fstore.torch_iterable(path))
    stream = fstore.torch_iterable(path)
    expected = images_of((i[None], t) for i, t in fstore.torch_iterable(path, rank=1, world_size=3))
    assert len(expected) == 25
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    late = pickle.dumps(stream)
    assert images_of((i[None], t) for i, t in stream) == expected
    assert images_of((i[None], t) for i, t in pickle.loads(early)) == expected  # it was made before the group
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)  # as in a spawned worker
    assert images_of((i[None], t) for i, t in pickle.loads(late)) == expected


def test_a_store_at_a_url_is_read_too(path: Path, keypoints: Path) -> None:
    pytest.importorskip("fsspec")
    url = "memory://torch/d.zarr"
    fill_dataset(url, NUM, dataset_meta())
    keep_some(url, "0.5")
    dataset = fstore.torch_dataset(url)
    check_items(
        dataset.__getitems__(range(75)), [(i.numpy(), t.numpy()) for i, t in fstore.torch_dataset(path)]
    )
    local = list(fstore.torch_iterable(path))
    check_items(fstore.torch_iterable(url), [(i.numpy(), t.numpy()) for i, t in local])
    assert images_of(loader(dataset, num_workers=1, multiprocessing_context="fork")) == all_images(path)
    fill("memory://torch/f.zarr", make_meta())
    check_items(fstore.torch_dataset("memory://torch/f.zarr"), stored("memory://torch/f.zarr", "masks"))
    stream = fstore.torch_iterable(url)
    keep_some(url, "0.4")
    with pytest.raises(StoreError, match="filter was changed"):
        iter(stream)


REFUSED = [
    (dict(image_dtype=torch.int16), r"image_dtype is torch.int16: expected torch.uint8 or a floating dtype"),
    (dict(transform="flip"), r"transform is a str: expected a function or None"),
]
STREAM_REFUSED = [
    *REFUSED,
    (dict(shuffle_buffer=0), r"shuffle_buffer is 0: expected an integer from 1"),
    (dict(seed=-1), r"seed is -1: expected an integer from 0"),
    (dict(rank=1), r"rank is 1 and world_size None: pass both, or neither"),
    (dict(rank=2, world_size=2), r"rank is 2: expected an integer from 0 to 1"),
]


@pytest.mark.parametrize(("settings", "says"), REFUSED)
def test_wrong_arguments_are_named(path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(StoreError, match=says):
        fstore.torch_dataset(path, **settings)


@pytest.mark.parametrize(("settings", "says"), STREAM_REFUSED)
def test_wrong_arguments_of_a_stream_are_named(path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(StoreError, match=says):
        fstore.torch_iterable(path, **settings)
    with pytest.raises(StoreError, match="epoch is -1: expected an integer from 0"):
        fstore.torch_iterable(path).set_epoch(-1)


@pytest.mark.parametrize("make", [fstore.torch_dataset, fstore.torch_iterable])
def test_a_store_that_has_nothing_to_give_is_refused(tmp_path: Path, make: Callable[..., Any]) -> None:
    place = tmp_path / "d.zarr"
    with pytest.raises(StoreError, match="no such store"):
        make(place)
    fill_dataset(place, 3, dataset_meta(), tasks=0)
    with pytest.raises(StoreError, match="none of its 3 images is committed yet"):
        make(place, kept_only=False)
    fill_dataset(place, 3, dataset_meta())
    with pytest.raises(StoreError, match=r"no filter is set yet; run `dgan filter`, or pass kept_only=False"):
        make(place)


def _all_not_a_number(place: Path) -> None:
    group = zarr.open_group(place)
    group["uncertainty"][:] = np.nan
    fstore.set_kept(place, np.zeros(3, bool), "0.5", None)


def test_a_filter_that_keeps_none_is_refused(tmp_path: Path) -> None:
    fill_dataset(tmp_path / "d.zarr", 3, dataset_meta())
    _all_not_a_number(tmp_path / "d.zarr")
    with pytest.raises(StoreError, match="its filter keeps none of 3 images"):
        fstore.torch_dataset(tmp_path / "d.zarr")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset that a test may change."""
    # So long torch waits for a worker that has raised an error: 5 seconds by itself.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.05)
    copy_written(tmp_path / "d.zarr", "to be changed", _kept_of_70)
    return tmp_path / "d.zarr"


def _kept_of_70(place: Path) -> None:
    fill_dataset(place, 70, dataset_meta())
    keep_some(place, "0.9")


def _anew(place: Path) -> None:
    fstore.create_dataset(place, dataset_meta(), num_images=70, overwrite=True).close()
    _kept_of_70(place)


@pytest.mark.parametrize(
    "image", variants(pytest.param(60, id="not read before"), pytest.param(0, id="read before"))
)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_anew, "is no longer the store that was opened"),
        (lambda place: keep_some(place, "0.8"), "its filter was changed while it was read"),
        (lambda place: (place / "zarr.json").unlink(), "is no longer the store that was opened"),
    ],
    ids=["written anew", "filtered anew", "gone"],
)
def test_a_store_that_is_replaced_while_it_is_read_is_an_error(
    own: Path, change, says: str, image: int
) -> None:
    dataset, stream = fstore.torch_dataset(own), fstore.torch_iterable(own, shuffle_buffer=8)
    running = iter(stream)
    assert dataset[0] and next(running)
    change(own)
    with pytest.raises(StoreError, match=says):
        dataset[image]
    with pytest.raises(StoreError, match=says):
        list(running)
    with pytest.raises(StoreError, match=says):
        iter(stream)
    workers = loader(dataset, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(StoreError, match=says):
        next(iter(workers))


def test_what_changes_no_image_is_no_error(own: Path) -> None:
    dataset, whole = fstore.torch_dataset(own), fstore.torch_dataset(own, kept_only=False)
    expected = images_of((i[None], t) for i, t in whole)
    assert dataset[0] and whole[-1]
    zarr.open_group(own).attrs["note"] = "of somebody else"
    assert torch.equal(dataset[0][0], fstore.torch_dataset(own)[0][0])
    keep_some(own, "0.5")
    assert whole[69]
    fill_dataset(own, 90, dataset_meta())  # the second file is another now, with other places of its chunks
    assert images_of((i[None], t) for i, t in whole) == expected


@pytest.mark.parametrize("name", variants("labels", "images"))
def test_a_damaged_chunk_is_named(own: Path, name: str) -> None:
    dataset = fstore.torch_dataset(own, kept_only=False)
    file = own / name / "c" / "1" / "/".join("0" * (len(dataset[0][0].shape) - (name == "labels")))
    content = bytearray(file.read_bytes())
    content[2] ^= 255
    file.write_bytes(content)
    says = rf"array '{name}', image 64, chunk \[64(, 0)+\] is damaged"
    with pytest.raises(CorruptionError, match=says):
        dataset[64]
    with pytest.raises(CorruptionError, match=says):
        images_of(loader(dataset, num_workers=1, multiprocessing_context="fork"))
    with pytest.raises(CorruptionError, match=says):
        list(fstore.torch_iterable(own, kept_only=False))
    file.unlink()
    with pytest.raises(CorruptionError, match=rf"array '{name}', image.* is (damaged|missing)"):
        dataset[65]
