"""The purposes of random numbers in one table, so that no two purposes ever share numbers.

Every use of numpy's Philox generator (Philox4x64-10, Salmon et al. 2011) is named here. Its key is (seed,
index), and its counter has four words of 64 bits, of which the first counts what has been drawn:

    counter = [0, 0, part, purpose]     this table; ``part`` is for purposes that need a third number
    counter = [0, purpose, path, path]  the sampler's (``fstore.plan.Purpose``); its purpose 0 has no path

A purpose of this table is never 0, so the last word tells it from every other one and from the sampler's
purpose 0; the sampler's other purposes differ in the second word. Two streams whose keys or last three words
differ have no number in common before 2^64 blocks are drawn.

Some things are drawn by other generators, which share no stream with Philox: a training's split of images
(PCG64), its members' first weights, a segmenter's weights and dropout, and a translator's weights (torch's
Mersenne Twister).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for: the last word of its counter. A value is never used again for something else."""

    AVERAGE_LATENT = 1
    """Samples whose mapped mean is the average latent of a checkpoint that has none."""
    CONSTANT_NOISE = 2
    """Noise maps that all images share, by layer."""
    ANNOTATED_NOISE = 3
    """Noise maps of one annotated image, by image and layer."""
    DEMO_LATENTS = 7
    """The latents that the demo has annotated."""
    ANNOTATED_LATENTS = 8
    """Latents that ``dgan sample`` offers for annotation."""
    DATASET_LATENTS = 9
    """Latents of a dataset's images."""
    DATASET_NOISE = 10
    """Noise maps of one image of a dataset, by image and layer."""
    EXPORT_SPLIT = 11
    """Which part of an export an image belongs to, by image."""
    SEGMENT_ORDER = 12
    """The order of a segmenter's images, by epoch."""
    SEGMENT_AUGMENTATION = 13
    """How an image is mirrored, cropped and coloured, by epoch and image."""
    REAL_SPLIT = 14
    """Which annotated photographs are tested on."""
    TRANSLATE_ORDER = 15
    """The order of a side's images, by epoch; the part is the side, or 2 for pairs."""
    TRANSLATE_CROP = 16
    """How an image is cropped, by epoch and place in its order; the part is the side, or 2 for pairs."""
    TRANSLATE_SPLIT = 17
    """Which images of a side validate; the part is the side, or 2 for pairs."""
    DEMO_PHOTOGRAPHS = 18
    """The latents of the demo's photographs."""
    SEGMENT_TORCH = 19
    """Seeds of torch's generator while a segmenter learns: of its first weights, then one a step."""
    TRANSLATE_WEIGHTS = 20
    """Seeds of torch's generator for the first weights of a translator, by network."""


def counter_based(purpose: Purpose, seed: int, index: int, part: int = 0) -> np.random.Generator:
    """A generator that is a pure function of its arguments; ``seed``, ``index`` and ``part`` in [0, 2^64)."""
    key = np.array([seed, index], dtype=np.uint64)
    counter = np.array([0, 0, part, purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
