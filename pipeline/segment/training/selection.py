"""Which of a dataset's images a segmenter learns from, by the rule of the released code.

Pure functions of scores. They know no stores.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

RELEASED_CERTAIN = 30


def released_slice(scores: NDArray[np.floating], keep: Fraction) -> NDArray[np.int64]:
    """The places, ascending, of the images that the released training learns from.

    It sorts all N images by uncertainty, the least first and equal ones by their place, computes
    n = int(N (1 - keep)), and takes ``[30 : -n + 30]`` as Python does (datasetGAN_release,
    ``train_deeplab.py``, whose ``--uncertainty_portion`` is 1 - keep): N - n images without the 30 most
    certain ones, and none at all where n is 30 or less.

    Args:
        scores: (N,) float, each image's uncertainty. NaN counts as infinity, as in the lists that
            ``dgan export --format released`` writes.
        keep: exactly the fraction that is kept.
    """
    order = np.argsort(np.where(np.isnan(scores), np.inf, scores), kind="stable")
    return np.sort(order[RELEASED_CERTAIN : RELEASED_CERTAIN - num_dropped(len(scores), keep)])


def num_dropped(num_images: int, keep: Fraction) -> int:
    """n: how many images the released filter drops of ``num_images``."""
    return int(num_images * (1 - keep))


def ids_sha256(ids: NDArray[np.integer]) -> str:
    """A digest of images' indices in their store, in their order."""
    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<i8").tobytes()).hexdigest()
