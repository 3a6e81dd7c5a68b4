"""Stores on S3: the same objects as the files of a folder, few requests, and nothing read as zeros."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from support.object_storage import SECRET, TOKEN, counted, objects, put, remove
from support.stores import brute_features, fill, make_meta
from support.variants import variants

import fstore
from fstore import format as fmt
from fstore.errors import CorruptionError, StoreError
from fstore.location import LOCK, Location

LAYOUTS = ("dense", "pyramid")


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def without_root(content: dict[str, bytes]) -> dict[str, bytes]:
    return {key: value for key, value in content.items() if key != "zarr.json"}  # it has an id and a time


def make_dataset(place: str | Path, num: int = 3) -> fmt.DatasetMeta:
    meta = fmt.DatasetMeta((20, 18), make_meta().classes, 4)
    writer = fstore.create_dataset(place, meta, num_images=num)
    random = np.random.default_rng(0)
    for task in writer.pending_tasks():
        images = writer.task_images(task)
        parts = {
            s.name: random.integers(0, 3, (len(images), *s.shape[1:])).astype(s.dtype)
            for s in fmt.dataset_arrays(meta, num)
        }
        writer.write_task(task, parts)
    writer.close()
    return meta


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_feature_store_has_the_same_objects_as_a_folder_has_files(
    bucket: str, tmp_path: Path, layout: str
) -> None:
    url, meta = f"{bucket}/a b/é#%41.zarr".replace("#", "_"), make_meta(layout)
    fill(url, meta, num_images=2)
    fill(tmp_path / "s.zarr", meta, num_images=2)
    assert without_root(objects(url)) == without_root(files(tmp_path / "s.zarr"))
    store = fstore.open(url)
    assert store.features.shape == (2, 40, 40, 18)
    np.testing.assert_allclose(
        store.features[1].compute(), brute_features(meta, 1).astype(np.float16), rtol=2e-3, atol=2e-3
    )
    assert fstore.verify_store(url).ok
    assert store.location.keys() == sorted(objects(url))
    assert store.location.used_bytes() == sum(map(len, objects(url).values()))
    masks = [len(value) for key, value in objects(url).items() if key.startswith("masks/")]
    assert store.location.used_bytes("masks") == sum(masks)


def test_a_dataset_has_the_same_objects_as_a_folder_has_files_also_lengthened_and_filtered(
    bucket: str, tmp_path: Path, tasks_of_2: None
) -> None:
    url, folder = f"{bucket}/d.zarr", tmp_path / "d.zarr"
    for place in (url, folder):
        make_dataset(place)
        make_dataset(place, 5)
        scores = fstore.open(place).uncertainty
        kept = np.argsort(np.argsort(scores, kind="stable")) < 4
        fstore.set_kept(place, kept, "0.8", float(scores[kept].max()))
    assert without_root(objects(url)) == without_root(files(folder))


@pytest.fixture
def tasks_of_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fmt, "TASK_IMAGES", 2)


# Requests are counted, so that nobody makes them grow with images, chunks or objects unseen.


def test_opening_asks_once_an_array_and_lists_names_but_once(s3: str) -> None:
    url, native = f"{s3}/s.zarr", (("b4", (4, 4), 2),)
    fill(url, make_meta("pyramid", (16, 16), native=native), num_images=8, native=native)
    arrays = len(fstore.open(url).array_names())
    with counted(url) as asked:
        store = fstore.open(url)
    assert asked["get"] <= arrays + 3 and asked.get("list", 0) == 1 and set(asked) <= {"get", "list"}
    assert store.image_ids.tolist() == list(range(8))
    with counted(url) as asked:
        store.read_masks(range(8))
    assert asked == {"get": 8 + 1}  # one for each image's file, which is whole in it; and what the array is
    with counted(url) as asked:
        store.read_masks(range(8))
    assert asked == {"get": 8}


@pytest.mark.parametrize(("layout", "most"), [("dense", 2), ("pyramid", 2 * 4)])
def test_the_pixels_of_one_unit_take_an_index_and_a_range_a_file(bucket: str, layout: str, most: int) -> None:
    url = f"{bucket}/s.zarr"
    fill(url, make_meta(layout), num_images=1)
    store = fstore.open(url)
    store.pixels([0], [0], [0])
    with counted(url) as asked:
        store.pixels([0] * 20, [0] * 20, range(20, 40) if layout == "pyramid" else [3] * 20)
    assert set(asked) == {"get"} and asked["get"] <= most


def test_writing_an_image_asks_once_a_file_and_lists_nothing(bucket: str) -> None:
    url, meta = f"{bucket}/s.zarr", make_meta("dense", grid=(32, 32))
    fill(url, meta, num_images=2, images=[0])
    writer = fstore.create(url, meta, num_images=2, latent_shape=(8,))
    from support.stores import make_image, make_maps

    picture, mask = make_image(meta, 1)
    with counted(url) as asked:
        writer.write_image(1, make_maps(1), picture, mask, np.zeros(8, np.float32))
    num_files = 5 + 1  # features, images, masks, latents, class_counts: a file each; and the marker
    assert asked["put"] == num_files and "list" not in asked
    assert asked.get("get", 0) <= 3 and asked.get("delete", 0) <= 5
    writer.close()


def test_a_batch_of_labelled_images_is_read_concurrently_in_one_request_a_piece(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/d.zarr"
    make_dataset(url, 6)
    data = fstore.torch_dataset(url, kept_only=False)
    data[0]
    from fstore.counted_store import CountedStore

    get, now, most = CountedStore.get, 0, 0

    async def watched(self, *arguments, **more):
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await get(self, *arguments, **more)
        finally:
            now -= 1

    monkeypatch.setattr(CountedStore, "get", watched)
    with counted(url) as asked:
        images, labels = data[[5, 0, 3, 1]]
    assert asked == {"get": 2}  # one range of images, one of labels
    assert most >= 2 and images.shape == (4, 3, 20, 18) and labels.shape == (4, 20, 18)


# Absent objects: zarr reads zeros there.


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_object_of_a_committed_image_is_named_in_every_way_of_reading(
    bucket: str, layout: str
) -> None:
    url = f"{bucket}/s.zarr"
    fill(url, make_meta(layout), num_images=2)
    array = "features" if layout == "dense" else "layers/2_b16_out"
    shard = "c/1/0/0/0"
    remove(url, f"{array}/{shard}")
    remove(url, "images/c/1/0/0/0")
    says = rf"^{url}: array '{array}', image 1, shard .* is missing or empty \({array}/{shard}\)"
    uses = {
        says: [
            lambda s: s.features.compute(),
            lambda s: s.pixels([0, 1], [3, 3], [4, 4]),
            lambda s: next(fstore.StratifiedChunkSampler(_without_masks(s), batch_size=4).epoch(0)),
        ],
        r"array 'images', image 1.*\(images/c/1/0/0/0\)": [
            lambda s: s.images.compute(),
            lambda _: fstore.torch_dataset(url)[1],
            lambda _: list(fstore.torch_iterable(url)),
        ],
    }
    for line, reads in uses.items():
        for read in reads:
            with pytest.raises(CorruptionError, match=line):
                read(fstore.open(url))
    remove(url, "masks/c/1/0/0")
    for read in (lambda s: s.read_masks([1]), lambda s: s.masks.compute()):
        with pytest.raises(CorruptionError, match=r"array 'masks', image 1.*\(masks/c/1/0/0\)"):
            read(fstore.open(url))
    report = fstore.verify_store(url)
    assert [p for p in report.problems if f"({array}/{shard})" in p]
    assert [p for p in report.problems if "(images/c/1/0/0/0)" in p]


def _without_masks(store: fstore.FeatureStore) -> fstore.FeatureStore:
    """Of its masks one is gone too, and here it is the features that matter."""
    height, width = store.shape[1:3]
    store.read_masks = lambda images: np.zeros((len(images), height, width), np.uint8)  # type: ignore[method-assign]
    counts = np.zeros_like(store.class_counts)
    counts[..., 0] = [
        [256 if y < 2 and x < 2 else 1 for x in range(counts.shape[2])] for y in range(counts.shape[1])
    ]
    counts[:, 2, :, 0], counts[:, :, 2, 0], counts[:, 2, 2, 0] = 128, 128, 64
    store.__dict__["class_counts"] = counts
    return store


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 30], ids=len)
def test_an_object_that_is_too_short_is_damage_and_not_an_error_of_the_network(
    bucket: str, content: bytes
) -> None:
    url = f"{bucket}/s.zarr"
    fill(url, make_meta(), num_images=1)
    put(url, "features/c/0/0/0/0", content)
    for read in (lambda s: s.pixels([0], [0], [0]), lambda s: s.features.compute()):
        with pytest.raises(CorruptionError, match="array 'features', image 0"):
            read(fstore.open(url))


def test_markers_are_what_their_objects_say_and_not_that_they_are_there(bucket: str) -> None:
    """Seven of ten images are committed; the markers of others are absent, damaged, or 0."""
    url = f"{bucket}/s.zarr"
    fill(
        url, make_meta(native=(("b4", (4, 4), 2),), grid=(16, 16)), num_images=10, native=(("b4", (4, 4), 2),)
    )
    zero = objects(url)["committed/c/9"]
    remove(url, "committed/c/3")
    put(url, "committed/c/5", b"damaged")
    group = Location.parse(url).open_group("r+")
    group["committed"].with_config({"write_empty_chunks": True})[7] = 0
    assert objects(url)["committed/c/7"] != zero
    assert fstore.open(url).image_ids.tolist() == [0, 1, 2, 4, 6, 8, 9]


# States of a place.


def test_a_creation_or_a_deletion_that_was_cut_off_is_begun_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, meta = f"{bucket}/s.zarr", make_meta()
    from fstore import creation

    with monkeypatch.context() as patch:
        patch.setattr(creation, "set_attribute", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fstore.create(url, meta, num_images=1, latent_shape=(8,))
    assert LOCK not in objects(url) and Location.parse(url).state() == "creating"
    fill(url, meta, num_images=1)
    whole = without_root(objects(url))
    from fstore import objects as storage

    with monkeypatch.context() as patch:
        patch.setattr(storage.Bucket, "delete", lambda self, keys: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fstore.create(url, meta, num_images=1, latent_shape=(8,), overwrite=True)
    remove(url, LOCK)
    assert Location.parse(url).state() == "creating"
    with pytest.raises(StoreError, match="its creation was cut off"):
        fstore.open(url)
    fill(url, meta, num_images=1)
    assert without_root(objects(url)) == whole


def test_overwriting_deletes_the_stores_objects_and_no_others(bucket: str) -> None:
    url, meta = f"{bucket}/s.zarr", make_meta()
    fill(url, make_meta("pyramid"), num_images=2)
    put(url, "notes.txt", b"mine")
    if "memory" not in bucket:  # there each place is a bucket of its own
        put(bucket, "s.zarr2/zarr.json", b"another's")
    with counted(url) as asked:
        fstore.create(url, meta, num_images=1, latent_shape=(8,), overwrite=True).close()
    assert asked["delete"] <= 4 and asked["list"] <= 4
    found = objects(url)
    assert found["notes.txt"] == b"mine"
    if "memory" not in bucket:
        assert objects(bucket)["s.zarr2/zarr.json"] == b"another's"
    assert not any("layers" in key for key in found)


def test_places_without_a_store_are_told_apart(bucket: str) -> None:
    put(f"{bucket}/photos", "1.png", b"png")
    assert Location.parse(f"{bucket}/none").state() == "absent"
    assert Location.parse(f"{bucket}/photos").state() == "foreign"
    with pytest.raises(StoreError, match=r"/none: no such store"):
        fstore.open(f"{bucket}/none")
    with pytest.raises(StoreError, match=r"/photos: is no Zarr v3 group"):
        fstore.open(f"{bucket}/photos")
    with pytest.raises(StoreError, match=r"/photos: exists and is not a store of this program"):
        fill(f"{bucket}/photos", make_meta())


def test_a_bucket_that_is_not_there_is_no_empty_one(s3: str) -> None:
    for use in (fstore.open, fstore.verify_store, lambda url: fill(url, make_meta())):
        with pytest.raises(
            StoreError, match=r"^s3://no-such-bucket/s.zarr: no such bucket; make it, or name an"
        ):
            use("s3://no-such-bucket/s.zarr")


def test_no_secret_is_in_a_store_in_what_is_shown_or_in_what_goes_to_workers(bucket: str) -> None:
    url = f"{bucket}/s.zarr"
    fill(url, make_meta(), num_images=1)
    store = fstore.open(url)
    data = fstore.torch_dataset(url)
    sent = pickle.dumps(data) + pickle.dumps(store.array("images").array)
    shown = [repr(store), store._repr_html_(), repr(store.array("images").array.store), repr(data)]
    for content in (*objects(url).values(), sent, *(text.encode() for text in shown)):
        assert SECRET.encode() not in content and TOKEN.encode() not in content
    copy = pickle.loads(sent[: len(pickle.dumps(data))])
    assert np.array_equal(copy[0][0], data[0][0])


@pytest.mark.parametrize("harm", variants("flipped", "missing", "stale"))
def test_what_is_damaged_there_is_repaired_and_written_again(bucket: str, tmp_path: Path, harm: str) -> None:
    url, meta, shard = f"{bucket}/s.zarr", make_meta("pyramid"), "images/c/1/0/0/0"
    for place in (url, tmp_path / "s.zarr"):
        fill(place, meta, num_images=2)
    whole = objects(url)
    if harm == "missing":
        remove(url, shard)
    elif harm == "flipped":
        put(url, shard, bytes([whole[shard][0] ^ 1]) + whole[shard][1:])
    else:
        put(url, "committed/c/2", whole["committed/c/0"])  # of an image beyond the last one
    found = fstore.repair_store(url, dry_run=True)
    assert not found.is_nothing and fstore.open(url).image_ids.tolist() == [0, 1]
    again = fstore.repair_store(url)
    assert (again.images, again.markers) == (found.images, found.markers)
    assert again.images == (() if harm == "stale" else (1,)) and again.markers == (harm == "stale")
    fill(url, meta, num_images=2)
    assert without_root(objects(url)) == without_root(files(tmp_path / "s.zarr"))
    assert fstore.verify_store(url).ok and fstore.repair_store(url).is_nothing
