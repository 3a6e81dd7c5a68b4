"""What an ensemble says of the images of a feature store, from the features that are stored.

It knows stores and ensembles. It does not know what is true.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fstore.feature_store import FeatureStore
from pipeline.errors import UsageError
from pipeline.labelling.heat_maps import peaks
from pipeline.labelling.stored_images import StoredImages
from pipeline.labelling.votes import ConfidenceTally, HeatTally
from pipeline.models.interpreter import InterpreterEnsemble


class Predictions:
    """An ensemble's outputs for one image after another. A class because it holds the weights."""

    def __init__(self, store: FeatureStore, ensemble: InterpreterEnsemble, device: torch.device) -> None:
        """``ensemble``: in evaluation mode. Raises UsageError for one with a weight that is not finite."""
        tally = ConfidenceTally if store.meta.keypoints is None else HeatTally
        try:
            self._images = StoredImages(store, ensemble, device, tally)
        except ValueError as error:
            raise UsageError(f"the interpreter cannot label: {error}") from None

    def labels(self, image: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of the image at this position: labels [H, W] and most probable classes [H, W], int64, and the mean
        probability of these [H, W] float32, NaN where it is not finite. All on the CPU.
        """
        label, winner, confidence = self._images.label(image)[0].cpu().unbind(2)
        return label.long(), winner.long(), confidence

    def keypoints(self, image: int) -> np.ndarray:
        """(K, 3) float32: the peaks of the image's heat maps, x, y in pixels and their value, as a dataset
        has them.
        """
        heatmaps = self._images.label(image)[0].half()  # [H, W, K], which a dataset holds in float16
        return np.asarray(peaks(heatmaps[None])[0].cpu().numpy())
