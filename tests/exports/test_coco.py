"""COCO exports as pycocotools reads them, panoptic PNGs by their definition, and keypoints."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.small_datasets import exported, make_classes, write_dataset

import fstore
from fstore.meta import ClassInfo
from pipeline.exports.coco_tables import colors_of_segments, segments_of
from pipeline.exports.content import Item
from pipeline.exports.formats.coco import open_exporter
from pipeline.exports.formats.protocol import ExportInfo
from pipeline.exports.plan import Part
from pipeline.exports.sink import Sink
from pipeline.inputs.annotations.formats.coco_keypoints import read_coco_keypoints
from pipeline.inputs.annotations.load import load_annotations, open_annotations
from pipeline.settings.schema import AnnotationsConfig

NAMES = ("background", "hair", "eyes", "never")
IGNORE = 255
SIZE = (12, 17)
NUM = 5
DROPPED = 2


def labels_of(num: int) -> np.ndarray:
    """(num, H, W): rectangles of the classes, a hole, single pixels and some that are ignored."""
    labels = np.zeros((num, *SIZE), np.uint8)
    for image in range(num):
        labels[image, 2:8, image : image + 9] = 1
        labels[image, 4:6, image + 2 : image + 4] = 0
        labels[image, 9, [1, 5, 15]] = 2
        labels[image, 10:, 8:11] = IGNORE
    labels[num - 1] = 0  # nothing but background
    return labels


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> fstore.Dataset:
    """A dataset of five images, of which the filter drops one."""
    path = tmp_path_factory.mktemp("store") / "dataset.zarr"
    return write_dataset(path, make_classes(NAMES), labels_of(NUM), ignore=IGNORE, dropped=[DROPPED])


@pytest.fixture(scope="module")
def out(store: fstore.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(Path(str(store.location)), tmp_path_factory.mktemp("out") / "coco", "coco")


def opened(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@contextlib.contextmanager
def numpy_1_habits() -> Iterator[None]:
    """pycocotools 2.0.11 makes arrays as NumPy 1 did."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        yield


def test_pycocotools_finds_the_labels_of_the_store(store: fstore.Dataset, out: Path) -> None:
    coco = opened(out / "annotations" / "instances.json")
    assert {entry["id"]: entry["name"] for entry in coco.loadCats(coco.getCatIds())} == {
        label: name for label, name in enumerate(NAMES) if label
    }
    assert coco.getImgIds() == [0, 1, 3, 4]
    for image in coco.loadImgs(coco.getImgIds()):
        labels = store.labels[image["id"]].compute()
        picture = np.asarray(Image.open(out / "images" / image["file_name"]))
        np.testing.assert_array_equal(picture, store.images[image["id"]].compute())
        assert (image["height"], image["width"]) == SIZE and image["kept"] is True
        assert image["uncertainty"] == float(store.uncertainty[image["id"]])
        drawn = np.where(labels == IGNORE, 0, labels)
        found = np.zeros(SIZE, np.uint8)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        for entry in annotations:
            with numpy_1_habits():
                inside = coco.annToMask(entry).astype(bool)
            assert not found[inside].any() and inside.sum() == entry["area"] and entry["iscrowd"] == 0
            rows, columns = np.nonzero(inside)
            left, top = columns.min(), rows.min()
            assert entry["bbox"] == [left, top, np.ptp(columns) + 1, np.ptp(rows) + 1]
            found[inside] = entry["category_id"]
        np.testing.assert_array_equal(found, drawn)
        assert len(annotations) == len(set(np.unique(drawn)) - {0})  # one a class


def test_the_file_scored_by_pycocotools_against_itself_is_perfect(out: Path) -> None:
    coco = opened(out / "annotations" / "instances.json")
    results = [{**entry, "score": 1.0} for entry in coco.dataset["annotations"]]
    with numpy_1_habits():
        scores = COCOeval(coco, coco.loadRes(results), "segm")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    assert scores.stats[0] == pytest.approx(1.0)


def test_panoptic_segments_are_the_labels_and_what_is_ignored_is_in_none(
    store: fstore.Dataset, out: Path
) -> None:
    document = json.loads((out / "annotations" / "panoptic.json").read_text())
    assert [(c["id"], c["name"], c["isthing"]) for c in document["categories"]] == [
        (label, name, int(label > 0)) for label, name in enumerate(NAMES)
    ]
    assert [entry["image_id"] for entry in document["annotations"]] == [0, 1, 3, 4]
    for entry in document["annotations"]:
        colors = np.asarray(Image.open(out / "panoptic" / entry["file_name"])).astype(int)
        assert colors.shape == (*SIZE, 3)
        ids = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
        found = np.full(SIZE, IGNORE)
        for segment in entry["segments_info"]:
            inside = ids == segment["id"]
            assert inside.sum() == segment["area"] > 0 and segment["iscrowd"] == 0
            rows, columns = np.nonzero(inside)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert segment["bbox"] == box
            found[inside] = segment["category_id"]
        np.testing.assert_array_equal(found, store.labels[entry["image_id"]].compute())
        assert set(np.unique(ids)) - {0} == {segment["id"] for segment in entry["segments_info"]}


def test_splits_share_the_pictures_and_have_files_of_their_own(store: fstore.Dataset, tmp_path: Path) -> None:
    out = exported(Path(str(store.location)), tmp_path / "o", "coco", "--all", "--split", "train=0.6,val=0.4")
    found: dict[str, list[int]] = {}
    for split in ("train", "val"):
        coco = opened(out / "annotations" / f"instances_{split}.json")
        found[split] = coco.getImgIds()
        assert all((out / "images" / image["file_name"]).is_file() for image in coco.imgs.values())
        panoptic = json.loads((out / "annotations" / f"panoptic_{split}.json").read_text())
        names = {entry["file_name"] for entry in panoptic["annotations"]}
        assert names == {path.name for path in (out / f"panoptic_{split}").iterdir()}
    assert sorted(found["train"] + found["val"]) == list(range(NUM)) and len(found["train"]) == 3
    kept = {image["id"]: image["kept"] for image in coco.imgs.values()}
    assert kept == {number: number != DROPPED for number in found["val"]}
    load(out / "annotations" / "panoptic_val.json", SIZE)


def load(path: Path, grid: tuple[int, int]) -> Any:
    config = AnnotationsConfig(folder=path, min_pixels=0)
    source = open_annotations(config)
    return load_annotations(source, source.numbers, grid=grid, config=config)


def write_files(folder: Path, classes: Sequence[ClassInfo], labels: np.ndarray) -> None:
    """What the format writes of images with these labels, (N, H, W), in one part."""
    num, height, width = labels.shape
    shape = (height, width)
    splits = {None: num}
    info = ExportInfo(shape, classes, IGNORE, None, False, "png", 95, splits, folder, {"store": "d.zarr"})
    exporter, sink = open_exporter(info), Sink(folder)
    picture = np.zeros((*shape, 3), np.uint8)
    items = (Item(number, picture, mask, None, None, None) for number, mask in enumerate(labels))
    records = list(exporter.write_part(Part(0, None, 0, 1, tuple(range(num))), items, sink))
    exporter.write_whole(None, records, sink)


@given(data=st.data())
def test_any_labels_come_back_from_their_panoptic_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    num_classes = data.draw(st.integers(1, 4))
    values = st.sampled_from([*range(num_classes), IGNORE])
    labels = data.draw(hnp.arrays(np.uint8, (2, height, width), elements=values))
    classes = make_classes(NAMES[:num_classes], ["#000000", "#123456", "#000000", "#123456"])
    out = tmp_path_factory.mktemp("any")
    write_files(out, classes, labels)
    if (labels == IGNORE).all():
        document = json.loads((out / "annotations" / "panoptic.json").read_text())
        assert [entry["segments_info"] for entry in document["annotations"]] == [[], []]
    loaded = load(out, (height, width))
    np.testing.assert_array_equal(loaded.masks, labels)
    assert loaded.names == NAMES[:num_classes]
    assert loaded.palette == tuple(entry.color for entry in classes)
    assert loaded.ignore == (IGNORE if (labels == IGNORE).any() else None)


def test_instances_alone_give_the_labels_without_what_is_ignored(store: fstore.Dataset, out: Path) -> None:
    loaded = load(out / "annotations" / "instances.json", SIZE)
    labels = store.labels.compute()[[0, 1, 3]]  # the last image has no annotation
    np.testing.assert_array_equal(loaded.masks, np.where(labels == IGNORE, 0, labels))
    assert loaded.names == NAMES and loaded.palette == tuple(c.color for c in store.meta.classes)


def test_a_first_class_that_is_no_background_is_a_category_of_instances(tmp_path: Path) -> None:
    labels = np.tile(np.arange(3, dtype=np.uint8), (1, 4, 2))
    write_dataset(tmp_path / "d.zarr", make_classes(["sky", "road", "car"]), labels)
    out = exported(tmp_path / "d.zarr", tmp_path / "o", "coco")
    coco = opened(out / "annotations" / "instances.json")
    assert sorted(coco.getCatIds()) == [0, 1, 2]
    loaded = load(out, labels.shape[1:])
    assert loaded.names == ("sky", "road", "car")
    np.testing.assert_array_equal(loaded.masks, labels)


def test_more_classes_than_a_byte_has_are_kept(tmp_path: Path) -> None:
    num = 300
    labels = np.arange(num, dtype=np.uint16).reshape(1, 15, 20)
    classes = make_classes(["background", *(f"c{i}" for i in range(1, num))])
    write_dataset(tmp_path / "d.zarr", classes, labels)
    out = exported(tmp_path / "d.zarr", tmp_path / "o", "coco")
    assert len(opened(out / "annotations" / "instances.json").anns) == num - 1
    np.testing.assert_array_equal(load(out, (15, 20)).masks, labels)


def test_segments_of_one_colour_would_be_one_so_each_has_its_own() -> None:
    classes = [ClassInfo(0, "a", "#000000"), ClassInfo(1, "b", "#FF0000"), ClassInfo(2, "c", "#ff0000")]
    info: Any = type("Info", (), {"classes": classes})
    colors = colors_of_segments(info)
    assert colors[1] == (255, 0, 0) and len({*colors.values(), (0, 0, 0)}) == 4
    segments, pixels = segments_of(np.array([[0, 1, 2]], np.uint8), colors, set())
    assert [tuple(pixel) for pixel in pixels[0]] == [colors[label] for label in range(3)]
    assert all("segmentation" not in segment for segment in segments)


def test_keypoints_are_those_of_the_store(tmp_path: Path) -> None:
    points = np.array(
        [
            [[1.5, 2.5, 0.9], [10.25, 4.0, 0.5], [np.nan, np.nan, np.nan]],
            [[3.0, 3.0, 1.0], [5.0, 6.0, 0.0], [16.5, 11.5, 0.25]],
            [[np.nan] * 3] * 3,
        ],
        np.float32,
    )
    classes = make_classes(["background", "eye", "nose", "tail"])
    labels = np.zeros((3, *SIZE), np.uint8)
    store = write_dataset(tmp_path / "d.zarr", classes, labels, points=points)
    out = exported(tmp_path / "d.zarr", tmp_path / "o", "coco", "--all")
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == ["annotations", "images"]
    coco = opened(out / "annotations" / "person_keypoints.json")
    category = coco.loadCats(coco.getCatIds())[0]
    assert (category["keypoints"], category["skeleton"]) == (["eye", "nose", "tail"], [])
    first, second, third = coco.loadAnns(coco.getAnnIds())
    assert first["keypoints"] == [1.5, 2.5, 2, 10.25, 4.0, 2, 0, 0, 0] and first["num_keypoints"] == 2
    assert first["bbox"] == [1.5, 2.5, 8.75, 1.5] and first["area"] == 8.75 * 1.5
    assert first["confidence"] == [float(np.float32(0.9)), 0.5, None]
    assert second["keypoints"][3:6] == [0, 0, 0] and third["num_keypoints"] == 0
    numbers, found, sizes, names = read_coco_keypoints(out / "annotations" / "person_keypoints.json")
    assert numbers == (0, 1, 2) and names == ("eye", "nose", "tail") and (sizes == SIZE).all()
    stored = np.nan_to_num(store.keypoints.compute())
    placed = stored[..., 2:] > 0
    np.testing.assert_array_equal(found[..., :2], np.where(placed, stored[..., :2], 0))


def test_keypoints_scored_by_pycocotools_against_themselves_are_perfect(tmp_path: Path) -> None:
    points = np.random.default_rng(1).uniform(1, 11, (4, 3, 3)).astype(np.float32)
    classes = make_classes(["background", "eye", "nose", "tail"])
    write_dataset(tmp_path / "d.zarr", classes, np.zeros((4, *SIZE), np.uint8), points=points)
    out = exported(tmp_path / "d.zarr", tmp_path / "o", "coco", "--image-encoding", "jpeg")
    coco = opened(out / "annotations" / "person_keypoints.json")
    assert all((out / "images" / image["file_name"]).suffix == ".jpg" for image in coco.imgs.values())
    results = [{**entry, "score": 1.0} for entry in coco.dataset["annotations"]]
    with numpy_1_habits():
        scores = COCOeval(coco, coco.loadRes(results), "keypoints")
        scores.params.kpt_oks_sigmas = np.full(3, 0.05)
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    assert scores.stats[0] == pytest.approx(1.0)
