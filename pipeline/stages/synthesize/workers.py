"""``dgan synthesize`` on workers: a task is 64 images, which a worker makes and writes, and the client marks.

A worker reads interpreter and checkpoint itself. The precision is decided by one of them, because the client
may have another device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

import fstore
from fstore.location import Location
from pipeline import embedded
from pipeline.cluster.choice import ClusterChoice
from pipeline.cluster.opening import open_pool
from pipeline.cluster.pool import Pool
from pipeline.cluster.worker import check_stopped
from pipeline.errors import UsageError
from pipeline.interpreter.identity import check_unchanged
from pipeline.labelling.labelled_images import LabelledImages
from pipeline.machine.background import BackgroundCalls
from pipeline.machine.device import TYPES, precision_name, select_device
from pipeline.machine.progress import progress, progress_hidden
from pipeline.settings.absolute_paths import absolute, with_absolute_paths
from pipeline.settings.schema import Config
from pipeline.stages import costs
from pipeline.stages.synthesize.job import SynthesizeJob, make_source
from pipeline.stages.synthesize.memory import SynthesisMemory, plan_memory
from pipeline.stages.synthesize.precision import (
    choose_precision,
    recorded_precision,
    with_precision,
)
from pipeline.stages.synthesize.preparation import prepare
from pipeline.stages.synthesize.tasks import make_task


@dataclass(frozen=True)
class SynthesizeRequest:
    """What a worker is told, once. The hashes are of the checkpoint and the interpreter that it must find."""

    config: Config
    force: bool
    checkpoint_sha256: str
    interpreter_sha256: str
    device: str
    memory_budget: int | None


Joined = tuple[fstore.DatasetWriter, SynthesizeJob, LabelledImages]


@dataclass
class SynthesizeWorker:
    """What a worker process has ready for every task. A class, because the store may be created after it."""

    job: SynthesizeJob
    device: torch.device
    memory: SynthesisMemory
    joined: dict[str, tuple[fstore.DatasetWriter, SynthesizeJob, LabelledImages]] = field(
        default_factory=dict
    )

    def join(self, store_id: str) -> Joined:
        """The store with this id, the job as the store records it, and the source of its images."""
        if store_id not in self.joined:
            store = self.job.config.store
            writer = fstore.join(store)
            if not isinstance(writer, fstore.DatasetWriter) or writer.id != store_id:
                raise UsageError(f"{store}: is another store there")
            job = replace(self.job, meta=writer.meta, config=replace(self.job.config, num=writer.num_images))
            source = make_source(job, self.device, recorded_precision(job), self.memory.tile_rows)
            self.joined[store_id] = writer, job, source
        return self.joined[store_id]


def opened_pool(
    cluster: ClusterChoice | None, job: SynthesizeJob, say: Callable[[str], None], *, overwrite: bool
) -> AbstractContextManager[Pool | None]:
    """The workers that the run asks for; none where nothing is left to be made."""
    if cluster is None:
        return nullcontext()
    left = job.config.num - (0 if overwrite else costs.committed_images(Location.parse(job.config.store)))
    return open_pool(cluster, say) if left > 0 else nullcontext()


def _request(job: SynthesizeJob, pool: Pool, memory_budget: int | None) -> SynthesizeRequest:
    config = with_absolute_paths(job.run_config)
    path = job.loaded.path
    # The demo's checkpoint is a part of the program, which lies elsewhere on another machine.
    checkpoint = None if path == embedded.checkpoint_path() else absolute(path)
    config = replace(config, generator=replace(config.generator, checkpoint=checkpoint))
    return SynthesizeRequest(
        config, job.force, job.loaded.sha256, job.interpreter.sha256, pool.device, memory_budget
    )


def precision_on_workers(
    job: SynthesizeJob,
    pool: Pool,
    say: Callable[[str], None],
    memory_budget: int | None,
    *,
    overwrite: bool,
) -> SynthesizeJob:
    """The job with the precision decided by a worker, whose device may be another than this process's."""
    if job.config.precision != "auto":
        return choose_precision(job, torch.device("cpu"), say, overwrite=overwrite)
    asked = pool.run(begin, (_request(job, pool, memory_budget),), decide_precision, [overwrite])
    ((_, (name, lines)),) = list(asked)
    for line in lines:
        say(line)
    return with_precision(job, TYPES[name])


def fill_on_workers(
    job: SynthesizeJob,
    writer: fstore.DatasetWriter,
    pending: list[int],
    pool: Pool,
    memory_budget: int | None,
) -> None:
    """Have the pending tasks made by the workers of the pool, and mark them."""
    num = job.config.num
    done = num - sum(len(writer.task_images(task)) for task in pending)

    def tasks() -> Iterator[int]:
        for task in pending:
            writer.begin_task(task)
            yield task

    def words(task: int) -> str:
        images = writer.task_images(task)
        return f"images {images.start} to {images.stop - 1}"

    with progress("synthesizing", num, "images", done) as bar:
        request, work = _request(job, pool, memory_budget), partial(write_task, store_id=writer.id)
        for task, _ in pool.run(begin, (request,), work, tasks(), words):
            writer.commit_task(task)
            bar.advance(len(writer.task_images(task)))


def begin(request: SynthesizeRequest) -> SynthesizeWorker:
    """Read what every task needs. Raises UsageError for what this worker lacks."""
    device = select_device(request.device)
    job = prepare(request.config, force=request.force)
    for what, found, expected in (
        (job.loaded.path, job.loaded.sha256, request.checkpoint_sha256),
        (job.config.interpreter, job.interpreter.sha256, request.interpreter_sha256),
    ):
        if found != expected:
            raise UsageError(f"{what}: sha256 is {found[:12]}... there, expected {expected[:12]}...")
    return SynthesizeWorker(job, device, plan_memory(job, device, request.memory_budget))


def decide_precision(worker: SynthesizeWorker, overwrite: bool) -> tuple[str, tuple[str, ...]]:
    """The name of the precision, and lines for people."""
    lines: list[str] = []
    rows = worker.memory.tile_rows
    with progress_hidden():
        job = choose_precision(worker.job, worker.device, lines.append, tile_rows=rows, overwrite=overwrite)
    return precision_name(recorded_precision(job)), tuple(lines)


def write_task(worker: SynthesizeWorker, task: int, store_id: str) -> None:
    """Make the images of a task and write them, forced to the disk."""
    writer, job, source = worker.join(store_id)

    def advance(_: int) -> None:
        background.check()
        check_stopped()

    with BackgroundCalls(worker.memory.queue_depth) as background:
        write_part = partial(background.submit, writer.write_part, task)
        parts = make_task(source, job, writer.task_images(task), advance, write_part)
        background.submit(write_whole, worker, writer, task, parts)


def write_whole(
    worker: SynthesizeWorker, writer: fstore.DatasetWriter, task: int, parts: dict[str, np.ndarray]
) -> None:
    """Write the arrays of a task, if the interpreter is still the one that made them."""
    check_unchanged(worker.job.config.interpreter, worker.job.interpreter.sha256)
    writer.write_task(task, parts)
