"""What an ensemble says of the images of a feature store, from the features that are stored.

One image is in work at a time, and of a dense store a few rows of it. It knows stores and ensembles. It does
not know what is true.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fstore import format as fmt
from fstore.feature_store import FeatureStore
from pipeline.errors import UsageError
from pipeline.labelling.heat_maps import peaks
from pipeline.labelling.labeller import ImageLabeller
from pipeline.labelling.votes import DEFAULT_CHUNK_PIXELS, AnyTally, ConfidenceTally, HeatTally
from pipeline.models.folded import FoldedEnsemble
from pipeline.models.interpreter import InterpreterEnsemble


class Predictions:
    """An ensemble's outputs for one image after another, in float32. A class because it holds the weights.

    The maps of a pyramid go through the factored first layer, as in ``dgan synthesize``; the features of a
    dense store are read in rows of tiles.
    """

    def __init__(self, store: FeatureStore, ensemble: InterpreterEnsemble, device: torch.device) -> None:
        """``ensemble``: in evaluation mode. Raises UsageError for one with a weight that is not finite."""
        self._store, self._device = store, device
        self._ensemble = ensemble.to(device)
        self._tally: type[AnyTally] = ConfidenceTally if store.meta.keypoints is None else HeatTally
        self._labeller: ImageLabeller | None = None
        try:
            folded = FoldedEnsemble(self._ensemble, torch.float32)
        except ValueError as error:
            raise UsageError(f"the interpreter cannot label: {error}") from None
        if store.layout == "pyramid":
            meta = store.meta
            self._labeller = ImageLabeller(
                folded, meta.layers, meta.grid, meta.crop_rows, upsample=meta.upsample, tally=self._tally
            )

    def labels(self, image: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of the image at this position: labels [H, W] and most probable classes [H, W], int64, and the mean
        probability of these [H, W] float32, NaN where it is not finite. All on the CPU.
        """
        label, winner, confidence = self._outputs(image).cpu().unbind(2)
        return label.long(), winner.long(), confidence

    def keypoints(self, image: int) -> np.ndarray:
        """(K, 3) float32: the peaks of the image's heat maps, x, y in pixels and their value, as a dataset
        has them.
        """
        heatmaps = self._outputs(image).half()  # [H, W, K], which a dataset holds in float16
        return np.asarray(peaks(heatmaps[None])[0].cpu().numpy())

    @torch.inference_mode()
    def _outputs(self, image: int) -> Tensor:
        """What the tally gives for every pixel: [H, W, values]."""
        if self._labeller is not None:
            maps = [values.to(self._device).permute(2, 0, 1) for values in self._store.native_maps(image)]
            return self._labeller.label(maps)[0]
        _, height, width, _ = self._store.shape
        out = self._tally.empty(height, width, self._ensemble.num_classes, self._device)
        for first in range(0, height, fmt.TILE):
            rows = slice(first, first + fmt.TILE)
            block = self._store.features[image, rows].compute(scheduler="sync")  # [r, W, C] float16
            out[rows] = self._of_pixels(torch.from_numpy(block).flatten(0, 1)).unflatten(0, (-1, width))
        return out

    def _of_pixels(self, features: Tensor) -> Tensor:
        """The tally's values of features [P, C]: [P, values]."""
        parts = []
        for part in features.split(DEFAULT_CHUNK_PIXELS):
            tally = self._tally(len(part), self._ensemble.num_classes, self._device)
            for outputs in self._ensemble.forward_shared(part.to(self._device).float()):  # of each member
                tally.add(outputs)
            parts.append(tally.labels())
        return torch.cat(parts)
