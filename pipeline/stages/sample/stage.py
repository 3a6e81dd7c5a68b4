"""``dgan sample``: images to annotate, with everything that makes ``dgan extract-features`` the next command.

It reads what there is, renders what ``pipeline.stages.sample.choice`` chooses, and has
``pipeline.stages.sample.placing`` put it in place. It knows neither feature stores nor annotations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UsageError, count
from pipeline.inputs.checkpoint_choice import is_demos, load_chosen
from pipeline.inputs.generator import average_latent, generator_record, render_settings
from pipeline.interpreter.files import load_interpreter
from pipeline.interpreter.identity import check_unchanged
from pipeline.interpreter.pairing import PairedInterpreter, load_paired
from pipeline.interpreter.released import is_released
from pipeline.machine.progress import progress
from pipeline.machine.provenance import created_record
from pipeline.machine.read_ahead import read_ahead
from pipeline.machine.threads import one_thread
from pipeline.models.selection import SelectedLayers
from pipeline.rendering.latents import array_sha256
from pipeline.rendering.renderer import Renderer, RenderSettings
from pipeline.rendering.side_by_side import renders_at_once, renders_on_one_thread
from pipeline.settings.classes import configured_classes
from pipeline.settings.options import RARE, UNCERTAIN
from pipeline.settings.schema import KEYPOINTS, AnnotationsConfig, ClassConfig, Config
from pipeline.stages.sample import project
from pipeline.stages.sample.annotated import annotated_pixels
from pipeline.stages.sample.checks import check_disk, check_pool, check_replaceable, present_project
from pipeline.stages.sample.choice import chosen_latents, latent_values
from pipeline.stages.sample.contact_sheet import contact_sheet, thumbnail
from pipeline.stages.sample.job import SampleJob, SampleOptions
from pipeline.stages.sample.placing import new_project
from pipeline.stages.sample.plan import choice_in_words, plan_lines
from pipeline.stages.sample.ways import ASKING, RECORDED

MAX_SHEET_IMAGES = 1000


def as_trained(config: Config) -> Config:
    """The configuration with the rendering, the task and the classes of the interpreter that it names.

    The average latent is not taken over. A release's members record none of this, so they change nothing.
    Raises UsageError where there is no interpreter.
    """
    if is_released(config.synthesize.interpreter):
        return config
    info = load_interpreter(config.synthesize.interpreter).info
    settings = RenderSettings.from_record(info.generator, info.grid, info.crop_rows)
    label, key = info.generator.get("class_label"), info.generator.get("key")
    demo = config.demo and is_demos(info.generator)
    annotations = AnnotationsConfig() if config.demo and not demo else config.annotations
    keypoints = info.keypoints
    classes = () if keypoints else tuple(ClassConfig(c.name, c.color) for c in info.classes)
    sigma = keypoints.sigma if keypoints else None
    return replace(
        config,
        demo=demo,
        annotations=replace(
            annotations, classes=classes, num_classes=None, task=info.task, sigma=sigma, ignore=info.ignore
        ),
        generator=replace(
            config.generator,
            truncation=settings.truncation,
            truncation_layers=settings.truncation_layers,
            noise=settings.noise,
            noise_seed=settings.noise_seed,
            class_label=label if isinstance(label, int) else None,
            key=key if isinstance(key, str) else None,
        ),
        features=replace(
            config.features, resolution=info.grid[0], crop_rows=info.crop_rows, upsample=info.upsample
        ),
    )


def prepare(config: Config, options: SampleOptions) -> SampleJob:
    """Read checkpoint, average latent, interpreter and the project that is there.

    Raises UsageError, one line, for any that does not fit, and where files are in the way.
    """
    trained = load_paired(config) if options.by in ASKING else None
    loaded = load_chosen(config) if trained is None else trained.loaded
    if trained is not None and config.generator.checkpoint is None and not config.demo:
        config = replace(config, generator=replace(config.generator, checkpoint=loaded.path))
    if isinstance(loaded.generator, SelectedLayers):  # the interpreter has learnt these alone
        layers = ",".join(layer.name for layer in loaded.generator.layers)
        config = replace(config, features=replace(config.features, layers=layers))
    settings = render_settings(config, loaded)
    if trained is not None:
        _check_shape(settings, trained, config)
        _check_task(trained, config)
    if trained is not None and config.generator.average_latent is None:
        average, origin = trained.average_latent, "the interpreter's"
    else:
        average, origin = average_latent(config, loaded, settings)
    record = generator_record(
        loaded, settings, latent_space="z", average=origin, render_batch=config.features.render_batch
    )
    rendering = {
        **{key: value for key, value in record.items() if key not in ("checkpoint", "average_latent")},
        "average_latent_sha256": array_sha256(average.reshape(-1, average.shape[-1])),  # not where it is from
        "grid": list(settings.grid),
        "crop_rows": list(settings.crop_rows),
    }
    found = present_project(options, rendering)
    annotated = None
    if trained is not None and options.by == RARE:
        if trained.interpreter.info.keypoints is not None:
            raise UsageError(
                f"{config.synthesize.interpreter}: has learnt keypoints; --by {RARE} is for classes: choose "
                f"--by {UNCERTAIN}"
            )
        annotated = annotated_pixels(config.features.store, trained.interpreter.info)
    job = SampleJob(loaded, config, options, settings, average, rendering, trained, found, annotated)
    check_pool(options, job.pool_size)
    return job


def _check_shape(settings: RenderSettings, trained: PairedInterpreter, config: Config) -> None:
    info = trained.interpreter.info
    if (settings.grid, settings.crop_rows) != (info.grid, info.crop_rows):
        raise UsageError(
            f"{config.synthesize.interpreter}: was trained on a grid of {info.grid[0]} pixels, rows "
            f"{info.crop_rows}; this run has {settings.grid[0]}, rows {settings.crop_rows}: leave out "
            "--resolution and --crop-rows"
        )


def _check_task(trained: PairedInterpreter, config: Config) -> None:
    learnt, task = trained.interpreter.info.task, config.annotations.task
    if learnt != task:
        raise UsageError(
            f"{config.synthesize.interpreter}: has learnt {learnt}, this run is for {task}; set --task or "
            f"[annotations] task of {config.source}, or name another interpreter"
        )


def dry_run(job: SampleJob, device: torch.device) -> list[str]:
    """What ``sample`` would make, a line for each subject; it raises what that would refuse.

    Where there are annotations already, the latents are chosen as in the run; for this the pool may be
    rendered.
    """
    check_disk(job)
    before = project.read_project(job.options.out)
    if before is not None and before.num_annotations:
        check_replaceable(job, chosen_latents(job, job.renderer(device))[0])
    return plan_lines(job, device)


def sample(job: SampleJob, device: torch.device) -> str:
    """Choose and render images, and write the whole folder in one step.

    An interruption leaves what was there before.

    Returns:
        One line on what is there.

    Raises:
        UsageError: annotated images would change, or another run has changed the project since ``prepare``
        read it. StoreError: another run works on it. RunError: the disk cannot hold the pictures, or another
        interpreter has taken the place of the one that was asked.
    """
    out, options = job.options.out, job.options
    check_disk(job)
    with new_project(out, job.found, keep_config=options.add) as folder:  # from here on this run alone
        renderer = job.renderer(device)
        latents, scores = chosen_latents(job, renderer)
        check_replaceable(job, latents)
        if job.trained is not None:
            check_unchanged(job.config.synthesize.interpreter, job.trained.interpreter.sha256)
        values = latent_values(latents, job.loaded.generator.z_size)
        _write_pictures(job, renderer, values, folder)
        np.save(folder / project.LATENTS, values)
        np.save(folder / project.AVERAGE_LATENT, job.average_latent)
        classes, _ = configured_classes(job.config.annotations)
        _write_text(folder / project.CLASSES, project.classes_text(classes))
        _write_text(folder / project.RECORD, _record(job, latents, scores))
        config = project.project_config(job.config, job.settings, out)
        _write_text(folder / project.CONFIG, project.config_text(config))
        check_replaceable(job, latents)  # annotations may have come meanwhile
    return _summary(job, len(latents))


def _summary(job: SampleJob, num_images: int) -> str:
    out, options = job.options.out, job.options
    images = f"{count(num_images, 'image')} to annotate"
    if options.add:
        images = f"{count(options.num, 'image')} added, {num_images} in all to annotate"
    classes = f" name the classes in {out / project.CLASSES},"
    if job.config.annotations.task == KEYPOINTS:
        classes = ""
    return (
        f"{project.shown(out)}: {images}, {choice_in_words(job)}; save annotations in "
        f"{out / project.MASKS},{classes} then run `dgan extract-features --config {out / project.CONFIG}`"
    )


def _write_pictures(job: SampleJob, renderer: Renderer, latents: NDArray[np.float32], folder: Path) -> None:
    """Write ``images/`` and the contact sheet."""
    thumbnails: list[Image.Image] = []
    with progress("rendering", len(latents), "images") as bar:
        for number, picture in enumerate(_pictures(job, renderer, latents)):
            Image.fromarray(picture).save(folder / project.IMAGES / f"image_{number}.png")
            if number < MAX_SHEET_IMAGES:
                thumbnails.append(thumbnail(picture))
            bar.advance(1)
    contact_sheet(thumbnails, range(len(thumbnails))).save(folder / project.SHEET)


def _pictures(
    job: SampleJob, renderer: Renderer, latents: NDArray[np.float32]
) -> Iterator[NDArray[np.uint8]]:
    """The picture of each latent, bit for bit as extraction renders it: short batches are filled up, too."""
    size, num = job.config.features.render_batch, len(latents)

    def of_batch(first: int) -> list[NDArray[np.uint8]]:
        images = [min(first + place, num - 1) for place in range(size)]
        rendered = renderer.render(latents[images], "z", images)
        return [renderer.picture(rendered.images[place]) for place in range(min(size, num - first))]

    batches = range(0, num, size)
    if not renders_on_one_thread(renderer.device, size):
        yield from chain.from_iterable(map(of_batch, batches))
        return
    at_once = renders_at_once(renderer.device, size)
    with one_thread():
        yield from chain.from_iterable(read_ahead(of_batch, batches, at_once, most_threads=at_once))


def _record(job: SampleJob, latents: Sequence[tuple[int, int]], scores: list[float] | None) -> str:
    """``sample.json``."""
    options = job.options
    record: dict[str, Any] = {
        "version": project.RECORD_VERSION,
        "kind": "sample",
        "latents": [list(pair) for pair in latents],
        "rendering": job.rendering,
        "chosen": {
            "by": RECORDED[options.by],
            "pool": job.pool_size,
            "images": [len(job.present), len(latents)],
        },
        "created": created_record(),
    }
    if job.trained is not None:
        record["chosen"]["interpreter"] = job.trained.interpreter.sha256
        record["chosen"]["uncertainty"] = [score if isfinite(score) else None for score in scores or ()]
        if job.annotated is not None:
            names = [entry.name for entry in job.trained.interpreter.info.classes]
            record["chosen"]["annotated"] = dict(zip(names, job.annotated.tolist(), strict=True))
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in record.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
