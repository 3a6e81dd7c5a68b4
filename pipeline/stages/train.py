"""The train stage: one pass over a feature store after another, all members of the ensemble at once.

It ends with an interpreter folder. Killed and run again, it goes on from the last completed epoch and ends
with the same tensors. It knows neither generators nor latents beyond what the store's attribute says.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fstore
from fstore._version import __version__
from fstore.location import Location
from fstore.lock import FolderLock
from fstore.reader import FeatureStore
from fstore.sampler import Batch, StratifiedChunkSampler
from pipeline.errors import RunError, UsageError
from pipeline.interpreter_files import (
    Interpreter,
    TrainingState,
    check_same_settings,
    folder_state,
    load_info,
    load_interpreter,
    load_state,
    remove_interpreter,
    remove_state,
    save_interpreter,
    save_state,
)
from pipeline.interpreter_info import EpochMetrics, InterpreterInfo, with_epoch
from pipeline.labelling import confusion, label_pixels, mean_iou
from pipeline.learner import Learner
from pipeline.models.interpreter import InterpreterEnsemble, default_widths, member_seeds
from pipeline.progress import Bar, progress
from pipeline.resources import check_disk
from pipeline.settings import TrainConfig
from pipeline.training_plan import (
    CPU_FLOPS,
    GPU_FLOPS,
    LABELLING_CHUNK,
    TrainPlan,
    best_epoch,
    choose_validation,
    is_finished,
    is_stopped,
    split_images,
)


def train(
    store_path: str | os.PathLike[str],
    config: TrainConfig,
    *,
    device: str | torch.device = "cpu",
    overwrite: bool = False,
    report: Callable[[str], None] = print,
) -> Interpreter:
    """Train the interpreter of ``config.out`` on the store, or go on with it; a finished one is returned.

    ``report`` is told, in one line each, what a user should know. Raises UsageError for a store or folder
    that cannot be used, RunError when the disk is too small or the loss no longer finite, StoreError for a
    damaged store.
    """
    store = open_features(store_path)
    plan = plan_train(store, config)
    info = describe(store, plan)
    folder = Path(config.out)
    lock = FolderLock(folder) if folder.is_dir() else None  # so that nobody else trains into it
    if _prepare_folder(folder, info, overwrite) == "finished":
        remove_state(folder)  # left where a run was killed at the very end
        report(f"{folder}: trained already with these settings; nothing to do")
        return load_interpreter(folder)
    check_disk(Location.parse(folder), plan.disk_bytes, "training", "free some, or choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock or FolderLock(folder)
    if plan.missing_classes:
        missing = ", ".join(plan.missing_classes)
        report(f"{store_path}: no training image has {missing}; they will not be learnt")
    ensemble = InterpreterEnsemble(plan.num_classes, plan.channels, seeds=info.seeds, widths=plan.widths)
    learner = Learner(ensemble.to(device), config.learning_rate)
    if folder_state(folder) == "unfinished":
        state = load_state(folder)
        learner.restore(state.tensors)
        info = replace(info, epochs=state.info.epochs, best_epoch=state.info.best_epoch)
        report(f"{folder}: going on after epoch {len(info.epochs) - 1}, step {info.epochs[-1].steps:,}")
    info = replace(_run_epochs(store, plan, info, learner, folder), created=_created(device))
    learner.restore_best()
    interpreter = save_interpreter(folder, learner.ensemble, info, store.average_latent)
    report(f"{folder}: {summary(info)}")
    lock.release()
    return interpreter


def summary(info: InterpreterInfo) -> str:
    """One line on what a trained interpreter reached."""
    best = info.epochs[info.best_epoch or 0]
    quality = f"loss {best.loss:.4f}" if best.miou is None else f"mIoU {best.miou:.4f} on held-out images"
    num_final = sum(epoch.final for epoch in info.epochs)
    then = f", then {num_final} epochs over all images" if num_final else ""
    num_epochs, num_steps = len(info.epochs), info.epochs[-1].steps
    length = f"{num_steps:,} steps, {num_epochs} epochs"
    return f"{info.members} members, {length}; best: {best.epoch}, {quality}{then}"


def dry_run(store_path: str | os.PathLike[str], config: TrainConfig, *, on_gpu: bool = False) -> list[str]:
    """The lines of ``--dry-run``: what ``train`` would do with these settings, and what it would cost."""
    plan = plan_train(open_features(store_path), config)
    flops = GPU_FLOPS if on_gpu else CPU_FLOPS * torch.get_num_threads()
    return plan.lines(free_bytes=Location.parse(config.out).free_bytes(), flops_per_second=flops)


def open_features(store_path: str | os.PathLike[str]) -> FeatureStore:
    """The feature store. Raises UsageError for a dataset, and for a store that is not yet whole."""
    store = fstore.open(store_path)
    if not isinstance(store, FeatureStore):
        raise UsageError(f"{store_path}: is a dataset, expected a feature store; pass --store features.zarr")
    if len(store) < store.num_images:
        raise UsageError(
            f"{store_path}: {len(store)} of {store.num_images} images are extracted, expected all; "
            "run the same `dgan extract-features` again, it goes on"
        )
    return store


def plan_train(store: FeatureStore, config: TrainConfig) -> TrainPlan:
    """Plan a run from the class index and the attribute alone. Raises UsageError, StoreError."""
    counts = store.class_counts * _drawable(store)  # [N, Ty, Tx, K]
    present = np.any(counts, axis=(1, 2))  # [N, K]
    split = split_images(present, config.held_out, config.seed)
    names = [info.name for info in store.meta.classes]
    learnt = present[list(split.training)].any(axis=0)  # [K]
    if learnt.sum() < 2:
        found = ", ".join(repr(names[k]) for k in np.flatnonzero(learnt)) or "none"
        raise UsageError(
            f"{store.location}: pixels of one class at most in the training images ({found}), expected at "
            "least two; check the annotations and extract again"
        )
    sampler = make_sampler(store, config, split.training)
    return TrainPlan(
        split=split,
        config=config,
        channels=store.meta.channels,
        widths=config.hidden or default_widths(len(names)),
        num_classes=len(names),
        steps_per_epoch=sampler.steps_per_epoch,
        epoch_bytes=sampler.plan(0).num_units * store.read_unit_bytes,
        unit_bytes=store.read_unit_bytes,
        validation_pixels=min(
            config.validation_pixels, int(counts[list(split.held_out)].sum(dtype=np.int64))
        ),
        missing_classes=tuple(names[k] for k in np.flatnonzero(present.any(axis=0) & ~learnt)),
    )


def make_sampler(store: FeatureStore, config: TrainConfig, images: tuple[int, ...]) -> StratifiedChunkSampler:
    """The sampler of all members' batches. A run of few steps is one short epoch and reads no more."""

    def make(draws: int | None) -> StratifiedChunkSampler:
        return StratifiedChunkSampler(
            store,
            batch_size=config.batch_size,
            members=config.members,
            alpha=config.balance,
            seed=config.seed,
            draws_per_epoch=draws,
            images=images,
            buffer_bytes=config.buffer_mb * 2**20,
        )

    sampler = make(config.epoch_pixels)
    if config.steps is not None and config.steps < sampler.steps_per_epoch:
        return make(config.steps * config.batch_size)
    return sampler


def describe(store: FeatureStore, plan: TrainPlan) -> InterpreterInfo:
    """What the interpreter is before training: what a rerun must have in common with its folder."""
    meta, config = store.meta, plan.config
    settings = {k: v for k, v in asdict(config).items() if k not in ("out", "members", "hidden")}
    return InterpreterInfo(
        members=config.members,
        widths=plan.widths,
        channels=meta.channels,
        classes=meta.classes,
        ignore=meta.ignore,
        layers=meta.layers,
        grid=meta.grid,
        crop_rows=meta.crop_rows,
        upsample=meta.upsample,
        generator=dict(meta.generator),
        store={
            "layout": meta.layout,
            "num_images": len(store),
            "inputs": dict(meta.inputs),
            "class_counts_sha256": hashlib.sha256(store.class_counts.tobytes()).hexdigest(),
        },
        training={**settings, "held_out_images": list(plan.split.held_out)},
        seeds=member_seeds(config.seed, config.members),
    )


def _run_epochs(
    store: FeatureStore,
    plan: TrainPlan,
    info: InterpreterInfo,
    learner: Learner,
    folder: Path,
) -> InterpreterInfo:
    """Train until the stopping rule says so, then over all images, saving the state after every epoch."""
    if is_finished(info.epochs, plan):
        return info
    with progress("training", plan.max_steps, "steps", info.epochs[-1].steps if info.epochs else 0) as bar:
        bar.status("reading the validation pixels")
        truth, features = _read_validation(store, plan)
        while not is_finished(info.epochs, plan):
            epoch, done = len(info.epochs), info.epochs[-1].steps if info.epochs else 0
            final = is_stopped(info.epochs, plan.config)
            held_out = plan.split.held_out if final else ()
            sampler = make_sampler(store, plan.config, tuple(sorted(plan.split.training + held_out)))
            num_steps = min(sampler.steps_per_epoch, (plan.config.steps or sys.maxsize) - done)
            shares = _rate_shares(sum(m.final for m in info.epochs), plan.final_epochs, num_steps, final)
            batches = zip(sampler.epoch(epoch), shares, strict=False)
            loss = _run_epoch(learner, islice(batches, num_steps), epoch, bar)
            miou = None if truth is None or final else _validate(learner.ensemble, features, truth)
            metrics = EpochMetrics(epoch, done + num_steps, loss, miou, final)
            best = best_epoch((*info.epochs, metrics))
            info = with_epoch(info, metrics, best)
            if final or best == epoch:
                learner.remember_best()
            save_state(folder, TrainingState(info, learner.tensors()))
            bar.status(f"epoch {epoch}: loss {loss:.4f}" + ("" if miou is None else f", mIoU {miou:.4f}"))
    return info


def _rate_shares(num_done: int, num_epochs: int, num_steps: int, final: bool) -> Iterator[float]:
    """The share of the learning rate at each step of an epoch: all of it, but falling linearly to zero over
    the final epochs, which averages the noise of small batches out of the weights.
    """
    for step in range(num_steps):
        yield 1 - (num_done * num_steps + step) / (num_epochs * num_steps) if final else 1.0


def _run_epoch(learner: Learner, batches: Iterable[tuple[Batch, float]], epoch: int, bar: Bar) -> float:
    """Mean loss of an epoch's steps. Raises RunError where it is not finite."""
    total = torch.zeros((), dtype=torch.float64, device=learner.device)
    num_steps = 0
    for batch, share in batches:
        total += learner.step(batch, share)
        num_steps += 1
        bar.advance(1)
    loss = float(total) / num_steps
    if not math.isfinite(loss):
        raise RunError(
            f"training diverged in epoch {epoch}: the loss is {loss}, expected a finite number; "
            "lower the learning rate ([train] learning_rate) and run with --overwrite"
        )
    return loss


def _read_validation(store: FeatureStore, plan: TrainPlan) -> tuple[Tensor | None, Tensor]:
    """Labels [P] and float16 features [P, C] of the fixed held-out pixels; read once, kept in host memory."""
    if not plan.split.held_out:
        return None, torch.empty(0, plan.channels)
    masks = store.read_masks(plan.split.held_out)  # [m, H, W]
    chosen = choose_validation(
        masks, plan.split.held_out, _drawable(store), plan.config.validation_pixels, plan.config.seed
    )
    features = store.pixels(chosen.images, chosen.rows, chosen.columns)
    return torch.from_numpy(chosen.labels), torch.from_numpy(features)


def _validate(ensemble: InterpreterEnsemble, features: Tensor, truth: Tensor) -> float:
    labels, _ = label_pixels(ensemble.eval(), features, chunk_pixels=LABELLING_CHUNK)
    return mean_iou(confusion(truth, labels.cpu(), ensemble.num_classes))


def _drawable(store: FeatureStore) -> np.ndarray:
    """(K,) bool: all classes but the ignore label, where that is one of them."""
    return np.arange(len(store.meta.classes)) != store.meta.ignore


def _prepare_folder(folder: Path, info: InterpreterInfo, overwrite: bool) -> str:
    """``absent``, ``unfinished`` or ``finished``, these two with the same settings. Raises UsageError."""
    state = folder_state(folder)
    if state == "foreign":
        raise UsageError(f"{folder}: exists and is no interpreter folder; choose another --out, or empty it")
    if overwrite and state != "absent":
        remove_interpreter(folder)
        return "absent"
    if state != "absent":
        check_same_settings(folder, load_info(folder), info)
    return state


def _created(device: str | torch.device) -> dict[str, Any]:
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return {"program": __version__, "time": time, "torch": torch.__version__, "device": str(device)}
