"""Decides the precision in which ``dgan synthesize`` labels, once for a dataset, which records it.

It knows the job and how its images are labelled; it writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import mean

import torch

import fstore
from fstore.location import Location
from pipeline.machine.device import TYPES, precision_name, resolve_precision
from pipeline.machine.progress import progress
from pipeline.stages.synthesize.job import SynthesizeJob, make_source

LEAST_AGREEMENT = 0.999  # of labels with float32's, for products of lower precision
GROUP = 4  # images, after which a clear answer ends the comparison
CLEAR = 3.0  # the answer is clear where so many times more, or fewer, labels change than may change
COMPARED_IMAGES = range(0, 16 * 61, 61)
"""Images of the dataset that decide: 16, spread over the first 1,000.

One batch could be unlike all others. They are the same whatever ``--num`` is, so that a dataset that is
lengthened later was decided on the same images; where it is shorter they are rendered for this alone.
"""


def expected_precision(
    job: SynthesizeJob, device: torch.device, *, overwrite: bool
) -> tuple[torch.dtype, bool]:
    """The precision in which the run labels, and whether it is settled. Else ``choose_precision`` compares.

    A precision is settled that is asked for by name, or with which an unfinished dataset was begun, and so is
    float32.
    """
    asked = job.config.precision
    begun = None if overwrite or asked != "auto" else _precision_of_store(job)
    precision = begun or resolve_precision(asked, device)
    return precision, asked != "auto" or begun is not None or precision == torch.float32


def choose_precision(
    job: SynthesizeJob,
    device: torch.device,
    say: Callable[[str], None],
    *,
    tile_rows: int | None = None,
    overwrite: bool = False,
) -> SynthesizeJob:
    """The job with the labelling's precision decided and recorded.

    Where it is not settled, bfloat16 is taken if its labels of 16 images agree with float32's on 99.9% of
    the pixels, or of the keypoints; else float32. That renders the images and labels each of them twice: of a
    face 10 s and more on two cores. So it ends after 4, 8 or 12 of them where those leave no doubt.
    """
    precision, settled = expected_precision(job, device, overwrite=overwrite)
    if not settled:
        agreement, compared = _agreement(job, device, precision, tile_rows)
        if agreement < LEAST_AGREEMENT:
            segments = job.interpreter.info.keypoints is None
            what = ("change the labels of", "pixels") if segments else ("move", "keypoints")
            say(
                f"{precision_name(precision)} products {what[0]} {1 - agreement:.2%} of the {what[1]} of "
                f"{compared} images, more than {1 - LEAST_AGREEMENT:.1%}; labelling in float32"
            )
            precision = torch.float32
    return with_precision(job, precision)


def _agreement(
    job: SynthesizeJob, device: torch.device, precision: torch.dtype, tile_rows: int | None
) -> tuple[float, int]:
    """The mean agreement of the images that were compared, and how many these are."""
    source = make_source(job, device, torch.float32, tile_rows)
    of_groups: list[float] = []
    with progress("comparing precisions", len(COMPARED_IMAGES), "images") as bar:
        for first in range(len(COMPARED_IMAGES) // GROUP):
            group = COMPARED_IMAGES[first :: len(COMPARED_IMAGES) // GROUP]  # spread as all of them are
            of_groups.append(
                source.agreement(group, precision, batch_size=job.config.render_batch, advance=bar.advance)
            )
            if is_clear(mean(of_groups)):
                break
    return mean(of_groups), len(of_groups) * GROUP


def is_clear(agreement: float) -> bool:
    """Whether an agreement is so far from the least one that more images would hardly change the answer."""
    changed, allowed = 1 - agreement, 1 - LEAST_AGREEMENT
    return not allowed / CLEAR <= changed <= allowed * CLEAR


def precision_words(precision: torch.dtype, settled: bool) -> str:
    """``bfloat16 products``, and on what that depends where it is not settled."""
    products = f"{precision_name(precision)} products"
    condition = f" where the labels of up to {len(COMPARED_IMAGES)} images agree with float32's"
    return products if settled else products + condition


def with_precision(job: SynthesizeJob, precision: torch.dtype) -> SynthesizeJob:
    """The job with this precision in what its dataset records."""
    interpreter = {**job.meta.interpreter, "precision": precision_name(precision)}
    return replace(job, meta=replace(job.meta, interpreter=interpreter))


def recorded_precision(job: SynthesizeJob) -> torch.dtype:
    """What ``with_precision`` recorded."""
    return TYPES[job.meta.interpreter["precision"]]


def _precision_of_store(job: SynthesizeJob) -> torch.dtype | None:
    location = Location.parse(job.config.store)
    if location.state() != "store":
        return None
    dataset = fstore.open(location.target)
    if not isinstance(dataset, fstore.Dataset):
        return None
    return TYPES.get(str(dataset.meta.interpreter.get("precision")))
