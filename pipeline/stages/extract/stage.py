"""``dgan extract-features``: annotated latents through the generator into a feature store.

``prepare`` reads the input; ``dry_run`` says what the run would make, cost or refuse; ``extract`` renders
what is not committed yet, image by image. It knows neither training nor labelling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import torch

import fstore
from fstore import format as fmt
from fstore.errors import StoreError
from fstore.location import Location
from pipeline.checkpoints.read import LoadedGenerator
from pipeline.cluster.choice import ClusterChoice
from pipeline.errors import count
from pipeline.inputs.annotations.load import Annotations
from pipeline.inputs.checkpoint_choice import load_chosen
from pipeline.inputs.generator import generator_record, render_settings
from pipeline.inputs.pictures.check import check_pictures
from pipeline.machine.in_hand import batches_finished, until_asked
from pipeline.machine.memory import return_freed_memory
from pipeline.machine.progress import progress
from pipeline.machine.provenance import created_record
from pipeline.quality.annotation_review import review_annotations
from pipeline.rendering.layer_selection import with_layers
from pipeline.rendering.renderer import Renderer, RenderSettings
from pipeline.rendering.side_by_side import renders_on_one_thread
from pipeline.settings.classes import default_names, default_palette
from pipeline.settings.schema import Config
from pipeline.stages import costs
from pipeline.stages.extract.average_latent import run_average
from pipeline.stages.extract.batches import batch_images, pending_batches, render_batch
from pipeline.stages.extract.begun import begun_images
from pipeline.stages.extract.checks import check
from pipeline.stages.extract.inputs import ExtractInputs, read_inputs
from pipeline.stages.extract.job import ExtractJob
from pipeline.stages.extract.memory import ExtractMemory
from pipeline.stages.extract.plan import plan_lines
from pipeline.stages.extract.side_by_side import render_and_write
from pipeline.stages.extract.workers import opened_pool, write_on_workers


def prepare(config: Config, *, overwrite: bool = False) -> ExtractJob:
    """Read checkpoint, average latent, latents and annotations.

    ``overwrite``: nothing is taken over from a store that is there already. Raises UsageError, one line, for
    whatever does not fit, and StoreError where the store that the run would go on with is damaged.
    """
    loaded = with_layers(load_chosen(config), config.features.layers)
    settings = render_settings(config, loaded)
    average, origin = run_average(config, loaded, settings, overwrite=overwrite)
    features = config.features
    begun = begun_images(features.store, overwrite=overwrite)
    inputs = read_inputs(config, loaded, settings, average, begun.numbers)
    meta = _meta(config, loaded, inputs, settings, origin)
    return ExtractJob(
        loaded, inputs, average, settings, meta, features.store, features.render_batch, begun, config
    )


def _meta(
    config: Config,
    loaded: LoadedGenerator,
    inputs: ExtractInputs,
    settings: RenderSettings,
    average_origin: str,
) -> fmt.FeatureMeta:
    generator = loaded.generator
    native = [(layer.name, layer.resolution, layer.channels) for layer in generator.layers]
    record = generator_record(
        loaded,
        settings,
        latent_space=inputs.latents.space,
        average=average_origin,
        render_batch=config.features.render_batch,
    )
    return fmt.FeatureMeta(
        layout=config.features.layout,
        grid=settings.grid,
        crop_rows=settings.crop_rows,
        layers=fmt.build_layers(native, settings.grid),
        classes=_classes(inputs.annotations),
        ignore=inputs.annotations.ignore,
        upsample=config.features.upsample,
        generator=record,
        inputs=inputs.record,
        created=created_record(),
        keypoints=_keypoints(inputs),
    )


def _keypoints(inputs: ExtractInputs) -> fmt.KeypointInfo | None:
    found = inputs.keypoints
    return None if found is None else fmt.KeypointInfo(found.names, found.sigma)


def _classes(annotations: Annotations) -> tuple[fmt.ClassInfo, ...]:
    colors = annotations.palette or tuple(default_palette(annotations.num_classes))
    names = annotations.names or default_names(annotations.num_classes)
    return tuple(
        fmt.ClassInfo(i, name, color) for i, (name, color) in enumerate(zip(names, colors, strict=True))
    )


def dry_run(
    job: ExtractJob, device: torch.device, *, overwrite: bool = False, memory_budget: int | None = None
) -> list[str]:
    """What ``extract`` would make and cost, a line for each subject; it raises what the run would refuse.

    The annotated pictures are not compared: that renders every image.
    """
    memory, revision = check(job, device, overwrite=overwrite, memory_budget=memory_budget)
    return plan_lines(job, device, memory, revision)


def extract(
    job: ExtractJob,
    device: torch.device,
    *,
    overwrite: bool = False,
    memory_budget: int | None = None,
    cluster: ClusterChoice | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """Render and write what is not committed yet, with several images in hand at once.

    A store that is there may hold fewer images, and other annotations of them: those are written anew.
    ``cluster``: processes that render and write; None: this one does. ``memory_budget`` is of each.

    Returns:
        One line on what is in the store.

    Raises:
        UsageError: ``memory_budget``, bytes of host memory that the process may take, is too little, or the
            annotated pictures are not what the latents render.
        RunError: the disk cannot hold it. MismatchError: the store was begun with other settings.
        OverflowError16: a feature does not fit float16.
    """
    memory, revision = check(job, device, overwrite=overwrite, memory_budget=memory_budget)
    location = Location.parse(job.store)
    for line in job.inputs.notes:
        say(line)
    _check_pictures(job, device, job.to_compare(revision), say)
    change = job.change_line(revision)
    if change is not None:
        say(change)
    with (
        opened_pool(cluster, job, revision, say) as pool,
        closing(_open_store(job, memory, overwrite)) as writer,
    ):
        pending = writer.pending()
        note = costs.pyramid_note(job.meta, job.num_images)
        if note and pending:
            say(note)
        if pending and pool is not None:
            write_on_workers(job, writer, pending, pool, memory_budget)
        elif pending:
            _write_pending(job, device, writer, pending, memory)
    return (
        f"{location}: {count(job.num_images, 'image')} committed, features ({job.num_images}, "
        f"{job.meta.height}, {job.meta.width}, " + (f"{job.meta.channels}) float16, layout {job.meta.layout}")
    )


def _open_store(job: ExtractJob, memory: ExtractMemory, overwrite: bool) -> fstore.FeatureWriter:
    """Create the store, or go on with it."""
    return fstore.create(
        job.store,
        job.meta,
        num_images=job.num_images,
        latent_shape=job.inputs.latents.values.shape[1:],
        average_latent=job.average_latent,
        overwrite=overwrite,
        band_buffers=memory.band_buffers,
        annotated=job.annotated,
    )


def annotation_lines(job: ExtractJob) -> list[str]:
    """One line on what looks wrong in the annotations of the finished store, with its pictures; none where
    nothing does.

    An image that an earlier run has rendered is looked at too: its mask may be new, and its picture is there.
    """
    try:
        store = fstore.open(job.store)
        assert isinstance(store, fstore.FeatureStore), "it was written as one"
        with progress("looking at the annotations", len(store), "images") as bar:
            line = review_annotations(store, bar.advance).line(str(store.location))
    except StoreError as error:  # the store that the run was asked for is there all the same
        return [f"annotations: not looked at: {error}"]
    return [] if line is None else [line]


def _check_pictures(
    job: ExtractJob, device: torch.device, numbers: frozenset[int], say: Callable[[str], None]
) -> None:
    """Compare the pictures of the images ``numbers``; an earlier run has compared the others."""
    inputs = job.inputs
    if inputs.picture_note and numbers:
        say(inputs.picture_note)
    pictures = {number: path for number, path in inputs.pictures.items() if number in numbers}
    if pictures:
        generator, average = job.loaded.generator, job.average_latent
        settings = job.settings
        check_pictures(pictures, inputs.latents, generator, settings, average, device, say, len(numbers))


def _write_pending(
    job: ExtractJob,
    device: torch.device,
    writer: fstore.FeatureWriter,
    pending: list[int],
    memory: ExtractMemory,
) -> None:
    renderer = Renderer(job.loaded.generator, job.settings, job.average_latent, device)
    render = partial(_rendered, job, renderer, writer)
    with (
        progress("extracting features", job.num_images, "images", job.num_images - len(pending)) as bar,
        batches_finished(),
    ):

        def write(prepared: fstore.PreparedImage) -> None:
            writer.write(prepared)
            return_freed_memory()
            bar.advance(1)

        batches = until_asked(pending_batches(pending, job.render_batch))
        alone = renders_on_one_thread(device, job.render_batch)
        render_and_write(batches, render, write, memory, on_one_thread=alone, stop=writer.stop)


def _rendered(
    job: ExtractJob, renderer: Renderer, writer: fstore.FeatureWriter, batch: tuple[int, list[int]]
) -> Iterator[fstore.PreparedImage]:
    """Render a batch and prepare the images of it that are wanted."""
    first, wanted = batch
    latents, annotations, keypoints = job.inputs.latents, job.inputs.annotations, job.inputs.keypoints
    images = batch_images(first, job.render_batch, job.num_images)
    numbers = [latents.numbers[image] for image in images]
    for image, maps, picture in render_batch(
        renderer, latents.values[images], latents.space, images, numbers, wanted
    ):
        points = None if keypoints is None else keypoints.points[image]
        yield writer.prepare(image, maps, picture, annotations.masks[image], latents.values[image], points)
