"""Plans how labelling treats each resolution of a generator's layers, and how many rows a tile has.

Pure functions of shapes; ``pipeline.labelling.labeller`` carries the plan out and says why there are three
treatments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from fstore.format import LayerInfo
from fstore.interpolate import BILINEAR
from pipeline.labelling.node_grid import is_power_of_two

FINE_RATIO = 2  # maps up to this ratio are resized before the first layer
BAND_RATIO = 4  # the ratio whose map joins the nodes in a band; coarser ones do for a whole tile
ROW_STEP = 8  # tiles and bands are multiples of it, and so of BAND_RATIO: each begins at a node
CPU_BAND_PIXELS = 2048  # in one thread's hands: the operations on fewer take no longer than to begin them
CPU_TILE_ROWS = 128  # 130 MB for 10 members of 256 at 512 pixels


@dataclass(frozen=True)
class Level:
    """Feature layers of one resolution, whose channels go through one product."""

    resolution: tuple[int, int]
    layers: tuple[int, ...]
    """Their positions in the layer list."""


@dataclass(frozen=True)
class LevelPlan:
    """Which treatment each resolution gets."""

    fine: tuple[Level, ...]
    """Resized before the first layer."""
    nodes: dict[int, Level]
    """By ratio, a power of two of at least 4: joined to the nodes after the first layer."""
    other: tuple[Level, ...]
    """Resized after the first layer, one by one."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """All of them."""
        return (*self.fine, *self.nodes.values(), *self.other)

    @property
    def ratios(self) -> tuple[int, ...]:
        """Every power of two from the coarsest node level's ratio down to ``BAND_RATIO``."""
        ratios, ratio = [], max(self.nodes, default=0)
        while ratio >= BAND_RATIO:
            ratios.append(ratio)
            ratio //= 2
        return tuple(ratios)


def plan_levels(
    resolutions: Sequence[tuple[int, int]], grid: tuple[int, int], mode: str = BILINEAR
) -> LevelPlan:
    """Sort layers of these native resolutions (h, w), none finer than ``grid``, into the three treatments.

    Nodes hold sums of bilinearly resized maps, so in mode ``nearest`` there are none.
    """
    by_resolution: dict[tuple[int, int], list[int]] = {}
    for position, resolution in enumerate(resolutions):
        by_resolution.setdefault(resolution, []).append(position)
    fine, other, nodes = [], [], {}
    for resolution, positions in sorted(by_resolution.items()):
        level = Level(resolution, tuple(positions))
        ratio = grid[0] // resolution[0]
        is_exact = (resolution[0] * ratio, resolution[1] * ratio) == grid
        if prod(grid) <= FINE_RATIO**2 * prod(resolution):
            fine.append(level)
        elif mode == BILINEAR and is_exact and is_power_of_two(ratio) and ratio >= BAND_RATIO:
            nodes[ratio] = level
        else:
            other.append(level)
    return LevelPlan(tuple(fine), nodes, tuple(other))


def tile_bytes(
    layers: Sequence[LayerInfo],
    grid: tuple[int, int],
    *,
    stacked_width: int,
    width: int,
    num_classes: int,
    tile_rows: int,
    num_bands: int,
    band_rows: int,
    upsample: str = BILINEAR,
) -> int:
    """The most bytes, without the maps, that labelling a tile with ``num_bands`` in work takes: an estimate.

    ``stacked_width`` is members times ``width``, the first hidden layer's.
    """
    step = BAND_RATIO
    node_bytes = (tile_rows // step + 4) * (grid[1] // step + 4) * stacked_width * 4
    plan = plan_levels([layer.resolution for layer in layers], grid, upsample)
    part = min(1.0, tile_rows / grid[0])  # of each map's rows, and one or two beyond
    other_pixels = sum((level.resolution[0] * part + 3) * level.resolution[1] for level in plan.other)
    fine = sum(layers[i].channels for level in plan.fine for i in level.layers)
    votes = 8 * (stacked_width // width)
    pixel_bytes = width * 20 + num_classes * 24 + fine * 8 + votes
    # Products and nodes of all members, and of one member in each thread what the refinement passes through.
    other_bytes = int(other_pixels * stacked_width * 4)
    return int(2.2 * node_bytes) + other_bytes + num_bands * band_rows * grid[1] * pixel_bytes


def rows_that_fit(bytes_of_rows: Callable[[int], int], num_rows: int, available: int) -> int:
    """The most tile rows, ``num_rows`` rounded up and halved, whose bytes are available; 8 at least."""
    rows = -(-num_rows // ROW_STEP) * ROW_STEP
    while rows > ROW_STEP and bytes_of_rows(rows) > available:
        rows = halved(rows)
    return rows


def cpu_band_rows(width: int, tile_rows: int, num_threads: int) -> int:
    """Rows of a band: ``CPU_BAND_PIXELS``, but a part of the tile for every thread; ``ROW_STEP`` at least.

    At 512 pixels and 256 channels ``ROW_STEP`` rows are 4 MB; 4 and 16 rows take as long. Labels do not
    depend on it.
    """
    rows = min(CPU_BAND_PIXELS // width, -(-tile_rows // num_threads))
    return max(ROW_STEP, rows // ROW_STEP * ROW_STEP)


def halved(rows: int) -> int:
    """Half of ``rows``, a multiple of ``ROW_STEP``, at least one."""
    return max(ROW_STEP, rows // 2 // ROW_STEP * ROW_STEP)
