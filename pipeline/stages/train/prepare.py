"""Prepares a training run from a store and settings: its plan, and the description of its interpreter.

Everything that the run would refuse is refused here, before anything is written. A dry run does the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fstore import format as fmt
from fstore.cache import pyramid_bytes
from fstore.feature_store import FeatureStore
from fstore.location import Location
from fstore.meta import KeypointInfo
from pipeline.errors import UsageError, count
from pipeline.interpreter.description import InterpreterInfo, has_grown, settings_differences
from pipeline.interpreter.files import check_same_settings, load_interpreter
from pipeline.interpreter.folder import STATE, check_writable, folder_state, used_bytes
from pipeline.interpreter.released import is_released
from pipeline.interpreter.rounds import keeping_folder
from pipeline.interpreter.training_state import TrainingState, load_state
from pipeline.machine.device import precision_name, resolve_precision
from pipeline.models.interpreter import default_widths, member_seeds
from pipeline.settings.schema import TrainConfig
from pipeline.stages.costs import check_disk
from pipeline.stages.train.inputs import check_task, drawable, features_sha256, open_features, reading
from pipeline.stages.train.job import TrainJob
from pipeline.stages.train.pixels import all_map_bytes, load_subspace, settle_subspace
from pipeline.stages.train.plan import AUTO, OFF, TrainPlan
from pipeline.stages.train.sampling import heat_grid, make_sampler, plan_memory
from pipeline.stages.train.split import split_images, validation_images

NATURAL_BALANCE, KEYPOINT_BALANCE = 1.0, 0.5  # of keypoints the peaks would else hardly be drawn


def prepare(
    store_path: str | os.PathLike[str],
    config: TrainConfig,
    device: torch.device,
    *,
    overwrite: bool = False,
    memory_budget: int | None = None,
    task: str | None = None,
    excluded: Collection[int] = (),
    workers: int = 0,
) -> TrainJob:
    """Read the store's index, plan the run, and check it against its folder.

    ``excluded``: positions of images that take no part. ``workers``: processes that will do the steps on this
    machine, beside this one. Raises UsageError for a store, task, folder or budget
    that cannot be used, RunError where the disk is too small, StoreError for a damaged store.
    """
    folder = Path(config.out)
    found = _checked_state(folder)
    found = "absent" if overwrite else found
    store = open_features(store_path)
    check_task(store, task)
    interpreter = load_interpreter(folder) if found == "finished" else None
    state = load_state(folder) if found == "unfinished" else None
    earlier, replaces = interpreter or state, None
    with reading(store):
        plan = plan_train(store, settle(config, device, earlier.info.training if earlier else {}), excluded)
        info = describe(store, plan)
        if earlier is not None and has_grown(earlier.info, info):
            replaces, state = earlier.info, _state_since(folder, info) if interpreter else None
            interpreter, recorded = None, _precision_of(replaces) if state is None else state.info.training
            plan = plan_train(store, settle(config, device, recorded), excluded)
        elif earlier is not None:
            check_same_settings(folder, earlier.info, info)
        memory = None
        if interpreter is None:
            memory = plan_memory(plan, device, memory_budget)
            plan = replace(plan, config=replace(plan.config, buffer_mb=memory.buffer_mb))
            info = replace(info, training={**info.training, "buffer_mb": memory.buffer_mb})
            known = None if overwrite else load_subspace(folder, info)
            map_bytes = all_map_bytes(store, plan, memory, device, memory_budget, workers, known)
            plan = replace(plan, map_bytes=map_bytes)
        average = store.average_latent  # needed at the very end: damage to it is better found now
    if interpreter is None:
        check_writable(folder)
        if replaces is not None and found == "finished":
            check_writable(keeping_folder(folder))  # at the very end it would be too late
        kept = used_bytes(folder) if replaces is not None and found == "finished" else -used_bytes(folder)
        needed = max(0, plan.state_bytes + kept) + plan.map_bytes
        check_disk(Location.parse(folder), needed, "training", "free some, or choose another --out")
    return TrainJob(store, plan, info, memory, interpreter, state, average, replaces)


def _state_since(folder: Path, info: InterpreterInfo) -> TrainingState | None:
    """Where an unfinished training of these settings was, in a folder with a finished interpreter."""
    if not (folder / STATE).exists():
        return None
    state = load_state(folder)
    return None if settings_differences(state.info, info) else state


def _precision_of(info: InterpreterInfo) -> dict[str, Any]:
    """What a training anew takes over from what it replaces. Its shuffle buffer is that of this run."""
    return {"precision": info.training.get("precision"), "subspace": info.training.get("subspace", OFF)}


def _checked_state(folder: Path) -> str:
    """``absent``, ``unfinished`` or ``finished``. Raises UsageError for what is somebody else's."""
    if is_released(folder):
        raise UsageError(
            f"{folder}: holds members of a release (model_0.pth ...), which `dgan synthesize` takes as they "
            "are; choose another --out to train your own"
        )
    state = folder_state(folder)
    if state == "foreign":
        raise UsageError(f"{folder}: exists and is no interpreter folder; choose another --out, or empty it")
    return state


def settle(config: TrainConfig, device: torch.device, recorded: Mapping[str, Any]) -> TrainConfig:
    """``config`` with a definite precision, and shuffle buffer and subspace of an earlier part of the run.

    All change the weights. The buffer is the one that was ``recorded``, if any. Where ``config`` leaves the
    precision open, it is the one that was recorded, or without an earlier part the one that is fast here.
    """
    precision = config.precision
    if precision == "auto":
        precision = recorded.get("precision") or precision_name(resolve_precision(precision, device))
    subspace = config.subspace
    if subspace == AUTO and recorded:
        subspace = recorded.get("subspace", OFF)  # an older program had none
    buffer_mb = recorded.get("buffer_mb") or config.buffer_mb
    return replace(config, precision=precision, buffer_mb=buffer_mb, subspace=subspace)


def plan_train(store: FeatureStore, config: TrainConfig, excluded: Collection[int] = ()) -> TrainPlan:
    """Plan a run from the class index and the attribute alone. Raises UsageError, StoreError.

    An image at an ``excluded`` position is neither learnt from nor held out, as one without a labelled pixel.
    """
    keypoints = _keypoints(store, config)
    if config.balance is None:
        config = replace(config, balance=KEYPOINT_BALANCE if keypoints else NATURAL_BALANCE)
    counts = store.class_counts * drawable(store)  # [N, Ty, Tx, K]
    counts[sorted(excluded)] = 0
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
    plan, unit_tiles = sampler.plan(0), store.unit_tiles
    outputs = len(keypoints.names if keypoints else names)
    held_pixels = int(counts[list(split.held_out)].sum(dtype=np.int64))
    if keypoints is not None:
        rows, columns, _ = heat_grid(store, keypoints, config)
        image_pixels = len(rows) * len(columns)
        images = validation_images(split.held_out, image_pixels, config.validation_pixels)
        held_pixels = len(images) * image_pixels
    unit_pixels = min(unit_tiles[0] * fmt.TILE, store.shape[1]) * min(
        unit_tiles[1] * fmt.TILE, store.shape[2]
    )
    is_whole_epoch = config.steps is None or config.steps >= sampler.steps_per_epoch
    config = replace(config, subspace=settle_subspace(config.subspace, store.meta, is_whole_epoch))
    has_maps = store.layout == "pyramid" or config.subspace != OFF
    return TrainPlan(
        split=split,
        config=config,
        channels=store.meta.channels,
        widths=config.hidden or default_widths(outputs),
        num_classes=outputs,
        steps_per_epoch=sampler.steps_per_epoch,
        epoch_bytes=plan.num_units * store.read_unit_bytes,
        unit_bytes=store.read_unit_bytes,
        unit_pixels=unit_pixels,
        unit_draws=min(unit_pixels, config.members * int(plan.total.sum(axis=1).max())),
        mask_bytes=prod(store.shape[:3]) * np.dtype(fmt.mask_dtype(store.meta)).itemsize,
        pyramid_bytes=pyramid_bytes(store.meta, len(store)) if has_maps else 0,
        validation_pixels=held_pixels if keypoints else min(config.validation_pixels, held_pixels),
        missing_classes=tuple(names[k] for k in np.flatnonzero(present.any(axis=0) & ~learnt)),
        keypoints=keypoints,
        excluded=tuple(sorted(excluded)),
    )


def _keypoints(store: FeatureStore, config: TrainConfig) -> KeypointInfo | None:
    """The store's keypoints with the sigma to learn. Raises UsageError for a sigma that nothing asks for."""
    keypoints = store.meta.keypoints
    if config.sigma is None:
        return keypoints
    if keypoints is None:
        raise UsageError(
            f"{store.location}: holds masks, and --sigma is {config.sigma:g}; it is of keypoints' heat maps: "
            "leave it out"
        )
    return replace(keypoints, sigma=config.sigma)


def describe(store: FeatureStore, plan: TrainPlan) -> InterpreterInfo:
    """The description of the interpreter before training. A rerun must have the same one as its folder."""
    meta, config = store.meta, plan.config
    elsewhere = ("out", "members", "hidden", "cache", "sigma")  # or of no effect on the weights
    settings = {k: v for k, v in asdict(config).items() if k not in elsewhere}
    if config.subspace == OFF:
        del settings["subspace"]  # as it was before there was one
    if plan.excluded:
        settings["excluded_images"] = list(plan.excluded)
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
            "id": store.id,
            "class_counts_sha256": hashlib.sha256(store.class_counts.tobytes()).hexdigest(),
            "features_sha256": features_sha256(store),
        },
        training={**settings, "held_out_images": list(plan.split.held_out)},
        seeds=member_seeds(config.seed, config.members),
        keypoints=plan.keypoints,
    )


def notes(job: TrainJob) -> list[str]:
    """What a user should know before training begins, a line each."""
    plan, config = job.plan, job.plan.config
    lines = [] if job.replaces is None else [_anew_note(job, job.replaces)]
    if job.state is not None and job.state.info.store.get("id") != job.store.id:
        lines.append(
            f"{job.store.location}: was written anew since this training began; it goes on, because a "
            "sample of the features, the class index and the settings are the same"
        )
    if plan.missing_classes:
        missing = ", ".join(plan.missing_classes)
        lines.append(f"{job.store.location}: no training image has {missing}; they will not be learnt")
    if config.steps is not None and config.final_epochs and plan.split.held_out:
        lines.append(
            f"--steps is given: training ends after {count(config.steps, 'step')}, and no final epochs over "
            "all images follow"
        )
    coarse = _coarse_grid_note(job.store, plan)
    return lines if coarse is None else [*lines, coarse]


def _anew_note(job: TrainJob, before: InterpreterInfo) -> str:
    """One line on why an interpreter is trained anew, and what becomes of the one that is there."""
    then, now = before.store.get("num_images"), len(job.store)
    what = "has corrected annotations" if then == now else f"has grown from {then} to {count(now, 'image')}"
    if folder_state(job.folder) != "finished":
        return f"{job.folder}: {job.store.location} {what} since this training began; it begins anew"
    return (
        f"{job.folder}: {job.store.location} {what} since it was trained; it is trained anew, and the old "
        f"one stays until that is done, then it is kept as {keeping_folder(job.folder)}"
    )


def _coarse_grid_note(store: FeatureStore, plan: TrainPlan) -> str | None:
    """One line where the pixels on which heat maps are validated are too far apart for PCK to be exact."""
    if plan.keypoints is None or not plan.split.held_out:
        return None
    stride, sigma = heat_grid(store, plan.keypoints, plan.config)[2], plan.keypoints.sigma
    if stride <= max(1, 2 * sigma):
        return None
    return (
        f"heat maps of sigma {sigma:g} are validated on pixels {stride} apart: PCK is an underestimate; a "
        f"larger [train] validation_pixels, now {plan.config.validation_pixels:,}, brings them closer for "
        "more memory"
    )
