"""The train stage on small stores: what it learns, writes, resumes and refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.training import (
    CLASSES,
    HEIGHT,
    IGNORE,
    SMALL,
    WIDTH,
    Killed,
    kill_before_epoch,
    mask_of,
    write_store,
)
from support.variants import variants
from torch import Tensor

import fstore
from fstore.feature_store import FeatureStore
from fstore.format import DatasetMeta
from fstore.location import Location
from fstore.sampler import Batch, StratifiedChunkSampler
from pipeline.errors import RunError, UsageError
from pipeline.interpreter.files import load_interpreter
from pipeline.interpreter.training_state import load_state
from pipeline.labelling.votes import label_pixels
from pipeline.settings.schema import TrainConfig
from pipeline.stages.train import epochs, prepare
from pipeline.stages.train.inputs import open_features
from pipeline.stages.train.learner import Learner
from pipeline.stages.train.memory import MemoryPlan
from pipeline.stages.train.prepare import plan_train
from pipeline.stages.train.stage import dry_run, train
from pipeline.stages.train.validation import LabelValidation, Quality

pytestmark = pytest.mark.usefixtures("one_thread")


def contents(folder: Path) -> dict[str, object]:
    """Every file of the folder; of the description all but its time of creation."""
    found: dict[str, object] = {path.name: path.read_bytes() for path in folder.iterdir()}
    found["interpreter.json"] = {**json.loads((folder / "interpreter.json").read_text()), "created": None}
    return found


@pytest.fixture(scope="module")
def undisturbed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The files of a run of four epochs that nothing disturbed."""
    config = replace(SMALL, out=tmp_path_factory.mktemp("undisturbed") / "interpreter")
    train(store, config)
    return contents(config.out)


@pytest.fixture(scope="module")
def after_one_epoch(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of one epoch: change a copy."""
    config = replace(SMALL, max_epochs=1, out=tmp_path_factory.mktemp("one") / "interpreter")
    train(store, config)
    return config.out


@pytest.mark.parametrize("layout", variants("dense", "pyramid"))
def test_it_learns_separable_classes_from_either_layout(
    tmp_path: Path, config: TrainConfig, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_store(tmp_path / "features.zarr", layout)
    train(path, replace(config, max_epochs=5, learning_rate=1e-2))
    assert "3 members, 100 steps, 5 epochs; best:" in capsys.readouterr().out
    interpreter = load_interpreter(config.out)
    assert sorted(p.name for p in config.out.iterdir()) == ["interpreter.json", "interpreter.safetensors"]
    assert max(epoch.miou for epoch in interpreter.info.epochs) > 0.95
    features = torch.from_numpy(fstore.open(path).features[0].compute())  # [H, W, C]
    labels, _ = label_pixels(interpreter.ensemble, features.flatten(0, 1))
    labelled = mask_of(0) != IGNORE
    assert (labels.view(HEIGHT, WIDTH).numpy() == mask_of(0))[labelled].mean() > 0.97


def test_the_interpreter_says_what_it_was_made_from(store: Path, config: TrainConfig) -> None:
    interpreter = train(store, replace(config, max_epochs=2))
    info = interpreter.info
    meta = fstore.open(store).meta
    assert info.generator == dict(meta.generator)
    assert (info.classes, info.layers, info.ignore, info.channels) == (CLASSES, meta.layers, IGNORE, 7)
    assert (info.grid, info.crop_rows, info.widths) == (meta.grid, meta.crop_rows, (8, 6))
    assert info.training["held_out_images"] == list(plan_train(open_features(store), config).split.held_out)
    np.testing.assert_array_equal(load_interpreter(config.out).average_latent, np.arange(4))
    assert [epoch.steps for epoch in info.epochs] == [20, 40]
    assert info == load_interpreter(config.out).info


def test_the_best_epochs_weights_are_kept_not_the_last_ones(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, quality = [], iter([0.1, 0.6, 0.5, 0.6])

    def measure(_: object, ensemble: torch.nn.Module) -> Quality:
        weights.append({name: tensor.clone() for name, tensor in ensemble.state_dict().items()})
        return Quality(miou=next(quality))

    monkeypatch.setattr(LabelValidation, "measure", measure)
    interpreter = train(store, config)
    assert interpreter.info.best_epoch == 1
    for name, tensor in load_interpreter(config.out).ensemble.state_dict().items():
        assert torch.equal(tensor, weights[1][name])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (7, [7]),  # less than an epoch
        (10, [10]),  # just one
        (55, [10, 20, 30, 40, 50, 55]),  # beyond max_epochs and patience, ending inside an epoch
    ],
)
def test_given_steps_are_taken_exactly(
    store: Path, config: TrainConfig, steps: int, expected: list[int]
) -> None:
    info = train(store, replace(config, steps=steps, patience=1, epoch_pixels=320)).info
    assert [epoch.steps for epoch in info.epochs] == expected
    assert int(load_interpreter(config.out).ensemble.num_batches_tracked) <= steps


def test_few_steps_read_no_whole_epoch(store: Path, config: TrainConfig) -> None:
    opened = open_features(store)
    short = plan_train(opened, replace(config, epoch_pixels=4000, steps=2))
    assert short.epoch_bytes < plan_train(opened, replace(config, epoch_pixels=4000)).epoch_bytes


def test_validation_and_training_share_no_image(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    opened = open_features(store)
    pixels = opened.pixels

    def spy(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        seen.append(np.unique(images))
        return pixels(images, rows, columns)

    monkeypatch.setattr(opened, "pixels", spy)
    monkeypatch.setattr(prepare, "open_features", lambda path: opened)
    monkeypatch.setattr(prepare, "features_sha256", lambda opened: "")  # it reads of every image
    info = train(store, replace(config, max_epochs=1)).info
    validation, training = seen[0], np.unique(np.concatenate(seen[1:]))
    assert validation.tolist() == info.training["held_out_images"]
    assert sorted([*validation, *training]) == [0, 1, 2, 3, 4]


def test_without_held_out_images_the_loss_decides(store: Path, config: TrainConfig) -> None:
    info = train(store, replace(config, held_out=0.0)).info
    assert all(epoch.miou is None for epoch in info.epochs)
    losses = [epoch.loss for epoch in info.epochs]
    assert info.best_epoch == losses.index(min(losses))


@pytest.mark.parametrize("last", variants(2, 1, 3))
def test_a_killed_run_ends_with_the_files_of_an_undisturbed_one(
    store: Path,
    config: TrainConfig,
    undisturbed: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    last: int,
) -> None:
    with monkeypatch.context() as patched:
        kill_before_epoch(patched, last)
        with pytest.raises(Killed):
            train(store, config)
    assert len(load_state(config.out).info.epochs) == last
    with pytest.raises(UsageError, match="unfinished"):
        load_interpreter(config.out)
    said: list[str] = []
    train(store, config, report=said.append)
    assert said[0].endswith(f"going on after epoch {last}, step {20 * last}")
    assert contents(config.out) == undisturbed


def record_rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Gets the learning rate of every step from now on, as a share of the configured one."""
    rates: list[float] = []
    step = Learner.step

    def recorded(self: Learner, batch: Batch, share: float = 1.0) -> Tensor:
        rates.append(share)
        return step(self, batch, share)

    monkeypatch.setattr(Learner, "step", recorded)
    return rates


def test_final_epochs_see_every_image_and_their_weights_are_kept(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    make_sampler = epochs.make_sampler

    def recorded(
        opened: FeatureStore, settings: TrainConfig, images: tuple[int, ...], memory: MemoryPlan
    ) -> StratifiedChunkSampler:
        seen.append(images)
        return make_sampler(opened, settings, images, memory)

    monkeypatch.setattr(epochs, "make_sampler", recorded)
    rates = record_rates(monkeypatch)
    config = replace(config, max_epochs=2, final_epochs=2)
    plan = plan_train(open_features(store), config)
    longer = train(store, config)
    info = longer.info
    everything = tuple(sorted(plan.split.training + plan.split.held_out))
    assert len(everything) > len(plan.split.training)
    assert seen == [plan.split.training] * 2 + [everything] * 2
    assert [epoch.final for epoch in info.epochs] == [False, False, True, True]
    assert [epoch.miou is None for epoch in info.epochs] == [False, False, True, True]
    assert info.best_epoch in (0, 1)
    assert rates == pytest.approx([1.0] * 40 + [1 - step / 40 for step in range(40)], abs=1e-9)
    short = train(store, replace(config, final_epochs=1, out=config.out.with_name("short")))
    assert not torch.equal(short.ensemble.weight1, longer.ensemble.weight1)


def scripted_quality(monkeypatch: pytest.MonkeyPatch, *quality: float) -> None:
    """The validation of epoch i finds ``quality[i]``, in a resumed run too; an epoch has 20 steps here."""

    def measure(_: object, ensemble: torch.nn.Module) -> Quality:
        return Quality(miou=quality[int(ensemble.num_batches_tracked) // 20 - 1])

    monkeypatch.setattr(LabelValidation, "measure", measure)


def test_the_final_epochs_go_on_from_the_best_epochs_weights(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_quality(monkeypatch, 0.1, 0.6, 0.5, 0.4)
    after: list[dict[str, Tensor]] = []
    before: list[dict[str, Tensor]] = []
    run_epoch = epochs._run_epoch

    def recorded(learner: Learner, *arguments: object) -> float:
        before.append({name: t.clone() for name, t in learner.ensemble.state_dict().items()})
        loss = run_epoch(learner, *arguments)
        after.append({name: t.clone() for name, t in learner.ensemble.state_dict().items()})
        return loss

    monkeypatch.setattr(epochs, "_run_epoch", recorded)
    interpreter = train(store, replace(config, final_epochs=2))
    assert len(after) == 6 and interpreter.info.best_epoch == 1
    for name in after[0]:
        assert torch.equal(before[4][name], after[1][name])  # not after[3], the last epoch's
        assert torch.equal(before[5][name], after[4][name])  # the second final epoch follows the first
        assert torch.equal(interpreter.ensemble.state_dict()[name], after[5][name])


def check_killed_run(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, epochs: Iterable[int]
) -> None:
    """A run that is killed before each of these epochs in turn ends with the files of an undisturbed one."""
    undisturbed = replace(config, out=config.out.with_name("undisturbed"))
    train(store, undisturbed)
    for last in epochs:
        with monkeypatch.context() as patched:
            kill_before_epoch(patched, last)
            with pytest.raises(Killed):
                train(store, config)
    train(store, config)
    assert contents(config.out) == contents(undisturbed.out)


def test_a_run_killed_before_every_epoch_ends_with_the_files_of_an_undisturbed_one(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_quality(monkeypatch, 0.1, 0.6, 0.5)
    check_killed_run(store, replace(config, max_epochs=3, final_epochs=2), monkeypatch, range(5))


@pytest.mark.slow  # a run that is killed before every epoch is killed before these too
def test_a_run_killed_in_its_final_epochs_ends_with_the_files_of_an_undisturbed_one(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_killed_run(store, replace(config, max_epochs=2, final_epochs=3), monkeypatch, (2, 4))


def test_a_run_killed_in_its_first_epoch_begins_again(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        kill_before_epoch(patched, 0)
        with pytest.raises(Killed):
            train(store, config)
    assert len(train(store, config).info.epochs) == 4


def test_a_run_killed_before_its_last_file_is_completed(
    store: Path, config: TrainConfig, undisturbed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file = os.replace

    def die_at_the_description(source: Path, target: Path) -> None:
        if target.name == "interpreter.json":
            raise Killed
        replace_file(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.interpreter.folder.os.replace", die_at_the_description)
        with pytest.raises(Killed):
            train(store, config)
    train(store, config)
    assert contents(config.out) == undisturbed


def test_a_finished_run_has_nothing_to_do(store: Path, config: TrainConfig) -> None:
    config = replace(config, max_epochs=1)
    first = train(store, config)
    (config.out / "training_state.safetensors").write_bytes(b"left by a kill before it was deleted")
    before = (config.out / "interpreter.json").read_bytes()
    said: list[str] = []
    again = train(store, config, report=said.append)
    assert "nothing to do" in said[0]
    assert again.sha256 == first.sha256
    assert (config.out / "interpreter.json").read_bytes() == before
    assert not (config.out / "training_state.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": 4}, r"members = 3, this run has 4"),
        ({"hidden": (8, 7)}, r"widths = \[8, 6\], this run has \[8, 7\]"),
        ({"seed": 1}, r"training\.seed = 0, this run has 1"),
        ({"steps": 5}, r"training\.steps = None, this run has 5"),
        ({"balance": 0.5}, r"training\.balance = 1\.0, this run has 0\.5"),
    ],
)
def test_other_settings_are_refused_and_overwrite_begins_anew(
    store: Path, config: TrainConfig, after_one_epoch: Path, change: dict[str, object], message: str
) -> None:
    short = replace(config, max_epochs=1)
    shutil.copytree(after_one_epoch, config.out)
    with pytest.raises(UsageError, match=message):
        train(store, replace(short, **change))
    anew = train(store, replace(short, **change), overwrite=True)
    assert load_interpreter(config.out).sha256 == anew.sha256


def test_other_annotations_are_other_settings(
    tmp_path: Path, config: TrainConfig, after_one_epoch: Path
) -> None:
    shutil.copytree(after_one_epoch, config.out)
    other = write_store(tmp_path / "other.zarr", num_images=4)
    with pytest.raises(UsageError, match=r"store\.num_images = 5, this run has 4"):
        train(other, replace(config, max_epochs=1))


def test_an_unfinished_run_of_other_settings_is_refused_too(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, max_epochs=2)
    with monkeypatch.context() as patched:
        kill_before_epoch(patched, 1)
        with pytest.raises(Killed):
            train(store, config)
    with pytest.raises(UsageError, match=r"training\.batch_size = 32, this run has 16"):
        train(store, replace(config, batch_size=16))
    assert len(train(store, replace(config, buffer_mb=4)).info.epochs) == 2  # less memory is no other run


def test_a_resumed_run_keeps_its_precision_and_its_shuffle_buffer(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, max_epochs=2)
    undisturbed = replace(config, precision="float32", out=config.out.with_name("undisturbed"))
    train(store, undisturbed)
    with monkeypatch.context() as patched:
        kill_before_epoch(patched, 1)
        with pytest.raises(Killed):
            train(store, replace(config, precision="float32"))
    with pytest.raises(UsageError, match=r"training\.precision = float32, this run has bfloat16"):
        train(store, replace(config, precision="bfloat16"))
    with pytest.raises(UsageError, match=r"takes at least .*, 8 MiB of it the shuffle buffer, on which"):
        train(store, config, memory_budget=10**6)
    info = train(store, replace(config, precision="auto", buffer_mb=None)).info
    assert (info.training["precision"], info.training["buffer_mb"]) == ("float32", 8)
    assert contents(config.out) == contents(undisturbed.out)


def test_a_budget_that_cannot_do_is_refused_before_anything_is_written(
    store: Path, config: TrainConfig
) -> None:
    with pytest.raises(
        UsageError, match=r"--memory-budget is 10 MB: this training takes at least .*; give \d+MB"
    ):
        train(store, config, memory_budget=10**7)
    assert not config.out.exists()
    config = replace(config, max_epochs=1)
    train(store, config)
    assert train(store, config, memory_budget=10**7).info.epochs  # finished: it takes nothing


def test_a_pyramid_in_memory_changes_nothing_but_the_time(tmp_path: Path, config: TrainConfig) -> None:
    path = write_store(tmp_path / "features.zarr", "pyramid")
    config = replace(config, final_epochs=1, max_epochs=1)
    for cache in ("none", "1GB", "1kB"):  # the last is too small for it
        train(path, replace(config, cache=cache, out=tmp_path / cache))
    assert contents(tmp_path / "none") == contents(tmp_path / "1GB") == contents(tmp_path / "1kB")


def test_bfloat16_products_learn_the_same_classes(store: Path, config: TrainConfig) -> None:
    info = train(store, replace(config, precision="bfloat16", max_epochs=5, learning_rate=1e-2)).info
    assert info.training["precision"] == "bfloat16"
    assert max(epoch.miou for epoch in info.epochs) > 0.95


def test_a_damaged_training_state_is_refused_and_overwritten(store: Path, config: TrainConfig) -> None:
    config.out.mkdir()
    (config.out / "training_state.safetensors").write_bytes(b"\x07")
    with pytest.raises(UsageError, match=r"damaged.*--overwrite"):
        train(store, config)
    train(store, replace(config, max_epochs=1), overwrite=True)
    assert sorted(p.name for p in config.out.iterdir()) == ["interpreter.json", "interpreter.safetensors"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_never_touched(
    store: Path, config: TrainConfig, overwrite: bool
) -> None:
    config.out.mkdir()
    (config.out / "thesis.tex").write_text("42")
    with pytest.raises(UsageError, match="is no interpreter folder; choose another --out"):
        train(store, config, overwrite=overwrite)
    assert [p.name for p in config.out.iterdir()] == ["thesis.tex"]


def test_a_store_that_is_not_whole_is_refused(tmp_path: Path, config: TrainConfig) -> None:
    path = write_store(tmp_path / "features.zarr", num_images=3, num_written=2)
    with pytest.raises(UsageError, match=r"2 of 3 images are extracted, expected all; run the same"):
        train(path, config)


def test_a_dataset_is_refused(tmp_path: Path, config: TrainConfig) -> None:
    fstore.create_dataset(tmp_path / "dataset.zarr", DatasetMeta((8, 8), CLASSES, 4), num_images=1)
    with pytest.raises(UsageError, match="is a dataset, expected a feature store"):
        train(tmp_path / "dataset.zarr", config)


def test_one_class_alone_is_refused(
    tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.training.mask_of", lambda image: np.ones((HEIGHT, WIDTH), dtype=np.uint8))
    path = write_store(tmp_path / "features.zarr", num_images=2)
    with pytest.raises(UsageError, match=r"one class at most in the training images \('earth'\)"):
        train(path, config)


def test_a_class_without_training_image_is_reported(
    tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mask_with_a_class_of_its_own(image: int) -> np.ndarray:
        mask = np.ones((HEIGHT, WIDTH), dtype=np.uint8)
        mask[:9] = 2 * image
        return mask

    monkeypatch.setattr("support.training.mask_of", mask_with_a_class_of_its_own)
    path = write_store(tmp_path / "features.zarr", num_images=2)
    said: list[str] = []
    info = train(path, replace(config, max_epochs=1), report=said.append).info
    lost = "sun" if info.training["held_out_images"] == [1] else "sky"
    assert said[0].endswith(f"no training image has {lost}; they will not be learnt")


def test_a_loss_that_is_not_finite_ends_the_run(store: Path, config: TrainConfig) -> None:
    with pytest.raises(RunError, match=r"training diverged in epoch 1: the loss is (nan|inf).*learning rate"):
        train(store, replace(config, learning_rate=1e38))


def test_a_full_disk_is_refused_before_training(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Location, "free_bytes", lambda self: 100)
    with pytest.raises(RunError, match=r"training needs about .* and the disk has 100 B free"):
        train(store, config)
    assert not config.out.exists()


def test_a_dry_run_writes_nothing(store: Path, config: TrainConfig) -> None:
    lines = dry_run(store, config)
    assert any("3 members of 7 -> 8 -> 6 -> 3" in line for line in lines)
    assert not config.out.exists()


@pytest.mark.slow
def test_a_run_ended_by_sigkill_goes_on(store: Path, config: TrainConfig) -> None:
    undisturbed = replace(config, max_epochs=40, out=config.out.with_name("undisturbed"))
    train(store, undisturbed)
    shutil.rmtree(config.out, ignore_errors=True)
    program = (
        "import sys, torch; from dataclasses import replace; from pathlib import Path\n"
        "torch.set_num_threads(1)\n"
        "from pipeline.settings.schema import TrainConfig; from pipeline.stages.train.stage import train\n"
        "train(sys.argv[1], TrainConfig(members=3, batch_size=32, max_epochs=40, epoch_pixels=640,"
        " hidden=(8, 6), buffer_mb=8, patience=99, final_epochs=0, out=Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, str(store), str(config.out)]
    for _ in range(3):
        process = subprocess.Popen(command)
        state = config.out / "training_state.safetensors"
        before = state.stat().st_mtime_ns if state.exists() else 0
        while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True)
    assert contents(config.out) == contents(undisturbed.out)


def test_every_epoch_says_the_loss_of_each_member(store: Path, config: TrainConfig) -> None:
    for epoch in train(store, replace(config, max_epochs=2)).info.epochs:
        assert epoch.member_losses is not None and len(set(epoch.member_losses)) == config.members
        assert epoch.loss == pytest.approx(sum(epoch.member_losses) / config.members)
