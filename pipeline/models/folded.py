"""The style interpreter for labelling: batch normalisations folded away, the first layer cut up by feature
layer.

In evaluation mode a batch normalisation is ``x * scale + shift`` a channel, so it folds into the linear layer
that follows it, and each member is ``Linear, ReLU, Linear, ReLU, Linear``. The first of these is a sum over
feature layers, so that each part can be applied to its own native map before any resizing. Knows tensors; it
knows no images, and not how maps are resized.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.interpreter import BATCH_NORM_EPS, InterpreterEnsemble


class FoldedEnsemble:
    """An ensemble ready to label; holds its tensors in the type of its matrix products.

    ``dtype`` is that of the first two layers' operands, float32 or bfloat16. The last layer, 2% of the work,
    is always float32: its outputs are logits, whose differences decide.
    """

    def __init__(self, ensemble: InterpreterEnsemble, dtype: torch.dtype) -> None:
        """Raises ValueError for an ensemble in training mode, whose statistics still move."""
        if ensemble.training:
            raise ValueError("the ensemble is in training mode, expected evaluation mode; call .eval() first")
        self.dtype = dtype
        self.num_members, self.num_classes = ensemble.num_members, ensemble.num_classes
        self.width = ensemble.widths[0]
        self.weight1 = ensemble.weight1.detach()  # [E, h1, C]
        self.bias1 = ensemble.bias1.detach().flatten()  # [E * h1]
        weight2, bias2 = _fold(ensemble, "norm1", ensemble.weight2, ensemble.bias2)
        weight3, bias3 = _fold(ensemble, "norm2", ensemble.weight3, ensemble.bias3)
        self._weight2, self._bias2 = weight2.to(dtype), bias2.to(dtype)  # [E, h2, h1], [E, h2]
        self._weight3, self._bias3 = weight3.float(), bias3.float()  # [E, K, h2], [E, K]

    def first_layer(self, parts: Sequence[slice]) -> Tensor:
        """The first layer's weights of these channels, all members stacked: [E * h1, sum of the parts]."""
        return torch.cat([self.weight1[:, :, part] for part in parts], dim=2).flatten(0, 1).to(self.dtype)

    def logits(self, member: int, hidden: Tensor) -> Tensor:
        """Logits [P, K] float32 of a member from its first layer's outputs [P, h1], which are overwritten."""
        hidden = F.linear(hidden.relu_(), self._weight2[member], self._bias2[member]).relu_()  # [P, h2]
        return F.linear(hidden.float(), self._weight3[member], self._bias3[member])


def _fold(ensemble: InterpreterEnsemble, norm: str, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [E, out, in] and bias [E, out] of a linear layer and the normalisation before it, in float64."""
    mean, variance, gain, shift = (
        getattr(ensemble, f"{norm}_{name}").detach().double() for name in ("mean", "var", "weight", "bias")
    )  # [E, in] each
    scale = gain / (variance + BATCH_NORM_EPS).sqrt()
    weight, bias = weight.detach().double(), bias.detach().double()
    moved = torch.baddbmm(bias[:, :, None], weight, (shift - mean * scale)[:, :, None])[:, :, 0]  # [E, out]
    return weight * scale[:, None, :], moved
