"""What ``dgan translate apply`` will make and what that will cost, in lines for people.

It translates one batch of black images to estimate the time; it writes nothing.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from fstore.display import human_bytes, human_duration
from fstore.location import Location
from pipeline.errors import count
from pipeline.machine.provenance import translator_words
from pipeline.stages import costs
from pipeline.translate.application.images import ImageTranslation
from pipeline.translate.application.job import ApplicationJob


def plan_lines(job: ApplicationJob, device: torch.device) -> list[str]:
    """What the run makes and costs, a line for each subject."""
    meta, num, location = job.meta, job.source.num_images, Location.parse(job.store)
    (height, width), (rows, columns) = meta.shape, job.size
    done = 0 if job.overwrite else costs.committed_images(location)
    free, left = location.free_bytes(), num - done
    what = "labels" if meta.keypoints is None else "heat maps, keypoints"
    at = "" if job.size == meta.shape else f", translated at {rows} x {columns}"
    going_on = f", {done:,} of them are there" if done else ""
    return [
        f"dataset      {job.source.location}: {count(num, 'image')} of {height} x {width} pixels{at}"
        f"{going_on}",
        f"translator   {translator_words(meta.translator or {})}",
        f"copied       {what}, divergence, latents, the filter: {int(job.filter.kept.sum()):,} kept",
        f"store        {location}: {human_bytes(costs.dataset_bytes(meta, num))} raw, about as much on disk",
        f"disk free    {'unknown (a URL)' if free is None else human_bytes(free)}",
        f"device       {device}",
        f"time         about {human_duration(_seconds_an_image(job, device) * left)}",
        *(f"note         {note}" for note in job.notes),
    ]


def _seconds_an_image(job: ApplicationJob, device: torch.device) -> float:
    translation = ImageTranslation(job.translator.network, job.size, device)
    images = np.zeros((translation.num_at_once, *job.meta.shape, 3), np.uint8)
    translation.translated(images[:1])  # the first takes longer
    start = time.perf_counter()
    translation.translated(images)
    return (time.perf_counter() - start) / len(images)
