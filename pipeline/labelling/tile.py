"""A tile of an image: some of its grid rows, which every member classifies by the factored first layer.

``pipeline.labelling.labeller`` says what the factored order is, and goes through an image tile by tile. A
tile knows the maps and an ensemble cut up for them; it knows no crop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from fstore.format import LayerInfo
from fstore.interpolate import resize_block, source_range
from pipeline.labelling.level_plan import BAND_RATIO, Level, LevelPlan, plan_levels
from pipeline.labelling.node_grid import needed_rows, pad_centres, refine, to_pixels, window
from pipeline.labelling.votes import AnyTally
from pipeline.labelling.weight_axes import weight_axes
from pipeline.models.folded import FoldedEnsemble, Head

Maps = dict[tuple[int, int], Tensor]
"""By native resolution: all its layers, or their coordinates on its axes, [h, w, c] in the products' type."""


@dataclass(frozen=True)
class CutEnsemble:
    """An ensemble with its first layer cut up by resolution, for features of these layers on one grid."""

    folded: FoldedEnsemble
    grid: tuple[int, int]
    upsample: str
    plan: LevelPlan
    axes: Mapping[tuple[int, int], Tensor]
    """By native resolution, where the weights read fewer axes than there are channels: [channels, c]."""
    weights: Mapping[tuple[int, int], Tensor]
    """By native resolution, but of no fine level: of all members, [E * h1, c]."""
    heads: Sequence[Head]
    """By member: what follows on the sum of the first layer's parts, and the weights of the fine levels."""

    @classmethod
    def of(
        cls, folded: FoldedEnsemble, layers: Sequence[LayerInfo], grid: tuple[int, int], upsample: str
    ) -> CutEnsemble:
        """``layers`` as stored, none finer than ``grid``."""
        plan = plan_levels([layer.resolution for layer in layers], grid, upsample)

        axes: dict[tuple[int, int], Tensor] = {}
        weights: dict[tuple[int, int], Tensor] = {}
        for level in plan.levels:
            infos, size = [layers[i] for i in level.layers], level.resolution
            weight = folded.first_layer([slice(info.offset, info.offset + info.channels) for info in infos])
            found = weight_axes(weight, prod(grid if level in plan.fine else size))
            if found is not None:
                axes[size], weight = found, weight @ found
            weights[size] = weight
        fine = [weights.pop(level.resolution) for level in plan.fine]
        heads = folded.heads(torch.cat(fine, dim=1) if fine else None)
        stored = {size: weight.to(folded.dtype) for size, weight in weights.items()}
        return cls(folded, grid, upsample, plan, axes, stored, heads)


class Tile:
    """Grid rows [first, last) of one image: the products of the coarse levels, then each member's nodes."""

    def __init__(self, ensemble: CutEnsemble, maps: Maps, first: int, last: int) -> None:
        self._ensemble, self._maps, self._folded = ensemble, maps, ensemble.folded
        self._first, self._last = first, last
        plan = ensemble.plan
        bias: Tensor | None = self._folded.bias1.flatten().to(self._folded.dtype)
        self._products: dict[int, Tensor] = {}  # by ratio: [rows, w, E, h1], the rows that the tile needs
        for ratio in sorted(plan.nodes, reverse=True):
            rows = needed_rows(*window(first, last, ratio), plan.nodes[ratio].resolution[0])
            self._products[ratio] = self._product(plan.nodes[ratio], rows, bias)
            bias = None  # once is enough
        self._others: list[Tensor] = []
        for level in plan.other:
            rows = source_range(level.resolution[0], ensemble.grid[0], first, last, ensemble.upsample)
            self._others.append(self._product(level, rows, bias))
            bias = None
        self._nodes: list[Tensor | None] = [None] * self._folded.num_members

    def _product(self, level: Level, rows: tuple[int, int], bias: Tensor | None) -> Tensor:
        values = self._maps[level.resolution][slice(*rows)]  # [r, w, c]
        product = F.linear(values, self._ensemble.weights[level.resolution], bias)
        return product.unflatten(2, (self._folded.num_members, self._folded.width))  # [r, w, E, h1]

    def build_nodes(self, member: int) -> None:
        """A member's nodes at spacing ``BAND_RATIO``, of all levels coarser than that."""
        nodes: Tensor | None = None
        for ratio in self._ensemble.plan.ratios:
            if ratio > BAND_RATIO:
                nodes = self._refine(nodes, ratio, self._first, self._last, member)
        self._nodes[member] = nodes

    def _refine(self, nodes: Tensor | None, ratio: int, first: int, last: int, member: int) -> Tensor:
        """Nodes of spacing ``ratio`` around grid rows [first, last) -> of half that spacing, as few rows."""
        a, b = window(first, last, ratio)
        centres = None
        if ratio in self._products:
            size = self._ensemble.plan.nodes[ratio].resolution[0]
            held, _ = needed_rows(*window(self._first, self._last, ratio), size)
            start, stop = needed_rows(a, b, size)
            centres = pad_centres(self._products[ratio][start - held : stop - held, :, member], a, b, size)
        finer = refine(nodes, centres)  # rows 2a to 2b
        start, stop = window(first, last, ratio // 2)
        return finer[start - 2 * a : stop - 2 * a + 1]

    def tally(self, kind: type[AnyTally], first: int, last: int) -> AnyTally:
        """What all members say of grid rows [first, last), added up in a new tally of this ``kind``."""
        heads = self._ensemble.heads
        num_pixels = (last - first) * self._ensemble.grid[1]
        fine = self._fine_features(first, last)  # [P, c]
        prepared = None if fine is None else heads[0].prepare(fine)
        tally = kind(num_pixels, self._folded.num_classes, self._folded.weight1.device)
        for member, head in enumerate(heads):
            tally.add(head.logits(self._coarse_part(first, last, member), prepared))
        return tally

    def _coarse_part(self, first: int, last: int, member: int) -> Tensor | None:
        """What the coarse levels give to the first layer's outputs, [P, h1]; None where there are none."""
        total = self._from_nodes(first, last, member)
        for level, product in zip(self._ensemble.plan.other, self._others, strict=True):
            height, mode = self._ensemble.grid[0], self._ensemble.upsample
            held, _ = source_range(level.resolution[0], height, self._first, self._last, mode)
            resized = self._resize(product[:, :, member], level.resolution, first, last, held)
            total = resized if total is None else total.add_(resized)
        return None if total is None else total.flatten(0, 1).to(self._folded.dtype)

    def _from_nodes(self, first: int, last: int, member: int) -> Tensor | None:
        if not self._products:
            return None
        nodes, spacing = self._nodes[member], BAND_RATIO
        if nodes is not None:
            held = self._first // BAND_RATIO
            a, b = window(first, last, BAND_RATIO)
            nodes = nodes[a - held : b - held + 1]
        if nodes is None or BAND_RATIO in self._products:
            nodes, spacing = self._refine(nodes, BAND_RATIO, first, last, member), BAND_RATIO // 2
        return to_pixels(nodes, spacing)  # [rows, W, h1]

    def _fine_features(self, first: int, last: int) -> Tensor | None:
        """The fine levels resized to grid rows [first, last): [P, c]; None where there are none."""
        dtype, resolutions = self._folded.dtype, [level.resolution for level in self._ensemble.plan.fine]
        parts = [self._resize(self._maps[size], size, first, last).to(dtype) for size in resolutions]
        return torch.cat(parts, dim=2).flatten(0, 1) if parts else None

    def _resize(self, values: Tensor, size: tuple[int, int], first: int, last: int, held: int = 0) -> Tensor:
        """A map of ``size`` at grid rows [first, last): [rows, W, c] float32. Its row ``held`` is the first
        of ``values`` [h, w, c].
        """
        grid, mode, device = self._ensemble.grid, self._ensemble.upsample, values.device
        rows, columns = torch.arange(first, last, device=device), torch.arange(grid[1], device=device)
        start, stop = source_range(size[0], grid[0], first, last, mode)
        return resize_block(values[start - held : stop - held], size, grid, rows, columns, (start, 0), mode)
