"""Segmenters that learn from photographs, a dataset, and both: one split, equal settings, one table."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.commands import dgan, done
from support.photographs import (
    CLASSES,
    NAMES,
    random_labels,
    save_coco,
    save_grey,
    save_labelme,
    write_pictures,
)
from support.small_datasets import write_dataset
from support.stores import tree_bytes
from support.tiny_segmenter import TinyNetwork, use_tiny_networks

import pipeline
from pipeline.errors import UsageError
from pipeline.segment.folder import SEGMENTER
from pipeline.segment.testing import measure
from pipeline.segment.training import mixing, run
from pipeline.segment.training.mixing import MixingJob
from pipeline.segment.training.real_images import split_places
from pipeline.settings.schema import Config, SegmentConfig, SegmentTestConfig

CPU = torch.device("cpu")
PHOTOGRAPHS = tuple(f"img_{i:02}.png" for i in range(11))
SIZE = (16, 24)
SETTINGS: dict[str, Any] = {
    **{"data": "dataset.zarr", "real_images": Path("photos"), "real_annotations": Path("masks")},
    **{"num_real": 6, "num_synthetic": 4, "epochs": 2, "batch_size": 2, "precision": "float32"},
}
TESTING = SegmentTestConfig(cross_validate=2)
MIXES = ("real", "synthetic", "both")


def tiny(patch: pytest.MonkeyPatch) -> None:
    """Networks of a few weights, in training and in testing."""
    use_tiny_networks(patch)
    patch.setattr("pipeline.segment.trained.build_network", lambda *words: TinyNetwork(words[-1]))


def write_inputs(folder: Path) -> None:
    """``dataset.zarr`` of 5 kept images, ``photos`` and their ``masks``."""
    labels = random_labels([str(i) for i in range(6)], SIZE, seed=3)
    write_dataset(folder / "dataset.zarr", CLASSES, np.stack(list(labels.values())), dropped=[2])
    write_pictures(folder / "photos", PHOTOGRAPHS, SIZE)
    (folder / "masks").mkdir()
    save_grey(folder / "masks", random_labels(PHOTOGRAPHS, SIZE))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs, and in ``mix`` an experiment that is done."""
    folder = tmp_path_factory.mktemp("mixing")
    write_inputs(folder)
    with pytest.MonkeyPatch.context() as patch:
        tiny(patch)
        patch.chdir(folder)
        carried_out(Path("mix"))
    return folder


@pytest.fixture(autouse=True)
def _there(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has the inputs."""
    tiny(monkeypatch)
    for path in inputs.iterdir():
        shutil.copytree(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)


def prepared(
    out: Path, *, overwrite: bool = False, testing: SegmentTestConfig = TESTING, **settings: Any
) -> MixingJob:
    options = SegmentConfig(out=out, **{**SETTINGS, **settings})
    return mixing.prepare(Config(segment=options, segment_test=testing), CPU, overwrite=overwrite)


def carried_out(out: Path, **settings: Any) -> run.Result:
    return mixing.train(prepared(out, **settings), CPU, say=lambda line: None)


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "mixing.json").read_text())
    return found


def learnt_names(out: Path, mix: str) -> list[str]:
    info = SEGMENTER.read_description(out / mix)
    assert info is not None
    return list(info.data["real"]["names"]) if "real" in info.data else []


def weights(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree_bytes(folder).items() if name.endswith(".pth")}


# --- the split ---


@given(num=st.integers(2, 300), seed=st.integers(0, 2**64 - 1))
def test_a_fifth_is_tested_on_and_all_others_may_be_learnt(num: int, seed: int) -> None:
    learnt, tested = split_places(num, seed)
    assert sorted((*learnt, *tested)) == list(range(num))
    assert len(tested) == max(1, num // 5)
    assert list(learnt) == sorted(learnt) and list(tested) == sorted(tested)
    assert split_places(num, seed) == (learnt, tested)


def test_another_seed_tests_on_other_photographs() -> None:
    assert len({split_places(100, seed)[1] for seed in range(20)}) == 20


# --- the experiment ---


def test_no_segmenter_learns_what_it_is_tested_on() -> None:
    tested = results(Path("mix"))["tested"]
    assert len(tested) == 2 and set(tested) < set(PHOTOGRAPHS)
    rest = [name for name in PHOTOGRAPHS if name not in tested]
    assert learnt_names(Path("mix"), "real") == learnt_names(Path("mix"), "both") == rest[:6]
    assert learnt_names(Path("mix"), "synthetic") == []


def test_all_three_have_the_same_settings_and_classes_and_their_own_images() -> None:
    found = {mix: SEGMENTER.read_description(Path("mix") / mix) for mix in MIXES}
    infos = [info for info in found.values() if info is not None]
    assert len(infos) == 3
    assert all(info.training == infos[0].training and info.classes == CLASSES for info in infos)
    rows = {row["mix"]: row for row in results(Path("mix"))["rows"]}
    assert list(rows) == list(MIXES)
    counts = {mix: row["images"] for mix, row in rows.items()}
    assert counts == {"real": {"real": 6}, "synthetic": {"synthetic": 4}, "both": {"real": 6, "synthetic": 4}}
    assert [row["steps"] for row in rows.values()] == [2 * 3, 2 * 2, 2 * 5]


@pytest.mark.parametrize("mix", MIXES)
def test_the_scores_are_those_of_segment_test_on_these_photographs_alone(mix: str) -> None:
    tested = results(Path("mix"))["tested"]
    for folder in ("photos", "masks"):
        for path in Path(folder).iterdir():
            if path.name not in tested:
                path.unlink()
    done(
        "segment", "test", f"mix/{mix}", "--images", "photos", "--annotations", "masks", "--cross-validate", 2
    )
    scores = json.loads(Path("scores.json").read_text())
    row = next(row for row in results(Path("mix"))["rows"] if row["mix"] == mix)
    keys = ("miou", "miou_deviation", "released_miou", "released_miou_deviation", "pixel_accuracy")
    assert {key: row[key] for key in keys} == {key: scores[key] for key in keys}
    assert [e["name"] for e in row["classes"]] == list(NAMES)
    assert [e["iou"] for e in row["classes"]] == [e["iou"] for e in scores["classes"]]


def test_a_run_that_was_cut_off_goes_on_with_the_segmenter_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    train_one, seen = run.train_one, []

    def dies_at_the_second(job: Any, *more: Any) -> Any:
        seen.append(job.folder.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return train_one(job, *more)

    monkeypatch.setattr(run, "train_one", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        carried_out(Path("other"))
    assert not Path("other/mixing.json").exists()
    first = tree_bytes(Path("other/real"))
    carried_out(Path("other"))
    assert seen == ["real", "synthetic", *MIXES]
    assert tree_bytes(Path("other/real")) == first  # its scores too
    for mix in MIXES:
        assert weights(Path("other") / mix) == weights(Path("mix") / mix)
    again, undisturbed = (results(Path(out)) for out in ("other", "mix"))
    for row in (*again["rows"], *undisturbed["rows"]):
        del row["folder"]
    assert again["rows"] == undisturbed["rows"] and again["tested"] == undisturbed["tested"]


def test_what_is_done_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree_bytes(Path("mix"))
    for module, name in ((run, "run_epochs"), (measure, "outputs_of")):
        monkeypatch.setattr(module, name, lambda *words: pytest.fail("something is done again"))
    result = carried_out(Path("mix"))
    assert tree_bytes(Path("mix")) == before
    assert result.lines[0] == (
        "mIoU on 2 photographs that no segmenter has learnt, mean and deviation over 2 folds"
    )


def test_other_folds_are_tested_anew_and_nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "run_epochs", lambda *words: pytest.fail("something is trained again"))
    result = carried_out(Path("mix"), testing=SegmentTestConfig(cross_validate=0))
    assert result.lines[0].endswith("that no segmenter has learnt, of the last epoch")
    assert [row["miou_deviation"] for row in results(Path("mix"))["rows"]] == [None] * 3


def test_overwrite_begins_anew() -> None:
    result = carried_out(Path("mix"), overwrite=True, num_real=4)
    assert [row["images"].get("real") for row in result.value["rows"]] == [4, None, 4]


def test_the_table_has_a_row_a_segmenter(capsys: pytest.CaptureFixture[str]) -> None:
    lines = carried_out(Path("mix")).lines
    assert lines[2].split() == ["learnt", "from", "photographs", "synthetic", "images", "steps", "mIoU", "+-"]
    rows = [line.split() for line in lines[3:6]]
    assert [row[:4] for row in rows] == [
        ["real", "6", "-", "6"],
        ["synthetic", "-", "4", "4"],
        ["both", "6", "4", "10"],
    ]
    assert [row[4] for row in rows] == [f"{row['miou']:.4f}" for row in results(Path("mix"))["rows"]]
    assert lines[-1] == "mix/mixing.json: the same by class"


# --- one segmenter ---


@pytest.mark.parametrize("mix", MIXES)
def test_only_one_is_an_ordinary_segmenter_with_the_weights_of_the_experiment(mix: str) -> None:
    if mix == "real":
        shutil.rmtree("dataset.zarr")  # which is not opened
    result = carried_out(Path("one"), only=mix)
    assert result.value == Path("one")
    assert weights(Path("one")) == weights(Path("mix") / mix)
    assert not Path("one/mixing.json").exists() and not Path("one/scores.json").exists()


def test_photographs_alone_have_the_classes_that_their_annotations_name() -> None:
    shutil.rmtree("dataset.zarr")
    shutil.rmtree("masks")
    Path("masks").mkdir()
    save_labelme(Path("masks"), random_labels(PHOTOGRAPHS, SIZE))
    carried_out(Path("one"), only="real")
    info = SEGMENTER.read_description(Path("one"))
    assert info is not None and {entry.name for entry in info.classes} == set(NAMES)
    assert info.image_size == SIZE


def test_photographs_alone_have_the_classes_of_a_label_map() -> None:
    Path("map.toml").write_text(
        '[[classes]]\nname = "background"\nfrom = [0]\n[[classes]]\nname = "part"\nfrom = [1, 2, 3]\n'
    )
    carried_out(Path("one"), only="real", label_map=Path("map.toml"))
    info = SEGMENTER.read_description(Path("one"))
    assert info is not None and [entry.name for entry in info.classes] == ["background", "part"]


def test_photographs_of_other_labels_are_learnt_through_the_label_map_of_tests() -> None:
    moved = {name: one + 10 for name, one in random_labels(PHOTOGRAPHS, SIZE).items()}
    save_grey(Path("masks"), moved)
    tables = [f'[[classes]]\nname = "{name}"\nfrom = [{10 + i}]\n' for i, name in enumerate(NAMES)]
    Path("map.toml").write_text("".join(tables))
    testing = replace(TESTING, label_map=Path("map.toml"))
    carried_out(Path("other"), testing=testing)
    assert weights(Path("other/both")) == weights(Path("mix/both"))


def test_photographs_of_several_sizes_are_learnt_at_one() -> None:
    write_pictures(Path("photos"), PHOTOGRAPHS[:3], (32, 48))
    with pytest.raises(
        UsageError, match=r"img_03.png: is 16 x 24 .*; pass --resolution, the side of a square"
    ):
        prepared(Path("one"), only="real")
    assert prepared(Path("one"), only="real", resolution=20).jobs["real"].info.image_size == (20, 20)
    assert prepared(Path("one")).jobs["real"].info.image_size == SIZE  # the dataset's


# --- what is refused ---


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        pytest.param(
            {"num_real": 10},
            "photos: has 11 annotated photographs, of which 2 are tested on and 9 may be learnt; --num-real "
            "is 10: pass 9 or less, or leave it out",
            id="more than may be learnt",
        ),
        pytest.param(
            {"num_real": 3, "batch_size": 4},
            "photos: 3 annotated photographs to learn from, and a step takes 4; pass --batch-size 3 or less",
            id="less than a step",
        ),
        pytest.param({"num_synthetic": 6}, "dataset.zarr: has 5 images to learn from", id="too few images"),
        pytest.param({"real_images": Path("none")}, "none: no such folder", id="no photographs"),
        pytest.param({"real_annotations": Path("none")}, "none: does not exist", id="no annotations"),
        pytest.param(
            {"out": Path("mix/real")},
            "mix/real: is the folder of one segmenter, and the three of an experiment go to",
            id="the folder of a segmenter",
        ),
        pytest.param(
            {"out": Path("mix"), "only": "real"}, "mix: exists and is no segmenter's", id="of three"
        ),
        pytest.param({"out": Path("mix"), "epochs": 3}, "mix/real: is a training of 2 epochs", id="settings"),
        pytest.param({"out": Path("mix"), "seed": 1}, "mix/real: was begun with other settings", id="seed"),
    ],
)
def test_what_cannot_be_learnt_is_refused_in_one_line(settings: dict[str, Any], line: str) -> None:
    before = tree_bytes(Path())
    with pytest.raises(UsageError) as error:
        prepared(**{"out": Path("other"), **settings})
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
    assert tree_bytes(Path()) == before


def test_classes_that_the_dataset_does_not_have_are_named() -> None:
    Path("masks/classes.toml").write_text(
        "".join(f'[[classes]]\nname = "{n}"\n' for n in (*NAMES[:3], "roof"))
    )
    with pytest.raises(UsageError, match="roof") as error:
        prepared(Path("other"))
    assert "the dataset dataset.zarr" in str(error.value)


def test_keypoints_are_refused() -> None:
    points = np.ones((6, 2, 3), np.float32)
    write_dataset(Path("points.zarr"), CLASSES, np.zeros((6, 16, 24), np.uint8), points=points)
    with pytest.raises(
        UsageError, match=r"the dataset points\.zarr holds keypoints, and photographs are learnt"
    ):
        prepared(Path("other"), data="points.zarr")


def test_a_single_photograph_is_refused() -> None:
    for name in PHOTOGRAPHS[1:]:
        Path("photos", name).unlink()
    with pytest.raises(UsageError, match="1 annotated photograph; expected at least 2"):
        prepared(Path("other"), num_real=None)


def test_a_file_of_another_kind_is_not_replaced() -> None:
    Path("other").mkdir()
    Path("other/mixing.json").write_text('{"kind": "recipe"}')
    with pytest.raises(
        UsageError, match=r"other/mixing\.json: is no file of `dgan segment train`, or is damaged"
    ):
        prepared(Path("other"), overwrite=True)


# --- as people type it ---


def test_the_command_and_the_function_do_the_same() -> None:
    words = ["--real-images", "photos", "--real-annotations", "masks", "--epochs", 1, "--batch-size", 2]
    planned = done("segment", "train", *words, "--data", "dataset.zarr", "--out", "typed", "--dry-run")
    assert [line for line in planned.stdout.splitlines() if line.endswith(":")] == [f"{m}:" for m in MIXES]
    assert not Path("typed").exists()
    result = done("segment", "train", *words, "--data", "dataset.zarr", "--out", "typed")
    assert "photos: 11 annotated photographs; 2 to test on" in result.stderr
    assert "2 pictures are too few for 5 folds" in result.stderr
    found = pipeline.segment_train(
        real_images="photos",
        real_annotations="masks",
        epochs=1,
        batch_size=2,
        data="dataset.zarr",
        out="typed",
        say=None,
    )
    assert found == results(Path("typed"))
    assert result.stdout.splitlines()[-1] == "typed/mixing.json: the same by class"


def test_photographs_alone_do_not_take_the_demos_classes() -> None:
    words = ["--real-images", "photos", "--real-annotations", "masks", "--epochs", 1, "--batch-size", 2]
    result = dgan("segment", "train", *words, "--only", "real", "--out", "typed")
    assert result.exit_code == 0, result.output
    info = SEGMENTER.read_description(Path("typed"))
    assert info is not None and len(info.classes) == 4


def test_the_format_of_the_photographs_annotations_is_what_is_asked_for() -> None:
    save_coco(Path("masks"), random_labels(PHOTOGRAPHS, SIZE))
    with pytest.raises(UsageError, match=r"several formats.*say which with --real-annotation-format"):
        prepared(Path("other"))
    for only in (None, "real"):
        job = prepared(Path("other"), only=only, real_annotation_format="coco")
        assert job.real.photographs.record["format"] == "coco"
    with pytest.raises(UsageError, match="--real-annotation-format"):
        prepared(Path("other"), only="real")
