"""What ``dgan extract-features`` refuses before it starts. The run and ``--dry-run`` make the same checks.

They read what is there and write nothing.
"""

from __future__ import annotations

from dataclasses import replace

import torch

import fstore
from fstore.display import human_bytes
from fstore.location import Location
from pipeline.errors import count
from pipeline.stages import costs
from pipeline.stages.extract.job import ExtractJob
from pipeline.stages.extract.memory import ExtractMemory, extract_sizes, plan_memory


def check(
    job: ExtractJob, device: torch.device, *, overwrite: bool, memory_budget: int | None
) -> tuple[ExtractMemory, fstore.Revision | None]:
    """Check that the run can start.

    Returns how it shares out its memory, and what it changes in a store that it goes on with.

    ``memory_budget``: bytes of host memory that the process may take; None: as many as make it faster.

    Raises:
        UsageError: the budget is too small. MismatchError: the store was begun with other settings, or of
            an image that it holds the latent is another one or the annotation is gone.
        StoreError: something else lies there, or another writer has it open. RunError: the disk cannot hold
            what is left to write.
    """
    on_gpu = device.type == "cuda"
    sizes = extract_sizes(
        job.meta,
        job.num_images,
        job.loaded.generator,
        job.render_batch,
        on_gpu=on_gpu,
        threads=torch.get_num_threads(),
    )
    memory = plan_memory(sizes, memory_budget)
    latent_shape = job.inputs.latents.values.shape[1:]
    revision = fstore.check_create(
        job.store,
        job.meta,
        num_images=job.num_images,
        latent_shape=latent_shape,
        overwrite=overwrite,
        annotated=job.annotated,
    )
    _check_disk(job, overwrite)
    return memory, revision


def _check_disk(job: ExtractJob, overwrite: bool) -> None:
    location = Location.parse(job.store)
    left = job.num_images - (0 if overwrite else costs.committed_images(location))
    way_out = "make room, or put --store on another disk"
    if job.meta.layout == "dense":
        pyramid = costs.estimated_store_bytes(replace(job.meta, layout="pyramid"), left)
        way_out = f"--layout pyramid would need about {human_bytes(pyramid)}; or {way_out}"
    needed = costs.estimated_store_bytes(job.meta, left)
    what = f"extracting {count(left, 'image')} ({job.meta.layout})"
    costs.check_disk(location, needed, what, way_out, overwrite=overwrite)
