"""Provides the pixels of a run: the cache, the samplers, the grid of validation, and the memory for them.

It knows stores and plans. It knows no networks, and it writes nothing.
"""

from __future__ import annotations

import numpy as np
import torch

from fstore.feature_store import FeatureStore
from fstore.meta import KeypointInfo
from fstore.sampler import SampledStore, StratifiedChunkSampler, least_buffer_bytes
from pipeline.errors import UsageError, count
from pipeline.machine.memory import available_host_bytes
from pipeline.settings.schema import TrainConfig
from pipeline.settings.values import parse_bytes
from pipeline.stages.train.memory import AUTO_CACHE_BYTES, BUFFER_MB, MIB, MemoryPlan, share_memory
from pipeline.stages.train.plan import TrainPlan
from pipeline.stages.train.split import validation_grid

MAX_READERS = 4  # threads; more do not help, for training has the cores


def plan_memory(plan: TrainPlan, device: torch.device, budget: int | None, sharing: int = 1) -> MemoryPlan:
    """Share out host memory, at most ``budget`` bytes. ``sharing``: processes that do so on this machine.

    Raises UsageError where training cannot fit.
    """
    waits_for_disk = 2 if plan.pyramid_bytes == 0 else 1  # half the readers of a dense store, on average
    return share_memory(
        plan.demand(on_gpu=device.type == "cuda"),
        budget=budget,
        buffer_mb=plan.config.buffer_mb,
        cache_limit=_cache_limit(plan.config, available_host_bytes() // (4 * sharing)),
        threads=min(MAX_READERS, waits_for_disk * torch.get_num_threads()),
    )


def _cache_limit(config: TrainConfig, share_bytes: int) -> int:
    """Bytes that a cache may take: as configured, else a share of what is free, bounded."""
    if config.cache is None:
        return min(AUTO_CACHE_BYTES, share_bytes)
    return 0 if config.cache == "none" else parse_bytes(config.cache)


def fits_device(plan: TrainPlan, device: torch.device, num_bytes: int) -> bool:
    """Whether ``num_bytes`` of maps may lie in the memory of a GPU, as configured or beside all the rest."""
    if device.type != "cuda":
        return False
    free_bytes = torch.cuda.mem_get_info(device)[0] - 2 * plan.network_memory_bytes
    limit = free_bytes // 2 if plan.config.cache is None else _cache_limit(plan.config, 0)
    return num_bytes <= min(limit, free_bytes - plan.buffer_bytes)


def make_sampler(
    store: SampledStore,
    config: TrainConfig,
    images: tuple[int, ...],
    memory: MemoryPlan | None = None,
    dealt: range | None = None,
) -> StratifiedChunkSampler:
    """The sampler of the batches of members ``dealt`` (None: all) from ``images``, positions in the store.
    A run of few steps is one short epoch, and reads no more. ``config`` must be that of a plan, which leaves
    no balance open. Raises UsageError where its ``buffer_mb`` is too small.
    """
    least_mb = -(-least_buffer_bytes(store, config.members, config.batch_size) // MIB)
    buffer_mb = config.buffer_mb or max(BUFFER_MB, least_mb)
    if buffer_mb < least_mb:
        raise UsageError(
            f"train.buffer_mb is {buffer_mb}; {count(config.members, 'member')} with batches of "
            f"{config.batch_size} need {least_mb} at least"
        )
    balance = config.balance
    assert balance is not None, "a plan has settled it"

    def make(draws: int | None) -> StratifiedChunkSampler:
        return StratifiedChunkSampler(
            store,
            batch_size=config.batch_size,
            members=config.members,
            alpha=balance,
            seed=config.seed,
            draws_per_epoch=draws,
            images=images,
            buffer_bytes=buffer_mb * MIB,
            threads=memory.threads if memory else 1,
            units_ahead=memory.units_ahead if memory else None,
            dealt=dealt,
        )

    sampler = make(config.epoch_pixels)
    if config.steps is not None and config.steps < sampler.steps_per_epoch:
        return make(config.steps * config.batch_size)
    return sampler


def heat_grid(
    store: FeatureStore, keypoints: KeypointInfo, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows, columns and their distance of the pixels of an image whose heat maps are validated."""
    return validation_grid(*store.shape[1:3], keypoints.sigma, config.validation_pixels)
