"""The style interpreter for labelling: batch normalisations folded away, the first layer cut up by feature
layer.

In evaluation mode a batch normalisation is ``x * scale + shift`` a channel, so it folds into the linear layer
that follows it, and each member is ``Linear, ReLU, Linear, ReLU, Linear``. The first of these is a sum over
feature layers, so that each part can be applied to its own native map before any resizing. This
module knows tensors. It knows no images, and does not know how maps are resized.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.interpreter import BATCH_NORM_EPS, InterpreterEnsemble
from pipeline.models.tensors import are_finite


class FoldedEnsemble:
    """An ensemble ready to label; holds its tensors in the type of its matrix products.

    ``dtype`` is that of the first two layers' operands, float32 or bfloat16. The last layer, 5% of the work,
    is always float32: its outputs are logits, whose differences decide.
    """

    def __init__(self, ensemble: InterpreterEnsemble, dtype: torch.dtype) -> None:
        """Raises ValueError for an ensemble in training mode, or one with a tensor that is not finite."""
        if ensemble.training:
            raise ValueError("the ensemble is in training mode, expected evaluation mode; call .eval() first")
        for name, tensor in ensemble.state_dict().items():
            if not are_finite(tensor):
                raise ValueError(
                    f"the ensemble's {name} is not finite: its training diverged, train it again"
                )
        self.dtype = dtype
        self.num_members, self.num_classes = ensemble.num_members, ensemble.num_classes
        self.width = ensemble.widths[0]
        self.weight1 = ensemble.weight1.detach()  # [E, h1, C]
        self.bias1 = ensemble.bias1.detach()  # [E, h1]
        self._second = _fold(ensemble, "norm1", ensemble.weight2, ensemble.bias2)
        self._third = _fold(ensemble, "norm2", ensemble.weight3, ensemble.bias3)

    def first_layer(self, parts: Sequence[slice]) -> Tensor:
        """The first layer's weights for the channels in `parts`, all members': [E * h1, channels] float32."""
        return torch.cat([self.weight1[:, :, part] for part in parts], dim=2).flatten(0, 1)

    def heads(self, fine: Tensor | None) -> list[Head]:
        """Each member's layers that are left once all but the fine features are through its first layer.

        ``fine`` [E * h1, c]: the first layer's weights for the c fine features; None where there are none.
        On a CPU, float32 products go through oneDNN, which on processors not of Intel's make is twice as fast
        as the BLAS that torch takes otherwise; it is as exact.
        """
        is_dense = self.weight1.device.type != "cpu" or self.dtype != torch.float32
        kind = Head if is_dense or not torch.backends.mkldnn.is_available() else OneDnnHead
        stacked = self.weight1.new_empty(self.bias1.numel(), 0) if fine is None else fine
        weight1 = stacked.to(self.dtype).unflatten(0, self.bias1.shape)  # [E, h1, c]
        return [
            kind(
                (weight1[i], self.bias1[i].to(self.dtype)),
                (self._second[0][i].to(self.dtype), self._second[1][i].to(self.dtype)),
                (self._third[0][i].float(), self._third[1][i].float()),
            )
            for i in range(self.num_members)
        ]


class Head:
    """One member from the sum of its first layer's parts on: three linear layers with ReLUs between."""

    def __init__(self, *layers: tuple[Tensor, Tensor]) -> None:
        """``layers``: (weight [out, in], bias [out]); the first one's weight is of the fine channels."""
        self._first, self._second, self._third = layers

    @staticmethod
    def prepare(fine: Tensor) -> Tensor:
        """Features [P, c] in the form that ``logits`` takes; the same for every member."""
        return fine

    def logits(self, coarse: Tensor | None, fine: Tensor | None) -> Tensor:
        """Logits [P, K] float32 from what the first layer gave for the coarse channels, and the fine
        features.

        ``coarse`` [P, h1], which is overwritten, holds the bias already. Either may be None.
        """
        weight, bias = self._first
        if coarse is None:
            hidden = F.linear(fine, weight, bias)  # type: ignore[arg-type]
        else:
            hidden = coarse if fine is None else coarse.addmm_(fine, weight.T)
        hidden = F.linear(hidden.relu_(), *self._second).relu_()  # [P, h2]
        return F.linear(hidden.float(), *self._third)


class OneDnnHead(Head):
    """The same on oneDNN's own tensors, which torch passes on to its kernels without a BLAS between."""

    def __init__(self, *layers: tuple[Tensor, Tensor]) -> None:
        self._no_bias = torch.zeros_like(layers[0][1]).to_mkldnn()
        super().__init__(*[(weight.contiguous().to_mkldnn(), bias.to_mkldnn()) for weight, bias in layers])

    @staticmethod
    def prepare(fine: Tensor) -> Tensor:
        return fine.to_mkldnn()

    def logits(self, coarse: Tensor | None, fine: Tensor | None) -> Tensor:
        weight, bias = self._first
        if coarse is None:
            hidden = F.linear(fine, weight, bias)  # type: ignore[arg-type]
        elif fine is None:
            hidden = coarse.to_mkldnn()
        else:
            hidden = F.linear(fine, weight, self._no_bias).add_(coarse.to_mkldnn())
        hidden = F.linear(hidden.relu_(), *self._second).relu_()
        return F.linear(hidden, *self._third).to_dense()


def _fold(ensemble: InterpreterEnsemble, norm: str, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [E, out, in] and bias [E, out] of a linear layer and the normalisation before it, in float64."""
    mean, variance, gain, shift = (
        getattr(ensemble, f"{norm}_{name}").detach().double() for name in ("mean", "var", "weight", "bias")
    )  # [E, in] each
    scale = gain / (variance + BATCH_NORM_EPS).sqrt()
    weight, bias = weight.detach().double(), bias.detach().double()
    moved = torch.baddbmm(bias[:, :, None], weight, (shift - mean * scale)[:, :, None])[:, :, 0]  # [E, out]
    return weight * scale[:, None, :], moved
