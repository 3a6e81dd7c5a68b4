"""Sums of bilinearly resized maps, by refining one grid of nodes instead of resizing every map.

Along an axis, a map of *ratio* s (grid side over native side, a power of two) is linear between its cell
centres, which lie at the odd multiples of s/2 in units of grid pixels, and constant beyond the outermost
(``align_corners=False``). So a sum of maps of ratios s, 2s, 4s, ... is linear between the multiples of s/2,
and its values there, the *nodes*, say all of it; in two dimensions along each axis alike. ``refine`` adds the
map of the next finer ratio and halves the spacing, ``to_pixels`` evaluates the nodes at pixel centres. Both
are a handful of sums of neighbours, and only the last steps touch as many values as there are pixels.

It knows tensors [rows, columns, channels] and nothing of networks, layers or labels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def window(first: int, last: int, spacing: int) -> tuple[int, int]:
    """The node rows [a, b], b included, of this spacing that grid rows [first, last) need."""
    return first // spacing, -(-last // spacing)


def is_power_of_two(number: int) -> bool:
    """Whether it is 1, 2, 4, ..."""
    return number > 0 and number & (number - 1) == 0


def needed_rows(first: int, last: int, size: int) -> tuple[int, int]:
    """Rows [a, b) of a map of ``size`` rows that nodes ``first`` to ``last`` around its cells depend on."""
    return max(first - 1, 0), min(last + 1, size)


def pad_centres(values: Tensor, first: int, last: int, size: int) -> Tensor:
    """The cells between nodes ``first`` and ``last`` and one around, float32: [last - first + 2, w + 2, c].

    ``values`` [rows, w, c] are the map's ``needed_rows``. Beyond the map its outermost values go on.
    """
    above = [values[:1]] if first == 0 else []
    below = [values[-1:]] if last == size else []
    rows = torch.cat([*above, values, *below]) if above or below else values
    return torch.cat([rows[:, :1], rows, rows[:, -1:]], dim=1).float()


def refine(nodes: Tensor | None, centres: Tensor | None) -> Tensor:
    """Nodes of half the spacing: [2a + 1, 2b + 1, c].

    Args:
        nodes: [a + 1, b + 1, c] at spacing s, or None for zero.
        centres: a map of ratio s, [a + 2, b + 2, c]: its cells between those nodes and one around, or None.
    """
    if centres is None:
        assert nodes is not None, "neither nodes nor a map"
        rows = _between(nodes, 0)  # [2a + 1, b + 1, c]
        return _between(rows, 1)
    a, b, channels = centres.shape[0] - 2, centres.shape[1] - 2, centres.shape[2]
    result = centres.new_empty(2 * a + 1, 2 * b + 1, channels)
    even, odd = result[:, 0::2], result[:, 1::2]
    around = centres.new_empty(2 * a + 1, b + 2, channels)  # the map at the new rows, columns still its own
    torch.lerp(centres[:-1], centres[1:], 0.5, out=around[0::2])
    around[1::2] = centres[1:-1]
    torch.lerp(around[:, :-1], around[:, 1:], 0.5, out=even)
    if nodes is None:
        odd.copy_(around[:, 1:-1])
        return result
    rows = _between(nodes, 0)  # [2a + 1, b + 1, c]
    even += rows
    torch.lerp(rows[:, :-1], rows[:, 1:], 0.5, out=odd)
    odd += around[:, 1:-1]
    return result


def _between(nodes: Tensor, axis: int) -> Tensor:
    """Nodes and the midpoints between them along an axis: n + 1 -> 2n + 1."""
    shape = list(nodes.shape)
    count = shape[axis] - 1
    shape[axis] = 2 * count + 1
    result = nodes.new_empty(shape)
    even = [slice(None)] * axis + [slice(0, None, 2)]
    odd = [slice(None)] * axis + [slice(1, None, 2)]
    result[tuple(even)] = nodes
    torch.lerp(nodes.narrow(axis, 0, count), nodes.narrow(axis, 1, count), 0.5, out=result[tuple(odd)])
    return result


def to_pixels(nodes: Tensor, spacing: int) -> Tensor:
    """Values at pixel centres: nodes [a + 1, b + 1, c] -> [a * spacing, b * spacing, c].

    Centre k of the ``spacing`` ones between two nodes lies (k + 1/2) / spacing of the way.
    """
    rows = _at_centres(nodes, spacing, 0)  # [a * spacing, b + 1, c]
    return _at_centres(rows, spacing, 1)


def _at_centres(nodes: Tensor, spacing: int, axis: int) -> Tensor:
    shape = list(nodes.shape)
    count = shape[axis] - 1
    shape[axis] = count * spacing
    result = nodes.new_empty(shape)
    lower, upper = nodes.narrow(axis, 0, count), nodes.narrow(axis, 1, count)
    for k in range(spacing):
        place = [slice(None)] * axis + [slice(k, None, spacing)]
        torch.lerp(lower, upper, (k + 0.5) / spacing, out=result[tuple(place)])
    return result
