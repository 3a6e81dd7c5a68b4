"""What a training run starts from: the store, definite settings, the plan, the samplers, what it will record.

Between the pure plans (`training_plan`, `training_memory`) and the stage. It neither trains nor writes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import prod
from typing import Any

import numpy as np
import torch

import fstore
from fstore import format as fmt
from fstore.cache import CachedPyramid, pyramid_bytes
from fstore.feature_store import FeatureStore
from fstore.meta import KeypointInfo
from fstore.sampler import SampledStore, StratifiedChunkSampler
from pipeline.errors import UsageError
from pipeline.interpreter.description import KEYPOINTS, SEGMENTATION, InterpreterInfo
from pipeline.machine.device import precision_name, resolve_precision
from pipeline.machine.memory import available_host_bytes
from pipeline.models.interpreter import default_widths, member_seeds
from pipeline.settings.schema import TASKS, TrainConfig
from pipeline.settings.sizes import parse_bytes
from pipeline.stages.train.memory import AUTO_CACHE_BYTES, BUFFER_MB, MIB, MemoryPlan, share_memory
from pipeline.stages.train.plan import TrainPlan, split_images, validation_grid

NATURAL_BALANCE, KEYPOINT_BALANCE = 1.0, 0.5  # of keypoints the peaks would else hardly be drawn
MAX_READERS = 4  # threads; more do not help, for training has the cores


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


def check_task(store: FeatureStore, task: str | None) -> None:
    """Refuse a store annotated for another task than ``task``, None: any. Raises UsageError."""
    if task is None:
        return
    if task not in TASKS:
        raise UsageError(f"--task is {task!r}; expected {' or '.join(TASKS)}")
    found = SEGMENTATION if store.meta.keypoints is None else KEYPOINTS
    if task != found:
        raise UsageError(
            f"{store.location}: was extracted for {found}, --task is {task}; leave it out, or run "
            f"`dgan extract-features --task {task}` into another store"
        )


def settle(config: TrainConfig, device: torch.device, recorded: Mapping[str, Any]) -> TrainConfig:
    """``config`` with what it leaves open as an earlier part of the run ``recorded`` it, because both change
    the weights, else as this machine has it. The shuffle buffer stays open where nothing says how large.
    """
    precision = config.precision
    if precision == "auto":
        precision = recorded.get("precision") or precision_name(resolve_precision(precision, device))
    return replace(config, precision=precision, buffer_mb=recorded.get("buffer_mb") or config.buffer_mb)


def plan_train(store: FeatureStore, config: TrainConfig) -> TrainPlan:
    """Plan a run from the class index and the attribute alone. Raises UsageError, StoreError."""
    keypoints = _keypoints(store, config)
    if config.balance is None:
        config = replace(config, balance=KEYPOINT_BALANCE if keypoints else NATURAL_BALANCE)
    counts = store.class_counts * drawable(store)  # [N, Ty, Tx, K]
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
        held_pixels = len(validation_images(split.held_out, image_pixels, config)) * image_pixels
    unit_pixels = min(unit_tiles[0] * fmt.TILE, store.shape[1]) * min(
        unit_tiles[1] * fmt.TILE, store.shape[2]
    )
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
        pyramid_bytes=pyramid_bytes(store.meta, len(store)) if store.layout == "pyramid" else 0,
        validation_pixels=held_pixels if keypoints else min(config.validation_pixels, held_pixels),
        missing_classes=tuple(names[k] for k in np.flatnonzero(present.any(axis=0) & ~learnt)),
        keypoints=keypoints,
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


def heat_grid(
    store: FeatureStore, keypoints: KeypointInfo, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows, columns and their distance of the pixels of an image whose heat maps are validated."""
    return validation_grid(*store.shape[1:3], keypoints.sigma, config.validation_pixels)


def validation_images(held_out: Sequence[int], image_pixels: int, config: TrainConfig) -> tuple[int, ...]:
    """The held-out images whose heat maps are validated on ``image_pixels`` each: as many as
    ``validation_pixels`` has room for, at least one.
    """
    return tuple(held_out[: max(1, config.validation_pixels // image_pixels)])


def coarse_grid_note(store: FeatureStore, plan: TrainPlan) -> str | None:
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


def plan_memory(plan: TrainPlan, device: torch.device, budget: int | None) -> MemoryPlan:
    """Share out host memory, at most ``budget`` bytes. Raises UsageError where training cannot fit."""
    waits_for_disk = 2 if plan.pyramid_bytes == 0 else 1  # half the readers of a dense store, on average
    return share_memory(
        plan.demand(on_gpu=device.type == "cuda"),
        budget=budget,
        buffer_mb=plan.config.buffer_mb,
        cache_limit=_cache_limit(plan.config, available_host_bytes() // 4),
        threads=min(MAX_READERS, waits_for_disk * torch.get_num_threads()),
    )


def _cache_limit(config: TrainConfig, share_bytes: int) -> int:
    """Bytes that a cache may take: as configured, else a share of what is free, bounded."""
    if config.cache is None:
        return min(AUTO_CACHE_BYTES, share_bytes)
    return 0 if config.cache == "none" else parse_bytes(config.cache, "--cache")


def pixel_source(
    store: FeatureStore, plan: TrainPlan, memory: MemoryPlan, device: torch.device
) -> SampledStore:
    """Where pixels come from: the pyramid in device memory, or in the host's, where it fits; else the store.

    Which of them changes no bit of any pixel.
    """
    images = plan.split.training + plan.split.held_out
    if device.type == "cuda" and plan.pyramid_bytes:
        free_bytes = torch.cuda.mem_get_info(device)[0] - 2 * plan.network_memory_bytes
        limit = free_bytes // 2 if plan.config.cache is None else _cache_limit(plan.config, 0)
        if plan.pyramid_bytes <= min(limit, free_bytes - plan.buffer_bytes):
            return CachedPyramid(store, images, device)
    return CachedPyramid(store, images) if memory.cached else store


def make_sampler(
    store: SampledStore, config: TrainConfig, images: tuple[int, ...], memory: MemoryPlan | None = None
) -> StratifiedChunkSampler:
    """The sampler of all members' batches. A run of few steps is one short epoch and reads no more.

    ``config`` as ``plan_train`` has settled it.
    """
    balance = config.balance
    assert balance is not None

    def make(draws: int | None) -> StratifiedChunkSampler:
        return StratifiedChunkSampler(
            store,
            batch_size=config.batch_size,
            members=config.members,
            alpha=balance,
            seed=config.seed,
            draws_per_epoch=draws,
            images=images,
            buffer_bytes=(config.buffer_mb or BUFFER_MB) * MIB,
            threads=memory.threads if memory else 1,
            units_ahead=memory.units_ahead if memory else None,
        )

    sampler = make(config.epoch_pixels)
    if config.steps is not None and config.steps < sampler.steps_per_epoch:
        return make(config.steps * config.batch_size)
    return sampler


def describe(store: FeatureStore, plan: TrainPlan) -> InterpreterInfo:
    """What the interpreter is before training: what a rerun must have in common with its folder."""
    meta, config = store.meta, plan.config
    elsewhere = ("out", "members", "hidden", "cache", "sigma")  # or of no effect on the weights
    settings = {k: v for k, v in asdict(config).items() if k not in elsewhere}
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
        keypoints=plan.keypoints,
    )


def drawable(store: FeatureStore) -> np.ndarray:
    """(K,) bool: all classes but the ignore label, where that is one of them."""
    return np.arange(len(store.meta.classes)) != store.meta.ignore
