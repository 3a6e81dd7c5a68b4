"""What a training run refuses, before it begins and while it runs; and that a dry run refuses the same."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.places import REPOSITORY
from support.training import Killed, kill_before_epoch, write_store
from support.variants import variants

import fstore
from fstore.errors import CorruptionError, StoreError
from fstore.location import Location
from pipeline.errors import RunError, UsageError
from pipeline.interpreter import folder as folder_module
from pipeline.interpreter.files import load_interpreter
from pipeline.interpreter.training_state import load_state
from pipeline.settings.schema import TrainConfig
from pipeline.stages.train import epochs
from pipeline.stages.train.learner import Learner
from pipeline.stages.train.stage import dry_run, train

pytestmark = pytest.mark.usefixtures("one_thread")


def refused_by(call: Callable[[], object]) -> tuple[type[BaseException], str]:
    """The kind and the one line of an error."""
    with pytest.raises((UsageError, RunError, StoreError)) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    return type(caught.value), line


def finished(store: Path, config: TrainConfig) -> None:
    train(store, replace(config, max_epochs=1))


def damaged_state(store: Path, config: TrainConfig) -> None:
    config.out.mkdir()
    (config.out / "training_state.safetensors").write_bytes(b"\x07")


def foreign(store: Path, config: TrainConfig) -> None:
    config.out.mkdir()
    (config.out / "thesis.tex").touch()


def released(store: Path, config: TrainConfig) -> None:
    config.out.mkdir()
    (config.out / "model_0.pth").touch()


def a_file(store: Path, config: TrainConfig) -> None:
    config.out.touch()


def dangling(store: Path, config: TrainConfig) -> None:
    config.out.symlink_to("nowhere")


def nothing(store: Path, config: TrainConfig) -> None:
    pass


@pytest.mark.parametrize(
    ("arrange", "changes", "options", "message"),
    [
        (finished, {"members": 4}, {}, "was trained with members = 3, this run has 4"),
        (finished, {"seed": 7}, {}, r"training\.seed = 0, this run has 7 \(and in"),
        (damaged_state, {}, {}, r"training_state\.safetensors: is damaged"),
        (foreign, {}, {}, "exists and is no interpreter folder"),
        (foreign, {}, {"overwrite": True}, "exists and is no interpreter folder"),
        (released, {}, {"overwrite": True}, "holds members of a release"),
        (a_file, {}, {}, "interpreter: is a file, expected a folder"),
        (dangling, {}, {}, "interpreter: is a link to nowhere, which does not exist"),
        (nothing, {"out": Path("s3://bucket/x")}, {}, r"^s3:/bucket/x: is a URL \(s3://\)"),
        (nothing, {"out": Path("file:///tmp/x")}, {}, r"is a URL \(file://\)"),
        (nothing, {}, {"memory_budget": 10**7}, "--memory-budget is 10 MB: this training takes at least"),
        (nothing, {}, {"task": "keypoints"}, "was extracted for segmentation, --task is keypoints"),
        (nothing, {"sigma": 2.0}, {}, "holds masks, and --sigma is 2"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses_and_neither_writes(
    store: Path,
    config: TrainConfig,
    arrange: Callable[[Path, TrainConfig], None],
    changes: dict[str, object],
    options: dict[str, object],
    message: str,
) -> None:
    arrange(store, config)
    before = sorted(config.out.parent.rglob("*"))
    config = replace(config, **changes)
    kind, line = refused_by(lambda: train(store, config, **options))
    assert refused_by(lambda: dry_run(store, config, **options)) == (kind, line)
    with pytest.raises(kind, match=message):
        raise kind(line)
    assert sorted(config.out.parent.rglob("*")) == (before if "out" not in changes else [])


@pytest.mark.parametrize("content", [None, b"{", b'{"zarr_format": 3, "node_type": "array"}'])
def test_a_dry_run_refuses_masks_that_the_run_could_not_read(
    store: Path, config: TrainConfig, tmp_path: Path, content: bytes | None
) -> None:
    path = shutil.copytree(store, tmp_path / "s.zarr")
    file = path / "masks" / "zarr.json"
    file.unlink() if content is None else file.write_bytes(content)
    kind, line = refused_by(lambda: train(path, config))
    assert "array 'masks'" in line
    assert refused_by(lambda: dry_run(path, config)) == (kind, line)
    assert not config.out.exists()


def test_a_dry_run_refuses_a_full_disk_a_locked_folder_and_one_that_may_not_be_written(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Location, "free_bytes", lambda self: 100)
        full = refused_by(lambda: train(store, config))
        assert full == refused_by(lambda: dry_run(store, config))
        assert full[0] is RunError and "the disk has 100 B free" in full[1]
    with monkeypatch.context() as patched:
        patched.setattr(folder_module.os, "access", lambda *_: False)
        closed = refused_by(lambda: train(store, config))
        assert closed == refused_by(lambda: dry_run(store, config))
        assert closed == (
            UsageError,
            f"{config.out.parent}: may not be written to; change its permissions, or choose another --out",
        )
    config.out.mkdir()
    from fstore.lock import FolderLock

    lock = FolderLock(config.out)
    locked = refused_by(lambda: train(store, config))
    assert locked == refused_by(lambda: dry_run(store, config))
    assert "another writer has it open" in locked[1]
    lock.release()


def test_a_dry_run_of_a_finished_interpreter_says_that_nothing_is_to_be_done(
    store: Path, config: TrainConfig
) -> None:
    train(store, replace(config, max_epochs=1))
    assert dry_run(store, replace(config, max_epochs=1)) == [
        f"{config.out}: trained already with these settings; nothing to do"
    ]
    lines = dry_run(store, replace(config, members=4), overwrite=True)
    assert any("4 members of" in line for line in lines)
    assert load_interpreter(config.out).info.members == 3


def test_overwriting_deletes_nothing_before_the_run_is_known_to_fit(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = train(store, replace(config, max_epochs=1)).sha256
    monkeypatch.setattr(Location, "free_bytes", lambda self: 100)
    with pytest.raises(RunError, match="the disk has 100 B free"):
        train(store, replace(config, members=9), overwrite=True)
    assert load_interpreter(config.out).sha256 == before


def test_room_that_the_present_state_takes_counts_as_free(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        kill_before_epoch(patched, 1)
        with pytest.raises(Killed):
            train(store, config)
    used = folder_module.used_bytes(config.out)
    assert used == (config.out / "training_state.safetensors").stat().st_size
    free = next(line for line in dry_run(store, config) if line.startswith("disk"))
    assert "at most" in free


def test_the_lock_is_released_though_the_error_is_kept_alive(store: Path, config: TrainConfig) -> None:
    """As a notebook keeps the last error, and with it every frame and what lies in it."""
    kept: list[BaseException] = []
    for _ in range(2):
        with pytest.raises(RunError, match="training diverged") as caught:
            train(store, replace(config, learning_rate=1e38))
        kept.append(caught.value)
    assert train(store, replace(config, max_epochs=1)).info.epochs
    assert kept


def test_a_run_that_fails_in_its_first_epoch_leaves_no_folder(store: Path, config: TrainConfig) -> None:
    with pytest.raises(RunError, match="training diverged"):
        train(store, replace(config, learning_rate=1e38))
    assert not config.out.exists()


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40])
def test_a_damaged_average_latent_is_found_before_anything_is_learnt(
    store: Path, tmp_path: Path, config: TrainConfig, damage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copytree(store, tmp_path / "features.zarr")
    chunk = next(p for p in (path / "average_latent").rglob("*") if p.is_file() and p.name != "zarr.json")
    chunk.write_bytes(damage)
    monkeypatch.setattr(Learner, "step", lambda *_: pytest.fail("it learns already"))
    for call in (train, dry_run):
        with pytest.raises(CorruptionError, match="average_latent"):
            call(path, config)
    assert not config.out.exists()


def replaced(path: Path, **changes: object) -> Path:
    """Write another store over the one at ``path``, as ``extract-features --overwrite`` does."""
    return write_store(path, overwrite=True, **changes)


@pytest.mark.parametrize(
    ("layout", "epoch"),
    variants(
        *(pytest.param(*case) for case in (("dense", 0), ("pyramid", 2), ("pyramid", 0), ("dense", 2))),
        fast=2,
    ),
)
def test_a_store_replaced_within_an_epoch_ends_the_run_and_leaves_no_interpreter(
    tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, layout: str, epoch: int
) -> None:
    path = write_store(tmp_path / "features.zarr", layout)
    step, steps = Learner.step, []

    def replace_then_step(self: Learner, *arguments: object) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 20 * epoch + 7:
            replaced(path, layout=layout, offset=0.5)
        return step(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "step", replace_then_step)
        with pytest.raises(RunError, match="is no longer the store that was opened"):
            train(path, replace(config, cache="none"))
    assert len(steps) < 20 * (epoch + 1) + 1
    assert not (config.out / "interpreter.json").exists()
    if epoch == 0:
        assert not config.out.exists()
        return
    assert len(load_state(config.out).info.epochs) == epoch
    with pytest.raises(UsageError, match=r"store\.features_sha256 = .*, this run has .*--overwrite"):
        train(path, config)


def test_a_store_replaced_before_the_last_file_ends_the_run(
    store: Path, tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copytree(store, tmp_path / "features.zarr")
    restore = Learner.restore_best

    def replace_then_restore(self: Learner) -> None:
        replaced(path, offset=0.5)
        restore(self)

    monkeypatch.setattr(Learner, "restore_best", replace_then_restore)
    with pytest.raises(RunError, match="is no longer the store that was opened"):
        train(path, replace(config, max_epochs=1))
    assert sorted(p.name for p in config.out.iterdir()) == ["training_state.safetensors"]


def test_a_store_that_vanishes_is_named_and_not_called_damaged(
    store: Path, tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copytree(store, tmp_path / "features.zarr")
    step = Learner.step

    def vanish(self: Learner, *arguments: object) -> torch.Tensor:
        shutil.rmtree(path, ignore_errors=True)
        return step(self, *arguments)

    monkeypatch.setattr(Learner, "step", vanish)
    with pytest.raises(RunError, match="is no longer the store that was opened"):
        train(path, replace(config, cache="none"))


@pytest.mark.parametrize("same", [True, False])
def test_a_run_goes_on_with_features_extracted_again_only_where_they_are_the_same(
    store: Path, tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    path = shutil.copytree(store, tmp_path / "features.zarr")
    config = replace(config, max_epochs=3)
    with monkeypatch.context() as patched:
        kill_before_epoch(patched, 2)
        with pytest.raises(Killed):
            train(path, config)
    before = fstore.open(path).id
    replaced(path, offset=0.0 if same else 0.001)  # as another device rounds
    after = fstore.open(path).id
    assert before != after
    if not same:
        with pytest.raises(UsageError, match=r"with store\.features_sha256 = .*, this run has"):
            train(path, config)
        return
    undisturbed = train(path, replace(config, out=tmp_path / "undisturbed"))
    said: list[str] = []
    resumed = train(path, config, report=said.append)
    assert said[0].startswith(f"{path}: was written anew since this training began")
    assert resumed.sha256 == undisturbed.sha256
    assert resumed.info.store["id"] == after


def test_the_interpreter_names_the_store_that_it_learnt(store: Path, config: TrainConfig) -> None:
    train(store, replace(config, max_epochs=1))
    document = json.loads((config.out / "interpreter.json").read_text())
    assert document["store"]["id"] == fstore.open(store).id


def test_both_layouts_have_one_fingerprint(tmp_path: Path) -> None:
    from pipeline.stages.train.inputs import features_sha256

    stores = [fstore.open(write_store(tmp_path / layout, layout)) for layout in ("dense", "pyramid")]
    assert features_sha256(stores[0]) == features_sha256(stores[1])
    changed = fstore.open(write_store(tmp_path / "changed", offset=0.001))
    assert features_sha256(changed) != features_sha256(stores[0])


def test_training_and_the_stores_write_one_form_of_version_and_time(store: Path, config: TrainConfig) -> None:
    from pipeline.machine.provenance import created_record

    created = train(store, replace(config, max_epochs=1)).info.created
    assert created is not None and created["device"] == "cpu" and created["torch"] == torch.__version__
    assert created["program"] == created_record()["program"]
    assert created["time"].endswith("Z") and len(created["time"]) == len(created_record()["time"])


def test_given_steps_say_that_no_final_epochs_follow(store: Path, config: TrainConfig) -> None:
    config = replace(config, steps=20, final_epochs=3)
    line = "--steps is given: training ends after 20 steps, and no final epochs over all images follow"
    assert line in dry_run(store, config)
    said: list[str] = []
    train(store, config, report=said.append)
    assert said[0] == line
    said.clear()
    train(store, replace(config, final_epochs=0, out=config.out.with_name("other")), report=said.append)
    assert len(said) == 1  # none would have followed anyway


def test_a_disk_that_fills_up_leaves_the_epochs_before(
    store: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = epochs.save_state, []
    config = replace(config, max_epochs=3)

    def full(*arguments: object) -> None:
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        saved.append(1)
        save(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(epochs, "save_state", full)
        with pytest.raises(OSError, match="No space"):
            train(store, config)
    assert len(load_state(config.out).info.epochs) == 2
    assert len(train(store, config).info.epochs) == 3


@pytest.mark.slow
def test_extraction_into_the_store_of_a_running_training_ends_it_with_one_line(tmp_path: Path) -> None:
    from support.tiny import input_flags, write_inputs

    command = [sys.executable, "-c", "from pipeline.cli import main; main()"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    flags = input_flags(write_inputs(tmp_path / "in"))

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, *words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )

    def ends(process: subprocess.Popen[str]) -> tuple[int, str]:
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors

    assert ends(start("extract-features", *flags))[0] == 0
    training = start("train", "--steps", "1000000")
    while not (tmp_path / "interpreter" / "training_state.safetensors").exists():
        assert training.poll() is None
        time.sleep(0.01)
    assert ends(start("extract-features", *flags, "--truncation", "0.3", "--overwrite"))[0] == 0
    code, errors = ends(training)
    assert code == 1
    assert "is no longer the store that was opened" in errors and "Traceback" not in errors
    assert not (tmp_path / "interpreter" / "interpreter.json").exists()
