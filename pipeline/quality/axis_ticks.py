"""Where the ticks of a chart's axis stand, and how their numbers are written. Pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

MOST_TICKS = 6


def linear_ticks(values: Sequence[float]) -> list[float]:
    """Ticks at equal distances that hold all values between them; from 0 to 1 where there are none."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        low, high = low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10
    step = tick_step(high - low)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks at 1, 2 and 5 times powers of ten, from the last at or below ``low`` (above 0) to the first at or
    above ``high``; at the powers alone where there would be too many.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        first = max(i for i, tick in enumerate(ticks) if tick <= low or i == 0)
        last = min(i for i, tick in enumerate(ticks) if tick >= high or i == len(ticks) - 1)
        last = max(last, first + 1)
        if last - first <= MOST_TICKS:
            break
    return ticks[first : last + 1]


def tick_step(span: float) -> float:
    """1, 2 or 5 times a power of ten: the least step that makes at most MOST_TICKS of ``span`` (above 0)."""
    power = 10.0 ** math.floor(math.log10(span / MOST_TICKS))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if span / (factor * power) <= MOST_TICKS)


def linear_words(ticks: Sequence[float]) -> list[str]:
    """The numbers of ``linear_ticks``, with as many digits as their distance needs."""
    step = min(after - before for before, after in pairwise(ticks))
    digits = max(0, -math.floor(math.log10(step)))
    return [f"{tick:.2g}" if digits > 4 else f"{tick:.{digits}f}" for tick in ticks]


def log_words(ticks: Sequence[float]) -> list[str]:
    """The numbers of ``log_ticks``."""
    return [f"{tick:.2g}" for tick in ticks]
