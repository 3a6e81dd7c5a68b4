"""StyleGAN1 in the PyTorch port that DatasetGAN uses: ``*.for_g_all.pt``, a state dict of ``g_mapping.*`` and
``g_synthesis.*``.
"""

from __future__ import annotations

from pipeline.checkpoints.loaders.network import FoundNetwork
from pipeline.checkpoints.loaders.search import Candidate, Layout
from pipeline.models.stylegan1 import StyleGAN1

FORMAT = "StyleGAN1 state dict (for_g_all)"


def build(found: Candidate) -> FoundNetwork:
    """The network. Raises ValueError where it is damaged, UnsupportedNetwork where it is of another kind."""
    table = found.table()
    names = [name for name in table if name.startswith(("g_mapping.", "g_synthesis."))]
    return FoundNetwork(
        StyleGAN1.from_state_dict({name: table.take(name) for name in names}), found.labelled(FORMAT)
    )


LAYOUT = Layout(
    synthesis_mark="blocks.4x4.const",
    mapping_mark="dense0.weight",
    synthesis_prefix="g_synthesis.",
    mapping_prefix="g_mapping.",
    build=build,
)
