"""What ``dgan extract-features`` will make and what that will cost, in lines for people.

It renders one image to estimate the time; it writes nothing.
"""

from __future__ import annotations

import time
from contextlib import nullcontext

import torch

import fstore
from fstore import format as fmt
from fstore.display import human_bytes, human_duration
from fstore.location import Location
from pipeline.errors import count
from pipeline.machine.threads import one_thread
from pipeline.rendering.renderer import Renderer
from pipeline.rendering.side_by_side import renders_on_one_thread
from pipeline.stages import costs
from pipeline.stages.extract.job import ExtractJob
from pipeline.stages.extract.memory import ExtractMemory

# Of dense features resized, compressed and written on two cores (docs/performance.md).
WRITE_BYTES_PER_SECOND = 200e6


def plan_lines(
    job: ExtractJob, device: torch.device, memory: ExtractMemory, revision: fstore.Revision | None
) -> list[str]:
    """What the run makes and costs, a line for each subject.

    ``revision``: what it changes in a store that it goes on with; None: it creates one.
    """
    meta, n = job.meta, job.num_images
    location = Location.parse(job.store)
    free = location.free_bytes()
    dense_raw = 2 * n * meta.height * meta.width * meta.channels
    raw = costs.store_bytes(meta, n)
    left = n - (0 if revision is None else len(revision.committed))
    seconds = _render_seconds(job, device) / memory.renderers * left + raw * left / n / WRITE_BYTES_PER_SECOND
    on_device = f", about {human_bytes(_device_bytes(job))} at the peak" if device.type == "cuda" else ""
    lines = [
        f"checkpoint   {job.loaded.path} ({job.loaded.generator.architecture}, "
        f"{job.loaded.generator.resolution} px)",
        f"images       {n}, latent space {job.inputs.latents.space}, {count(len(meta.classes), 'class')}",
        f"features     ({n}, {meta.height}, {meta.width}, {meta.channels}) float16 = "
        f"{human_bytes(dense_raw)} dense, layout {meta.layout}",
        f"store        {location}: {human_bytes(raw)} raw, about "
        f"{human_bytes(costs.estimated_store_bytes(meta, n))} on disk",
        f"disk free    {'unknown (a URL)' if free is None else human_bytes(free)}",
        f"host memory  about {human_bytes(memory.host_bytes)} at the peak",
        f"device       {device}{on_device}",
        f"time         about {human_duration(seconds)}",
    ]
    change = job.change_line(revision)
    if change is not None:
        lines.append(f"changes      {change}")
    pictures = len(job.to_compare(revision) & job.inputs.pictures.keys())
    if pictures:
        lines.append(f"pictures     {pictures}, compared with the renders before anything is written")
    notes = (*job.inputs.notes, job.inputs.picture_note, costs.pyramid_note(meta, n))
    return lines + [f"note         {note}" for note in notes if note]


def _device_bytes(job: ExtractJob) -> int:
    band = fmt.BAND * job.meta.width * job.meta.channels * 2
    return costs.render_bytes(job.loaded.generator, job.render_batch) + 2 * band


def _render_seconds(job: ExtractJob, device: torch.device) -> float:
    renderer = Renderer(job.loaded.generator, job.settings, job.average_latent, device)
    start = time.perf_counter()
    with one_thread() if renders_on_one_thread(device, job.render_batch) else nullcontext():
        renderer.render(job.inputs.latents.values[:1], job.inputs.latents.space, [0])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
