"""StyleGAN1 in the PyTorch port that DatasetGAN uses: ``*.for_g_all.pt``, a state dict of ``g_mapping.*`` and
``g_synthesis.*``.
"""

from __future__ import annotations

from typing import Any

from pipeline.checkpoints.loaders.untrusted import Budget, FoundNetwork, TensorTable, candidates, state_dict
from pipeline.models.stylegan1 import StyleGAN1

FORMAT = "StyleGAN1 state dict (for_g_all)"
_PREFIXES = ("g_mapping.", "g_synthesis.")


def load(content: Any) -> FoundNetwork | None:
    """The network, or None where `content` is of another format. ValueError where it is damaged.

    A state dict one level down (``{"g_all": ...}``) or with ``module.`` before its keys is accepted.
    """
    budget = Budget()
    for _, value in candidates(content, ("g_all",)):
        state = state_dict(value, budget)
        if any(key.startswith(_PREFIXES) for key in state):
            table = TensorTable(state)
            taken = {key: table.take(key) for key in table if key.startswith(_PREFIXES)}
            table.check_all_taken(lambda name: False)
            return FoundNetwork(StyleGAN1.from_state_dict(taken), FORMAT)
    return None
