"""Measures a half-trained ensemble on pixels of held-out images. The pixels are read once and kept.

It knows features, labels and keypoints. It knows no epochs, and it writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fstore.feature_store import FeatureStore
from fstore.meta import KeypointInfo
from fstore.sampler import SampledStore
from pipeline.labelling.confusion import confusion, mean_iou
from pipeline.labelling.heat_maps import heat, pck, peaks
from pipeline.labelling.votes import bounded_heat, label_pixels
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.stages.train.inputs import drawable
from pipeline.stages.train.plan import LABELLING_CHUNK, TrainPlan
from pipeline.stages.train.sampling import heat_grid
from pipeline.stages.train.split import choose_validation, validation_images


@dataclass(frozen=True)
class Quality:
    """What a validation found. A figure is None where the task does not have it; all are None where nothing
    labelled is held out.
    """

    miou: float | None = None
    heat_error: float | None = None
    pck15: float | None = None
    pck10: float | None = None

    def text(self) -> str:
        """The figures for a line of progress, with a comma before each; empty where there are none."""
        if self.heat_error is not None:
            return f", heat-map error {self.heat_error:.3g}, PCK@15 {self.pck15:.3f}, PCK@10 {self.pck10:.3f}"
        return "" if self.miou is None else f", mIoU {self.miou:.4f}"


class LabelValidation:
    """Classes: ``truth`` [P] integer labels of the pixels with float16 ``features`` [P, C]."""

    def __init__(self, truth: Tensor, features: Tensor) -> None:
        self._truth, self._features = truth, features

    def measure(self, ensemble: InterpreterEnsemble) -> Quality:
        """The mean IoU over the classes that occur."""
        labels, _ = label_pixels(ensemble.eval(), self._features, chunk_pixels=LABELLING_CHUNK)
        return Quality(miou=mean_iou(confusion(self._truth, labels.cpu(), ensemble.num_classes)))


class HeatValidation:
    """Keypoints of m images: ``points`` (m, K, 3), float16 ``features`` [m * r * c, C] of the pixels of a
    regular ``grid`` (rows, columns, their distance), and the images' larger ``side`` in pixels.
    """

    def __init__(
        self,
        points: np.ndarray,
        features: Tensor,
        grid: tuple[np.ndarray, np.ndarray, int],
        *,
        sigma: float,
        side: int,
    ) -> None:
        self._points, self._features, self._side = points, features, side
        rows, columns, self._stride = grid
        self._shape = len(points), len(rows), len(columns), points.shape[1]
        self._origin = torch.tensor([columns[0] + 0.5, rows[0] + 0.5])
        y, x = np.meshgrid(rows + 0.5, columns + 0.5, indexing="ij")
        positions = torch.from_numpy(np.stack([x, y], -1)).float()  # [r, c, 2]
        self._known = torch.from_numpy(points)[:, None, None]  # [m, 1, 1, K, 3]
        self._target = heat(positions[None], self._known[..., :2], sigma)  # [m, r, c, K]

    def measure(self, ensemble: InterpreterEnsemble) -> Quality:
        """The mean squared error of the members' mean heat maps, and the shares of keypoints that are near
        their peak. Nothing is measured where no keypoint of the images is labelled.
        """
        if not (self._points[..., 2] > 0).any():
            return Quality()
        heatmaps = mean_heat(ensemble.eval(), self._features).cpu().reshape(self._shape)  # [m, r, c, K]
        weight = self._known[..., 2].expand(self._shape)
        error = ((heatmaps - self._target).square() * weight).sum() / weight.sum()
        found = peaks(heatmaps)[..., :2]
        found = (found - 0.5) * self._stride + self._origin
        shares = [pck(found.numpy(), self._points, part, self._side) for part in (0.15, 0.10)]
        return Quality(heat_error=float(error), pck15=shares[0], pck10=shares[1])


@torch.inference_mode()
def mean_heat(ensemble: InterpreterEnsemble, features: Tensor) -> Tensor:
    """The mean of the members' heats [P, K] float32, within [0, 1], for features [P, C].

    The ensemble must be in evaluation mode. Pixels are taken in chunks, which bounds the memory.
    """
    device = ensemble.weight1.device
    parts = [
        bounded_heat(ensemble.forward_shared(part.to(device).float())).mean(0)
        for part in features.split(LABELLING_CHUNK)
    ]
    return torch.cat(parts)


Validation = LabelValidation | HeatValidation


def read_validation(source: SampledStore, store: FeatureStore, plan: TrainPlan) -> Validation | None:
    """The pixels that the plan holds out, read from ``source``; None where it holds out nothing."""
    if not plan.split.held_out:
        return None
    if plan.keypoints is None:
        return _read_labels(source, store, plan)
    return _read_heat(source, store, plan, plan.keypoints)


def _read_labels(source: SampledStore, store: FeatureStore, plan: TrainPlan) -> LabelValidation:
    masks = source.read_masks(plan.split.held_out)  # [m, H, W]
    chosen = choose_validation(
        masks, plan.split.held_out, drawable(store), plan.config.validation_pixels, plan.config.seed
    )
    features = source.pixels(chosen.images, chosen.rows, chosen.columns)
    return LabelValidation(torch.from_numpy(chosen.labels), torch.as_tensor(features))


def _read_heat(
    source: SampledStore, store: FeatureStore, plan: TrainPlan, keypoints: KeypointInfo
) -> HeatValidation:
    grid = heat_grid(store, keypoints, plan.config)
    images = validation_images(
        plan.split.held_out, len(grid[0]) * len(grid[1]), plan.config.validation_pixels
    )
    places = np.meshgrid(images, *grid[:2], indexing="ij")  # [m, r, c] each
    features = source.pixels(*(place.ravel() for place in places))
    points, side = keypoint_array(store, images), max(store.shape[1:3])
    return HeatValidation(points, torch.as_tensor(features), grid, sigma=keypoints.sigma, side=side)


def keypoint_array(store: FeatureStore, images: Sequence[int] | None = None) -> np.ndarray:
    """(m, K, 3) float32: the keypoints of images, given by their positions in the store; None: of all."""
    points: np.ndarray = store.keypoints.compute(scheduler="sync")
    return points if images is None else points[list(images)]
