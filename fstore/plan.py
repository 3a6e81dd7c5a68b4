"""What one epoch of training draws: a pure function of the class index, a seed and the epoch's number.

A *unit* is what is cheap to read together: a tile of 16 x 16 pixels in a dense store, a band of two rows of
tiles in a pyramid. A *region* is the pixels of one class in one image. A plan says how many pixels of each
class are drawn from each unit; ``choose_pixels`` says which. Guarantees, with P = draws - regions, and Q <=
regions:

* The draws of a plan, coverage included, are exactly ``draws``.
* Every region is drawn from. One that the P primary draws miss gets one coverage draw, uniform over its
  pixels.
* Of the other P + Q draws, class k expects a share p_k proportional to ``frequency_k ** alpha``, and each of
  its n_k pixels expects the same number, (P + E[Q]) * p_k / n_k: exactly, not only asymptotically.
* At most ``draws / draws_per_unit + regions + 1`` units are read.

How: units are included with probability proportional to size by systematic sampling (Madow 1949, Ann. Math.
Stat. 20); an included unit's expected draws are divided by its inclusion probability (Horvitz & Thompson
1952, JASA 47), then rounded without bias.

This module knows counts of labels, by numpy only. It knows no features, stores or batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from fstore.errors import CorruptionError, StoreError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Purpose(IntEnum):
    """What a random stream is for: streams of different purposes are independent."""

    PRIMARY = 0
    COVERAGE = 1
    TOP_UP = 2
    READ_ORDER = 3
    PIXELS = 4
    SHUFFLE = 5
    FILES = 6
    STREAM = 7


def random_stream(seed: int, epoch: int, purpose: Purpose, *path: int) -> np.random.Generator:
    """The generator keyed by (seed, epoch, purpose, up to two more integers): counter-based."""
    key = np.array([seed, epoch], np.uint64)
    counter = np.array(
        [0, int(purpose), *path, *(0,) * (2 - len(path))], np.uint64
    )  # the first word counts the draws
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@dataclass(frozen=True)
class EpochPlan:
    """The reads of one epoch, in order. U units, K classes.

    ``units`` [U, 3]: image (position on the first axis of the class index), row and column of the unit.
    ``draws`` [U, K]: pixels to draw from each unit and class, for each ensemble member, without the coverage
    draws. ``coverage`` [U, K], 0 or 1: draws that are there because their region would have none.
    """

    units: Ints
    draws: Ints
    coverage: Ints

    @property
    def total(self) -> Ints:
        """[U, K]: all draws, for each ensemble member."""
        return self.draws + self.coverage

    @property
    def num_units(self) -> int:
        """U: units read, each once."""
        return len(self.units)

    @property
    def num_draws(self) -> int:
        """Pixels drawn by each ensemble member, coverage included."""
        return int(self.total.sum())


def plan_epoch(
    class_counts: NDArray[np.integer],
    *,
    seed: int,
    epoch: int,
    alpha: float,
    draws: int,
    draws_per_unit: float,
    unit_tiles: tuple[int, int],
) -> EpochPlan:
    """Plan one epoch; the guarantees are in the module's docstring.

    ``class_counts`` (n, Ty, Tx, K): pixels of each class in each tile; a class that must never be drawn
    counts 0. ``alpha`` >= 0: 1 natural class frequencies, 0 balanced. ``draws``: pixels that each member
    draws, at least one a region. ``draws_per_unit`` >= 1: what an included unit expects to give at least.
    ``unit_tiles`` (rows, columns): a unit in tiles; the last of an image may be cut off. Raises StoreError
    for arguments out of range.
    """
    _check_arguments(seed, epoch, alpha, draws_per_unit)
    grid = _unit_counts(class_counts, unit_tiles)  # [n, R, S, K]
    num_images, _, num_columns, num_classes = grid.shape
    counts = grid.reshape(num_images, -1, num_classes)  # [n, R * S, K]
    region_pixels = counts.sum(axis=1)  # [n, K]
    num_regions = int(np.count_nonzero(region_pixels))
    least = max(num_regions, 1)
    if draws < least:
        raise StoreError(
            f"draws is {draws}: expected at least {least}, one for each class in each image; raise it"
        )
    share = _share_of_a_pixel(region_pixels.sum(axis=0), alpha)  # [K]

    def allocate(part: int, purpose: Purpose) -> Ints:
        return _allocate(counts, share, part, draws_per_unit, random_stream(seed, epoch, purpose))

    planned = allocate(draws - num_regions, Purpose.PRIMARY)
    missing = (region_pixels > 0) & (planned.sum(axis=1) == 0)  # [n, K]
    coverage = _cover(counts, missing, random_stream(seed, epoch, Purpose.COVERAGE))
    # Regions that needed no coverage draw leave Q draws over. These are planned like the primary ones, but
    # anew: whatever Q is, each pixel expects its share of them, so none gains by how the primary part fell.
    planned += allocate(num_regions - int(coverage.sum()), Purpose.TOP_UP)

    planned, coverage = planned.reshape(-1, num_classes), coverage.reshape(-1, num_classes)
    read = np.flatnonzero((planned + coverage).any(axis=1))
    read = random_stream(seed, epoch, Purpose.READ_ORDER).permutation(read)
    image, unit = np.divmod(read, counts.shape[1])
    units = np.stack([image, *np.divmod(unit, num_columns)], axis=1)  # [U, 3]
    return EpochPlan(units.astype(np.int64), planned[read], coverage[read])


def count_regions(class_counts: NDArray[np.integer]) -> int:
    """Regions of a class index (n, Ty, Tx, K): classes present, summed over images."""
    return int(np.count_nonzero(class_counts.any(axis=(1, 2))))


def choose_pixels(
    labels: NDArray[np.integer],
    draws: NDArray[np.integer],
    *,
    seed: int,
    epoch: int,
    unit: tuple[int, int, int],
    members: int,
) -> Ints:
    """The pixels of a unit to draw: [members, sum(draws)] positions in ``labels.ravel()``, class by class.

    ``labels`` (h, w) are the unit's labels, ``draws`` [K] the pixels to draw of each class, ``unit`` a row of
    the plan's ``units``. A member draws each class uniformly without replacement until its pixels are used
    up, then over again: m draws of n pixels are floor(m / n) or ceil(m / n) of each. Members choose
    independently, and a member's choice does not depend on how many follow it. Raises CorruptionError where a
    class to be drawn has no pixel.
    """
    wanted = np.flatnonzero(draws)
    group_of_label = np.full(len(draws) + 1, -1)
    group_of_label[wanted] = np.arange(len(wanted))
    # [h * w]; -1: not drawn, which is also the lot of every label outside the classes
    group = group_of_label[np.minimum(labels.ravel().astype(np.int64), len(draws))]
    pixels = np.flatnonzero(group >= 0)
    group = group[pixels]
    available = np.bincount(group, minlength=len(wanted))
    if not available.all():
        absent = int(wanted[np.argmin(available)])
        raise CorruptionError(
            f"array 'masks': unit (image, row, column) {unit} has no pixel of class {absent}, "
            "array 'class_counts' expects some; run `dgan verify`"
        )
    # Sorting keys of (class | random bits | index) shuffles each class's pixels, for all members in one call.
    index_bits = len(pixels).bit_length()
    group_shift = 64 - len(wanted).bit_length()
    stream = random_stream(seed, epoch, Purpose.PIXELS, unit[0], unit[1] << 32 | unit[2])
    range_of_bits = 1 << (group_shift - index_bits)
    keys = stream.integers(range_of_bits, size=(members, len(pixels)), dtype=np.uint64) << index_bits
    keys |= (group.astype(np.uint64) << group_shift) | np.arange(len(pixels), dtype=np.uint64)
    keys.sort(axis=1)
    shuffled = (keys & ((1 << index_bits) - 1)).astype(np.int64)  # [members, pixels], grouped by class

    per_class = np.asarray(draws)[wanted]
    first_draw = np.cumsum(per_class) - per_class
    first_pixel = np.cumsum(available) - available
    turn = np.arange(per_class.sum()) - np.repeat(first_draw, per_class)  # 0, 1, ... in each class
    place = np.repeat(first_pixel, per_class) + turn % np.repeat(available, per_class)
    return pixels[shuffled[:, place]]


def _check_arguments(seed: int, epoch: int, alpha: float, draws_per_unit: float) -> None:
    for name, value in (("seed", seed), ("epoch", epoch)):
        if not 0 <= value < 1 << 64:
            raise StoreError(f"{name} is {value}: expected an integer of 0 to 2**64 - 1; choose another")
    if not (isfinite(alpha) and alpha >= 0):
        raise StoreError(
            f"alpha is {alpha}: expected a finite number >= 0 (1 natural, 0 balanced); choose another"
        )
    if not (isfinite(draws_per_unit) and draws_per_unit >= 1):
        raise StoreError(f"draws_per_unit is {draws_per_unit}: expected a finite number >= 1; choose another")


def _unit_counts(class_counts: NDArray[np.integer], unit_tiles: tuple[int, int]) -> NDArray[np.int32]:
    """Counts of tiles (n, Ty, Tx, K) added up to units, [n, ceil(Ty / a), ceil(Tx / b), K]."""
    n, tile_rows, tile_columns, k = class_counts.shape
    a, b = unit_tiles
    rows, columns = -(-tile_rows // a), -(-tile_columns // b)
    padding = ((0, 0), (0, rows * a - tile_rows), (0, columns * b - tile_columns), (0, 0))
    by_unit = np.pad(class_counts, padding).reshape(n, rows, a, columns, b, k)  # [n, R, a, S, b, K]
    return by_unit.sum(axis=(2, 4), dtype=np.int32)  # [n, R, S, K]


def _share_of_a_pixel(class_pixels: Ints, alpha: float) -> Floats:
    """[K]: the share of all draws that one pixel of each class shall get, 0 for absent classes."""
    present = class_pixels > 0
    frequency = class_pixels[present] / class_pixels.sum()
    mix = frequency**alpha
    share = np.zeros(len(class_pixels))
    share[present] = mix / mix.sum() / class_pixels[present]
    return share


def _allocate(
    counts: NDArray[np.int32], share: Floats, draws: int, draws_per_unit: float, stream: np.random.Generator
) -> Ints:
    """Exactly ``draws`` draws, [n, units, K]; cell (u, k) expects counts[u, k] * share[k] * draws."""
    num_images, num_units, num_classes = counts.shape
    result = np.zeros((num_images * num_units, num_classes), np.int64)
    if draws == 0:
        return result.reshape(counts.shape)
    cells = counts.reshape(-1, num_classes)
    inclusion = _inclusion_probabilities(cells @ (share * draws), draws_per_unit)  # [n * units]
    # Image by image, shuffled inside: a systematic sample gives each image its share, to within one unit.
    order = stream.permuted(np.arange(len(cells)).reshape(num_images, num_units), axis=1).ravel()
    order = order[inclusion[order] > 0]
    probability = inclusion[order]
    included = probability == 1
    rest = np.flatnonzero(~included)
    num_rest = round(probability[rest].sum())
    included[rest] = _round_systematically(probability[rest], num_rest, stream.random()) > 0
    chosen = order[included]
    expected = cells[chosen] * (share * draws) / inclusion[chosen, None]  # [chosen, K]
    # Class by class, inside it image by image: the sums of classes and of regions are within one of expected.
    present = np.flatnonzero(expected.T)
    rounded = np.zeros(expected.size, np.int64)
    rounded[present] = _round_systematically(expected.T.ravel()[present], draws, stream.random())
    result[chosen] = rounded.reshape(num_classes, -1).T  # [K, chosen] -> [chosen, K]
    return result.reshape(counts.shape)


def _inclusion_probabilities(score: Floats, draws_per_unit: float) -> Floats:
    """min(1, score / t) for the least t >= draws_per_unit that gives an integer sum (sum(score), if less).

    The sum being an integer, every systematic sample has that many units, and its expected draws add up to
    sum(score).
    """
    descending = np.sort(score[score > 0])[::-1]
    num_units = max(1, int(np.minimum(1, descending / draws_per_unit).sum() + 1e-9))
    # tail[b] is what is left without the b largest, if those are sure to be in.
    tail = np.cumsum(descending[::-1])[::-1][:num_units]
    threshold = tail / (num_units - np.arange(num_units))
    certain = int(np.argmax(descending[:num_units] <= threshold))
    return np.minimum(1, score / threshold[certain])


def _round_systematically(expected: Floats, total: int, start: float) -> Ints:
    """Integers of these expectations over ``start``, uniform in [0, 1); any run sums to within one of them.

    ``total`` is sum(expected), an integer but for float rounding, and exactly the sum of the result.
    """
    if len(expected) == 0:
        return np.zeros(0, np.int64)
    cumulative = np.minimum(np.cumsum(expected), total)
    cumulative[-1] = total
    return np.diff(np.floor(cumulative + start), prepend=0).astype(np.int64)


def _cover(counts: NDArray[np.int32], missing: NDArray[np.bool_], stream: np.random.Generator) -> Ints:
    """One draw for each missing region, [n, units, K], in a unit chosen in proportion to its pixels there."""
    result = np.zeros(counts.shape, np.int64)
    image, label = np.nonzero(missing)
    if len(image):
        cumulative = np.cumsum(counts[image, :, label], axis=1, dtype=np.int64)  # [missing, units]
        pixel = stream.integers(cumulative[:, -1])
        result[image, (cumulative > pixel[:, None]).argmax(axis=1), label] = 1
    return result
