"""The whole run on a small store: what it writes, that a killed one goes on, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from support.commands import done
from support.training import SMALL, Killed, kill_before_epoch, mask_of, write_store
from support.variants import variants

import fstore
import pipeline
from pipeline.calibration import begun, run
from pipeline.errors import UsageError
from pipeline.quality.calibration_file import read_calibration
from pipeline.settings.schema import CalibrateConfig, Config
from pipeline.stages.train import stage

CPU = torch.device("cpu")
NUM, FOLDS = 5, 2
QUICK = replace(SMALL, members=2, max_epochs=2, epoch_pixels=96)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "features.zarr", "pyramid", NUM)


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the calibration of a run that nothing disturbed, and its picture: change a copy."""
    folder = tmp_path_factory.mktemp("undisturbed")
    calibrated(config_of(store, folder))
    return folder


@pytest.fixture(scope="module")
def undisturbed(whole: Path) -> dict[str, Any]:
    """That calibration."""
    return without_time(json.loads((whole / "calibration.json").read_text()))


def config_of(store: Path, folder: Path) -> Config:
    config = Config()
    return replace(
        config,
        features=replace(config.features, store=str(store)),
        train=QUICK,
        calibrate=CalibrateConfig(folds=FOLDS, out=folder / "calibration.json"),
    )


def calibrated(
    config: Config, say: Callable[[str], None] = lambda _: None, *, overwrite: bool = False
) -> dict[str, Any]:
    job = run.prepare(config, CPU, overwrite=overwrite)
    return without_time(run.calibrate(job, CPU, memory_budget=None, say=say))


def without_time(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "created"}


def test_the_file_is_read_back_and_nothing_else_stays(
    store: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    config, lines = config_of(store, tmp_path), []
    assert calibrated(config, lines.append) == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.json", "calibration.svg"]
    found = read_calibration(config.calibrate.out)
    assert without_time(found.to_json()) == undisturbed
    assert sorted(image.index for image in found.images) == list(range(NUM))
    assert {image.fold for image in found.images} == set(range(FOLDS))
    assert found.scores["true-error"].spearman == 1.0
    assert found.recommended_keep("top10").fraction == 1  # five images say nothing
    assert [line for line in lines if line.startswith("fold 2")]
    again: list[str] = []
    assert calibrated(config, again.append) == undisturbed and "nothing to do" in again[0]


def test_figures_are_those_of_the_images(undisturbed: dict[str, Any]) -> None:
    images = undisturbed["images"]
    for name, figures in undisturbed["scores"].items():
        kept = {point["keep"]: point["images"] for point in figures["curve"]}
        assert kept["0.5"] == 3 and kept["1"] == NUM
        assert sum(entry["images"] for entry in figures["bins"]) == NUM
        values = [image["uncertainty"][name] for image in images]
        (only,) = figures["bins"]  # five images are too few for two
        assert only["uncertainty"] == pytest.approx(np.mean(values))
        assert only["error"] == pytest.approx(np.mean([image["error"] for image in images]))
    assert [loss["class"] for loss in undisturbed["scores"]["top10"]["lost"]] == ["sky", "earth", "sun"]


def kill_second_training(monkeypatch: pytest.MonkeyPatch) -> None:
    train, calls = stage.train, []

    def train_or_die(*args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise Killed
        return train(*args, **more)

    monkeypatch.setattr(stage, "train", train_or_die)


def kill_within_training(monkeypatch: pytest.MonkeyPatch) -> None:
    kill_before_epoch(monkeypatch, 1)


def kill_while_labelling(monkeypatch: pytest.MonkeyPatch) -> None:
    save, calls = begun.Begun.save, []

    def save_or_die(self: Any, image: int, prediction: Any) -> None:
        calls.append(image)
        if len(calls) == 2:
            raise Killed
        save(self, image, prediction)

    monkeypatch.setattr(begun.Begun, "save", save_or_die)


def kill_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(run, "_save", die)


@pytest.mark.parametrize(
    "kill",
    variants(kill_within_training, kill_while_labelling, kill_before_the_file, kill_second_training, fast=2),
)
def test_a_killed_run_goes_on_and_ends_in_the_same_figures(
    store: Path,
    undisturbed: dict[str, Any],
    tmp_path: Path,
    kill: Callable[[pytest.MonkeyPatch], None],
) -> None:
    config = config_of(store, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        kill(patch)
        with pytest.raises(Killed):
            calibrated(config)
    assert not config.calibrate.out.exists()
    assert calibrated(config) == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.json", "calibration.svg"]


def changed(of: int) -> Callable[[int], np.ndarray]:
    """The masks, that of one image changed for another one with the same classes."""
    return lambda image: mask_of(image + 5 if image == of else image)


def test_what_is_learnt_does_not_depend_on_excluded_images(tmp_path: Path) -> None:
    # The shares of the classes are of the images learnt from, and so are the last epochs, over all of these.
    settings = replace(QUICK, balance=0.5, max_epochs=1, final_epochs=1)
    weights = []
    for number, more in enumerate(({}, {"shown": changed(2), "annotated": changed(2)})):
        path, out = tmp_path / f"{number}.zarr", tmp_path / f"interpreter-{number}"
        write_store(path, num_images=NUM, **more)
        stage.train(path, replace(settings, out=out), excluded=(2,), report=lambda _: None)
        weights.append((out / "interpreter.safetensors").read_bytes())
    assert weights[0] == weights[1]
    included = replace(settings, out=tmp_path / "included")
    stage.train(tmp_path / "0.zarr", included, report=lambda _: None)
    assert (tmp_path / "included" / "interpreter.safetensors").read_bytes() != weights[0]


def test_the_masks_of_a_fold_do_not_change_its_own_labels(
    store: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    other = write_store(
        tmp_path / "other.zarr",
        "pyramid",
        NUM,
        annotated=changed(2),
    )
    found = calibrated(config_of(other, tmp_path))
    before, after = (document["images"][2] for document in (undisturbed, found))
    assert before["fold"] == after["fold"]
    assert before["error"] != after["error"]
    assert before["uncertainty"]["top10"] == after["uncertainty"]["top10"]
    same_fold = [image for image in undisturbed["images"] if image["fold"] == before["fold"]]
    for image in same_fold:
        assert found["images"][image["index"]]["uncertainty"]["mean"] == image["uncertainty"]["mean"]


def test_other_settings_are_refused_until_overwrite(store: Path, whole: Path, tmp_path: Path) -> None:
    config = config_of(store, shutil.copytree(whole, tmp_path / "copy"))
    other = replace(config, train=replace(config.train, seed=1))
    with pytest.raises(UsageError, match=r"training\.seed = 0, this run has 1; .*--overwrite"):
        run.prepare(other, CPU, overwrite=False)
    with pytest.raises(UsageError, match="folds = 2, this run has 3"):
        run.prepare(replace(config, calibrate=replace(config.calibrate, folds=3)), CPU, overwrite=False)
    assert calibrated(other, overwrite=True)["training"]["seed"] == 1


def test_a_calibration_of_a_corrected_store_is_made_anew_and_goes_on_after_a_kill(
    store: Path, whole: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(whole, tmp_path / "copy")
    config, lines = config_of(store, folder), []
    document = json.loads(config.calibrate.out.read_text())
    document["store"]["class_counts_sha256"] = "of earlier masks"
    config.calibrate.out.write_text(json.dumps(document))
    with pytest.MonkeyPatch.context() as patch:
        kill_second_training(patch)
        with pytest.raises(Killed):
            calibrated(config, lines.append)
    assert any("was added to or corrected since; it is made anew" in line for line in lines)
    assert len(list((folder / "calibration.json.begun").glob("image-*"))) > 0
    job = run.prepare(config, CPU, overwrite=False)
    assert not job.replaces and job.done is None  # it goes on, though the old file is still there
    found = without_time(run.calibrate(job, CPU, memory_budget=None, say=lines.append))
    assert found["store"]["class_counts_sha256"] != "of earlier masks"


def test_places_and_stores_that_cannot_be_used_are_refused_in_one_line(store: Path, tmp_path: Path) -> None:
    config = config_of(store, tmp_path)
    for out, words in ((tmp_path, "is a folder"), (tmp_path / "c.svg", "place of the picture")):
        with pytest.raises(UsageError, match=words):
            run.prepare(replace(config, calibrate=replace(config.calibrate, out=out)), CPU, overwrite=False)
    config.calibrate.out.write_text('{"version": 1, "kind": "calibration"}')
    with pytest.raises(UsageError, match="is no calibration, or is damaged"):
        run.prepare(config, CPU, overwrite=False)
    config.calibrate.out.unlink()
    partial = tmp_path / "calibration.json.begun"
    partial.mkdir()
    (partial / "letters.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"letters\.txt"):
        run.prepare(config, CPU, overwrite=False)
    job = run.prepare(config, CPU, overwrite=True)
    with pytest.raises(UsageError, match=r"letters\.txt"):
        run.calibrate(job, CPU, memory_budget=None, say=lambda _: None)
    assert (partial / "letters.txt").exists()


def test_what_no_calibration_wrote_is_never_replaced(store: Path, tmp_path: Path) -> None:
    config = config_of(store, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    (tmp_path / "drawing.svg").write_text("<svg/>")
    for name, found in (
        ("pipe", "pipe"),
        ("notes.json", "notes.json"),
        ("drawing.json", "drawing.svg"),
    ):
        there = replace(config, calibrate=replace(config.calibrate, out=tmp_path / name))
        with pytest.raises(UsageError, match=f"{found}: is no file of `dgan calibrate`"):
            run.prepare(there, CPU, overwrite=True)
    with pytest.raises(UsageError, match="place of the picture"):
        run.prepare(
            replace(config, calibrate=replace(config.calibrate, out=tmp_path / "C.SVG")), CPU, overwrite=True
        )


def test_what_the_trainings_would_refuse_is_refused_before_anything_is_written(
    store: Path, tmp_path: Path
) -> None:
    config = config_of(store, tmp_path)
    lines: list[str] = []
    with pytest.raises(UsageError, match="--memory-budget is"):
        run.calibrate(run.prepare(config, CPU, overwrite=False), CPU, memory_budget=1, say=lines.append)
    assert lines == [] and list(tmp_path.iterdir()) == []
    alone = replace(config, train=replace(config.train, members=1))
    with pytest.raises(UsageError, match="members is 1; expected 2 or more"):
        run.prepare(alone, CPU, overwrite=False)


def test_a_dry_run_of_a_run_that_is_to_begin_anew_plans_it(store: Path, tmp_path: Path) -> None:
    config = config_of(store, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        kill_within_training(patch)
        with pytest.raises(Killed):
            calibrated(config)
    other = replace(config, train=replace(config.train, seed=1))
    text = "\n".join(run.dry_run(run.prepare(other, CPU, overwrite=True), CPU, memory_budget=None))
    assert "here fold 1" in text and (tmp_path / "calibration.json.begun" / "fold-0").exists()


def test_a_class_that_one_fold_alone_shows_is_named(tmp_path: Path) -> None:
    def without_sun(image: int) -> np.ndarray:
        mask = mask_of(image)
        mask[mask == 2] = 2 if image == 2 else 0
        return mask

    def sky(image: int) -> np.ndarray:
        return mask_of(image) if image == 0 else np.zeros_like(mask_of(image))

    config = config_of(write_store(tmp_path / "f.zarr", "pyramid", 4, annotated=without_sun), tmp_path)
    job = run.prepare(config, CPU, overwrite=False)
    assert job.notes == (
        f"fold {job.folds[2] + 1}: no image outside it has sun; its training cannot learn that, and its "
        "images count as wrong there",
    )
    config = config_of(write_store(tmp_path / "g.zarr", "pyramid", 4, annotated=sky), tmp_path)
    with pytest.raises(UsageError, match=r"outside fold \d show 'sky' alone.*annotate more images"):
        run.prepare(config, CPU, overwrite=False)


def test_more_folds_than_images_become_as_many_as_there_are(store: Path, tmp_path: Path) -> None:
    config = config_of(store, tmp_path)
    job = run.prepare(replace(config, calibrate=replace(config.calibrate, folds=9)), CPU, overwrite=False)
    assert job.num_folds == NUM and "so 5 folds and not 9" in job.notes[0]
    assert sorted(image for fold in range(NUM) for image in job.images_of(fold)) == list(range(NUM))


def test_a_dry_run_names_folds_and_the_training_and_writes_nothing(store: Path, tmp_path: Path) -> None:
    job = run.prepare(config_of(store, tmp_path), CPU, overwrite=False)
    text = "\n".join(run.dry_run(job, CPU, memory_budget=None))
    assert "5 annotated of 5, in 2 folds" in text and "interpreter  2 members" in text
    labelled = re.findall(r"labels (.*)", text)
    assert sorted(int(i) for line in labelled for i in line.split(", ")) == list(range(NUM))
    assert "time " not in text and list(tmp_path.iterdir()) == []


def test_the_picture_is_whole_and_needs_nothing_else(whole: Path) -> None:
    text = (whole / "calibration.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(circles) == NUM and len(lines) == 7  # five scores, the true error, the bins
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "") and "<script" not in text


def test_the_table_shows_every_score_and_the_reason(undisturbed: dict[str, Any]) -> None:
    text = "\n".join(run.table_lines(undisturbed, Path("c.json")))
    assert all(f"\n{name} " in text for name in undisturbed["scores"])
    assert "recommended: --score top10 --keep 1" in text and undisturbed["recommended"]["reason"] in text
    json.dumps(undisturbed, allow_nan=False)


def test_the_command_and_the_function_give_the_same(built: Path, tmp_path: Path) -> None:
    asked = {"members": 2, "steps": 5, "batch_size": 16, "folds": 2}
    flags = [word for name, value in asked.items() for word in (f"--{name.replace('_', '-')}", value)]
    out = tmp_path / "new" / "calibration.json"
    result = done("calibrate", "--store", built / "features.zarr", "--out", out, *flags)
    assert "recommended: --score top10 --keep 1" in result.stdout
    found = pipeline.calibrate(store=built / "features.zarr", out=tmp_path / "b.json", say=None, **asked)
    assert without_time(found) == without_time(json.loads(out.read_text()))
    plan = pipeline.calibrate(
        store=built / "features.zarr", out=tmp_path / "c.json", say=None, dry_run=True, **asked
    )
    assert isinstance(plan, str) and "in 2 folds" in plan and not (tmp_path / "c.json").exists()


def test_a_store_that_is_replaced_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = write_store(tmp_path / "f.zarr", "pyramid", 3)
    job = run.prepare(config_of(path, tmp_path), CPU, overwrite=False)
    write_store(path, "pyramid", 3, overwrite=True)
    with pytest.raises(Exception, match=r"no longer the one|replaced"):
        run.calibrate(job, CPU, memory_budget=None, say=lambda _: None)
    assert not job.out.exists() and isinstance(fstore.open(path), fstore.FeatureStore)
