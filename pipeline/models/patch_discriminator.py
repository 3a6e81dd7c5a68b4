"""The discriminator of a translator: says of each patch of an image whether it looks real.

Isola et al. 2017 (arXiv 1611.07004, section 3.2.2 and appendix A.2): strided convolutions whose outputs see
70 x 70 pixels each. A smaller image gets fewer layers, whose outputs see a part of it too. It knows no
losses, no files and no training.
"""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.models.unet import instance_norm

MOST_HALVINGS = 3
WIDEST = 8  # times the first layer's channels


def discriminator_halvings(resolution: int) -> int:
    """How many convolutions halve the side: the most whose patches lie within the image, at least one."""
    halvings = MOST_HALVINGS
    while halvings > 1 and patch_side(halvings) > resolution:
        halvings -= 1
    return halvings


def patch_side(halvings: int) -> int:
    """Pixels of an image that one output sees, in each direction: 70 of three halvings, 34 of two, 16 of one.

    From the output backwards a convolution of kernel k and stride s turns a field of r into s (r - 1) + k.
    """
    side = 1
    for stride in (1, 1, *[2] * halvings):
        side = stride * (side - 1) + 4
    return side


class PatchDiscriminator(nn.Module):
    """Images [N, 3, H, W] in [-1, 1] to logits [N, 1, h, w], one a patch: larger is more real.

    ``width``: channels of the first layer. H and W must be at least 16.
    """

    def __init__(self, width: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels = width
        for number in range(1, halvings + 1):
            wider = width * min(2**number, WIDEST)
            stride = 2 if number < halvings else 1
            layers += [
                nn.Conv2d(channels, wider, 4, stride=stride, padding=1, bias=False),
                instance_norm(wider),
                nn.LeakyReLU(0.2),
            ]
            channels = wider
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """The logit of each patch."""
        logits: Tensor = self.layers(images)  # [N, 1, h, w]
        return logits


def feedback(logits: Tensor) -> Tensor:
    """How real each image looks, [N] in [0, 1]: the mean over its patches of the sigmoid of logits
    [N, 1, h, w].
    """
    return logits.float().sigmoid().mean(dim=(1, 2, 3))
