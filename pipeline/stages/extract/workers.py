"""``dgan extract-features`` on workers: a task is some render batches, and a worker writes what it renders.

The client writes the rest before a task is handed out, and marks the images after it. So a worker needs the
checkpoint and the store, and no annotations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

import fstore
from pipeline.cluster.choice import ClusterChoice
from pipeline.cluster.opening import open_pool
from pipeline.cluster.pool import Pool
from pipeline.cluster.worker import check_stopped
from pipeline.errors import UsageError, few
from pipeline.inputs.checkpoint_choice import load_chosen
from pipeline.inputs.generator import render_settings
from pipeline.machine.device import select_device
from pipeline.machine.memory import return_freed_memory
from pipeline.machine.progress import progress
from pipeline.rendering.layer_selection import with_layers
from pipeline.rendering.renderer import Renderer
from pipeline.rendering.side_by_side import renders_on_one_thread
from pipeline.settings.absolute_paths import absolute, with_absolute_paths
from pipeline.settings.schema import Config
from pipeline.stages.extract.batches import batch_images, pending_batches, render_batch
from pipeline.stages.extract.job import ExtractJob
from pipeline.stages.extract.memory import ExtractMemory, extract_sizes, plan_memory
from pipeline.stages.extract.side_by_side import render_and_write


@dataclass(frozen=True)
class ExtractRequest:
    """What a worker is told, once. It reads the checkpoint itself, and the latents from the store.

    ``store_id``: by which it knows that it sees the same store. ``sha256``: of the checkpoint.
    """

    config: Config
    average_latent: np.ndarray
    space: str
    store: str
    store_id: str
    sha256: str
    device: str
    memory_budget: int | None


@dataclass(frozen=True)
class ExtractBatch:
    """A render batch: its first image, the numbers of its images, and those that are to be written."""

    first: int
    numbers: tuple[int, ...]
    wanted: tuple[int, ...]


ExtractTask = tuple[ExtractBatch, ...]
"""What a worker does before it is given more: it renders batches while it writes others of them."""
MOST_BATCHES = 4  # of a task: at best that saves a worker 3/8 of the time, and two batches save it a quarter


@dataclass(frozen=True)
class ExtractWorker:
    """What a worker process has ready for every task."""

    request: ExtractRequest
    renderer: Renderer
    writer: fstore.FeatureWriter
    memory: ExtractMemory


def opened_pool(
    cluster: ClusterChoice | None,
    job: ExtractJob,
    revision: fstore.Revision | None,
    say: Callable[[str], None],
) -> AbstractContextManager[Pool | None]:
    """The workers that the run asks for; none where nothing is left to be rendered."""
    if cluster is None or (revision is not None and len(revision.committed) == job.num_images):
        return nullcontext()
    return open_pool(cluster, say)


def write_on_workers(
    job: ExtractJob,
    writer: fstore.FeatureWriter,
    pending: list[int],
    pool: Pool,
    memory_budget: int | None,
) -> None:
    """Have all pending images written by the workers of the pool, and mark them."""
    request = ExtractRequest(
        with_absolute_paths(job.config),
        job.average_latent,
        job.inputs.latents.space,
        absolute(job.store),
        writer.id,
        job.loaded.sha256,
        pool.device,
        memory_budget,
    )
    done = job.num_images - len(pending)
    with progress("extracting features", job.num_images, "images", done) as bar:
        tasks = _tasks(job, writer, pending, pool)
        for task, _ in pool.run(begin, (request,), write_batches, tasks, _words):
            for image in _wanted(task):
                writer.commit_image(image)
            bar.advance(len(_wanted(task)))


def _tasks(
    job: ExtractJob, writer: fstore.FeatureWriter, pending: list[int], pool: Pool
) -> Iterator[ExtractTask]:
    """The tasks, each after what the client writes of its images. They become smaller towards the end, so
    that the workers end together.
    """
    batches = deque(pending_batches(pending, job.render_batch))
    while batches:
        size = task_size(len(batches), pool.num_workers)
        yield tuple(_begun_batch(job, writer, *batches.popleft()) for _ in range(size))


def task_size(num_batches: int, num_workers: int) -> int:
    """Batches of the next task, where ``num_batches`` are left."""
    return max(1, min(MOST_BATCHES, num_batches // num_workers))


def _begun_batch(
    job: ExtractJob, writer: fstore.FeatureWriter, first: int, wanted: list[int]
) -> ExtractBatch:
    """A batch, after what the client writes of its wanted images. The others of it are committed."""
    inputs = job.inputs
    images = batch_images(first, job.render_batch, job.num_images)
    for image in wanted:
        points = None if inputs.keypoints is None else inputs.keypoints.points[image]
        writer.begin_image(image, inputs.annotations.masks[image], inputs.latents.values[image], points)
    return ExtractBatch(first, tuple(inputs.latents.numbers[image] for image in images), tuple(wanted))


def _wanted(task: ExtractTask) -> list[int]:
    return [image for batch in task for image in batch.wanted]


def _words(task: ExtractTask) -> str:
    return f"image {few(_wanted(task))}"


def begin(request: ExtractRequest) -> ExtractWorker:
    """Read what every task needs. Raises UsageError and StoreError for what this worker lacks."""
    device = select_device(request.device)
    config = request.config
    loaded = with_layers(load_chosen(config), config.features.layers)
    if loaded.sha256 != request.sha256:
        raise UsageError(
            f"{loaded.path}: sha256 is {loaded.sha256[:12]}... there, expected {request.sha256[:12]}..."
        )
    renderer = Renderer(loaded.generator, render_settings(config, loaded), request.average_latent, device)
    writer = fstore.join(request.store)
    if not isinstance(writer, fstore.FeatureWriter) or writer.id != request.store_id:
        raise UsageError(f"{request.store}: is another store there")
    sizes = extract_sizes(
        writer.meta,
        1,
        loaded.generator,
        config.features.render_batch,
        on_gpu=device.type == "cuda",
        threads=torch.get_num_threads(),
    )
    memory = plan_memory(sizes, request.memory_budget)
    joined = fstore.join(request.store, band_buffers=memory.band_buffers)
    assert isinstance(joined, fstore.FeatureWriter)
    return ExtractWorker(request, renderer, joined, memory)


def write_batches(worker: ExtractWorker, task: ExtractTask) -> None:
    """Render batches and write the images of them that are wanted, forced to the disk."""
    writer = worker.writer

    def write(prepared: fstore.PreparedImage) -> None:
        writer.write(prepared)
        return_freed_memory()

    alone = renders_on_one_thread(worker.renderer.device, worker.request.config.features.render_batch)
    render = partial(_rendered, worker)
    render_and_write(_until_stopped(task), render, write, worker.memory, on_one_thread=alone)


def _until_stopped(task: ExtractTask) -> Iterator[ExtractBatch]:
    """The batches. Raises InterruptedError where the run has ended."""
    for batch in task:
        check_stopped()
        yield batch


def _rendered(worker: ExtractWorker, batch: ExtractBatch) -> Iterator[fstore.PreparedImage]:
    """Render a batch and prepare the images of it that are wanted."""
    size, writer = worker.request.config.features.render_batch, worker.writer
    images = batch_images(batch.first, size, writer.num_images)
    for image, maps, picture in render_batch(
        worker.renderer, writer.latents(images), worker.request.space, images, batch.numbers, batch.wanted
    ):
        yield writer.prepare_rendered(image, maps, picture)
