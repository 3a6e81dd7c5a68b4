"""`dgan segment predict`: files that a run writes, goes on with, refuses, and reads back as annotations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support.deaths import dying, survived
from support.photographs import CLASSES, stem
from support.scored_segmenters import (
    POINTS,
    ColorNetwork,
    use_color_networks,
    write_colored,
    write_segmenter,
)

from fstore.meta import ClassInfo, KeypointInfo
from pipeline.cli import main
from pipeline.segment.folder import SEGMENTER, open_segmenter
from pipeline.segment.predictions import PredictionFolder

NAMES = tuple(f"photo {letter}.png" for letter in "abcdef")
PREDICT = ("predict", "segmenter", "--images", "photos", "--out", "labels")


@pytest.fixture(autouse=True)
def _color_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    use_color_networks(monkeypatch)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder with ``photos``, of another size than the network's, and ``segmenter``."""
    monkeypatch.chdir(tmp_path)
    write_colored(Path("photos"), NAMES, size=(24, 36), noise=0)
    write_segmenter(Path("segmenter"), (0.6, 0.0))
    return tmp_path


def run(*arguments: str, exit_code: int = 0) -> str:
    done = CliRunner().invoke(main, ["segment", *arguments])
    assert done.exit_code == exit_code, done.output
    return done.output


def contents(folder: str = "labels") -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != "predictions.json"
    }


def test_labels_have_the_photographs_names_and_sizes_and_the_classes_colours(place: Path) -> None:
    assert "6 pictures" in run(*PREDICT)
    with Image.open("labels/photo a.png") as image:
        assert (image.mode, image.size) == ("P", (36, 24))
        assert image.getpalette()[:12] == [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255]
    assert sorted(contents()) == sorted([*NAMES, "classes.toml"])
    said = json.loads(Path("labels/predictions.json").read_text())
    assert (said["segmenter"]["epoch"], said["image_size"]) == (1, [16, 16])


def test_labels_are_those_of_outputs_in_the_photographs_size(place: Path) -> None:
    """In pictures of one colour there is nothing to resize, so that the label is the colour's class."""
    for k, color in enumerate(((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))):
        Image.new("RGB", (30, 20), color).save(f"photos/plain {k}.png")
    run(*PREDICT)
    for k in range(4):
        assert (np.asarray(Image.open(f"labels/plain {k}.png")) == k).all()


def test_predictions_read_back_as_annotations_agree_with_themselves(place: Path) -> None:
    """Tested at the size of the photographs, at which nothing is resized on either way."""
    write_colored(Path("small"), NAMES, size=(16, 16))
    run("predict", "segmenter", "--images", "small", "--out", "labels")
    run("test", "segmenter", "--images", "small", "--annotations", "labels", "--cross-validate", "0")
    scores = json.loads(Path("scores.json").read_text())
    assert (scores["miou"], scores["pixel_accuracy"]) == (1.0, 1.0)
    assert [entry["name"] for entry in scores["classes"]] == [entry.name for entry in CLASSES]


def test_keypoints_read_back_as_annotations_agree_with_themselves(place: Path) -> None:
    write_segmenter(Path("finder"), (0.0,), keypoints=POINTS)
    flags = ("predict", "finder", "--images", "photos", "--out", "points")
    run(*flags)
    assert sorted(contents("points")) == ["keypoints.json"]
    before = Path("points/keypoints.json").stat().st_mtime_ns
    run(*flags)
    assert Path("points/keypoints.json").stat().st_mtime_ns == before  # nothing was done again
    run("test", "finder", "--images", "photos", "--annotations", "points/keypoints.json")
    scores = json.loads(Path("scores.json").read_text())
    assert scores["pck"]["5"] == 1.0 and scores["labelled"] > 0


def test_names_as_long_as_the_file_system_takes_get_labels(place: Path) -> None:
    for length in (247, 248, 255):
        Image.new("RGB", (4, 4)).save(Path("photos") / ("x" * (length - 4) + ".jpg"))
    run(*PREDICT)
    assert {len(name) for name in contents()} >= {247, 248, 255}
    assert not list(Path("labels").glob("*.partial"))


def test_a_segmenter_of_keypoints_writes_no_list_of_classes(place: Path) -> None:
    folder = write_segmenter(Path("finder"), (0.0,), keypoints=POINTS)
    info = SEGMENTER.read_description(folder)
    assert info is not None
    SEGMENTER.write_description(folder, replace(info, classes=CLASSES))  # as a store of keypoints has them
    run("predict", "finder", "--images", "photos", "--out", "points")
    assert sorted(contents("points")) == ["keypoints.json"]


def test_a_picture_that_is_a_link_to_nowhere_is_not_left_out(place: Path) -> None:
    Path("photos/lost.jpg").symlink_to("gone.jpg")
    assert "photos/lost.jpg: is a link to gone.jpg" in run(*PREDICT, exit_code=2)


@pytest.mark.parametrize("keypoints", [None, POINTS])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_files(
    place: Path, monkeypatch: pytest.MonkeyPatch, keypoints: object
) -> None:
    write_segmenter(Path("other"), (0.3,), keypoints=keypoints)  # type: ignore[arg-type]
    run("predict", "other", "--images", "photos", "--out", "whole")
    forward, calls = ColorNetwork.forward, [0]

    def dying(self: ColorNetwork, images: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return forward(self, images)

    monkeypatch.setattr(ColorNetwork, "forward", dying)
    flags = ("segment", "predict", "other", "--images", "photos", "--out", "cut")
    assert CliRunner().invoke(main, flags).exit_code != 0
    done = {path.name: path.stat().st_mtime_ns for path in Path("cut").glob("*.png")}
    assert len(done) <= (4 if keypoints is None else 0)
    run(*flags[1:])
    left = (
        len(NAMES) - len(done) if keypoints is None else 2
    )  # a label that waited for its write is made again
    assert calls[0] == 2 + ceil(left / 4)
    assert contents("cut") == contents("whole")
    assert {name: (Path("cut") / name).stat().st_mtime_ns for name in done} == done


@pytest.mark.parametrize(
    ("keypoints", "changes"),
    [
        pytest.param(None, (2, 6), id="labels"),
        pytest.param(POINTS, (2, 6, 14), id="keypoints"),  # the last deletes the lines
        pytest.param(None, range(1, 1000), marks=pytest.mark.slow, id="labels, every change"),
        pytest.param(POINTS, range(1, 1000), marks=pytest.mark.slow, id="keypoints, every change"),
    ],
)
def test_dead_at_a_change_of_a_file_the_same_command_ends_with_the_same_files(
    place: Path, keypoints: KeypointInfo | None, changes: Sequence[int]
) -> None:
    write_segmenter(Path("other"), (0.3,), keypoints=keypoints)
    flags = ("predict", "other", "--images", "photos", "--out")
    run(*flags, "whole")
    for change in changes:
        shutil.rmtree("cut", ignore_errors=True)
        with dying(place, change):
            CliRunner().invoke(main, ["segment", *flags, "cut"])
        if survived():
            break
        run(*flags, "cut")
        assert contents("cut") == contents("whole"), change
    assert 6 <= change < 999


def test_a_picture_that_has_changed_is_labelled_again(place: Path) -> None:
    run(*PREDICT)
    before = contents()
    Image.new("RGB", (10, 8), (255, 0, 0)).save(f"photos/{NAMES[2]}")
    assert "5 of them before" in run(*PREDICT)
    assert [name for name, content in contents().items() if before[name] != content] == [NAMES[2]]


def test_predictions_of_another_epoch_are_replaced_only_where_that_is_said(place: Path) -> None:
    run(*PREDICT)
    before = contents()
    assert "segmenter.epoch = 1, this run has 0" in run(*PREDICT, "--epoch", "0", exit_code=2)
    assert contents() == before
    Path("labels/notes.txt").write_text("mine")
    run(*PREDICT, "--epoch", "0", "--overwrite")
    assert all(contents()[name] != before[name] for name in NAMES)
    assert Path("labels/notes.txt").read_text() == "mine"


def test_an_overwrite_by_weights_that_are_damaged_leaves_what_is_there(place: Path) -> None:
    run(*PREDICT)
    before = contents()
    weights = open_segmenter(Path("segmenter")).epochs[0]
    weights.write_bytes(weights.read_bytes()[:-40])
    assert f"{weights}: " in run(*PREDICT, "--epoch", "0", "--overwrite", exit_code=2)
    assert contents() == before


def test_files_of_others_are_not_replaced(place: Path) -> None:
    Path("labels").mkdir()
    Image.new("L", (3, 3)).save(f"labels/{NAMES[0]}")
    assert NAMES[0] in run(*PREDICT, exit_code=2)
    (Path("labels") / NAMES[0]).unlink()
    Path("labels/classes.toml").write_text("mine")
    assert "classes.toml" in run(*PREDICT, exit_code=2)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("predict", "segmenter", "--images", "photos", "--out", "photos"), "folder of the pictures"),
        (("predict", "segmenter", "--images", "nowhere", "--out", "labels"), "no such folder"),
        (("predict", "photos", "--images", "photos", "--out", "labels"), "holds no segmenter"),
        ((*PREDICT, "--epoch", "7"), "has 2 epochs, 0 to 1"),
    ],
)
def test_what_cannot_be_labelled_ends_in_one_line(place: Path, flags: tuple[str, ...], said: str) -> None:
    assert said in run(*flags, exit_code=2)
    assert not Path("labels").exists()


def test_two_pictures_of_one_name_are_refused(place: Path) -> None:
    Image.new("RGB", (4, 4)).save("photos/photo a.bmp")
    assert f"the labels of photo a.bmp would be {NAMES[0]} too" in run(*PREDICT, exit_code=2)


def test_a_picture_that_cannot_be_read_ends_in_one_line(place: Path) -> None:
    Path("photos/photo c.png").write_bytes(b"\x89PNG")
    assert "photo c.png: cannot be read as a picture" in run(*PREDICT, exit_code=2)


def test_labels_beyond_256_classes_are_grey_of_16_bits(tmp_path: Path) -> None:
    classes = [ClassInfo(i, f"class {i}", "#123456") for i in range(300)]
    (tmp_path / "a.jpg").write_bytes(b"")
    folder = PredictionFolder(tmp_path / "labels", {"segmenter": {"epoch": 0}})
    folder.begin(classes, overwrite=False)
    labels = np.arange(300, dtype=np.uint16).reshape(15, 20)
    folder.write_labels(tmp_path / "a.jpg", labels, classes)
    with Image.open(tmp_path / "labels" / "a.png") as image:
        assert image.mode == "I;16" and np.array_equal(np.asarray(image), labels)
    assert folder.has(tmp_path / "a.jpg")
    assert stem("a.jpg") == "a"
