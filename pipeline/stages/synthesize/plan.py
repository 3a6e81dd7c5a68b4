"""What ``dgan synthesize`` decides before it begins: the precision of labelling, and how much memory to use.

It knows the job and how its images are made; it writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch

import fstore
from fstore import format as fmt
from fstore.display import human_bytes
from fstore.location import Location
from pipeline.checkpoints.read import LoadedGenerator
from pipeline.errors import UsageError
from pipeline.interpreter.files import Interpreter
from pipeline.labelling.labelled_images import LabelledImages
from pipeline.labelling.level_plan import CPU_BAND_ROWS, CPU_TILE_ROWS, ROW_STEP, tile_bytes
from pipeline.machine.precision import TYPES, precision_name, resolve_precision
from pipeline.machine.random_streams import Purpose
from pipeline.rendering.renderer import Renderer, RenderSettings
from pipeline.settings.schema import SynthesizeConfig
from pipeline.stages import costs
from pipeline.stages.synthesize.task_arrays import images_of_a_file

LEAST_AGREEMENT = 0.999  # of labels with float32's, for products of lower precision
WRITING_FILES = 2  # its chunks compressed, and all of them in one piece: hardly smaller than the file raw


@dataclass(frozen=True)
class SynthesizeJob:
    """Everything a run needs, read and checked."""

    loaded: LoadedGenerator
    interpreter: Interpreter
    average_latent: np.ndarray
    settings: RenderSettings
    meta: fmt.DatasetMeta
    config: SynthesizeConfig
    notes: tuple[str, ...] = ()
    """What a user should know before it begins, a line each."""


def make_source(
    job: SynthesizeJob, device: torch.device, precision: torch.dtype, tile_rows: int | None = None
) -> LabelledImages:
    """The job's images, labelled with products of this precision.

    Raises UsageError for an interpreter with a weight that is no finite number.
    """
    generator, settings, average = job.loaded.generator, job.settings, job.average_latent
    renderer = Renderer(generator, settings, average, device, noise_purpose=Purpose.DATASET_NOISE)
    info, config = job.interpreter.info, job.config
    try:
        return LabelledImages(
            renderer,
            job.interpreter.ensemble,
            info.layers,
            latent_purpose=Purpose.DATASET_LATENTS,
            seed=config.seed,
            score=config.score,
            precision=precision,
            tile_rows=tile_rows,
            upsample=info.upsample,
            keypoints=info.keypoints is not None,
        )
    except ValueError as error:
        raise UsageError(f"{config.interpreter}: {error}") from None


def choose_precision(
    job: SynthesizeJob,
    device: torch.device,
    say: Callable[[str], None],
    *,
    tile_rows: int | None = None,
    overwrite: bool = False,
) -> SynthesizeJob:
    """The job with the labelling's precision decided and recorded.

    What is asked for by name is taken; else what an unfinished dataset was begun with; else bfloat16 where
    the device multiplies it and the interpreter's labels of the first render batch agree with float32's on
    99.9% of the pixels, or of the keypoints; else float32.
    """
    begun = None if overwrite or job.config.precision != "auto" else _precision_of_store(job)
    precision = begun or resolve_precision(job.config.precision, device)
    if job.config.precision == "auto" and begun is None and precision != torch.float32:
        source = make_source(job, device, torch.float32, tile_rows)
        agreement = source.agreement(range(job.config.render_batch), precision)
        if agreement < LEAST_AGREEMENT:
            segments = job.interpreter.info.keypoints is None
            what = ("change the labels of", "pixels") if segments else ("move", "keypoints")
            say(
                f"{precision_name(precision)} products {what[0]} {1 - agreement:.2%} of the {what[1]}, more "
                f"than {1 - LEAST_AGREEMENT:.1%}; labelling in float32"
            )
            precision = torch.float32
    interpreter = {**job.meta.interpreter, "precision": precision_name(precision)}
    return replace(job, meta=replace(job.meta, interpreter=interpreter))


def _precision_of_store(job: SynthesizeJob) -> torch.dtype | None:
    location = Location.parse(job.config.store)
    if location.state() != "store":
        return None
    dataset = fstore.open(location.target)
    if not isinstance(dataset, fstore.Dataset):
        return None
    return TYPES.get(str(dataset.meta.interpreter.get("precision")))


def recorded_precision(job: SynthesizeJob) -> torch.dtype:
    """What ``choose_precision`` recorded."""
    return TYPES[job.meta.interpreter["precision"]]


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
    """Peak host memory; ``tile_rows`` where rendering and labelling happen there too."""
    host = task_bytes(job.meta, job.config.num, queue_depth)
    batch = costs.dataset_bytes(job.meta, job.config.render_batch)
    if tile_rows is None:
        # One batch is copied to the host while one is fetched from it.
        return host + 2 * batch + costs.GPU_IMPORTS_BYTES
    host += costs.IMPORTS_BYTES
    render = costs.render_bytes(job.loaded.generator, job.config.render_batch)
    return host + batch + render + label_bytes(job, tile_rows)


def task_bytes(meta: fmt.DatasetMeta, num_images: int, queue_depth: int) -> int:
    """What tasks take at most: one being filled and those that are written meanwhile; of heat maps one file
    of each.
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
    """Of labelling one image: its maps once more, the weights cut up, a tile (None: the whole grid), and of
    keypoints the heat maps: of an image in float32 while its peaks are found, of a batch as they are stored.
    """
    info = job.interpreter.info
    stacked_width = info.members * info.widths[0]
    num_bands, band_rows = torch.get_num_threads(), CPU_BAND_ROWS
    if tile_rows is None:
        tile_rows, num_bands, band_rows = info.grid[0], 1, info.grid[0]
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
