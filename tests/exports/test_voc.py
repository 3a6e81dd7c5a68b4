"""VOC exports as VOC's own readers take them, by indices, and as CVAT and Datumaro do, by colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import dgan
from support.small_datasets import exported, make_classes, write_dataset

from pipeline.inputs.annotations.load import load_annotations, open_annotations
from pipeline.settings.schema import AnnotationsConfig

SIZE = (12, 16)
NAMES = ("background", "hair", "eyes", "ears")
COLORS = ("#ffffff", "#112233", "#112233", "#e0e0c0")  # two of one colour, and that of VOC's void
IGNORE = 65535


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    found = np.random.default_rng(3).integers(0, 4, (4, *SIZE)).astype(np.uint16)
    found[:, 3:5] = IGNORE
    return found


@pytest.fixture(scope="module")
def store(labels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of which the filter drops image 1."""
    path = tmp_path_factory.mktemp("store") / "d.zarr"
    write_dataset(path, make_classes(NAMES, COLORS), labels, ignore=IGNORE, dropped=[1])
    return path


def names_in(out: Path, image_set: str) -> list[str]:
    return (out / "ImageSets" / "Segmentation" / f"{image_set}.txt").read_text().split()


def color_list(out: Path) -> dict[str, tuple[int, ...]]:
    """Class -> colour, as CVAT's import splits the lines of labelmap.txt."""
    lines = [line for line in (out / "labelmap.txt").read_text().splitlines() if not line.startswith("#")]
    rows = [line.split(":") for line in lines]
    assert all(len(row) == 4 for row in rows)
    return {row[0]: tuple(int(part) for part in row[1].split(",")) for row in rows}


def test_a_reader_of_indices_finds_pictures_and_labels(
    store: Path, labels: np.ndarray, tmp_path: Path
) -> None:
    out = exported(store, tmp_path / "VOCdevkit" / "VOC2012", "voc")
    assert names_in(out, "trainval") == ["000000", "000002", "000003"]
    for name in names_in(out, "trainval"):
        with Image.open(out / "JPEGImages" / f"{name}.jpg") as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", SIZE[::-1])
        with Image.open(out / "SegmentationClass" / f"{name}.png") as mask:
            assert mask.mode == "P"
            expected = np.where(labels[int(name)] == IGNORE, 255, labels[int(name)])
            np.testing.assert_array_equal(np.asarray(mask), expected)


def test_a_reader_of_colours_finds_the_classes(store: Path, labels: np.ndarray, tmp_path: Path) -> None:
    out = exported(store, tmp_path / "o", "voc")
    colors = color_list(out)
    assert list(colors) == [*NAMES, "ignored"] and colors["ignored"] == (224, 224, 192)
    assert len(set(colors.values())) == 5
    assert (colors["background"], colors["hair"]) == ((255, 255, 255), (0x11, 0x22, 0x33))
    by_color = {color: name for name, color in colors.items()}
    for name in names_in(out, "trainval"):
        pixels = np.asarray(Image.open(out / "SegmentationClass" / f"{name}.png").convert("RGB"))
        found = [by_color[tuple(pixel)] for pixel in pixels.reshape(-1, 3).tolist()]
        wanted = ["ignored" if v == IGNORE else NAMES[v] for v in labels[int(name)].ravel().tolist()]
        assert found == wanted


def test_it_comes_back_as_annotations(store: Path, labels: np.ndarray, tmp_path: Path) -> None:
    config = AnnotationsConfig(folder=exported(store, tmp_path / "o", "voc", "--all"), min_pixels=0)
    source = open_annotations(config)
    loaded = load_annotations(source, source.numbers, grid=SIZE, config=config)
    assert (loaded.names, loaded.ignore) == (NAMES, 255)
    np.testing.assert_array_equal(loaded.masks, np.where(labels == IGNORE, 255, labels))


def test_a_first_class_that_is_no_background_keeps_its_place(tmp_path: Path) -> None:
    labels = np.tile(np.arange(2, dtype=np.uint8), (1, 4, 2))
    write_dataset(tmp_path / "d.zarr", make_classes(["sky", "road"], ["#00ffff", "#123456"]), labels)
    config = AnnotationsConfig(folder=exported(tmp_path / "d.zarr", tmp_path / "o", "voc"), min_pixels=0)
    source = open_annotations(config)
    loaded = load_annotations(source, source.numbers, grid=(4, 4), config=config)
    assert (loaded.names, loaded.palette) == (("sky", "road"), ("#00ffff", "#123456"))
    np.testing.assert_array_equal(loaded.masks, labels)


def test_splits_are_lists_and_png_pictures_lose_nothing(store: Path, tmp_path: Path) -> None:
    flags = ("--all", "--split", "train=0.5,val=0.5", "--image-encoding", "png")
    out = exported(store, tmp_path / "o", "voc", *flags)
    train, val = names_in(out, "train"), names_in(out, "val")
    assert sorted(train + val) == [f"{number:06d}" for number in range(4)] and len(train) == 2
    assert sorted(path.name for path in (out / "JPEGImages").iterdir()) == [f"00000{i}.png" for i in range(4)]
    assert len(list((out / "ImageSets" / "Segmentation").iterdir())) == 2


def test_a_store_without_an_ignored_label_lists_none(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zarr", make_classes(NAMES), np.ones((1, *SIZE), np.uint8))
    assert list(color_list(exported(tmp_path / "d.zarr", tmp_path / "o", "voc"))) == list(NAMES)


@pytest.mark.parametrize(
    ("classes", "points", "says"),
    [
        (["background", *(f"c{i}" for i in range(255))], None, "holds labels 0 to 254, and there are 256"),
        (["background", "a:b"], None, "class 'a:b' cannot stand in labelmap.txt"),
        (["background", "eye"], np.ones((1, 1, 3)), "the store has keypoints"),
    ],
)
def test_what_the_layout_cannot_hold_is_refused_in_one_line(
    tmp_path: Path, classes: list[str], points: np.ndarray | None, says: str
) -> None:
    labels = np.zeros((1, *SIZE), np.uint8)
    write_dataset(tmp_path / "d.zarr", make_classes(classes), labels, points=points)
    result = dgan("export", tmp_path / "d.zarr", tmp_path / "o", "--format", "voc")
    assert result.exit_code == 2 and says in result.stderr.splitlines()[-1]
    assert not (tmp_path / "o").exists()
