"""Names the network in a file that holds no supported generator, by tensors that only such a network has.

A file that is whole and of another kind must not be called damaged. This module knows only names of tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pipeline.checkpoints.loaders.tables import Table

_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a StyleGAN3 generator", (r"synthesis\.L\d+_\d+_\d+\.", r"synthesis\.input\.freqs")),
    ("a StyleGAN in the format of GenForce", (r"synthesis\.layer0\.", r"synthesis\.early_layer\.")),
    ("a StyleGAN2 in the format of MMGeneration", (r"style_mapping\.\d+\.", r"constant_input\.")),
    ("a StyleGAN1 of style-based-gan-pytorch", (r"progression\.\d+\.", r"style\.1\.linear\.")),
    (
        "a BigGAN generator",
        (r"blocks\.0\.0\.bn1\.(gain|bias)\.", r"blocks\.0\.0\.conv1\.u0", r"gen_z\.", r"shared\.weight_u"),
    ),
    (
        "a diffusion model",
        (
            *(r"model\.diffusion_model\.", r"time_embed\.0\.", r"time_embedding\.linear_1\."),
            *(r"time_mlp\.\d\.", r"down_blocks\.\d+\.resnets\."),
        ),
    ),
    ("an autoencoder", (r"quantize\.embedding\.", r"quant_conv\.", r"post_quant_conv\.")),
    ("an encoder of images", (r"input_layer\.0\.weight", r"styles\.\d+\.convs\.0\.")),
    (
        "a discriminator",
        (r"final_conv\.0\.", r"final_linear\.0\.", r"b4\.fc\.weight", r"b\d+\.fromrgb\."),
    ),
)
"""What it is, and how the names of its tensors begin, after any prefix. The first that fits counts."""


def other_network(tables: Sequence[Table]) -> str | None:
    """What the tensors of a file belong to, in a few words; None where their names do not tell."""
    names = [name for table in tables for name in table.values]
    return next((kind for kind, patterns in _KINDS if _any(names, patterns)), None)


def _any(names: Iterable[str], patterns: Iterable[str]) -> bool:
    mark = re.compile(rf"(?:^|\.)(?:{'|'.join(patterns)})")
    return any(mark.search(name) for name in names)
