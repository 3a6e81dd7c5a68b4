"""``dgan extract-features``: annotated latents through the generator into a feature store.

``prepare`` reads and checks every input before anything is written; ``plan_lines`` says what the run will
cost; ``extract`` renders what is not committed yet, image by image. It knows neither training nor labelling.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import fstore
from fstore import format as fmt
from fstore.display import human_bytes, human_duration
from fstore.location import Location
from pipeline.checkpoints.read import LoadedGenerator
from pipeline.inputs.annotations.load import Annotations, default_palette
from pipeline.inputs.checkpoint_choice import load_chosen
from pipeline.inputs.generator import average_latent, generator_record, render_settings
from pipeline.inputs.pictures.check import check_pictures
from pipeline.machine.background import BackgroundCalls
from pipeline.machine.progress import progress
from pipeline.machine.provenance import created_record
from pipeline.rendering.layer_selection import with_layers
from pipeline.rendering.renderer import Renderer, RenderSettings
from pipeline.settings.schema import Config
from pipeline.stages import costs
from pipeline.stages.extract.earlier_store import check_settings, stored_average
from pipeline.stages.extract.inputs import ExtractInputs, read_inputs
from pipeline.stages.extract.memory import ExtractMemory, extract_sizes, plan_memory

WRITE_BYTES_PER_SECOND = (
    200e6  # resizing, compressing and writing dense features on two cores (docs/performance.md)
)


@dataclass(frozen=True)
class ExtractJob:
    """Everything a run needs, read and checked: nothing of it can fail for bad input any more, but for the
    annotated pictures, which are compared when it starts.
    """

    loaded: LoadedGenerator
    inputs: ExtractInputs
    average_latent: np.ndarray
    settings: RenderSettings
    meta: fmt.FeatureMeta
    store: str
    render_batch: int

    @property
    def num_images(self) -> int:
        """N: latents, and masks."""
        return len(self.inputs.latents)


def prepare(config: Config, *, overwrite: bool = False) -> ExtractJob:
    """Read checkpoint, average latent, latents and annotations. Raises UsageError, one line, for any that
    does not fit.

    The average latent of a store that is gone on with, and not overwritten, is the one that it holds;
    StoreError where it is damaged.
    """
    loaded = with_layers(load_chosen(config), config.features.layers)
    settings = render_settings(config, loaded)
    average, origin = average_latent(config, loaded, settings)
    features = config.features
    if not overwrite:
        record = _generator_record(config, loaded, settings, "", origin)
        stored = stored_average(Location.parse(features.store), record)
        average = average if stored is None else stored
    inputs = read_inputs(config, loaded, settings, average)
    meta = _meta(config, loaded, inputs, settings, origin)
    return ExtractJob(loaded, inputs, average, settings, meta, features.store, features.render_batch)


def _meta(
    config: Config,
    loaded: LoadedGenerator,
    inputs: ExtractInputs,
    settings: RenderSettings,
    average_origin: str,
) -> fmt.FeatureMeta:
    generator = loaded.generator
    native = [(layer.name, layer.resolution, layer.channels) for layer in generator.layers]
    return fmt.FeatureMeta(
        layout=config.features.layout,
        grid=settings.grid,
        crop_rows=settings.crop_rows,
        layers=fmt.build_layers(native, settings.grid),
        classes=_classes(inputs.annotations),
        ignore=inputs.annotations.ignore,
        upsample=config.features.upsample,
        generator=_generator_record(config, loaded, settings, inputs.latents.space, average_origin),
        inputs=inputs.record,
        created=created_record(),
        keypoints=_keypoints(inputs),
    )


def _generator_record(
    config: Config, loaded: LoadedGenerator, settings: RenderSettings, latent_space: str, average: str
) -> dict[str, Any]:
    batch = config.features.render_batch
    return generator_record(loaded, settings, latent_space=latent_space, average=average, render_batch=batch)


def _keypoints(inputs: ExtractInputs) -> fmt.KeypointInfo | None:
    found = inputs.keypoints
    return None if found is None else fmt.KeypointInfo(found.names, found.sigma)


def _classes(annotations: Annotations) -> tuple[fmt.ClassInfo, ...]:
    colors = annotations.palette or tuple(default_palette(annotations.num_classes))
    numbered = ("background", *(f"class_{i}" for i in range(1, annotations.num_classes)))
    names = annotations.names or numbered
    return tuple(
        fmt.ClassInfo(i, name, color) for i, (name, color) in enumerate(zip(names, colors, strict=True))
    )


def _plan_memory(job: ExtractJob, device: torch.device, budget: int | None) -> ExtractMemory:
    sizes = extract_sizes(
        job.meta, job.num_images, job.loaded.generator, job.render_batch, on_gpu=device.type == "cuda"
    )
    return plan_memory(sizes, budget)


def plan_lines(job: ExtractJob, device: torch.device, memory_budget: int | None = None) -> list[str]:
    """What the run makes and costs, a line each; renders one image to estimate the time."""
    meta, n = job.meta, job.num_images
    location = Location.parse(job.store)
    free = location.free_bytes()
    on_gpu = device.type == "cuda"
    memory = _plan_memory(job, device, memory_budget)
    dense_raw = 2 * n * meta.height * meta.width * meta.channels
    raw = costs.store_bytes(meta, n)
    seconds = _render_seconds(job, device) * n + raw / WRITE_BYTES_PER_SECOND
    lines = [
        f"checkpoint   {job.loaded.path} ({job.loaded.generator.architecture}, "
        f"{job.loaded.generator.resolution} px)",
        f"images       {n}, latent space {job.inputs.latents.space}, {len(meta.classes)} classes",
        f"features     ({n}, {meta.height}, {meta.width}, {meta.channels}) float16 = "
        f"{human_bytes(dense_raw)} dense, "
        f"layout {meta.layout}",
        f"store        {location}: {human_bytes(raw)} raw, about "
        f"{human_bytes(costs.estimated_store_bytes(meta, n))} on disk",
        f"disk free    {'unknown (a URL)' if free is None else human_bytes(free)}",
        f"host memory  about {human_bytes(memory.host_bytes)} at the peak",
        f"device       {device}"
        + (f", about {human_bytes(_device_bytes(job))} at the peak" if on_gpu else ""),
        f"time         about {human_duration(seconds)}",
    ]
    if job.inputs.pictures:
        lines.append(
            f"pictures     {len(job.inputs.pictures)}, compared with the renders before anything is written"
        )
    note = costs.pyramid_note(meta, n)
    return lines + [
        f"note         {each}" for each in (*job.inputs.notes, job.inputs.picture_note, note) if each
    ]


def _device_bytes(job: ExtractJob) -> int:
    band = fmt.BAND * job.meta.width * job.meta.channels * 2
    return costs.render_bytes(job.loaded.generator, job.render_batch) + 2 * band


def _render_seconds(job: ExtractJob, device: torch.device) -> float:
    renderer = Renderer(job.loaded.generator, job.settings, job.average_latent, device)
    start = time.perf_counter()
    renderer.render(job.inputs.latents.values[:1], job.inputs.latents.space, [0])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def extract(
    job: ExtractJob,
    device: torch.device,
    *,
    overwrite: bool = False,
    memory_budget: int | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """Render and write what is not committed yet, a batch while the image before is written. Returns one line
    on what is in the store.

    Raises:
        UsageError: ``memory_budget``, bytes of host memory that the process may take, is too little, or the
            annotated pictures are not what the latents render.
        RunError: the disk cannot hold it. MismatchError: the store was begun with other settings.
        OverflowError16: a feature does not fit float16.
    """
    memory = _plan_memory(job, device, memory_budget)
    location = Location.parse(job.store)
    done = 0 if overwrite else costs.committed_images(location)
    _check_disk(job, location, done, overwrite)
    for line in job.inputs.notes:
        say(line)
    if not overwrite:
        check_settings(location, job.meta)
    if done == 0:  # else an earlier run compared them
        _check_pictures(job, device, say)
    writer = fstore.create(
        job.store,
        job.meta,
        num_images=job.num_images,
        latent_shape=job.inputs.latents.values.shape[1:],
        average_latent=job.average_latent,
        overwrite=overwrite,
        band_buffers=memory.band_buffers,
    )
    with closing(writer):
        pending = writer.pending()
        note = costs.pyramid_note(job.meta, job.num_images)
        if note and pending:
            say(note)
        if pending:
            _write_pending(job, device, writer, pending, memory.queue_depth)
    return (
        f"{location}: {job.num_images} images committed, features ({job.num_images}, {job.meta.height}, "
        f"{job.meta.width}, " + (f"{job.meta.channels}) float16, layout {job.meta.layout}")
    )


def _check_pictures(job: ExtractJob, device: torch.device, say: Callable[[str], None]) -> None:
    inputs = job.inputs
    if inputs.picture_note:
        say(inputs.picture_note)
    if inputs.pictures:
        generator, average = job.loaded.generator, job.average_latent
        check_pictures(inputs.pictures, inputs.latents, generator, job.settings, average, device, say)


def _write_pending(
    job: ExtractJob,
    device: torch.device,
    writer: fstore.FeatureWriter,
    pending: list[int],
    queue_depth: int,
) -> None:
    renderer = Renderer(job.loaded.generator, job.settings, job.average_latent, device)
    with (
        progress("extracting features", job.num_images, "images", job.num_images - len(pending)) as bar,
        BackgroundCalls(queue_depth, writer.stop) as background,
    ):

        def write(prepared: fstore.PreparedImage) -> None:
            writer.write(prepared)
            costs.return_freed_memory()
            bar.advance(1)

        for batch in _batches(pending, job.render_batch):
            for prepared in _rendered(job, renderer, writer, batch):
                background.submit(write, prepared)


def _check_disk(job: ExtractJob, location: Location, done: int, overwrite: bool) -> None:
    left = job.num_images - done
    pyramid = costs.estimated_store_bytes(replace(job.meta, layout="pyramid"), left)
    way_out = "make room, or put --store on another disk"
    if job.meta.layout == "dense":
        way_out = f"--layout pyramid would need about {human_bytes(pyramid)}; or {way_out}"
    needed = costs.estimated_store_bytes(job.meta, left)
    what = f"extracting {left} images ({job.meta.layout})"
    costs.check_disk(location, needed, what, way_out, overwrite=overwrite)


def _batches(pending: list[int], size: int) -> list[list[int]]:
    """Pending images grouped by render batch: image i always renders in batch i // size, whatever is
    pending.
    """
    groups: dict[int, list[int]] = {}
    for image in pending:
        groups.setdefault(image // size, []).append(image)
    return list(groups.values())


def _rendered(
    job: ExtractJob, renderer: Renderer, writer: fstore.FeatureWriter, wanted: list[int]
) -> Iterator[fstore.PreparedImage]:
    """Render the whole batch that holds ``wanted``, and yield those. A short last batch is filled by
    repeating its last image: a network's output moves by a rounding with its batch size.
    """
    first = wanted[0] // job.render_batch * job.render_batch
    images = [min(first + i, job.num_images - 1) for i in range(job.render_batch)]
    latents, annotations, keypoints = job.inputs.latents, job.inputs.annotations, job.inputs.keypoints
    numbers = [latents.numbers[image] for image in images]  # not their places: noise stays with its image
    rendered = renderer.render(latents.values[images], latents.space, numbers)
    features = rendered.features
    for place, image in enumerate(images[: job.num_images - first]):
        if image not in wanted:
            continue
        # Of a batch of one the writer empties the list as it goes, which frees each float32 map early.
        maps = (
            [features.pop(0)[0] for _ in range(len(features))]
            if job.render_batch == 1
            else [f[place] for f in features]
        )
        picture = renderer.picture(rendered.images[place])
        points = None if keypoints is None else keypoints.points[image]
        yield writer.prepare(image, maps, picture, annotations.masks[image], latents.values[image], points)
