"""`dgan segment test` on photographs whose labels are known, with networks of a few weights."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.deaths import dying, survived
from support.photographs import CLASSES, Labels, save_arrays, save_coco, save_grey, stem
from support.scored_segmenters import (
    POINTS,
    SIZE,
    ColorNetwork,
    use_color_networks,
    weights_by_color,
    write_colored,
    write_segmenter,
)

import pipeline
from pipeline.cli import main
from pipeline.segment.pictures import DEVIATION, MEAN
from pipeline.segment.testing.saved import SavedEpochs

NAMES = tuple(f"photo {letter}.png" for letter in "abcdefghijk")
NOISES = (1.5, 0.3, 0.35, 0.8)


@pytest.fixture(autouse=True)
def _color_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    use_color_networks(monkeypatch)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder with ``photos``, ``masks`` and ``segmenter``."""
    monkeypatch.chdir(tmp_path)
    _, labels = write_colored(Path("photos"), NAMES)
    Path("masks").mkdir()
    save_arrays(Path("masks"), labels)
    write_segmenter(Path("segmenter"), NOISES)
    return tmp_path


def run(*arguments: str, exit_code: int = 0) -> str:
    done = CliRunner().invoke(main, ["segment", "test", *arguments])
    assert done.exit_code == exit_code, done.output
    return done.output


def scores(*arguments: str) -> dict:
    run("segmenter", "--images", "photos", "--annotations", "masks", *arguments)
    found: dict = json.loads(Path("scores.json").read_text())
    return found


def predicted(epoch: int) -> list[np.ndarray]:
    """Each picture's labels, without any code of the pipeline but the normalisation's constants."""
    from PIL import Image

    network = ColorNetwork(4)
    network.load_state_dict(weights_by_color(epoch, NOISES[epoch]))
    found = []
    for name in NAMES:
        values = np.asarray(Image.open(Path("photos") / name)).astype(np.float32) / 255
        values = (values - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
        with torch.no_grad():
            found.append(network(torch.from_numpy(values).permute(2, 0, 1)[None]).argmax(1)[0].numpy())
    return found


def matrix_of(truth: list[np.ndarray], found: list[np.ndarray]) -> np.ndarray:
    matrix = np.zeros((4, 4), np.int64)
    for true, label in zip(truth, found, strict=True):
        np.add.at(matrix, (true.astype(np.int64), label), 1)
    return matrix


def iou_of(matrix: np.ndarray) -> np.ndarray:
    return matrix.diagonal() / (matrix.sum(0) + matrix.sum(1) - matrix.diagonal())


def test_the_scores_are_those_of_the_folds_by_hand(place: Path) -> None:
    truth = [np.load(f"masks/{stem(name)}.npy") for name in NAMES]
    found = [predicted(epoch) for epoch in range(4)]
    result = scores()
    mious, ious = [], []
    for fold in range(5):  # 11 pictures: 2 in each fold, 1 in none
        inside = range(2 * fold, 2 * fold + 2)
        outside = [place for place in range(11) if place not in inside]
        validation = [
            iou_of(matrix_of([truth[p] for p in inside], [epoch[p] for p in inside])).mean()
            for epoch in found
        ]
        best = int(np.argmax(validation))
        iou = iou_of(matrix_of([truth[p] for p in outside], [found[best][p] for p in outside]))
        entry = result["folds"][fold]
        assert entry["epoch"] == best
        assert entry["validation_miou"] == pytest.approx(validation[best])
        assert entry["miou"] == pytest.approx(iou.mean())
        assert (entry["first"], entry["last"]) == (NAMES[2 * fold], NAMES[2 * fold + 1])
        mious.append(iou.mean())
        ious.append(iou)
    assert result["miou"] == pytest.approx(np.mean(mious))
    assert result["miou_deviation"] == pytest.approx(np.std(mious))
    assert [entry["iou"] for entry in result["classes"]] == pytest.approx(np.mean(ious, axis=0))
    assert [entry["iou_deviation"] for entry in result["classes"]] == pytest.approx(np.std(ious, axis=0))
    assert np.sum(result["confusion"]) == 5 * 9 * 16 * 16
    assert 0.3 < result["miou"] < 1  # the photographs are neither easy nor hopeless


def test_without_folds_the_last_epoch_is_scored_on_all_pictures(place: Path) -> None:
    truth = [np.load(f"masks/{stem(name)}.npy") for name in NAMES]
    result = scores("--cross-validate", "0")
    assert result["confusion"] == matrix_of(truth, predicted(3)).tolist()
    assert (result["epoch"], result["folds"], result["miou_deviation"]) == (3, [], None)


def test_ignored_pixels_and_absent_classes_count_nowhere(place: Path) -> None:
    write_segmenter(Path("perfect"), (0.0,))
    _, labels = write_colored(Path("plain"), NAMES[:2], noise=0)
    table = Path("map.toml")
    table.write_text(
        'drop = [3]\ndrop_to = "ignore"\n'
        + "".join(f'[[classes]]\nname = "{c.name}"\nfrom = [{c.id}]\n' for c in CLASSES[:3])
    )
    save_arrays(Path("masks"), {name: np.where(one == 2, 3, one) for name, one in labels.items()})
    run("perfect", "--images", "plain", "--annotations", "masks", "--label-map", "map.toml")
    result = json.loads(Path("scores.json").read_text())
    assert [entry["iou"] for entry in result["classes"]] == [1.0, 1.0, None, None]
    assert (result["miou"], result["released_miou"]) == (1.0, pytest.approx(0.5))


def test_the_table_says_classes_folds_and_files(place: Path) -> None:
    lines = run("segmenter", "--images", "photos", "--annotations", "masks").splitlines()
    text = "\n".join(lines)
    assert "11 pictures of 16 x 16, cross-validated in 5 folds" in text
    assert [line.split()[0] for line in lines if line.startswith(("background", "door", "mean"))]
    assert sum(line.strip().startswith(tuple("01234")) for line in lines) >= 5
    assert "scores.json: the scores; scores.svg: the picture" in lines[-1]
    assert Path("scores.svg").read_text().startswith("<!-- dgan scores -->")


def test_annotations_of_a_coco_file_give_the_same_scores(place: Path) -> None:
    before = scores()
    labels: Labels = {name: np.load(f"masks/{stem(name)}.npy") for name in NAMES}
    run("segmenter", "--images", "photos", "--annotations", str(save_coco(Path("masks"), labels)))
    after = json.loads(Path("scores.json").read_text())
    assert (after["confusion"], after["folds"]) == (before["confusion"], before["folds"])


def test_the_format_of_annotations_is_what_is_asked_for(place: Path) -> None:
    before = scores()
    labels: Labels = {name: np.load(f"masks/{stem(name)}.npy") for name in NAMES}
    Path("both").mkdir()
    save_grey(Path("both"), {name: np.zeros_like(one) for name, one in labels.items()})
    save_coco(Path("both"), labels)
    flags = ("segmenter", "--images", "photos", "--annotations", "both")
    assert "several formats" in (said := run(*flags, exit_code=2)) and "--annotation-format" in said
    run(*flags, "--annotation-format", "coco")
    after = json.loads(Path("scores.json").read_text())
    assert (after["confusion"], after["annotations"]["format"]) == (before["confusion"], "coco")
    run(*flags, "--annotation-format", "masks")
    assert np.sum(json.loads(Path("scores.json").read_text())["confusion"][1:]) == 0
    write_segmenter(Path("finder"), keypoints=POINTS)
    refused = run("finder", *flags[1:], "--annotation-format", "masks", exit_code=2)
    assert "--annotation-format is masks, and finder finds keypoints" in refused


def test_a_test_in_which_no_pixel_counts_is_refused(place: Path) -> None:
    table = "".join(f'[[classes]]\nname = "{c.name}"\nfrom = [{9 + c.id}]\n' for c in CLASSES)
    Path("map.toml").write_text('drop = [0, 1, 2, 3]\ndrop_to = "ignore"\n' + table)
    flags = ("segmenter", "--images", "photos", "--annotations", "masks", "--label-map", "map.toml")
    assert "masks: every pixel is ignored" in run(*flags, exit_code=2)


def test_names_that_are_not_utf_8_stand_in_the_scores(place: Path) -> None:
    odd = os.fsdecode(b"seg\xff")
    try:
        os.rename("segmenter", odd)
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    pipeline.segment_test(odd, images="photos", annotations="masks", say=None)
    assert json.loads(Path("scores.json").read_text())["segmenter"]["folder"] == odd


@pytest.mark.parametrize("num_bytes", [244, 248, 249, 256])
def test_a_name_for_which_there_is_no_room_is_refused_before_anything_is_tested(
    place: Path, num_bytes: int
) -> None:
    out = "s" * (num_bytes - 5) + ".json"
    flags = ("segmenter", "--images", "photos", "--annotations", "masks", "--out", out)
    if num_bytes + len(".epochs") <= 255:
        assert len(list(place.glob("sss*"))) == 0
        run(*flags)
        assert Path(out).is_file()
    else:
        assert "expected 255 at most" in run(*flags, exit_code=2)
        assert not list(place.glob("sss*"))


def test_pictures_are_resized_for_the_network_and_labels_with_them(place: Path) -> None:
    assert scores("--resolution", "8")["image_size"] == [8, 8]
    assert np.sum(scores("--resolution", "8")["confusion"]) == 5 * 9 * 64


def test_an_interrupted_test_goes_on_and_ends_with_the_same_scores(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scores()
    calls = [0]
    forward = ColorNetwork.forward

    def dying(self: ColorNetwork, images: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 5:  # in the second batch of the second epoch
            raise KeyboardInterrupt
        return forward(self, images)

    monkeypatch.setattr(ColorNetwork, "forward", dying)
    monkeypatch.setattr("pipeline.segment.testing.measure.SAVE_SECONDS", -1)
    Path("scores.json").unlink()
    done = CliRunner().invoke(
        main, ["segment", "test", "segmenter", "--images", "photos", "--annotations", "masks"]
    )
    assert done.exit_code != 0 and not Path("scores.json").exists()
    again = scores()
    assert calls[0] == 5 + 3 * 4 - 4  # 3 batches an epoch; 4 were done
    assert {**again, "created": None} == {**whole, "created": None}
    assert not Path("scores.json.epochs").exists()


def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "pipeline.segment.testing.run.write_files", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
        )
        run("segmenter", "--images", "photos", "--annotations", "masks", exit_code=1)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param((2, 3, 9), id="some"),  # the folder is made; it has no description yet; an epoch is done
        pytest.param(range(1, 1000), id="all", marks=pytest.mark.slow),
    ],
)
def test_dead_at_a_change_of_a_file_the_same_command_ends_with_the_same_scores(
    place: Path, monkeypatch: pytest.MonkeyPatch, changes: Sequence[int]
) -> None:
    monkeypatch.setattr("pipeline.segment.testing.measure.SAVE_SECONDS", -1)
    write_colored(Path("few"), NAMES[:5])
    write_segmenter(Path("two"), NOISES[:2])
    flags = ("two", "--images", "few", "--annotations", "masks")

    def result() -> dict:
        return {**json.loads(Path("scores.json").read_text()), "created": None}

    run(*flags)
    whole, picture = result(), Path("scores.svg").read_bytes()
    for change in changes:
        Path("scores.json").unlink()
        with dying(place, change):
            CliRunner().invoke(main, ["segment", "test", *flags])
        if survived():
            break
        run(*flags)
        assert (result(), Path("scores.svg").read_bytes()) == (whole, picture), change
        assert sorted(path.name for path in place.glob("scores*")) == ["scores.json", "scores.svg"]
    assert 9 <= change < 999


def test_what_is_saved_of_an_epoch_is_taken_whole_or_not_at_all(place: Path) -> None:
    saved = SavedEpochs(place / "s.json", {"what": 1})
    saved.begin({3: "0" * 64}, overwrite=False)
    saved.save(3, {"done": np.array(2), "points": np.arange(12.0)})
    assert saved.load(3, ("done", "points"))["points"].tolist() == list(range(12))
    assert saved.load(3, ("done", "cells")) == {"done": 0}
    file = saved.folder / "epoch_3.npz"
    content = file.read_bytes()
    for byte in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[byte] ^= 0x01
        file.write_bytes(damaged)
        found = saved.load(3, ("done", "points"))
        assert int(found["done"]) == 0 or found["points"].tolist() == list(range(12))


def test_files_of_others_where_epochs_would_be_kept_are_named(place: Path) -> None:
    Path("scores.json.epochs").mkdir()
    Path("scores.json.epochs/notes.txt").write_text("mine")
    message = run("segmenter", "--images", "photos", "--annotations", "masks", exit_code=2)
    assert "not of a test (notes.txt)" in message


def test_another_test_does_not_go_on_with_what_is_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch)
    flags = ("segmenter", "--images", "photos", "--annotations", "masks")
    assert "image_size" in run(*flags, "--resolution", "8", exit_code=2)
    np.save("masks/photo a.npy", np.zeros(SIZE, np.uint8))
    assert "annotations" in run(*flags, exit_code=2)
    run(*flags, "--overwrite")


def test_another_number_of_folds_takes_what_is_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch)
    monkeypatch.setattr(ColorNetwork, "forward", lambda *_: pytest.fail("an epoch was run again"))
    assert len(scores("--cross-validate", "3")["folds"]) == 3


def test_a_released_segmenter_is_recognised_and_its_classes_are_the_configured_ones(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.segment.networks import NetworkKind

    monkeypatch.setattr(
        "pipeline.segment.trained.recognised", lambda folder: NetworkKind("deeplabv3", "resnet101", None, 4)
    )
    write_segmenter(Path("released"), (0.0, 0.1), released=True)
    flags = ("released", "--images", "photos", "--annotations", "masks", "--resolution", "16")
    assert "no segmenter.json" in run(*flags)
    assert [e["name"] for e in json.loads(Path("scores.json").read_text())["classes"]][1] == "class_1"
    tables = "".join(f'[[annotations.classes]]\nname = "part {c.id}"\n' for c in CLASSES)
    Path("face.toml").write_text(tables)
    run(*flags, "--config", "face.toml")
    assert [e["name"] for e in json.loads(Path("scores.json").read_text())["classes"]][1] == "part 1"
    Path("masks/classes.toml").write_text(
        tables.replace("annotations.classes", "classes").replace("part", "own")
    )
    run(*flags)
    assert [e["name"] for e in json.loads(Path("scores.json").read_text())["classes"]][1] == "own 1"
    Path("face.toml").write_text(
        tables.partition('name = "part 3"')[0] + 'name = "x"\n[[annotations.classes]]\nname="y"'
    )
    assert "lists 5 classes" in run(*flags, "--config", "face.toml", exit_code=2)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("segmenter",), "no pictures are given"),
        (("segmenter", "--images", "photos"), "no pictures of|none of 11 pictures|annotation"),
        (("nowhere", "--images", "photos"), "no such folder"),
        (("masks", "--images", "photos"), "holds no segmenter"),
        (
            ("segmenter", "--images", "photos", "--annotations", "masks", "--cross-validate", "1"),
            "is 1, of 11",
        ),
        (("segmenter", "--images", "photos", "--annotations", "masks", "--cross-validate", "12"), "2 to 11"),
        (("segmenter", "--images", "photos", "--annotations", "masks", "--out", "photos"), "is a folder"),
        (
            ("segmenter", "--images", "photos", "--annotations", "masks", "--released-filter"),
            "does not say that it was trained on the released slice",
        ),
    ],
)
def test_what_cannot_be_tested_ends_in_one_line(place: Path, flags: tuple[str, ...], said: str) -> None:
    import re

    assert re.search(said, run(*flags, exit_code=2))


@pytest.mark.parametrize(
    ("name", "data", "released", "accepted"),
    [
        ("own", {"dataset": {"chosen_by": "released filter"}}, False, True),
        ("other", {"dataset": {"chosen_by": "filter"}}, False, False),
        ("deeplab_class_34_checkpoint_0_filter_out_0.100000", None, True, True),
        ("deeplab_class_34_checkpoint_0_filter_out_0.000000", None, True, False),
        ("renamed", None, True, False),
    ],
)
def test_the_released_filter_is_asked_of_the_segmenter(
    tmp_path: Path, name: str, data: dict | None, released: bool, accepted: bool
) -> None:
    from pipeline.errors import UsageError
    from pipeline.segment.folder import open_segmenter
    from pipeline.segment.testing.checks import check_released_filter

    folder = open_segmenter(write_segmenter(tmp_path / name, data=data, released=released))
    if accepted:
        check_released_filter(folder)
    else:
        with pytest.raises(UsageError, match="--released-filter"):
            check_released_filter(folder)


def test_an_unfinished_segmenter_is_tested_with_a_note(place: Path) -> None:
    write_segmenter(Path("begun"), (0.1, 0.0), epochs=20)
    assert "of 20 epochs 2 are there" in run("begun", "--images", "photos", "--annotations", "masks")


def test_few_pictures_are_scored_without_folds(place: Path) -> None:
    for name in NAMES[3:]:
        (Path("photos") / name).unlink()
    output = run("segmenter", "--images", "photos", "--annotations", "masks")
    assert "3 pictures are too few for 5 folds" in output and "epoch 3" in output


def test_keypoints_are_scored_in_pixels_of_the_photographs(place: Path) -> None:
    """A network that finds the reddest and the greenest pixel; photographs twice as wide as high."""
    from PIL import Image

    rng = np.random.default_rng(0)
    points = np.zeros((7, 2, 3), np.float64)
    Path("people").mkdir()
    for i in range(7):
        picture = np.zeros((16, 32, 3), np.uint8)
        for k in range(2):
            row, column = int(rng.integers(0, 8)) * 2, int(rng.integers(0, 8)) * 4
            picture[row : row + 2, column : column + 4, k] = 255
            points[i, k] = column + 2, row + 1, 1
        Image.fromarray(picture).save(f"people/p{i}.png")
    points[6, 1, 2] = 0  # has no label
    points[5, 0, :2] = np.where(points[5, 0, :2] > (16, 8), 0.5, (31, 15))  # far from where it is found
    np.save("points.npy", points)
    folder = write_segmenter(Path("finder"), (0.0, 0.0), keypoints=POINTS, size=(8, 8))
    for epoch, scale in ((0, -1.0), (1, 1.0)):  # the first epoch finds what is darkest
        weight = scale * torch.eye(3)[:2, :, None, None]
        state = {"layer.weight": weight, "layer.bias": torch.zeros(2)}
        torch.save({"model_state_dict": state}, folder / f"deeplab_epoch_{epoch}.pth")
    run("finder", "--images", "people", "--annotations", "points.npy", "--cross-validate", "3")
    result = json.loads(Path("scores.json").read_text())
    assert [fold["epoch"] for fold in result["folds"]] == [1, 1, 1]
    assert result["labelled"] == 13
    assert result["epochs"][1]["pck"]["10"] == pytest.approx(12 / 13)
    assert result["folds"][0]["pck"]["10"] == pytest.approx(8 / 9)  # without the first two pictures
    assert math.isclose(result["keypoints"][1]["pck"]["10"], 1.0)
    assert "PCK@10" in Path("scores.svg").read_text()


def release(folder: Path, **changes: object) -> Path:
    """The layout of the release: an experiment, and a folder of pictures and arrays in the same order."""
    tests = folder / "dataset_release" / "testing_data"
    _, labels = write_colored(tests, NAMES)
    for place, one in enumerate(labels.values()):
        np.save(tests / f"annotation{place:02}_of_12.npy", one)
    keys = {"dim": [16, 16, 8], "testing_path": "./dataset_release/testing_data", "deeplab_res": 16}
    (folder / "experiments").mkdir()
    path = folder / "experiments" / "face_34.json"
    path.write_text(json.dumps({**keys, "testing_data_number_class": 4, **changes}))
    return path


def test_a_released_experiment_says_what_is_tested(place: Path) -> None:
    before = scores()
    output = run("segmenter", "--config", str(release(Path("there"))))
    assert "paired by the order of their names" in output
    after = json.loads(Path("scores.json").read_text())
    assert (after["confusion"], after["folds"]) == (before["confusion"], before["folds"])


def test_a_segmenter_of_other_classes_than_the_released_ones_is_refused(place: Path) -> None:
    path = release(Path("there"), testing_data_number_class=3)
    assert "annotated with 3 classes" in run("segmenter", "--config", str(path), exit_code=2)
