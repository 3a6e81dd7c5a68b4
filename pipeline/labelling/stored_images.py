"""Labels the images of a feature store from the features that are stored: nothing is rendered.

One image is in work at a time, and of a dense store a few rows of it. It knows stores and ensembles. It does
not know what is true, nor what a tally makes of the members' outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fstore import format as fmt
from fstore.feature_store import FeatureStore
from pipeline.labelling.labeller import ImageLabeller
from pipeline.labelling.votes import DEFAULT_CHUNK_PIXELS, AnyTally
from pipeline.models.folded import FoldedEnsemble
from pipeline.models.interpreter import InterpreterEnsemble


class StoredImages:
    """An ensemble's outputs for one image after another, in float32. A class because it holds the weights.

    The maps of a pyramid go through the factored first layer, as in ``dgan synthesize``; the features of a
    dense store are read in rows of tiles.
    """

    def __init__(
        self,
        store: FeatureStore,
        ensemble: InterpreterEnsemble,
        device: torch.device,
        tally: type[AnyTally],
    ) -> None:
        """Take an ensemble of this store, in evaluation mode, and what its outputs are added up in.

        Raises ValueError where a weight is not finite.
        """
        self._store, self._device, self._tally = store, device, tally
        self._ensemble = ensemble.to(device)
        folded = FoldedEnsemble(self._ensemble, torch.float32)
        self._labeller: ImageLabeller | None = None
        if store.layout == "pyramid":
            meta = store.meta
            self._labeller = ImageLabeller(
                folded, meta.layers, meta.grid, meta.crop_rows, upsample=meta.upsample, tally=tally
            )

    @torch.inference_mode()
    def label(self, image: int) -> tuple[Tensor, Tensor]:
        """Of the image at this position: what the tally calls labels, [H, W] or [H, W, values], and the
        divergence [H, W] float32, both on the device.
        """
        if self._labeller is not None:
            maps = [values.to(self._device).permute(2, 0, 1) for values in self._store.native_maps(image)]
            return self._labeller.label(maps)
        _, height, width, _ = self._store.shape
        labels = self._tally.empty(height, width, self._ensemble.num_classes, self._device)
        divergence = torch.empty(height, width, device=self._device)
        for first in range(0, height, fmt.TILE):
            rows = slice(first, first + fmt.TILE)
            block = self._store.features[image, rows].compute(scheduler="sync")  # [r, W, C] float16
            self._label_rows(torch.from_numpy(block), labels[rows], divergence[rows])
        return labels, divergence

    def _label_rows(self, features: Tensor, labels: Tensor, divergence: Tensor) -> None:
        """Fill labels and divergence of rows with these features [r, W, C]."""
        flat, flat_labels, flat_divergence = features.flatten(0, 1), labels.flatten(0, 1), divergence.view(-1)
        for start in range(0, len(flat), DEFAULT_CHUNK_PIXELS):
            pixels = slice(start, start + DEFAULT_CHUNK_PIXELS)
            part = flat[pixels].to(self._device).float()
            tally = self._tally(len(part), self._ensemble.num_classes, self._device)
            outputs = self._ensemble.forward_shared(part)  # [E, p, K]
            for member in outputs:
                tally.add(member)
            finite = outputs.isfinite().all(2).all(0)  # [p]
            flat_labels[pixels] = tally.labels().to(labels.dtype)
            flat_divergence[pixels] = tally.divergence().where(finite, torch.nan)
