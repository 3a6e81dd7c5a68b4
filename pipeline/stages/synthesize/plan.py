"""What ``dgan synthesize`` will make and what that will cost, in lines for people.

It renders and labels one batch to estimate the time; it writes nothing.
"""

from __future__ import annotations

import time

import torch

from fstore.display import human_bytes, human_duration
from fstore.location import Location
from pipeline.errors import count
from pipeline.stages import costs
from pipeline.stages.synthesize.filter_choice import filter_of
from pipeline.stages.synthesize.job import SynthesizeJob, make_source
from pipeline.stages.synthesize.memory import SynthesisMemory, label_bytes
from pipeline.stages.synthesize.precision import COMPARED_IMAGES, expected_precision, precision_words


def plan_lines(
    job: SynthesizeJob, device: torch.device, memory: SynthesisMemory, *, overwrite: bool
) -> list[str]:
    """What the run makes and costs, a line for each subject."""
    config, meta, info = job.config, job.meta, job.interpreter.info
    location = Location.parse(config.store)
    free = location.free_bytes()
    precision, settled = expected_precision(job, device, overwrite=overwrite)
    num_images = config.num if settled else config.num + 2 * len(COMPARED_IMAGES)  # those are labelled twice
    seconds = _seconds_an_image(job, device, precision, memory) * num_images
    device_bytes = costs.render_bytes(job.loaded.generator, config.render_batch)
    device_bytes += label_bytes(job, config.tile)
    on_device = f", about {human_bytes(device_bytes)} at the peak" if device.type == "cuda" else ""
    learnt, made = ("class", "labels") if info.keypoints is None else ("keypoint", "heat maps, keypoints")
    return [
        f"interpreter  {config.interpreter}: {count(info.members, 'member')}, "
        f"{count(info.num_outputs, learnt)}, "
        f"{precision_words(precision, settled)}",
        f"checkpoint   {job.loaded.path}",
        f"images       {config.num} of ({meta.shape[0]}, {meta.shape[1]}, 3) uint8, with {made} and "
        "divergence",
        f"filter       {filter_of(job).words()}, by {meta.score}",
        f"store        {location}: {human_bytes(costs.dataset_bytes(meta, config.num))} raw, about as "
        "much on disk",
        f"disk free    {'unknown (a URL)' if free is None else human_bytes(free)}",
        f"host memory  about {human_bytes(memory.host_bytes)} at the peak",
        f"device       {device}{on_device}",
        f"time         about {human_duration(seconds)}",
        *(f"note         {note}" for note in job.notes),
    ]


def _seconds_an_image(
    job: SynthesizeJob, device: torch.device, precision: torch.dtype, memory: SynthesisMemory
) -> float:
    source, size = make_source(job, device, precision, memory.tile_rows), job.config.render_batch
    source.batch(range(size), 1).host_arrays()  # the first of its kind takes longer
    start = time.perf_counter()
    source.batch(range(size), size).host_arrays()
    return (time.perf_counter() - start) / size
