"""Labels the annotated images from the features that are stored, with an ensemble that has not seen them.

It knows stores and ensembles. It does not know what is true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fstore.feature_store import FeatureStore
from pipeline.errors import RunError
from pipeline.labelling.heat_maps import peaks
from pipeline.labelling.stored_images import StoredImages
from pipeline.labelling.votes import HeatTally, Tally, divergence_to_float16, entropy
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
    """An ensemble over a store's images. A class because it holds the weights."""

    def __init__(self, store: FeatureStore, ensemble: InterpreterEnsemble, device: torch.device) -> None:
        """``ensemble``: in evaluation mode, of this store. Raises RunError where a weight is not finite."""
        self._num_members, self._of_keypoints = ensemble.num_members, store.meta.keypoints is not None
        try:
            self._images = StoredImages(
                store, ensemble, device, HeatTally if self._of_keypoints else DoubtTally
            )
        except ValueError as error:
            raise RunError(f"{store.location}: what was learnt from it cannot label ({error})") from None

    @torch.inference_mode()
    def predict(self, image: int) -> Prediction:
        """What the ensemble says of the image at this position."""
        values, exact = self._images.label(image)
        if self._of_keypoints:
            found = peaks(values.half()[None])[0].cpu().numpy()
            return Prediction(exact.half().cpu().numpy(), keypoints=found)
        divergence = divergence_to_float16(exact, self._num_members).cpu().numpy()
        labels, doubt = values[..., 0].cpu().numpy().astype(np.uint16), values[..., 1].double().mean()
        return Prediction(divergence, labels, float(doubt))
