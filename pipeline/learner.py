"""Optimising the ensemble: one step on a batch, and every tensor that a resumed run must find as it was.

Knows batches and tensors. It knows no epochs, stores or files.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fstore.sampler import Batch
from pipeline.models.interpreter import InterpreterEnsemble


class Learner:
    """The ensemble, its optimiser and the best epoch's tensors: all that a resumed run must find as it was.

    Adam works element by element, so one optimiser over the stacked tensors is one for each member.
    """

    def __init__(self, ensemble: InterpreterEnsemble, learning_rate: float) -> None:
        self.ensemble = ensemble
        self._adam = torch.optim.Adam(ensemble.parameters(), lr=learning_rate, fused=True)
        self._learning_rate = learning_rate
        self._best: dict[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.ensemble.weight1.device

    def step(self, batch: Batch, share: float = 1.0) -> Tensor:
        """One optimisation step at ``share`` of the learning rate.

        Returns the cross-entropy, averaged over the batch and the members.
        """
        features = torch.from_numpy(batch.features).to(self.device)  # [E, B, C]: half the bytes to move
        features = features.to(self.ensemble.weight1.dtype)
        labels = torch.from_numpy(batch.labels).to(self.device)  # [E, B]
        self._adam.zero_grad(set_to_none=True)
        logits = self.ensemble.train()(features)  # [E, B, K]
        members, size = labels.shape
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / size
        loss.backward()
        for group in self._adam.param_groups:
            group["lr"] = share * self._learning_rate
        self._adam.step()
        return loss.detach() / members

    def remember_best(self) -> None:
        """Keep a copy of the tensors as they are now."""
        self._best = {name: tensor.clone() for name, tensor in self.ensemble.state_dict().items()}

    def restore_best(self) -> None:
        """Go back to the tensors that ``remember_best`` kept."""
        self.ensemble.load_state_dict(self._best)

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name: ``model.*``, ``best.*`` and ``adam.{step,exp_avg,exp_avg_sq}.*``."""
        tensors = {f"model.{name}": tensor for name, tensor in self.ensemble.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        for name, parameter in self.ensemble.named_parameters():
            for key, tensor in self._adam.state[parameter].items():
                tensors[f"adam.{key}.{name}"] = tensor
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of ``tensors``."""
        self.ensemble.load_state_dict(_under("model.", tensors))
        self._best = {name: tensor.to(self.device) for name, tensor in _under("best.", tensors).items()}
        state = {
            i: {key: tensors[f"adam.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for i, (name, _) in enumerate(self.ensemble.named_parameters())
        }
        groups = self._adam.state_dict()["param_groups"]
        self._adam.load_state_dict({"state": state, "param_groups": groups})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
