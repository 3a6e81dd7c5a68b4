"""The subspace in which the members learn: the principal axes of the features of the annotated images.

A generator's features are far from full rank: of 16 images the layers of 4 x 4 positions have at most 256
independent values, whatever their number of channels. The first layer of a member is linear, so that members
which learn on the coordinates of an orthonormal basis V (weights W_k) are members on all channels (weights
W_k V^T). Orthonormal axes keep the distribution of the published initialisation, N(0, 0.02).

Resizing works on each channel alone, so that native maps can be projected before they are resized. Layers of
one resolution share a basis. It knows maps and layers. It knows no stores and no training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from fstore import format as fmt
from fstore.interpolate import source_range
from fstore.recover import resolution_runs

BLOCK_VALUES = 2**21
LARGEST = 2.0**15  # of a coordinate: float16 ends at 65,504


@dataclass(frozen=True)
class Subspace:
    """An orthonormal basis for each run of layers of one resolution: ``bases`` [C_r, k_r] float32.

    Where coordinates would not fit float16, a basis is multiplied by a power of two below 1.
    """

    runs: tuple[tuple[fmt.LayerInfo, ...], ...]
    bases: tuple[Tensor, ...]

    @property
    def layers(self) -> tuple[fmt.LayerInfo, ...]:
        """The runs of layers as layers of coordinates."""
        offsets = accumulate((basis.shape[1] for basis in self.bases), initial=0)
        return tuple(
            fmt.LayerInfo(run[0].name, run[0].resolution, basis.shape[1], offset)
            for (run, basis), offset in zip(self._pairs(), offsets, strict=False)
        )

    @property
    def channels(self) -> int:
        """Coordinates of a pixel, k."""
        return sum(basis.shape[1] for basis in self.bases)

    def project(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of every layer, [h, w, c] float16 each, to those of ``layers``, [h, w, k_r] float16 each."""
        projected = []
        for joined, basis in zip(_joined(self.runs, maps), self.bases, strict=True):
            out = joined.new_empty(*joined.shape[:2], basis.shape[1])
            for rows in _blocks(joined):
                out[rows] = joined[rows].float() @ basis
            projected.append(out)
        return projected

    def expand(self, weight: Tensor) -> Tensor:
        """Weights of coordinates [E, h, k] to weights of all channels [E, h, C] float32."""
        of_runs = weight.split([basis.shape[1] for basis in self.bases], dim=2)
        parts = [part @ basis.T.to(part.device) for part, basis in zip(of_runs, self.bases, strict=True)]
        return torch.cat(parts, dim=2)

    def tensors(self) -> dict[str, Tensor]:
        """The bases, for a file."""
        return {f"basis.{number}": basis for number, basis in enumerate(self.bases)}

    @classmethod
    def from_tensors(cls, layers: Sequence[fmt.LayerInfo], tensors: Mapping[str, Tensor]) -> Subspace:
        """The inverse of ``tensors``. Raises ValueError for bases that are not of these layers."""
        runs = tuple(tuple(run) for run in resolution_runs(layers))
        bases = []
        for number, run in enumerate(runs):
            basis, rows = tensors.get(f"basis.{number}"), sum(layer.channels for layer in run)
            if basis is None or basis.dtype != torch.float32 or basis.ndim != 2 or basis.shape[0] != rows:
                raise ValueError(f"basis.{number} is no float32 matrix of {rows} rows")
            bases.append(basis)
        return cls(runs, tuple(bases))

    def _pairs(self) -> Iterable[tuple[tuple[fmt.LayerInfo, ...], Tensor]]:
        return zip(self.runs, self.bases, strict=True)


@dataclass(frozen=True)
class PrincipalAxes:
    """All principal axes of each run of layers: ``energies`` [r] and ``axes`` [C_r, r] float64, the largest
    first, where r is the rank. ``largest``: the largest norm of a run's values at a position.

    An axis's energy is the mean square of its coordinate over the positions that the crop shows.
    """

    runs: tuple[tuple[fmt.LayerInfo, ...], ...]
    energies: tuple[Tensor, ...]
    axes: tuple[Tensor, ...]
    largest: tuple[float, ...]

    def kept(self, energy: float) -> list[int]:
        """How many axes of each run are among the fewest that hold ``energy`` (0 to 1) of all runs' energy;
        at least one each.
        """
        ordered = torch.cat(self.energies).sort(descending=True).values
        share = ordered.cumsum(0) / ordered.sum().clamp(min=torch.finfo(ordered.dtype).tiny)
        least = ordered[min(len(ordered) - 1, int((share < energy * (1 - 1e-12)).sum()))]
        return [max(1, int((values >= least).sum())) for values in self.energies]

    def subspace(self, energy: float) -> Subspace:
        """That of the axes which ``kept`` counts."""
        bases = [
            axes[:, :num] * _scale(largest)
            for axes, num, largest in zip(self.axes, self.kept(energy), self.largest, strict=True)
        ]
        return Subspace(self.runs, tuple(basis.float().contiguous() for basis in bases))


def principal_axes(meta: fmt.FeatureMeta, images: Iterable[Sequence[Tensor]]) -> PrincipalAxes:
    """Those of images, whose maps ``images`` gives one after another, [h, w, c] float16 each.

    Second moments are summed in float64; no mean is subtracted, since a member's bias does not reach through
    the axes.
    """
    runs = tuple(tuple(run) for run in resolution_runs(meta.layers))
    sizes = [sum(layer.channels for layer in run) for run in runs]
    moments = [torch.zeros(size, size, dtype=torch.float64) for size in sizes]
    largest, positions = [0.0] * len(runs), [0] * len(runs)
    for maps in images:
        for number, (run, joined) in enumerate(zip(runs, _joined(runs, maps), strict=True)):
            first, last = source_range(run[0].resolution[0], meta.grid[0], *meta.crop_rows, meta.upsample)
            shown = joined[first:last]
            positions[number] += shown.shape[0] * shown.shape[1]
            for rows in _blocks(shown):
                values = shown[rows].flatten(0, 1).double()  # [positions, C_r]
                moments[number].addmm_(values.T, values)
                largest[number] = max(largest[number], float(values.square().sum(1).max()))
    found = [_axes(moment / max(count, 1)) for moment, count in zip(moments, positions, strict=True)]
    energies, axes = zip(*found, strict=True)
    return PrincipalAxes(runs, energies, axes, tuple(map(math.sqrt, largest)))


def find_subspace(meta: fmt.FeatureMeta, images: Iterable[Sequence[Tensor]], energy: float) -> Subspace:
    """The subspace of the fewest ``principal_axes`` that hold ``energy`` of the images."""
    return principal_axes(meta, images).subspace(energy)


def _axes(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [r] and eigenvectors [C, r] float64 of a second moment of rank r, the largest first; each
    vector points where its largest entry is positive, so that the sign does not hang on the library.
    """
    values, vectors = torch.linalg.eigh(moment)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    rank = max(1, int((values > values[0] * 1e-12).sum()))  # beyond it there is rounding
    axes = vectors[:, :rank]
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return values[:rank], axes * torch.where(largest < 0, -1.0, 1.0)


def _scale(largest: float) -> float:
    return 1.0 if largest <= LARGEST else 2.0 ** -math.ceil(math.log2(largest / LARGEST))


def _blocks(joined: Tensor) -> list[slice]:
    """Rows of [h, w, c] in blocks of a few megabytes."""
    step = max(1, BLOCK_VALUES // (joined.shape[1] * joined.shape[2]))
    return [slice(start, start + step) for start in range(0, len(joined), step)]


def _joined(runs: Sequence[Sequence[fmt.LayerInfo]], maps: Sequence[Tensor]) -> list[Tensor]:
    """The maps of each run side by side: [h, w, C_r] each."""
    waiting = iter(maps)
    return [torch.cat([next(waiting) for _ in run], dim=2) for run in runs]
