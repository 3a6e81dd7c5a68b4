"""``dgan extract-features``: annotated latents through the generator into a feature store.

``prepare`` reads and checks every input before anything is written; ``plan_lines`` says what the run will
cost; ``extract`` renders what is not committed yet, image by image. It knows neither training nor labelling.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import fstore
from fstore import format as fmt
from fstore.display import human_bytes, human_duration
from fstore.location import Location
from pipeline import resources
from pipeline.annotations import Annotations, default_palette, load_masks
from pipeline.background import BackgroundCalls
from pipeline.checkpoints import LoadedGenerator, load_generator
from pipeline.errors import UsageError
from pipeline.extract_plan import ExtractMemory, extract_sizes, plan_memory
from pipeline.latents import LatentSet, array_sha256, load_average_latent, load_latents
from pipeline.progress import progress
from pipeline.record import created_record
from pipeline.rendering import NUM_AVERAGE_SAMPLES, Renderer, RenderSettings, computed_average_latent
from pipeline.settings import Config

DEFAULT_RESOLUTION_LIMIT = 512  # the released experiments' feature resolution for generators of 512 and 1024
WRITE_BYTES_PER_SECOND = (
    200e6  # resizing, compressing and writing dense features on two cores (docs/performance.md)
)


@dataclass(frozen=True)
class ExtractJob:
    """Everything a run needs, read and checked: nothing of it can fail for bad input any more."""

    loaded: LoadedGenerator
    latents: LatentSet
    annotations: Annotations
    average_latent: np.ndarray
    settings: RenderSettings
    meta: fmt.FeatureMeta
    store: str
    render_batch: int

    @property
    def num_images(self) -> int:
        """N: latents, and masks."""
        return len(self.latents)


def prepare(config: Config) -> ExtractJob:
    """Read checkpoint, latents, average latent and masks. Raises UsageError, one line, for any that does not
    fit.
    """
    from pipeline import demo

    loaded = load_generator(config.generator.checkpoint or _demo_checkpoint(config))
    with tempfile.TemporaryDirectory() as folder:
        latent_file, mask_folder = config.latents.file, config.annotations.folder
        if config.demo and latent_file is None and mask_folder is None:
            demo.write_inputs(folder)
            latent_file, mask_folder = Path(folder) / "latents.npy", Path(folder) / "masks"
        if latent_file is None:
            raise UsageError(
                "no latents are given; pass --latents FILE.npy, or set [latents] file in the configuration"
            )
        if mask_folder is None:
            raise UsageError(
                "no annotations are given; pass --annotations DIR, or set [annotations] folder in the "
                "configuration"
            )
        generator = loaded.generator
        latents = load_latents(
            latent_file,
            config.latents.space,
            latent_size=generator.latent_size,
            min_w_layers=generator.min_w_layers,
        )
        settings = _render_settings(config, loaded)
        annotations = load_masks(
            mask_folder,
            len(latents),
            grid=settings.grid,
            crop_rows=settings.crop_rows,
            num_classes=len(config.annotations.classes) or config.annotations.num_classes,
            ignore=config.annotations.ignore,
            min_pixels=config.annotations.min_pixels,
            small_classes=config.annotations.small_classes,
        )
    average, record = _average_latent(config, loaded, settings)
    meta = _meta(config, loaded, latents, annotations, settings, record)
    return ExtractJob(
        loaded,
        latents,
        annotations,
        average,
        settings,
        meta,
        config.features.store,
        config.features.render_batch,
    )


def _demo_checkpoint(config: Config) -> Path:
    from pipeline import demo

    if not config.demo:
        raise UsageError(
            "no checkpoint is given; pass --checkpoint FILE, or set [generator] checkpoint in the "
            "configuration"
        )
    return demo.checkpoint_path()


def _render_settings(config: Config, loaded: LoadedGenerator) -> RenderSettings:
    generator = loaded.generator
    side = config.features.resolution or min(generator.resolution, DEFAULT_RESOLUTION_LIMIT)
    first, last = config.features.crop_rows or (0, side)
    if last > side:
        raise UsageError(
            f"--crop-rows {first}:{last} ends after row {side}, the last of the resolution; see --resolution"
        )
    layers = config.generator.truncation_layers
    layers = generator.default_truncation_layers if layers is None else layers
    if layers > generator.num_w_layers:
        raise UsageError(
            f"--truncation-layers is {layers}; {loaded.path} has {generator.num_w_layers} W+ layers, "
            "expected no more"
        )
    psi = config.generator.truncation
    return RenderSettings(
        psi, layers, config.generator.noise, config.generator.noise_seed, (side, side), (first, last)
    )


def _average_latent(
    config: Config, loaded: LoadedGenerator, settings: RenderSettings
) -> tuple[np.ndarray, str]:
    """The average latent and how the store records its origin."""
    if config.generator.average_latent is None:
        return computed_average_latent(loaded.generator), f"mean of {NUM_AVERAGE_SAMPLES} seeded samples"
    average = load_average_latent(
        config.generator.average_latent,
        latent_size=loaded.generator.latent_size,
        num_w_layers=max(settings.truncation_layers, 1),
    )
    return (average[0] if len(average) == 1 else average), f"sha256 {array_sha256(average)}"


def _meta(
    config: Config,
    loaded: LoadedGenerator,
    latents: LatentSet,
    annotations: Annotations,
    settings: RenderSettings,
    average_record: str,
) -> fmt.FeatureMeta:
    generator = loaded.generator
    native = [(layer.name, layer.resolution, layer.channels) for layer in generator.layers]
    record = {
        "architecture": generator.architecture,
        "checkpoint": loaded.path.name,
        "sha256": loaded.sha256,
        "latent_space": latents.space,
        "truncation": settings.truncation,
        "truncation_layers": settings.truncation_layers,
        "average_latent": average_record,
        "noise": settings.noise,
        "noise_seed": settings.noise_seed,
        "render_batch": config.features.render_batch,
        "precision": "float32",
    }
    return fmt.FeatureMeta(
        layout=config.features.layout,
        grid=settings.grid,
        crop_rows=settings.crop_rows,
        layers=fmt.build_layers(native, settings.grid),
        classes=_classes(config, annotations),
        ignore=annotations.ignore,
        generator=record,
        inputs={
            "latents_sha256": array_sha256(latents.values),
            "masks_sha256": array_sha256(annotations.masks),
        },
        created=created_record(),
    )


def _classes(config: Config, annotations: Annotations) -> tuple[fmt.ClassInfo, ...]:
    colors = annotations.palette or tuple(default_palette(annotations.num_classes))
    named = config.annotations.classes
    if named:
        return tuple(fmt.ClassInfo(i, c.name, c.color or colors[i]) for i, c in enumerate(named))
    names = ("background", *(f"class_{i}" for i in range(1, annotations.num_classes)))
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
    raw = resources.store_bytes(meta, n)
    seconds = _render_seconds(job, device) * n + raw / WRITE_BYTES_PER_SECOND
    lines = [
        f"checkpoint   {job.loaded.path} ({job.loaded.generator.architecture}, "
        f"{job.loaded.generator.resolution} px)",
        f"images       {n}, latent space {job.latents.space}, {len(meta.classes)} classes",
        f"features     ({n}, {meta.height}, {meta.width}, {meta.channels}) float16 = "
        f"{human_bytes(dense_raw)} dense, "
        f"layout {meta.layout}",
        f"store        {location}: {human_bytes(raw)} raw, about "
        f"{human_bytes(resources.estimated_store_bytes(meta, n))} on disk",
        f"disk free    {'unknown (a URL)' if free is None else human_bytes(free)}",
        f"host memory  about {human_bytes(memory.host_bytes)} at the peak",
        f"device       {device}"
        + (f", about {human_bytes(_device_bytes(job))} at the peak" if on_gpu else ""),
        f"time         about {human_duration(seconds)}",
    ]
    note = resources.pyramid_note(meta, n)
    return [*lines, f"note         {note}"] if note else lines


def _device_bytes(job: ExtractJob) -> int:
    band = fmt.BAND * job.meta.width * job.meta.channels * 2
    return resources.render_bytes(job.loaded.generator, job.render_batch) + 2 * band


def _render_seconds(job: ExtractJob, device: torch.device) -> float:
    renderer = Renderer(job.loaded.generator, job.settings, job.average_latent, device)
    start = time.perf_counter()
    renderer.render(job.latents.values[:1], job.latents.space, [0])
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
        UsageError: ``memory_budget``, bytes of host memory that the process may take, is too little.
        RunError: the disk cannot hold it. MismatchError: the store was begun with other settings.
        OverflowError16: a feature does not fit float16.
    """
    memory = _plan_memory(job, device, memory_budget)
    location = Location.parse(job.store)
    done = 0 if overwrite else resources.committed_images(location)
    _check_disk(job, location, done, overwrite)
    writer = fstore.create(
        job.store,
        job.meta,
        num_images=job.num_images,
        latent_shape=job.latents.values.shape[1:],
        average_latent=job.average_latent,
        overwrite=overwrite,
        band_buffers=memory.band_buffers,
    )
    with closing(writer):
        pending = writer.pending()
        note = resources.pyramid_note(job.meta, job.num_images)
        if note and pending:
            say(note)
        if pending:
            _write_pending(job, device, writer, pending, memory.queue_depth)
    return (
        f"{location}: {job.num_images} images committed, features ({job.num_images}, {job.meta.height}, "
        f"{job.meta.width}, " + (f"{job.meta.channels}) float16, layout {job.meta.layout}")
    )


def _write_pending(
    job: ExtractJob,
    device: torch.device,
    writer: fstore.FeatureWriter,
    pending: list[int],
    queue_depth: int,
) -> None:
    # The stored one, not today's: computing it again moves by a rounding with the number of threads.
    store = fstore.open(job.store)
    stored = store.average_latent if isinstance(store, fstore.FeatureStore) else None
    average = job.average_latent if stored is None else stored
    renderer = Renderer(job.loaded.generator, job.settings, average, device)
    with (
        progress("extracting features", job.num_images, "images", job.num_images - len(pending)) as bar,
        BackgroundCalls(queue_depth, writer.stop) as background,
    ):

        def write(prepared: fstore.PreparedImage) -> None:
            writer.write(prepared)
            resources.return_freed_memory()
            bar.advance(1)

        for batch in _batches(pending, job.render_batch):
            for prepared in _rendered(job, renderer, writer, batch):
                background.submit(write, prepared)


def _check_disk(job: ExtractJob, location: Location, done: int, overwrite: bool) -> None:
    left = job.num_images - done
    pyramid = resources.estimated_store_bytes(replace(job.meta, layout="pyramid"), left)
    way_out = "make room, or put --store on another disk"
    if job.meta.layout == "dense":
        way_out = f"--layout pyramid would need about {human_bytes(pyramid)}; or {way_out}"
    needed = resources.estimated_store_bytes(job.meta, left)
    what = f"extracting {left} images ({job.meta.layout})"
    resources.check_disk(location, needed, what, way_out, overwrite=overwrite)


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
    rendered = renderer.render(job.latents.values[images], job.latents.space, images)
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
        yield writer.prepare(image, maps, picture, job.annotations.masks[image], job.latents.values[image])
