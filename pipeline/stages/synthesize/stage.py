"""``dgan synthesize``: draw latents, render, label and score them, and filter the most uncertain images.

The images go to a dataset store. A task is 64 images, all written and then committed; the filter is set once
all are there. Latents, noise and batch boundaries follow from the seed and the global image index alone, so
that the bytes do not depend on interruptions. This module knows neither feature stores nor training: the
interpreter's folder says all that it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

import fstore
from fstore import format as fmt
from pipeline.errors import RunError, UsageError, count
from pipeline.inputs.generator import generator_record
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.identity import check_unchanged
from pipeline.interpreter.pairing import PairedInterpreter, load_paired
from pipeline.labelling.labelled_images import SAMPLED_SPACE, LabelledBatch, LabelledImages
from pipeline.labelling.scores import keep_mask
from pipeline.machine.background import BackgroundCalls
from pipeline.machine.progress import progress
from pipeline.machine.provenance import created_record
from pipeline.rendering.renderer import RenderSettings
from pipeline.settings.schema import TASKS, Config, SynthesizeConfig
from pipeline.settings.values import Keep
from pipeline.stages.synthesize.checks import check
from pipeline.stages.synthesize.job import SynthesizeJob, make_source
from pipeline.stages.synthesize.plan import plan_lines
from pipeline.stages.synthesize.precision import choose_precision, recorded_precision
from pipeline.stages.synthesize.task_arrays import TaskArrays


def prepare(config: Config, *, force: bool = False, task: str | None = None) -> SynthesizeJob:
    """Read the interpreter and the checkpoint that it was trained on.

    Raises UsageError, one line, where either cannot be used, the interpreter has learnt another ``task``
    (None: any), or the checkpoint is another one and ``force`` is not set.
    """
    trained = load_paired(config, force=force)
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


def _meta(config: SynthesizeConfig, trained: PairedInterpreter, settings: RenderSettings) -> fmt.DatasetMeta:
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
        member_votes=_are_votes_kept(info),
    )


def _are_votes_kept(info: InterpreterInfo) -> bool:
    """Whether the dataset gets ``member_votes``: its numbers have four bytes, and one label may have all."""
    votes = info.members * (info.crop_rows[1] - info.crop_rows[0]) * info.grid[1]
    return info.keypoints is None and len(info.classes) <= fmt.MOST_VOTED and votes < 2**32


def dry_run(
    job: SynthesizeJob, device: torch.device, *, overwrite: bool = False, memory_budget: int | None = None
) -> list[str]:
    """What ``synthesize`` would make and cost, a line for each subject; it raises what that would refuse."""
    memory = check(job, device, overwrite=overwrite, memory_budget=memory_budget)
    return plan_lines(job, device, memory, overwrite=overwrite)


def synthesize(
    job: SynthesizeJob,
    device: torch.device,
    *,
    overwrite: bool = False,
    memory_budget: int | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """Fill the dataset and set its filter.

    Returns:
        One line on what is in the store.

    Raises:
        UsageError: the memory budget is too small. MismatchError: the store was begun with other settings.
        StoreError: it is longer. RunError: the disk cannot hold it, or the interpreter was replaced
            meanwhile.
    """
    memory = check(job, device, overwrite=overwrite, memory_budget=memory_budget)
    for note in job.notes:
        say(note)
    config = job.config
    job = choose_precision(job, device, say, tile_rows=memory.tile_rows, overwrite=overwrite)
    writer = fstore.create_dataset(config.store, job.meta, num_images=config.num, overwrite=overwrite)
    job = replace(job, meta=writer.meta)  # without the members' votes where the store was begun without
    with closing(writer):  # after an error too: who catches it can go on in the same process
        pending = writer.pending_tasks()
        if pending:
            source = make_source(job, device, recorded_precision(job), memory.tile_rows)
            _fill(writer, source, job, pending, memory.queue_depth)
    check_unchanged(config.interpreter, job.interpreter.sha256)
    return set_filter(config.store, config.keep)


def _fill(
    writer: fstore.DatasetWriter,
    source: LabelledImages,
    job: SynthesizeJob,
    pending: list[int],
    queue_depth: int,
) -> None:
    """Make the pending tasks. Each is written, heat maps file by file, while the next one is made."""
    num = job.config.num
    done = num - sum(len(writer.task_images(task)) for task in pending)
    with progress("synthesizing", num, "images", done) as bar, BackgroundCalls(queue_depth) as background:

        def advance(count: int) -> None:
            bar.advance(count)
            background.check()

        def commit(task: int, parts: dict[str, np.ndarray]) -> None:
            check_unchanged(job.config.interpreter, job.interpreter.sha256)
            writer.write_task(task, parts)

        for task in pending:
            write_part = partial(background.submit, writer.write_part, task)
            parts = _task(source, job, writer.task_images(task), advance, write_part)
            background.submit(commit, task, parts)
            del parts  # the queue's now


def _task(
    source: LabelledImages,
    job: SynthesizeJob,
    images: range,
    advance: Callable[[int], None],
    write_part: Callable[[str, int, np.ndarray], None],
) -> dict[str, np.ndarray]:
    """Make the images of one task, and return the arrays that ``write_part`` was not given file by file.

    Batches begin at multiples of their size and are rendered whole, even where the last images of one are not
    wanted. A batch is fetched from the device after the next one has been started.
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


def set_filter(store: str, keep: Keep) -> str:
    """Keep the ceil(keep * N) least uncertain images of a complete dataset; nothing is rendered again.

    An image with a value that is not finite is never kept.

    Returns:
        One line on what is kept.

    Raises:
        UsageError: the dataset is not complete, or the store is no dataset. RunError: no image has a finite
            uncertainty.
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
    uncertainty = dataset.uncertainty
    kept, threshold = keep_mask(uncertainty, keep.fraction)
    if threshold is None:
        raise RunError(
            f"{dataset.location}: array 'uncertainty' has no finite value; the generator or the "
            "interpreter computes none: pass the checkpoint that it was trained on, or train it again"
        )
    fstore.set_kept(store, kept, keep.text, threshold)
    share = f"{int(kept.sum()):,} of {count(len(kept), 'image')} kept"
    line = f"{dataset.location}: {share} (keep {keep}, uncertainty at most {threshold:.4g})"
    failed = int((~np.isfinite(uncertainty)).sum())
    return line if not failed else f"{line}; {failed} with values that are not finite are never kept"
