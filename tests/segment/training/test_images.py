"""Which images of a store are learnt, with which targets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from support.exports import (
    IGNORE,
    NUM_CLASSES,
    NUMBERS,
    keypoints,
    labels,
    make_dataset,
    make_features,
    picture,
)
from support.small_datasets import make_classes, write_dataset

import fstore
from fstore.errors import StoreError
from pipeline.errors import UsageError
from pipeline.inputs.photographs import IGNORED, AnnotatedPhotographs
from pipeline.segment.training.data import PhotographSource, TrainingImages, learnt_points
from pipeline.segment.training.images import OpenedImages, open_images
from pipeline.segment.training.selection import ids_sha256
from pipeline.settings.schema import SegmentConfig

LABEL_MAP = """
rest = "ignore"
[[classes]]
name = "background"
[[classes]]
name = "parts"
from = ["part 1", "part 3"]
"""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    make_dataset(folder / "dataset.zarr")
    make_dataset(folder / "points.zarr", num_images=10, points=True)
    make_features(folder / "features.zarr")
    make_features(folder / "annotated_points.zarr", points=True)
    (folder / "map.toml").write_text(LABEL_MAP)
    return folder


def opened(path: Path, **options: Any) -> OpenedImages:
    return open_images(SegmentConfig(data=str(path), **options))


def outputs(image: int) -> np.ndarray:
    """The labels of an image of `support.exports`, as they are learnt."""
    found = labels(image).astype(int)
    return np.where(found == IGNORE, IGNORED, found)


def test_kept_images_are_learnt_with_their_labels_but_for_the_ignored_ones(stores: Path) -> None:
    found = opened(stores / "dataset.zarr")
    kept = np.flatnonzero(fstore.open(stores / "dataset.zarr").kept)  # type: ignore[union-attr]
    assert len(found.source) == len(kept) == 63
    places = [5, 0, 62]
    for place, sample in zip(places, found.source.read(places), strict=True):
        np.testing.assert_array_equal(sample.picture, picture(int(kept[place])))
        np.testing.assert_array_equal(sample.target, outputs(int(kept[place])))
    record = found.source.record
    assert record["images_sha256"] == ids_sha256(kept)
    assert (record["chosen_by"], record["keep"], record["num_images"]) == ("filter", "0.9", 63)
    assert (found.size, found.task.ignore, len(found.task.classes)) == ((16, 24), IGNORE, NUM_CLASSES)


def test_the_annotated_images_of_a_feature_store_are_learnt(stores: Path) -> None:
    found = opened(stores / "features.zarr")
    assert len(found.source) == len(NUMBERS)
    sample = found.source.read([1])[0]
    np.testing.assert_array_equal(sample.picture, picture(NUMBERS[1]))
    np.testing.assert_array_equal(sample.target, outputs(NUMBERS[1]))
    assert found.source.record["chosen_by"] == "annotations"


@pytest.mark.parametrize("name", ["points.zarr", "annotated_points.zarr"])
def test_keypoints_are_learnt_where_a_store_has_them(stores: Path, name: str) -> None:
    found = opened(stores / name)
    assert found.task.names == ["left eye", "right eye", "nose"]
    assert found.task.keypoints is not None and found.task.keypoints.sigma == 1.5
    image = int(fstore.torch_dataset(stores / name).ids[1])
    image = NUMBERS[image] if name.startswith("annotated") else image
    expected = keypoints(image)
    np.testing.assert_allclose(found.source.read([1])[0].target[:, :2], expected[:, :2])
    assert (found.source.read([1])[0].target[:, 2] == 1).all()


def test_points_without_confidence_or_place_are_not_learnt() -> None:
    points = np.array([[1, 2, 0.3], [1, 2, 0], [np.nan, 2, 1], [1, 2, np.nan]], np.float32)
    np.testing.assert_array_equal(learnt_points(points), [[1, 2, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]])


def test_a_label_map_merges_drops_and_names_classes(stores: Path) -> None:
    found = opened(stores / "dataset.zarr", label_map=stores / "map.toml")
    assert found.task.names == ["background", "parts"]
    image = int(fstore.torch_dataset(stores / "dataset.zarr").ids[3])
    table = {0: 0, 1: 1, 2: IGNORED, 3: 1, 4: IGNORED, IGNORE: IGNORED}
    expected = np.vectorize(table.get)(labels(image))
    np.testing.assert_array_equal(found.source.read([3])[0].target, expected)
    assert found.source.record["label_map_sha256"] != opened(stores / "dataset.zarr").source.record.get(
        "label_map_sha256"
    )


def test_an_ignored_label_that_is_a_class_too_is_not_learnt(tmp_path: Path) -> None:
    write_dataset(
        tmp_path / "d.zarr", make_classes(["a", "b"]), np.ones((4, 8, 8), int) * [[[0, 1] * 4]], ignore=1
    )
    sample = opened(tmp_path / "d.zarr").source.read([0])[0]
    np.testing.assert_array_equal(np.unique(sample.target), [IGNORED, 0])


def test_the_first_images_are_learnt_where_so_many_are_asked_for(stores: Path) -> None:
    found = opened(stores / "dataset.zarr", num_synthetic=7)
    ids = fstore.torch_dataset(stores / "dataset.zarr").ids[:7]
    assert found.source.record["images_sha256"] == ids_sha256(ids)
    with pytest.raises(UsageError, match="has 63 images to learn from, --num-synthetic is 64"):
        opened(stores / "dataset.zarr", num_synthetic=64)


@pytest.mark.parametrize(("num", "keep", "chosen"), [(70, "0.5", 35), (66, "0.5", 33), (70, "0.55", 39)])
def test_the_released_filter_learns_from_the_released_slice(
    tmp_path: Path, num: int, keep: str, chosen: int
) -> None:
    make_dataset(tmp_path / "d.zarr", num_images=70, keep=keep)
    found = opened(tmp_path / "d.zarr", released_filter=True, num_synthetic=None if num == 70 else num)
    dataset = fstore.open(tmp_path / "d.zarr")
    order = sorted(range(num), key=lambda image: dataset.uncertainty[image])  # type: ignore[union-attr]
    expected = sorted(order[30 : -int(num * (1 - float(keep)) + 1e-9) + 30])
    assert len(expected) == chosen
    assert found.source.record["images_sha256"] == ids_sha256(np.array(expected))
    assert found.source.record["chosen_by"] == "released filter"
    np.testing.assert_array_equal(found.source.read([2])[0].picture, picture(expected[2]))


def test_a_released_slice_without_an_image_is_refused_with_its_numbers(stores: Path) -> None:
    words = r"\[30 : -n \+ 30\] of 70 images .* n = int\(70 \* \(1 - 0.9\)\) = 7, expected over 30"
    with pytest.raises(UsageError, match=words):
        opened(stores / "dataset.zarr", released_filter=True)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        pytest.param("features.zarr", {"released_filter": True}, "which has no filter", id="no filter"),
        pytest.param("points.zarr", {"label_map": "map.toml"}, "holds keypoints", id="a map of keypoints"),
    ],
)
def test_settings_that_do_not_fit_the_store_are_refused(
    stores: Path, name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        opened(stores / name, **options)


@pytest.mark.parametrize("released", [False, True])
def test_a_dataset_without_a_filter_is_refused(tmp_path: Path, released: bool) -> None:
    make_dataset(tmp_path / "d.zarr", num_images=10, keep=None)
    with pytest.raises((StoreError, UsageError), match="no filter is set yet") as caught:
        opened(tmp_path / "d.zarr", released_filter=released)
    assert "dgan filter" in str(caught.value) and "kept_only" not in str(caught.value)


def test_images_that_are_not_there_yet_are_told(tmp_path: Path) -> None:
    make_features(tmp_path / "f.zarr")
    assert opened(tmp_path / "f.zarr").notes == ()
    writer = fstore.create(
        tmp_path / "half.zarr", fstore.open(tmp_path / "f.zarr").meta, num_images=2, latent_shape=(8,)
    )
    from support.stores import make_maps

    writer.write_image(0, make_maps(0), picture(0), labels(0), np.zeros(8, np.float32), None)
    writer.close()
    assert opened(tmp_path / "half.zarr").notes == (
        f"{tmp_path / 'half.zarr'}: 1 of 2 images are there; these are learnt",
    )


def test_a_label_that_nothing_explains_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zarr", make_classes(["a", "b"]), np.ones((4, 8, 8), np.uint8))
    zarr.open_group(tmp_path / "d.zarr")["labels"][0] = np.full((8, 8), 7, np.uint8)  # as damage leaves it
    with pytest.raises(StoreError, match="image 0 has the label 7, which is none of its 2 classes"):
        opened(tmp_path / "d.zarr").source.read([0])


def test_a_filter_that_changes_is_told(tmp_path: Path) -> None:
    make_dataset(tmp_path / "d.zarr", num_images=10)
    source = opened(tmp_path / "d.zarr").source
    source.check_unchanged()
    dataset = fstore.open(tmp_path / "d.zarr")
    kept = dataset.uncertainty <= np.sort(dataset.uncertainty)[4]  # type: ignore[union-attr]
    fstore.set_kept(tmp_path / "d.zarr", kept, "0.5", float(dataset.uncertainty[kept].max()))  # type: ignore[union-attr]
    with pytest.raises(StoreError, match="its filter was changed"):
        source.check_unchanged()


def photographs(number: int) -> AnnotatedPhotographs:
    """Photographs of different sizes."""

    def read_labels(place: int, size: tuple[int, int]) -> np.ndarray:
        assert size == (8 + place, 10), "their own size"
        return np.full(size, place, np.int64)

    return AnnotatedPhotographs(
        tuple(Path(f"{place}.jpg") for place in range(number)),
        lambda place: np.full((8 + place, 10, 3), place, np.uint8),
        read_labels,
        {"images": "photos"},
    )


def test_photographs_are_a_source_beside_the_store(stores: Path) -> None:
    synthetic = opened(stores / "dataset.zarr").source
    both = TrainingImages((synthetic, PhotographSource(photographs(6), [4, 2])))
    assert len(both) == 65
    one, other, third = both.read([64, 0, 63])
    assert (one.size, third.size) == ((10, 10), (12, 10))
    np.testing.assert_array_equal(other.picture, synthetic.read([0])[0].picture)
    assert both.record["real"] == {"images": "photos", "num_images": 2, "names": ["4.jpg", "2.jpg"]}
    both.check_unchanged()


def test_the_digest_of_a_label_map_is_of_what_it_does(stores: Path, tmp_path: Path) -> None:
    same = tmp_path / "other.toml"
    same.write_text(LABEL_MAP.replace('from = ["part 1", "part 3"]', 'from = ["part 3", "part 1"]'))
    records = [
        opened(stores / "dataset.zarr", label_map=path).source.record for path in (stores / "map.toml", same)
    ]
    assert records[0]["label_map_sha256"] == records[1]["label_map_sha256"]
    assert len(records[0]["label_map_sha256"]) == len(hashlib.sha256().hexdigest())
