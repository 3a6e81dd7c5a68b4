"""Chooses the latents to annotate: the first of a seed; or from a larger pool the most spread ones, those of
which an interpreter is least sure (DatasetGAN, Zhang et al., CVPR 2021, compares such a choice with others),
or those that by its labels show most of what is annotated least.

Latent i of the pool is latent i of the seed. It renders only to score, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.interpreter.pairing import PairedInterpreter
from pipeline.labelling.labelled_images import LabelledImages
from pipeline.machine.progress import progress
from pipeline.machine.random_streams import Purpose
from pipeline.rendering.latents import seeded_latents
from pipeline.rendering.renderer import Renderer
from pipeline.settings.options import RANDOM, UNCERTAIN
from pipeline.stages.sample.diversity import farthest_points, least_certain
from pipeline.stages.sample.job import SampleJob
from pipeline.stages.sample.rarity import class_pixels, rarest_first
from pipeline.stages.sample.ways import SPREADING

UNCERTAIN_PART = 4  # of both choices: the most spread of the least certain quarter of the pool
MAP_BATCH = 256


def chosen_latents(job: SampleJob, renderer: Renderer) -> tuple[list[tuple[int, int]], list[float] | None]:
    """(seed, number) of the project's images, those that are there first; the uncertainty of the new ones."""
    numbers, scores = choose(job, renderer)
    return [*job.present, *((job.options.seed, number) for number in numbers)], scores


def choose(job: SampleJob, renderer: Renderer) -> tuple[list[int], list[float] | None]:
    """Numbers of the new images in the order of choice, and the interpreter's uncertainty of each."""
    options = job.options
    taken = {number for seed, number in job.present if seed == options.seed}
    numbers = [n for n in range(job.pool_size + len(taken)) if n not in taken][: job.pool_size]
    if options.by == RANDOM:
        return numbers, None
    order, scores = np.arange(len(numbers)), None
    if job.trained is not None:
        scores, shown = _predictions(job, renderer, job.trained, numbers)
        if job.annotated is not None:
            assert shown is not None, "keypoints have no rare classes"
            order = rarest_first(shown, job.annotated, options.num)
        elif options.by == UNCERTAIN:
            order = least_certain(scores, options.num)
        else:
            order = least_certain(scores, max(options.num, ceil(len(numbers) / UNCERTAIN_PART)))
    if options.by in SPREADING:
        points = _mapped(job, renderer, [(options.seed, numbers[place]) for place in order])
        before = _mapped(job, renderer, job.present) if job.present else None
        order = order[farthest_points(points, options.num, before)]
    return [numbers[place] for place in order], None if scores is None else scores[order].tolist()


def _predictions(
    job: SampleJob, renderer: Renderer, trained: PairedInterpreter, numbers: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
    """(n,) each image's score by the interpreter's rule for datasets, of the most uncertain 10%; and (n, K)
    pixels of each class by its labels, NaN where the score is no finite number. None of keypoints.
    """
    source, info = scored_images(job, renderer, trained), trained.interpreter.info
    size = job.config.synthesize.render_batch
    scores, shown = [], []
    with progress("looking at the pool", len(numbers), "images") as bar:
        for batch in _batches(numbers, size):
            wanted = len(batch)
            filled = [*batch, *[batch[-1]] * (size - wanted)]
            arrays = source.batch(filled, wanted).host_arrays()
            scores.append(arrays["uncertainty"])
            if info.keypoints is None:
                pixels = class_pixels(arrays["labels"], len(info.classes))
                pixels[:, [entry.id == info.ignore for entry in info.classes]] = 0  # it is not looked for
                pixels[~np.isfinite(scores[-1])] = np.nan
                shown.append(pixels)
            bar.advance(wanted)
    return np.concatenate(scores), np.concatenate(shown) if shown else None


def scored_images(job: SampleJob, renderer: Renderer, trained: PairedInterpreter) -> LabelledImages:
    """The pool's images, scored as ``dgan synthesize`` scores, with products of float32.

    Raises UsageError for an interpreter with a weight that is no finite number.
    """
    info = trained.interpreter.info
    try:
        return LabelledImages(
            renderer,
            trained.interpreter.ensemble,
            info.layers,
            latent_purpose=Purpose.ANNOTATED_LATENTS,
            seed=job.options.seed,
            score="top10",
            precision=torch.float32,
            upsample=info.upsample,
            keypoints=info.keypoints is not None,
        )
    except ValueError as error:
        raise UsageError(f"{job.config.synthesize.interpreter}: {error}") from None


@torch.inference_mode()
def _mapped(job: SampleJob, renderer: Renderer, latents: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """(n, D) float32 in W of latents (seed, number). Truncation moves all of W toward one point alike, so it
    changes no choice.
    """
    generator = renderer.generator
    parts = []
    for first in range(0, len(latents), MAP_BATCH):
        values = latent_values(latents[first : first + MAP_BATCH], generator.z_size)
        parts.append(generator.mapping(torch.from_numpy(values).to(renderer.device)).cpu().numpy())
    return np.concatenate(parts)


def latent_values(latents: Sequence[tuple[int, int]], z_size: int) -> NDArray[np.float32]:
    """(n, D) float32 of Z: the latents (seed, number), none of which any dataset has."""
    rows = [seeded_latents(Purpose.ANNOTATED_LATENTS, seed, [number], z_size) for seed, number in latents]
    return np.concatenate(rows)


def _batches(numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    for first in range(0, len(numbers), size):
        yield list(numbers[first : first + size])
