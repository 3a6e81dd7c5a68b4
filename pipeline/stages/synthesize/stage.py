"""``dgan synthesize``: sample latents, render, label, score, and filter the most uncertain, into a dataset
store.

A task is 64 images, all written and then committed; the filter is set once all are there. Latents, noise
and batch boundaries follow from the seed and the global image index alone, so that the bytes do not depend on
interruptions. It knows neither feature stores nor training: the interpreter's folder says all that it needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch

import fstore
from fstore import format as fmt
from fstore.display import human_bytes, human_duration
from fstore.location import Location
from pipeline.errors import RunError, UsageError
from pipeline.inputs.generator import generator_record
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.pairing import Trained, load_trained
from pipeline.labelling.labelled_images import SAMPLED_SPACE, LabelledBatch, LabelledImages
from pipeline.labelling.votes import keep_mask
from pipeline.machine.background import BackgroundCalls
from pipeline.machine.progress import progress
from pipeline.machine.provenance import created_record
from pipeline.rendering.renderer import RenderSettings
from pipeline.settings.schema import TASKS, Config, SynthesizeConfig
from pipeline.settings.values import parse_keep
from pipeline.stages import costs
from pipeline.stages.synthesize.plan import (
    SynthesizeJob,
    choose_precision,
    label_bytes,
    make_source,
    plan_memory,
    recorded_precision,
)
from pipeline.stages.synthesize.task_arrays import TaskArrays


def prepare(config: Config, *, force: bool = False, task: str | None = None) -> SynthesizeJob:
    """Read the interpreter and the checkpoint that it was trained on.

    Raises UsageError, one line, where either cannot be used, the interpreter has learnt another ``task``
    (None: any), or the checkpoint is another one and ``force`` is not set.
    """
    trained = load_trained(config, force=force)
    loaded, interpreter, info = trained.loaded, trained.interpreter, trained.interpreter.info
    _check_task(config, info, task)
    settings = RenderSettings.from_record(info.generator, info.grid, info.crop_rows)
    meta = _meta(config.synthesize, trained, settings)
    average = trained.average_latent
    return SynthesizeJob(loaded, interpreter, average, settings, meta, config.synthesize, trained.notes)


def _check_task(config: Config, info: InterpreterInfo, task: str | None) -> None:
    if task is not None and task not in TASKS:
        raise UsageError(f"--task is {task!r}; expected {' or '.join(TASKS)}")
    if task not in (None, info.task):
        raise UsageError(
            f"{config.synthesize.interpreter}: has learnt {info.task}, --task is {task}; leave it out, or "
            "pass another --interpreter"
        )


def _meta(config: SynthesizeConfig, trained: Trained, settings: RenderSettings) -> fmt.DatasetMeta:
    loaded, interpreter, info = trained.loaded, trained.interpreter, trained.interpreter.info
    return fmt.DatasetMeta(
        shape=(info.crop_rows[1] - info.crop_rows[0], info.grid[1]),
        classes=info.classes,
        latent_size=loaded.generator.z_size,
        ignore=info.ignore,
        score=config.score,
        seed=config.seed,
        interpreter={
            "folder": Path(config.interpreter).name,
            "sha256": interpreter.sha256,
            "members": info.members,
            **trained.settings,
        },
        generator=generator_record(
            loaded,
            settings,
            latent_space=SAMPLED_SPACE,
            average=str(info.generator.get("average_latent", "unknown")),
            render_batch=config.render_batch,
        ),
        created=created_record(),
        keypoints=info.keypoints,
    )


def plan_lines(
    job: SynthesizeJob, device: torch.device, memory_budget: int | None = None, *, overwrite: bool = False
) -> list[str]:
    """What the run makes and costs, a line each; renders and labels one batch to estimate the time."""
    notes = list(job.notes)
    memory = plan_memory(job, device, memory_budget)
    job = choose_precision(job, device, notes.append, tile_rows=memory.tile_rows, overwrite=overwrite)
    config, meta = job.config, job.meta
    location = Location.parse(config.store)
    free = location.free_bytes()
    source = make_source(job, device, recorded_precision(job), memory.tile_rows)
    source.batch(range(config.render_batch), 1).host_arrays()  # the first of its kind takes longer
    start = time.perf_counter()
    source.batch(range(config.render_batch), config.render_batch).host_arrays()
    seconds = (time.perf_counter() - start) / config.render_batch * config.num
    device_bytes = costs.render_bytes(job.loaded.generator, config.render_batch)
    device_bytes += label_bytes(job, config.tile)
    info = job.interpreter.info
    learnt, made = ("classes", "labels") if info.keypoints is None else ("keypoints", "heat maps, keypoints")
    return [
        f"interpreter  {config.interpreter}: {info.members} members, {info.num_outputs} {learnt}, "
        f"{meta.interpreter['precision']} products",
        f"checkpoint   {job.loaded.path}",
        f"images       {config.num} of ({meta.shape[0]}, {meta.shape[1]}, 3) uint8, with {made} and "
        "divergence",
        f"store        {location}: {human_bytes(costs.dataset_bytes(meta, config.num))} raw, about as "
        "much on disk",
        f"disk free    {'unknown (a URL)' if free is None else human_bytes(free)}",
        f"host memory  about {human_bytes(memory.host_bytes)} at the peak",
        f"device       {device}"
        + (f", about {human_bytes(device_bytes)} at the peak" if device.type == "cuda" else ""),
        f"time         about {human_duration(seconds)}",
        *(f"note         {note}" for note in notes),
    ]


def synthesize(
    job: SynthesizeJob,
    device: torch.device,
    *,
    overwrite: bool = False,
    memory_budget: int | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """Fill the dataset and set its filter. Returns one line on what is in the store.

    Raises:
        RunError: the disk cannot hold it. MismatchError: the store was begun with other settings. StoreError:
        it is longer. UsageError: the memory budget is too small.
    """
    for note in job.notes:
        say(note)
    config = job.config
    memory = plan_memory(job, device, memory_budget)
    location = Location.parse(config.store)
    left = config.num - (0 if overwrite else costs.committed_images(location))
    needed = costs.dataset_bytes(job.meta, max(left, 0))
    way_out = "make room, or ask for fewer with --num"
    costs.check_disk(location, needed, f"a dataset of {left} more images", way_out, overwrite=overwrite)
    job = choose_precision(job, device, say, tile_rows=memory.tile_rows, overwrite=overwrite)
    writer = fstore.create_dataset(config.store, job.meta, num_images=config.num, overwrite=overwrite)
    with closing(writer):  # after an error too: who catches it can go on in the same process
        pending = writer.pending_tasks()
        if pending:
            source = make_source(job, device, recorded_precision(job), memory.tile_rows)
            _fill(writer, source, job, pending, memory.queue_depth)
    return set_filter(config.store, config.keep)


def _fill(
    writer: fstore.DatasetWriter,
    source: LabelledImages,
    job: SynthesizeJob,
    pending: list[int],
    queue_depth: int,
) -> None:
    """Make the pending tasks one by one, each written while the next is made; heat maps file by file."""
    num = job.config.num
    done = num - sum(len(writer.task_images(task)) for task in pending)
    with progress("synthesizing", num, "images", done) as bar, BackgroundCalls(queue_depth) as background:

        def advance(count: int) -> None:
            bar.advance(count)
            background.check()

        for task in pending:
            write_part = partial(background.submit, writer.write_part, task)
            parts = _task(source, job, writer.task_images(task), advance, write_part)
            background.submit(writer.write_task, task, parts)
            del parts  # the queue's now


def _task(
    source: LabelledImages,
    job: SynthesizeJob,
    images: range,
    advance: Callable[[int], None],
    write_part: Callable[[str, int, np.ndarray], None],
) -> dict[str, np.ndarray]:
    """The arrays of one task but for those that ``write_part`` took, a file at a time. Batches begin at
    multiples of their size and are rendered whole, surplus images and all. Each is fetched from the device
    after the next one is under way.
    """
    arrays = TaskArrays(fmt.dataset_arrays(job.meta, job.config.num), images, write_part)
    size = job.config.render_batch

    def fetch(batch: LabelledBatch) -> None:
        arrays.add(batch.host_arrays())
        advance(len(batch.latents))

    before: LabelledBatch | None = None
    for first in range(images.start, images.stop, size):
        batch = source.batch(range(first, first + size), min(size, images.stop - first))
        if before is not None:
            fetch(before)
        before = batch
    if before is not None:
        fetch(before)
    return arrays.whole()


def set_filter(store: str, keep: str) -> str:
    """Keep exactly ceil(keep * N) least uncertain images of a complete dataset; nothing is rendered again.

    Returns one line on what is kept. Raises UsageError for a dataset that is not complete or no dataset.
    """
    dataset = fstore.open(store)
    if not isinstance(dataset, fstore.Dataset):
        raise UsageError(
            f"{dataset.location}: is a store of kind 'features', expected a dataset written by `dgan "
            "synthesize`"
        )
    if not dataset.complete:
        raise UsageError(
            f"{dataset.location}: {len(dataset)} of {dataset.num_images} images are committed; run the same "
            "`dgan synthesize` to its end"
        )
    kept, threshold = keep_mask(dataset.uncertainty, parse_keep(keep))
    if threshold is None:
        raise RunError(
            f"{dataset.location}: array 'uncertainty' has no finite value; the interpreter diverged, train "
            "it again"
        )
    fstore.set_kept(store, kept, keep, threshold)
    share = f"{int(kept.sum())} of {len(kept)} images kept"
    return f"{dataset.location}: {share} (keep {keep}, uncertainty at most {threshold:.4g})"
