"""The losses of a translator between the domains A (source) and B (target): pure functions of images.

    G_AB, G_BA   the generators, from A to B and back
    D_A, D_B     the discriminators; s is the sigmoid of a patch's logit, 1 for "real"
    |x|_1        the mean over images, channels and pixels of absolute values, for images in [-1, 1]

Zhu et al. 2017 (arXiv 1703.10593) has the cycle (section 3.2), the adversary (3.1) and the identity (5.2).
This module knows no networks, no weights of losses and no training.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def real_loss(logits: Tensor) -> Tensor:
    """mean over images and patches of -log s: low where logits [N, 1, h, w] say that images are real.

    The generator's loss on its own images, and half of the discriminator's, on real ones. The paper replaces
    the logarithm by a square, of logits without a sigmoid. Here the discriminator ends in a sigmoid, and its
    loss is the cross entropy (Goodfellow et al. 2014, arXiv 1406.2661, equation 1, with the generator's loss
    of its section 3): its gradient by a logit is s - 1, which does not vanish where the discriminator is
    sure, as that of (s - 1)^2 does. A patch is a sample: the loss is a mean over patches, not that of a mean.
    """
    return F.softplus(-logits.float()).mean()  # -log s(x) = log(1 + exp(-x))


def fake_loss(logits: Tensor) -> Tensor:
    """mean over images and patches of -log(1 - s): low where logits [N, 1, h, w] say that images are made."""
    return F.softplus(logits.float()).mean()  # -log(1 - s(x)) = log(1 + exp(x))


def discriminator_loss(of_real: Tensor, of_made: Tensor) -> Tensor:
    """(mean -log s(real) + mean -log(1 - s(made))) / 2, of one discriminator.

    Halved, as in section 7.1 of the paper, so that a discriminator learns more slowly than the generators.
    """
    return (real_loss(of_real) + fake_loss(of_made)) / 2


def cycle_loss(source: Tensor, source_again: Tensor, target: Tensor, target_again: Tensor) -> Tensor:
    """|G_BA(G_AB(A)) - A|_1 + |G_AB(G_BA(B)) - B|_1: equation 2 of the paper.

    All are [N, 3, H, W]; the ``..._again`` have been carried over and back.
    """
    return F.l1_loss(source_again, source) + F.l1_loss(target_again, target)


def identity_loss(source: Tensor, source_kept: Tensor, target: Tensor, target_kept: Tensor) -> Tensor:
    """|G_BA(A) - A|_1 + |G_AB(B) - B|_1: what is in a domain already shall stay (section 5.2 of the paper).

    ``source_kept`` is G_BA(A) and ``target_kept`` G_AB(B). Without an adversary its minimum, and that of the
    cycle, is the copy: G(x) = x.
    """
    return F.l1_loss(source_kept, source) + F.l1_loss(target_kept, target)


def crossed_identity_loss(source: Tensor, source_made: Tensor, target: Tensor, target_made: Tensor) -> Tensor:
    """|G_AB(A) - B|_1 + |G_BA(B) - A|_1: the identity loss without an adversary, whose minimum is no copy.

    ``target_made`` is G_AB(A) and ``source_made`` G_BA(B); image i of one batch is held against image i of
    the other. Of pairs that is what is to be learnt. Of images that show different things it is least where
    every pixel has the median of the other domain, given what is seen: the mean look.
    """
    return F.l1_loss(target_made, target) + F.l1_loss(source_made, source)
