"""Which of many images show most of the classes that have been annotated least, by predicted labels.

Pure functions of labels, divergences and counts; they know no latents, networks or files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_pixels(
    labels: NDArray[np.integer], num_classes: int, weights: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """(n, K) float64: pixels of each class in labels (n, H, W), each counted ``weights`` (n, H, W) times.

    Raises ValueError for a label that is not below ``num_classes``.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels are {labels.min()} to {labels.max()}; expected 0 to {num_classes - 1}")
    counts = np.empty((len(labels), num_classes))  # [n, K]
    for image, label in enumerate(labels):
        weight = None if weights is None else weights[image].ravel().astype(np.float64)
        counts[image] = np.bincount(label.ravel(), weight, num_classes)
    return counts


def rarest_first(shown: NDArray[np.floating], annotated: NDArray[np.number], num: int) -> NDArray[np.int64]:
    """Indices (num,) of the images that add most to the classes that have least, in the order of choice.

    ``shown`` (n, K): how much of each class an image shows, in pixels. ``annotated`` (K,): how much of each
    is annotated already. Each step takes the image that raises

        sum over the classes k of  log(1 + annotated_k + what the images chosen so far show of k)

    most; of equal ones the lowest index. A pixel of a class thus counts for one over the pixels that the
    class has, and less with every image that shows it: the greedy choice of a submodular function, which
    reaches 1 - 1/e of the best (Nemhauser, Wolsey, Fisher, "An analysis of approximations for maximizing
    submodular set functions", Mathematical Programming 14, 1978). An image with a value that is no finite
    number comes last. Raises ValueError unless 1 <= num <= n, and for shapes that do not fit.
    """
    if not 1 <= num <= len(shown):
        raise ValueError(f"num is {num}; expected 1 to {len(shown)}, the number of images")
    if shown.shape[1:] != annotated.shape:
        raise ValueError(f"annotated has shape {annotated.shape}; expected {shown.shape[1:]}, one a class")
    left = np.isfinite(shown).all(axis=1)  # [n]: may be chosen for what it shows
    finite = np.where(left[:, None], shown, 0.0).astype(np.float64)
    total = 1.0 + annotated.astype(np.float64)  # [K]
    chosen: list[int] = []
    while len(chosen) < num and left.any():
        gain = np.log1p(finite / total).sum(axis=1)  # [n]
        best = int(np.where(left, gain, -1.0).argmax())
        total += finite[best]
        left[best] = False
        chosen.append(best)
    others = np.setdiff1d(np.arange(len(shown)), chosen)  # failed pictures, by number
    return np.array([*chosen, *others[: num - len(chosen)]], np.int64)
