"""``dgan extract-features`` on workers: a task is a render batch, of which a worker writes what it renders.

The client writes the rest before a task is handed out, and marks the images after it. So a worker needs the
checkpoint and the store, and no annotations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

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
from pipeline.settings.absolute_paths import absolute, with_absolute_paths
from pipeline.settings.schema import Config
from pipeline.stages.extract.batches import batch_images, pending_batches, render_batch
from pipeline.stages.extract.job import ExtractJob
from pipeline.stages.extract.memory import extract_sizes, plan_memory


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
class ExtractTask:
    """A render batch: its first image, the numbers of its images, and those that are to be written."""

    first: int
    numbers: tuple[int, ...]
    wanted: tuple[int, ...]


@dataclass(frozen=True)
class ExtractWorker:
    """What a worker process has ready for every task."""

    request: ExtractRequest
    renderer: Renderer
    writer: fstore.FeatureWriter


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
        tasks = _tasks(job, writer, pending)
        for task, _ in pool.run(begin, (request,), write_batch, tasks, _words):
            for image in task.wanted:
                writer.commit_image(image)
            bar.advance(len(task.wanted))


def _tasks(job: ExtractJob, writer: fstore.FeatureWriter, pending: list[int]) -> Iterator[ExtractTask]:
    """The tasks, each after what the client writes of its images. Others of its batch are committed."""
    inputs = job.inputs
    for first, wanted in pending_batches(pending, job.render_batch):
        images = batch_images(first, job.render_batch, job.num_images)
        for image in wanted:
            points = None if inputs.keypoints is None else inputs.keypoints.points[image]
            writer.begin_image(image, inputs.annotations.masks[image], inputs.latents.values[image], points)
        numbers = tuple(inputs.latents.numbers[image] for image in images)
        yield ExtractTask(first, numbers, tuple(wanted))


def _words(task: ExtractTask) -> str:
    return f"image {few(task.wanted)}"


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
        writer.meta, 1, loaded.generator, config.features.render_batch, on_gpu=device.type == "cuda"
    )
    buffers = plan_memory(sizes, request.memory_budget).band_buffers
    joined = fstore.join(request.store, band_buffers=buffers)
    assert isinstance(joined, fstore.FeatureWriter)
    return ExtractWorker(request, renderer, joined)


def write_batch(worker: ExtractWorker, task: ExtractTask) -> None:
    """Render a batch and write the images of it that are wanted, forced to the disk."""
    size, writer = worker.request.config.features.render_batch, worker.writer
    images = batch_images(task.first, size, writer.num_images)
    latents = writer.latents(images)
    for image, maps, picture in render_batch(
        worker.renderer, latents, worker.request.space, images, task.numbers, task.wanted
    ):
        check_stopped()
        writer.write(writer.prepare_rendered(image, maps, picture))
        del maps
        return_freed_memory()
