"""What ``dgan sample`` will make and how long that will take, in lines for people.

It renders, and labels, one image to estimate the time; it writes nothing.
"""

from __future__ import annotations

import time
from contextlib import nullcontext

import torch

from fstore.display import human_bytes, human_duration
from fstore.location import Location
from pipeline.machine.threads import one_thread
from pipeline.rendering.side_by_side import renders_at_once, renders_on_one_thread
from pipeline.settings.options import DIVERSE, RANDOM, UNCERTAIN
from pipeline.stages.sample.annotated import rarest_in_words
from pipeline.stages.sample.checks import picture_bytes
from pipeline.stages.sample.choice import latent_values, scored_images
from pipeline.stages.sample.job import SampleJob
from pipeline.stages.sample.project import shown


def plan_lines(job: SampleJob, device: torch.device) -> list[str]:
    """What the run makes and costs, a line for each subject."""
    options, settings = job.options, job.settings
    height, width = settings.crop_rows[1] - settings.crop_rows[0], settings.grid[1]
    free = Location.parse(options.out).free_bytes()
    return [
        f"checkpoint   {job.loaded.path} ({job.loaded.generator.architecture}, "
        f"{job.loaded.generator.resolution} px)",
        f"images       {options.num} of {height} x {width}, {choice_in_words(job)}",
        f"folder       {shown(options.out)}: "
        + (f"{len(job.present)} images are there already" if job.present else "new")
        + f", at most {human_bytes(picture_bytes(job))} of pictures",
        f"disk free    {'unknown' if free is None else human_bytes(free)}",
        f"device       {device}",
        f"time         about {human_duration(_seconds(job, device))}",
    ]


def _seconds(job: SampleJob, device: torch.device) -> float:
    options, renderer = job.options, job.renderer(device)
    start = time.perf_counter()
    size = job.config.features.render_batch
    with one_thread() if renders_on_one_thread(device, size) else nullcontext():
        renderer.render(latent_values([(options.seed, 0)], job.loaded.generator.z_size), "z", [0])
    at_once = renders_at_once(device, size)
    seconds = (len(job.present) + options.num) * (time.perf_counter() - start) / at_once
    if job.trained is not None:
        source = scored_images(job, renderer, job.trained)
        start = time.perf_counter()
        source.batch([0], 1).host_arrays()
        seconds += job.pool_size * (time.perf_counter() - start)
    return seconds


def choice_in_words(job: SampleJob) -> str:
    """How the images are chosen, as ``the most spread of 800``."""
    options, pool, interpreter = job.options, job.pool_size, job.config.synthesize.interpreter
    if job.trained is not None and job.annotated is not None:
        rarest = rarest_in_words(job.trained.interpreter.info, job.annotated)
        store = job.config.features.store
        return (
            f"those of {pool} that by {interpreter} show most of the classes with the fewest pixels in "
            f"{store} ({rarest})"
        )
    if options.by == RANDOM:
        return f"the first of seed {options.seed}"
    unsure = f"those of {pool} of which {interpreter} is least sure"
    words = {DIVERSE: f"the most spread of {pool}", UNCERTAIN: unsure}
    return words.get(options.by, f"the most spread of {unsure}")
