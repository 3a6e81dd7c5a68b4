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

import numpy as np
import torch

import fstore
from pipeline.cluster.choice import ClusterChoice
from pipeline.cluster.pool import Pool
from pipeline.interpreter.identity import check_unchanged
from pipeline.labelling.labelled_images import LabelledImages
from pipeline.machine.background import BackgroundCalls
from pipeline.machine.in_hand import batches_finished
from pipeline.machine.progress import progress
from pipeline.stages.synthesize.checks import check
from pipeline.stages.synthesize.filter_choice import filter_of
from pipeline.stages.synthesize.filtering import set_filter
from pipeline.stages.synthesize.job import SynthesizeJob, make_source
from pipeline.stages.synthesize.memory import SynthesisMemory
from pipeline.stages.synthesize.plan import plan_lines
from pipeline.stages.synthesize.precision import choose_precision, recorded_precision
from pipeline.stages.synthesize.preparation import prepare as prepare
from pipeline.stages.synthesize.tasks import make_task
from pipeline.stages.synthesize.workers import fill_on_workers, opened_pool, precision_on_workers


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
    cluster: ClusterChoice | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """Fill the dataset and set its filter.

    ``cluster``: processes that make the tasks; None: this one does. ``memory_budget`` is of each.

    Returns:
        One line on what is in the store.

    Raises:
        UsageError: the memory budget is too small, or the filter cannot be set. MismatchError: the store was
            begun with other settings. StoreError: it is longer. RunError: the disk cannot hold it, or the
            interpreter was replaced meanwhile.
    """
    memory = check(job, device, overwrite=overwrite, memory_budget=memory_budget)
    choice = filter_of(job)
    for note in job.notes:
        say(note)
    config = job.config
    with opened_pool(cluster, job, say, overwrite=overwrite) as pool:
        if pool is None:
            job = choose_precision(job, device, say, tile_rows=memory.tile_rows, overwrite=overwrite)
        else:
            job = precision_on_workers(job, pool, say, memory_budget, overwrite=overwrite)
        _fill_store(job, device, memory, pool, memory_budget, overwrite=overwrite)
    check_unchanged(config.interpreter, job.interpreter.sha256)
    outcome = set_filter(config.store, choice, say)
    for line in outcome.table:
        say(line)
    return outcome.line


def _fill_store(
    job: SynthesizeJob,
    device: torch.device,
    memory: SynthesisMemory,
    pool: Pool | None,
    memory_budget: int | None,
    *,
    overwrite: bool,
) -> None:
    """Create the dataset, or go on with it, and make what is pending: here, or on the workers of ``pool``."""
    config = job.config
    writer = fstore.create_dataset(config.store, job.meta, num_images=config.num, overwrite=overwrite)
    job = replace(job, meta=writer.meta)  # without the members' votes where the store was begun without
    with closing(writer):  # after an error too: who catches it can go on in the same process
        pending = writer.pending_tasks()
        if pending and pool is not None:
            fill_on_workers(job, writer, pending, pool, memory_budget)
        elif pending:
            source = make_source(job, device, recorded_precision(job), memory.tile_rows)
            _fill(writer, source, job, pending, memory.queue_depth)


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
    with (
        progress("synthesizing", num, "images", done) as bar,
        BackgroundCalls(queue_depth) as background,
        batches_finished(background.finish) as between_batches,
    ):
        left = 0  # images of the task in hand

        def advance(count: int) -> None:
            nonlocal left
            left -= count
            bar.advance(count)
            background.check()
            if left:  # a task that is whole is written first
                between_batches()

        def commit(task: int, parts: dict[str, np.ndarray]) -> None:
            check_unchanged(job.config.interpreter, job.interpreter.sha256)
            writer.write_task(task, parts)

        for task in pending:
            write_part = partial(background.submit, writer.write_part, task)
            images = writer.task_images(task)
            left = len(images)
            parts = make_task(source, job, images, advance, write_part)
            background.submit(commit, task, parts)
            del parts  # the queue's now
            between_batches()
