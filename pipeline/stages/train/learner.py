"""Optimises the ensemble: one step on a batch, and every tensor that a resumed run must find as it was.

It knows batches and tensors. It knows no epochs, stores or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.adam import adam

from fstore.sampler import Batch
from pipeline.models.interpreter import InterpreterEnsemble

Objective = Callable[[Tensor, Batch], Tensor]
"""From a batch's outputs [E, B, K] to the loss of each member [E]: the mean over its part of the batch."""
VECTOR = 16  # float32 numbers in the largest vector of a processor, 64 bytes
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """The objective where classes are learnt: logits [E, B, K] against the batch's labels [E, B]."""
    labels = torch.from_numpy(batch.labels).to(logits.device)  # [E, B]
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")  # [E * B]
    return losses.view(labels.shape).sum(dim=1) / labels.shape[1]


@dataclass(frozen=True)
class _Moments:
    """What Adam keeps of a part of a parameter: steps done, and both averages of the gradient, like it."""

    step: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor

    @classmethod
    def of(cls, part: Tensor) -> _Moments:
        """Before the first step."""
        step = torch.zeros((), dtype=torch.float32, device=part.device)
        return cls(step, torch.zeros_like(part), torch.zeros_like(part))


class Learner:
    """The ensemble, its optimiser and the best epoch's tensors. A class, because steps change all three.

    Adam works element by element, so that one optimiser over the stacked tensors is one for each member. But
    the elements that are left over after the last full vector of the processor may be rounded in another way.
    So that a member does not depend on how many others there are, a tensor of which a member has no whole
    number of vectors is given to Adam in parts, one a member. It is torch's function and not its class, which
    imports for seconds what compiles networks.
    ``precision`` is the type of the first layer's two products, which are nearly all of the arithmetic; None
    is that of the parameters. Parameters, batch normalisation, loss and Adam keep the parameters' type.
    """

    def __init__(
        self,
        ensemble: InterpreterEnsemble,
        learning_rate: float,
        precision: torch.dtype | None = None,
        objective: Objective = cross_entropy,
    ) -> None:
        self.ensemble = ensemble
        self._objective = objective
        self._parts = {name: _parts(parameter) for name, parameter in ensemble.named_parameters()}
        self._moments = {name: [_Moments.of(part) for part in parts] for name, parts in self._parts.items()}
        self._learning_rate = learning_rate
        self._best: dict[str, Tensor] = {}
        # Kept from step to step: 50 MB of new pages cost a CPU more than the product that fills them.
        weight1 = ensemble.weight1
        self._gradient = torch.empty_like(weight1, requires_grad=False)  # [E, h1, C]
        self._weight = torch.empty_like(weight1, dtype=precision or weight1.dtype, requires_grad=False)
        self._features = torch.empty(0, dtype=self._weight.dtype, device=weight1.device)  # [E, B, C]

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.ensemble.weight1.device

    def step(self, batch: Batch, share: float = 1.0) -> Tensor:
        """One optimisation step at ``share`` of the learning rate.

        Returns the loss of each member [E], averaged over its part of the batch.
        """
        features = self._load(batch.features)  # [E, B, C]
        ensemble = self.ensemble.train()
        ensemble.zero_grad(set_to_none=True)
        # The first layer's products by hand, since autograd would hold and copy its 13 M weights' gradient
        # more than once. The features need no gradient.
        product = self._product(features).requires_grad_()  # [E, h1, B]
        outputs = ensemble.head(product + ensemble.bias1[:, :, None])  # [E, B, K]
        losses = self._objective(outputs, batch)  # [E]
        losses.sum().backward()
        assert product.grad is not None
        self._set_gradient(product.grad, features)
        self._update(share * self._learning_rate)
        return losses.detach()

    def _load(self, features: Tensor) -> Tensor:
        """A batch's features [E, B, C] on the device, in the products' type."""
        if self._features.shape != features.shape:
            self._features = self._features.new_empty(features.shape)
        return self._features.copy_(features.to(self.device))  # moved as float16: half the bytes

    def _product(self, features: Tensor) -> Tensor:
        """``weight1 @ features`` [E, h1, B] in the parameters' type, a leaf."""
        with torch.no_grad():
            weight1 = self.ensemble.weight1
            weight = weight1 if self._weight.dtype == weight1.dtype else self._weight.copy_(weight1)
            return torch.bmm(weight, features.transpose(1, 2)).to(weight1.dtype)

    def _set_gradient(self, of_product: Tensor, features: Tensor) -> None:
        """The gradient of ``weight1`` from that of the product [E, h1, B], where autograd sets the others."""
        of_product = of_product.to(features.dtype)
        if self.device.type == "cpu":
            for member in range(len(features)):  # MKL's batched float32 product takes twice as long
                self._gradient[member] = of_product[member] @ features[member]  # [h1, C]
        else:
            self._gradient.copy_(torch.bmm(of_product, features))
        self.ensemble.weight1.grad = self._gradient

    @torch.no_grad()
    def _update(self, learning_rate: float) -> None:
        """Adam's step with the gradients that are set (Kingma & Ba 2015, algorithm 1 and its settings)."""
        gradients: list[Tensor] = []
        for parameter in self.ensemble.parameters():
            assert parameter.grad is not None
            gradients += _parts(parameter.grad)
        moments = [each for parts in self._moments.values() for each in parts]
        adam(
            [part for parts in self._parts.values() for part in parts],
            gradients,
            [each.exp_avg for each in moments],
            [each.exp_avg_sq for each in moments],
            [],
            [each.step for each in moments],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=learning_rate,
            weight_decay=0,
            eps=1e-8,
            maximize=False,
        )

    def remember_best(self) -> None:
        """Keep a copy of the tensors as they are now."""
        self._best = {name: tensor.clone() for name, tensor in self.ensemble.state_dict().items()}

    def restore_best(self) -> None:
        """Go back to the tensors that ``remember_best`` kept. The optimiser keeps its moments."""
        self.ensemble.load_state_dict(self._best)

    def tensors(self) -> dict[str, Tensor]:
        """All that a resumed run must find: ``model.*``, ``best.*``, ``adam.{step,exp_avg,exp_avg_sq}.*``."""
        tensors = {f"model.{name}": tensor for name, tensor in self.ensemble.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        for name, parts in self._moments.items():
            tensors[f"adam.step.{name}"] = parts[0].step
            for key, of_parts in (
                ("exp_avg", [each.exp_avg for each in parts]),
                ("exp_avg_sq", [each.exp_avg_sq for each in parts]),
            ):
                tensors[f"adam.{key}.{name}"] = of_parts[0] if len(parts) == 1 else torch.cat(of_parts)
        return tensors

    def adopt(self, tensors: dict[str, Tensor]) -> None:
        """Take over what others have learnt from here: ``tensors`` without ``best.*``, which stay."""
        best = self._best or _under("model.", tensors)
        self.restore({**{f"best.{name}": tensor for name, tensor in best.items()}, **tensors})

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of ``tensors``. Raises ValueError for tensors that are not of such a learner."""
        self._check_tensors(tensors)
        self.ensemble.load_state_dict(_under("model.", tensors))
        self._best = {name: tensor.to(self.device) for name, tensor in _under("best.", tensors).items()}
        for name, parts in self._parts.items():
            step, *whole = (tensors[f"adam.{key}.{name}"].to(self.device) for key in ADAM_STATE)
            halves = zip(*(_parts(tensor, len(parts)) for tensor in whole), strict=True)
            self._moments[name] = [_Moments(step.clone(), *both) for both in halves]

    def _check_tensors(self, tensors: dict[str, Tensor]) -> None:
        model = self.ensemble.state_dict()
        like = {f"{kind}.{name}": tensor for kind in ("model", "best") for name, tensor in model.items()}
        for name, parameter in self.ensemble.named_parameters():
            moments = {f"adam.{key}.{name}": parameter for key in ADAM_STATE[1:]}
            like |= {f"adam.step.{name}": torch.zeros(()), **moments}
        for name in [*like, *tensors]:
            found, expected = (
                None if tensor is None else (tensor.dtype, tuple(tensor.shape))
                for tensor in (tensors.get(name), like.get(name))
            )
            if found != expected:
                raise ValueError(f"the tensor {name} is {found}, expected {expected}")


def _parts(tensor: Tensor, number: int | None = None) -> list[Tensor]:
    """A stacked tensor [E, ...] as Adam is given it: as it is, or in parts [1, ...], one a member. Views.

    ``number`` of parts; None: as many as the size of a member wants.
    """
    tensor = tensor.detach()
    if number is None:
        number = 1 if tensor[0].numel() % VECTOR == 0 else len(tensor)
    return [tensor] if number == 1 else list(tensor.split(1))


def of_members(tensors: dict[str, Tensor], members: range) -> dict[str, Tensor]:
    """What `Learner.tensors` would be of these members alone. A tensor without a dimension is of all."""
    part = slice(members.start, members.stop)
    return {name: tensor[part] if tensor.ndim else tensor for name, tensor in tensors.items()}


def joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of all members from those of their shares, in order."""
    return {
        name: torch.cat([part[name] for part in parts]) if tensor.ndim else tensor
        for name, tensor in parts[0].items()
    }


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
