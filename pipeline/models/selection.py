"""A generator that returns only some of its feature layers, behind the same protocol.

The network computes as always, and the features of the other layers are dropped. This module knows the names
of layers. It does not know how users write a selection, nor what the features are for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor

from pipeline.models.generator import FeatureLayer, Generator, Rendered


class SelectedLayers:
    """The generator ``whole`` with the feature maps of ``layers`` alone; all else is its own.

    A class: it stands where the pipeline expects a ``Generator``. Made by ``select_layers``.
    """

    def __init__(self, whole: Generator, places: Sequence[int]) -> None:
        self.whole = whole
        self._places = tuple(places)
        self.layers = tuple(whole.layers[place] for place in places)

    def __getattr__(self, name: str) -> Any:
        if name == "whole":  # not there yet, as while a copy is made: asking for it again would never end
            raise AttributeError(name)
        return getattr(self.whole, name)

    def synthesis(self, w_plus: Tensor, noise: Sequence[Tensor]) -> Rendered:
        """As the whole generator's, with the features of these layers."""
        rendered = self.whole.synthesis(w_plus, noise)
        return Rendered(rendered.images, [rendered.features[place] for place in self._places])

    def to(self, device: Any) -> SelectedLayers:
        """The same with its weights on ``device``."""
        return SelectedLayers(self.whole.to(device), self._places)


def select_layers(generator: Generator, names: Collection[str]) -> Generator:
    """The generator with the feature layers of these names, in its own order; itself where these are all.

    Raises ValueError for a name that it has no layer of.
    """
    known = [layer.name for layer in generator.layers]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no layer is named {unknown[0]!r}; expected names out of {known}")
    if set(known) == set(names):
        return generator
    places = [place for place, name in enumerate(known) if name in names]
    return SelectedLayers(generator, places)


def computed_layers(generator: Generator) -> tuple[FeatureLayer, ...]:
    """Every layer whose map a forward pass makes, wanted or not: what its memory follows from."""
    return generator.whole.layers if isinstance(generator, SelectedLayers) else generator.layers
