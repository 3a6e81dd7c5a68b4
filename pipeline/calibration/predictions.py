"""Labels the annotated images from the features that are stored, with an ensemble that has not seen them.

One image is in work at a time, and of a dense store a few rows of it. It knows stores and ensembles. It does
not know what is true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fstore import format as fmt
from fstore.feature_store import FeatureStore
from pipeline.errors import RunError
from pipeline.labelling.heat_maps import peaks
from pipeline.labelling.labeller import ImageLabeller
from pipeline.labelling.votes import (
    DEFAULT_CHUNK_PIXELS,
    AnyTally,
    HeatTally,
    Tally,
    divergence_to_float16,
    entropy,
)
from pipeline.models.folded import FoldedEnsemble
from pipeline.models.interpreter import InterpreterEnsemble


class DoubtTally(Tally):
    """A tally that says the whole doubt too: ``labels`` are the label by majority, and the entropy of the
    members' mean probability in nats.
    """

    @staticmethod
    def empty(height: int, width: int, num_classes: int, device: torch.device) -> Tensor:
        """An image's values [H, W, 2] float32 to be filled. float32 holds every label exactly."""
        return torch.empty(height, width, 2, device=device)

    def labels(self) -> Tensor:
        """[P, 2] float32: label, entropy."""
        doubt = entropy(self._probability / self._num_members)
        return torch.stack([super().labels().float(), doubt], dim=1)


@dataclass(frozen=True)
class Prediction:
    """What an ensemble says of one image: its ``divergence`` [H, W] float16 as a dataset stores it, and
    either ``labels`` [H, W] uint16 and the mean ``entropy`` of a pixel, or ``keypoints`` (K, 3) float32.
    """

    divergence: NDArray[np.float16]
    labels: NDArray[np.uint16] | None = None
    entropy: float = 0.0
    keypoints: NDArray[np.float32] | None = None


class Predictor:
    """An ensemble over a store's images, in float32. A class because it holds the weights cut up.

    The maps of a pyramid go through the factored first layer, as in ``dgan synthesize``; the features of a
    dense store are read in rows of tiles.
    """

    def __init__(self, store: FeatureStore, ensemble: InterpreterEnsemble, device: torch.device) -> None:
        """``ensemble``: in evaluation mode, of this store. Raises RunError where a weight is not finite."""
        self._store, self._device = store, device
        self._ensemble = ensemble.to(device)
        self._tally: type[AnyTally] = DoubtTally if store.meta.keypoints is None else HeatTally
        self._labeller: ImageLabeller | None = None
        if store.layout == "pyramid":
            meta = store.meta
            try:
                folded = FoldedEnsemble(self._ensemble, torch.float32)
            except ValueError as error:
                raise RunError(f"{store.location}: what was learnt from it cannot label ({error})") from None
            self._labeller = ImageLabeller(
                folded, meta.layers, meta.grid, meta.crop_rows, upsample=meta.upsample, tally=self._tally
            )

    @torch.inference_mode()
    def predict(self, image: int) -> Prediction:
        """What the ensemble says of the image at this position."""
        values, exact = self._outputs(image)
        if self._tally is HeatTally:
            found = peaks(values.half()[None])[0].cpu().numpy()
            return Prediction(exact.half().cpu().numpy(), keypoints=found)
        divergence = divergence_to_float16(exact, self._ensemble.num_members).cpu().numpy()
        labels, doubt = values[..., 0].cpu().numpy().astype(np.uint16), values[..., 1].double().mean()
        return Prediction(divergence, labels, float(doubt))

    def _outputs(self, image: int) -> tuple[Tensor, Tensor]:
        """What the tally gives for every pixel, [H, W, values], and the divergence [H, W]."""
        if self._labeller is not None:
            maps = [values.to(self._device).permute(2, 0, 1) for values in self._store.native_maps(image)]
            return self._labeller.label(maps)
        _, height, width, _ = self._store.shape
        values = self._tally.empty(height, width, self._ensemble.num_classes, self._device)
        divergence = torch.empty(height, width, device=self._device)
        for first in range(0, height, fmt.TILE):
            rows = slice(first, first + fmt.TILE)
            block = self._store.features[image, rows].compute(scheduler="sync")  # [r, W, C] float16
            self._label_rows(torch.from_numpy(block), values[rows], divergence[rows])
        return values, divergence

    def _label_rows(self, features: Tensor, values: Tensor, divergence: Tensor) -> None:
        """Fill the values [r, W, v] and the divergence [r, W] of rows with these features [r, W, C]."""
        flat, flat_values, flat_divergence = features.flatten(0, 1), values.flatten(0, 1), divergence.view(-1)
        for start in range(0, len(flat), DEFAULT_CHUNK_PIXELS):
            pixels = slice(start, start + DEFAULT_CHUNK_PIXELS)
            part = flat[pixels].to(self._device).float()
            tally = self._tally(len(part), self._ensemble.num_classes, self._device)
            outputs = self._ensemble.forward_shared(part)  # [E, p, K]
            for member in outputs:
                tally.add(member)
            finite = outputs.isfinite().all(2).all(0)  # [p]
            flat_values[pixels] = tally.labels()
            flat_divergence[pixels] = tally.divergence().where(finite, torch.nan)
