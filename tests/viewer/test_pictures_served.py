"""What is served is what is stored: pictures, arrays of all images, and these of a store that changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.small_datasets import LATENT_SIZE, make_classes, write_dataset
from support.stores import fill, make_image, make_meta
from support.viewing import Viewed, viewed

import fstore
from fstore import format as fmt
from pipeline.viewer.packed_arrays import TYPES

NUM, SHAPE = 7, (40, 30)
NAMES = ["a", "b", "c", "d"]


def class_maps(num: int = NUM, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, len(NAMES), (num, *SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> fstore.Dataset:
    path = tmp_path_factory.mktemp("store") / "dataset.zarr"
    return write_dataset(path, make_classes(NAMES), class_maps(), dropped=[2, 5])


@pytest.fixture(scope="module")
def site(store: fstore.Dataset) -> Iterator[Viewed]:
    with viewed(str(store.location)) as found:
        yield found


def packed(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a packed answer by name."""
    length = int.from_bytes(content[:4], "little")
    entries = json.loads(content[4 : 4 + length])["arrays"]
    return {
        each["name"]: np.frombuffer(
            content, np.dtype(TYPES[each["type"]]), each["length"], 4 + length + each["offset"]
        )
        for each in entries
    }


def stored(store: fstore.Dataset | fstore.FeatureStore, name: str) -> np.ndarray:
    return np.asarray(store.lazy(name).compute(scheduler="sync"))


def test_images_labels_and_divergence_at_full_size(site: Viewed, store: fstore.Dataset) -> None:
    images, labels, divergence = (stored(store, name) for name in ("images", "labels", "divergence"))
    largest = divergence.astype(np.float32).max()
    for image in range(NUM):
        replies = [site.get(f"{kind}/{image}?key={site.key}") for kind in ("image", "label", "divergence")]
        assert [reply.headers["Content-Type"] for reply in replies] == ["image/png"] * 3
        np.testing.assert_array_equal(replies[0].pixels, images[image])
        np.testing.assert_array_equal(replies[1].pixels, labels[image])
        exact = divergence[image].astype(np.float32) / largest * 255
        assert np.abs(replies[2].pixels - exact).max() <= 0.5 + 1e-3


def test_small_pictures_keep_the_sides_ratio_and_every_label_is_one(
    site: Viewed, store: fstore.Dataset
) -> None:
    key, labels = site.key, stored(store, "labels")[3]
    small = site.get(f"label/3?key={key}&size=20").pixels
    assert small.shape == (20, 15)
    np.testing.assert_array_equal(small, labels[1::2, 1::2])  # the pixels at the centres
    assert site.get(f"image/3?key={key}&size=20").pixels.shape == (20, 15, 3)
    assert site.get(f"image/3?key={key}&size=4096").pixels.shape == (*SHAPE, 3)


def test_pictures_may_be_kept_by_the_browser_alone(site: Viewed) -> None:
    key = site.key
    assert site.get(f"image/0?key={key}").headers["Cache-Control"] == "private, max-age=3600"
    assert site.get(f"all?key={key}").headers["Cache-Control"] == "no-store"


def test_the_arrays_of_all_images(site: Viewed, store: fstore.Dataset) -> None:
    arrays = packed(site.get(f"all?key={site.key}").body)
    np.testing.assert_array_equal(arrays["ids"], np.arange(NUM))
    np.testing.assert_array_equal(arrays["uncertainty"], store.uncertainty)
    np.testing.assert_array_equal(arrays["kept"], store.kept)


def counted(site: Viewed, key: str) -> dict[str, object]:
    """What is said of the count of classes once it is done."""
    for _ in range(2000):
        progress = json.loads(site.get(f"classes?key={key}").body)
        if progress["done"] == progress["total"]:
            return progress
    raise TimeoutError


def test_the_share_of_each_class_is_counted_in_the_background(site: Viewed, store: fstore.Dataset) -> None:
    assert counted(site, site.key) == {"done": NUM, "total": NUM, "line": ""}
    labels = stored(store, "labels")
    for label in range(len(NAMES)):
        shares = packed(site.get(f"class/{label}?key={site.key}").body)["shares"]
        np.testing.assert_allclose(shares, (labels == label).mean((1, 2)), rtol=1e-6)
    assert site.get(f"class/{len(NAMES)}?key={site.key}").status == 404


@pytest.mark.parametrize("route", [f"image/{NUM}", "label/9999999999", "points/0"])
def test_what_the_store_does_not_have_is_not_found(site: Viewed, route: str) -> None:
    reply = site.get(f"{route}?key={site.key}")
    assert reply.status == 404 and reply.text.strip()


def test_a_damaged_chunk_is_one_line_and_the_others_are_served(store: fstore.Dataset, tmp_path: Path) -> None:
    path = Path(shutil.copytree(str(store.location), tmp_path / "damaged.zarr"))
    _, offset, _ = store.array("labels").locate((2, 0, 0))
    with (path / "labels/c/0/0/0").open("r+b") as file:
        file.seek(offset + 2)
        file.write(b"\xff\xff\xff\xff")
    with viewed(path) as damaged:
        key = damaged.key
        reply = damaged.get(f"label/2?key={key}")
        assert reply.status == 500 and reply.text.count("\n") == 1
        assert "array 'labels', image 2, chunk [2, 0, 0] is damaged" in reply.text
        assert damaged.get(f"label/1?key={key}").status == 200
        progress = counted(damaged, key)
        assert progress["done"] == NUM and "image 2" in str(progress["line"])
        shares = packed(damaged.get(f"class/0?key={key}").body)["shares"]
        assert np.isnan(shares).tolist() == [image == 2 for image in range(NUM)]


def tasks(num: int) -> tuple[fmt.DatasetMeta, dict[str, np.ndarray]]:
    """The attribute and the values of a dataset of ``num`` images."""
    random = np.random.default_rng(5)
    return fmt.DatasetMeta(SHAPE, make_classes(NAMES), LATENT_SIZE), {
        "images": random.integers(0, 256, (num, *SHAPE, 3)).astype(np.uint8),
        "labels": class_maps(num),
        "divergence": random.random((num, *SHAPE)).astype(np.float16),
        "latents": random.standard_normal((num, LATENT_SIZE)).astype(np.float32),
        "uncertainty": np.where(np.arange(num) == 3, np.nan, random.random(num)).astype(np.float32),
    }


@pytest.mark.usefixtures("tasks_of_16")
def test_a_store_that_is_being_written_shows_more_after_a_reload(tmp_path: Path) -> None:
    path = tmp_path / "growing.zarr"
    meta, values = tasks(40)
    writer = fstore.create_dataset(path, meta, num_images=40)
    with viewed(path) as site:
        key = site.key
        assert "0 of 40 images are committed" in site.get("").text
        assert packed(site.get(f"all?key={key}").body)["ids"].tolist() == []
        for task, ids in ((1, range(16, 32)), (0, range(16)), (2, range(32, 40))):
            writer.write_task(task, {name: part[ids.start : ids.stop] for name, part in values.items()})
            assert site.get(f"image/{ids.start}?key={key}").status == 200  # before a reload too
            arrays = packed(site.get(f"all?key={key}").body)
            assert set(ids) <= set(arrays["ids"].tolist()) and site.key == key
        np.testing.assert_array_equal(arrays["uncertainty"], values["uncertainty"])
        assert "kept" not in arrays and counted(site, key)["done"] == 40
        np.testing.assert_array_equal(site.get(f"label/33?key={key}").pixels, values["labels"][33])
    writer.close()


def test_a_store_that_is_replaced_is_said_in_one_line_and_a_reload_shows_the_new_one(
    store: fstore.Dataset, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(str(store.location), tmp_path / "s.zarr"))
    with viewed(path) as site:
        key = site.key
        assert site.get(f"label/1?key={key}").status == 200
        shutil.rmtree(path)
        reply = site.get(f"label/1?key={key}")
        assert reply.status == 410 and "reload this page" in reply.text and reply.text.count("\n") == 1
        write_dataset(path, make_classes(["x", "y"]), class_maps(seed=9) % 2)
        for route in ("all", "label/1", "classes"):
            reply = site.get(f"{route}?key={key}")
            assert reply.status == 410 and "reload this page" in reply.text and reply.text.count("\n") == 1
        assert site.key != key
        np.testing.assert_array_equal(site.get(f"label/1?key={site.key}").pixels, class_maps(seed=9)[1] % 2)


def test_another_filter_is_seen_after_a_reload(store: fstore.Dataset, tmp_path: Path) -> None:
    path = Path(shutil.copytree(str(store.location), tmp_path / "s.zarr"))
    with viewed(path) as site:
        key = site.key
        fstore.set_kept(path, np.ones(NUM, bool), "1", float(store.uncertainty.max()))
        assert site.get(f"label/1?key={key}").status == 200
        assert packed(site.get(f"all?key={key}").body)["kept"].tolist() == [1] * NUM


def test_annotated_images_and_their_masks(tmp_path: Path) -> None:
    path, meta = tmp_path / "features.zarr", make_meta()
    fill(path, meta)
    with viewed(path) as site:
        page, key = site.get("").text, site.key
        assert "annotated images" in page and 'id="keep"' not in page
        assert list(packed(site.get(f"all?key={key}").body)) == ["ids"]
        picture, mask = make_image(meta, 2)
        np.testing.assert_array_equal(site.get(f"image/2?key={key}").pixels, picture)
        np.testing.assert_array_equal(site.get(f"label/2?key={key}").pixels, mask)  # the ignore label too
        assert site.get(f"divergence/2?key={key}").status == 404
        counted(site, key)
        shares = packed(site.get(f"class/1?key={key}").body)["shares"]
        assert shares[2] == pytest.approx((mask == 1).mean())


def test_keypoints_are_served_as_shares_of_the_sides(tmp_path: Path) -> None:
    points = np.array([[[3, 8, 0.9], [15, 40, 0.5]], [[30, 0, 1], [np.nan, 2, 1]]], np.float32)
    labels = np.zeros((2, *SHAPE), np.uint8)
    classes = make_classes(["background", "eye", "nose"])
    write_dataset(tmp_path / "k.zarr", classes, labels, points=points)
    with viewed(tmp_path / "k.zarr") as site:
        key = site.key
        assert json.loads(site.get(f"points/0?key={key}").body) == [[0.1, 0.2], [0.5, 1.0]]
        assert json.loads(site.get(f"points/1?key={key}").body) == [[1.0, 0.0], None]
        assert site.get(f"label/0?key={key}").status == 404
        assert site.get(f"image/0?key={key}").status == 200
        uncertainty = packed(site.get(f"all?key={key}").body)["uncertainty"]
        assert np.isnan(uncertainty).tolist() == [False, True]
        assert site.get(f"classes?key={key}").status == 404
