"""Makes the images of one task: rendered, labelled and scored, batch by batch.

It knows where arrays go only as a function that takes them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fstore import format as fmt
from pipeline.labelling.labelled_images import LabelledBatch, LabelledImages
from pipeline.stages.synthesize.job import SynthesizeJob
from pipeline.stages.synthesize.task_arrays import TaskArrays


def make_task(
    source: LabelledImages,
    job: SynthesizeJob,
    images: range,
    advance: Callable[[int], None],
    write_part: Callable[[str, int, np.ndarray], None],
) -> dict[str, np.ndarray]:
    """Make the images of one task, and return the arrays that ``write_part`` was not given file by file.

    Batches begin at multiples of their size and are rendered whole, even where the last images of one are not
    wanted. A batch is fetched from the device after the next one has been started.
    """
    arrays = TaskArrays(fmt.dataset_arrays(job.meta, job.config.num), images, write_part)
    size = job.config.render_batch

    def fetch(batch: LabelledBatch) -> None:
        arrays.add(batch.host_arrays())
        advance(len(batch.latents))

    before: LabelledBatch | None = None
    for first in range(images.start, images.stop, size):
        batch = source.batch(range(first, first + size), min(size, images.stop - first))
        if before is not None:
            fetch(before)
        before = batch
    if before is not None:
        fetch(before)
    return arrays.whole()
