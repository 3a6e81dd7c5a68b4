"""How much host memory synthesis takes, and how it works within a budget.

Arithmetic on a job's shapes; it starts nothing. Results do not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

from fstore import format as fmt
from fstore.display import human_bytes
from pipeline.errors import UsageError
from pipeline.labelling.level_plan import CPU_TILE_ROWS, ROW_STEP, cpu_band_rows, tile_bytes
from pipeline.stages import costs
from pipeline.stages.synthesize.job import SynthesizeJob
from pipeline.stages.synthesize.task_arrays import images_of_a_file

WRITING_FILES = 2  # its chunks compressed, and all of them in one piece: hardly smaller than the file raw


@dataclass(frozen=True)
class SynthesisMemory:
    """What follows from a memory budget."""

    queue_depth: int
    """Tasks of 64 images, and files of heat maps, that may be written while the next one is made."""
    tile_rows: int | None
    """Grid rows that are labelled at once; None: as the labeller chooses."""
    host_bytes: int
    """The peak to expect, in bytes, imports included."""


def plan_memory(job: SynthesizeJob, device: torch.device, budget: int | None) -> SynthesisMemory:
    """The fastest way to work that the budget allows. Raises UsageError where none does."""
    on_cpu = device.type == "cpu"
    tiles: list[int | None] = [CPU_TILE_ROWS, 64, 32, ROW_STEP] if on_cpu else [None]
    if job.config.tile:
        tiles = [job.config.tile]
    plans = [
        SynthesisMemory(depth, rows, _host_bytes(job, depth, rows if on_cpu else None))
        for depth in (1, 0)
        for rows in tiles
    ]
    for plan in plans:
        if budget is None or plan.host_bytes <= budget:
            return plan
    hint = f"; see --render-batch, now {job.config.render_batch}" if job.config.render_batch > 1 else ""
    raise UsageError(
        f"--memory-budget is {human_bytes(budget or 0)}; synthesizing needs about "
        f"{human_bytes(plans[-1].host_bytes)} at least{hint}"
    )


def _host_bytes(job: SynthesizeJob, queue_depth: int, tile_rows: int | None) -> int:
    """Peak host memory. ``tile_rows`` is None where another device renders and labels."""
    host = task_bytes(job.meta, job.config.num, queue_depth)
    batch = costs.dataset_bytes(job.meta, job.config.render_batch)
    if tile_rows is None:
        # One batch is copied to the host while one is fetched from it.
        return host + 2 * batch + costs.GPU_IMPORTS_BYTES
    host += costs.IMPORTS_BYTES
    render = costs.render_bytes(job.loaded.generator, job.config.render_batch)
    return host + batch + render + label_bytes(job, tile_rows)


def task_bytes(meta: fmt.DatasetMeta, num_images: int, queue_depth: int) -> int:
    """The most bytes that tasks take: the one that is being filled, and those that are written meanwhile.

    Of heat maps only one file of each task is in memory.
    """
    whole, parts, largest = 0, 0, 0
    for spec in fmt.dataset_arrays(meta, min(num_images, fmt.TASK_IMAGES)):
        side = images_of_a_file(spec)
        file_bytes = spec.raw_bytes // spec.shape[0] * min(side, spec.shape[0])
        largest = max(largest, file_bytes)
        if side < fmt.TASK_IMAGES:
            parts += file_bytes
        else:
            whole += file_bytes
    tasks = 1 + (queue_depth if num_images > fmt.TASK_IMAGES else 0)
    return tasks * whole + (1 + queue_depth) * parts + WRITING_FILES * largest


def label_bytes(job: SynthesizeJob, tile_rows: int | None) -> int:
    """Bytes that labelling an image takes: a copy of its maps, the weights cut up, and a tile.

    ``tile_rows`` None: the tile is the whole grid. For keypoints there are heat maps too: those of an image
    in float32 while its peaks are found, and those of a batch in float16.
    """
    info = job.interpreter.info
    stacked_width = info.members * info.widths[0]
    if tile_rows is None:
        tile_rows, num_bands, band_rows = info.grid[0], 1, info.grid[0]
    else:
        num_bands = torch.get_num_threads()
        band_rows = cpu_band_rows(info.grid[1], tile_rows, num_bands)
    maps = 4 * sum(prod(layer.resolution) * layer.channels for layer in info.layers)
    weights = 3 * 4 * stacked_width * info.channels
    tile = tile_bytes(
        info.layers,
        info.grid,
        stacked_width=stacked_width,
        width=info.widths[0],
        num_classes=info.num_outputs,
        tile_rows=tile_rows,
        num_bands=num_bands,
        band_rows=band_rows,
        upsample=info.upsample,
    )
    pixels = (info.crop_rows[1] - info.crop_rows[0]) * info.grid[1]
    # An image in float32, as stored, and two float32 copies; a batch as stored, image by image and in one.
    heat_bytes = 4 + 2 + 2 * 4 + 2 * 2 * job.config.render_batch
    heat = 0 if info.keypoints is None else pixels * info.num_outputs * heat_bytes
    return maps + weights + tile + heat
