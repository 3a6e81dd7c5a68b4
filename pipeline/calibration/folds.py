"""Shares out annotated images to folds. A pure function of the class index and a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STREAM = 2  # of random numbers: those of training's split have other keys


def assign_folds(present: NDArray[np.bool_], num_folds: int, seed: int) -> NDArray[np.int64]:
    """The fold (n,) of each of n images, from 0: all folds have equally many, or one more.

    ``present`` (n, K): whether an image shows a class. The images of a rare class are spread first, each to
    the fold that has fewest of that class, so that it can be learnt by the training of every other fold
    (iterative stratification: Sechidis et al., ECML PKDD 2011). Raises ValueError unless 2 <= num_folds <= n.
    """
    num_images = len(present)
    if not 2 <= num_folds <= num_images:
        raise ValueError(f"{num_folds} folds of {num_images} images: expected 2 to {num_images}")
    random = np.random.default_rng(np.random.SeedSequence((seed, num_folds), spawn_key=(STREAM,)))
    room = np.full(num_folds, num_images // num_folds)
    room[: num_images % num_folds] += 1
    folds = np.full(num_images, -1, dtype=np.int64)
    order = random.permutation(num_images)
    while (folds < 0).any():
        left = order[folds[order] < 0]
        image = _rarest(left, present)
        of_class = present[:, _rarest_class(present[left], present[image])]
        held = np.bincount(folds[(folds >= 0) & of_class], minlength=num_folds)
        candidates = np.flatnonzero(room > 0)
        fold = min(candidates, key=lambda f: (held[f], -room[f], f))
        folds[image] = fold
        room[fold] -= 1
    return folds


def shown_outside(present: NDArray[np.bool_], folds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(F, K): whether an image outside each of F folds shows a class, so that its training can learn it.

    ``present`` (n, K), ``folds`` (n,), all of 0 to F - 1.
    """
    return np.stack([present[folds != fold].any(axis=0) for fold in range(int(folds.max()) + 1)])


def _rarest(left: NDArray[np.int64], present: NDArray[np.bool_]) -> int:
    """The first image of ``left`` that shows the class that fewest of them show."""
    shown = present[left]
    numbers = shown.sum(axis=0)
    if not numbers.any():
        return int(left[0])
    rarest = np.where(numbers > 0, numbers, len(left) + 1).argmin()
    return int(left[shown[:, rarest].argmax()])


def _rarest_class(shown: NDArray[np.bool_], by_image: NDArray[np.bool_]) -> int:
    """The class that fewest images show, of those that one image shows; 0 where it shows none."""
    return int(np.where(by_image, shown.sum(axis=0), len(shown) + 1).argmin())
