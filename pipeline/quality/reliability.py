"""Whether probabilities mean what they say: the reliability diagram and the expected calibration error.

Sums are kept, not pixels, so that images of any number take the same memory. Nothing here knows stores or
files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15  # Guo et al., ICML 2017, section 5


class Reliability:
    """Pixels by the probability of their most probable class. A class because it keeps the sums.

    Bin m of M holds the pixels with probability in ((m - 1) / M, m / M] (Guo et al., ICML 2017, section 2).
    """

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        self.pixels: NDArray[np.int64] = np.zeros(num_bins, np.int64)
        self._confidence: NDArray[np.float64] = np.zeros(num_bins)
        self._right: NDArray[np.int64] = np.zeros(num_bins, np.int64)

    def add(self, confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> None:
        """P pixels: the largest probability (P,), in [0, 1], and whether the class that has it is the true
        one (P,).
        """
        num_bins = len(self.pixels)
        exact = confidence.astype(np.float64)
        place = np.clip(np.ceil(exact * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
        self.pixels += np.bincount(place, minlength=num_bins)
        self._confidence += np.bincount(place, weights=exact, minlength=num_bins)
        self._right += np.bincount(place[right], minlength=num_bins)

    @property
    def edges(self) -> NDArray[np.float64]:
        """(M + 1,): bin m lies between entries m - 1 and m."""
        return np.linspace(0, 1, len(self.pixels) + 1)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """(M,): the mean probability of the pixels of each bin; NaN of an empty one."""
        return self._mean(self._confidence)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """(M,): the share of right pixels of each bin; NaN of an empty one."""
        return self._mean(self._right)

    def expected_error(self) -> float:
        """The expected calibration error: the sum over bins of n_m / n |accuracy - confidence| (Guo et al.,
        eq. 3). NaN where there are no pixels.
        """
        total = int(self.pixels.sum())
        return float(np.abs(self._right - self._confidence).sum() / total) if total else float("nan")

    def _mean(self, sums: NDArray[np.number]) -> NDArray[np.float64]:
        out = np.full(len(self.pixels), np.nan)
        return np.divide(sums, self.pixels, out=out, where=self.pixels > 0)
