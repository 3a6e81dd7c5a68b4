"""The generator of a translator: a U-Net that maps an image to an image of the same size.

The shape is that of Ronneberger et al. 2015 (arXiv 1505.04597): a path down that halves the side at each
step, a path up, and at each size a connection across. Strided convolutions lead down, as in Isola et al. 2017
(arXiv 1611.07004, appendix A.1); normalisation is by instance (Ulyanov et al. 2016, arXiv 1607.08022), as
CycleGAN has it. It knows no losses, no files and no training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

UPSAMPLING = ("bilinear", "transposed")
MOST_HALVINGS = 5
WIDEST = 8  # times the first layer's channels
LEAST_SIDE = 4  # of the smallest map: normalised over a single pixel, an instance is all zeros
INIT_STD = 0.02  # Zhu et al. 2017, section 7.1


def generator_halvings(resolution: int) -> int:
    """How often the side of a ``resolution`` x ``resolution`` image is halved: 16 px 2, 64 px 4, 128 px 5."""
    halvings = 0
    while halvings < MOST_HALVINGS and resolution >> (halvings + 1) >= LEAST_SIDE:
        halvings += 1
    return halvings


class UNet(nn.Module):
    """Images [N, 3, H, W] in [-1, 1] to images [N, 3, H, W] in [-1, 1], for any H and W.

    ``width``: channels of the first layer; they double with each halving, up to 8 times as many.
    ``upsampling``: ``bilinear`` (reduce the channels, resize, convolve) or ``transposed`` (a transposed
    convolution). Raises ValueError for another.
    """

    def __init__(self, width: int, halvings: int, upsampling: str = "bilinear") -> None:
        super().__init__()
        if upsampling not in UPSAMPLING:
            raise ValueError(f"upsampling is {upsampling!r}: expected {' or '.join(UPSAMPLING)}")
        channels = [width * min(2**level, WIDEST) for level in range(halvings + 1)]
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.LeakyReLU(0.2))
        self.down = nn.ModuleList(_down(channels[level], channels[level + 1]) for level in range(halvings))
        self.up = nn.ModuleList(
            _up(channels[level + 1] * (1 if level == halvings - 1 else 2), channels[level], upsampling)
            for level in reversed(range(halvings))
        )
        self.last = nn.Conv2d(2 * width if halvings else width, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """The translated images; the sides need not be multiples of anything."""
        height, width = images.shape[2:]
        multiple = 2 ** len(self.down)
        x = reflected(reflected(images, 2, multiple), 3, multiple)
        x = self.first(x)
        across = []
        for down in self.down:
            across.append(x)
            x = down(x)
        for up in self.up:
            x = torch.cat((up(x), across.pop()), dim=1)  # [N, 2 C, h, w]
        return torch.tanh(self.last(x))[:, :, :height, :width]


def reflected(images: Tensor, axis: int, multiple: int) -> Tensor:
    """Images [N, C, H, W] with the side ``axis`` lengthened to a multiple, by what lies before its end in
    reverse: a b c becomes a b c b a. A side of one pixel is repeated.

    `torch.nn.functional.pad` reflects too, but by less than the side only, and on a GPU its gradient adds in
    any order.
    """
    missing = -images.shape[axis] % multiple
    while missing:
        size = images.shape[axis]
        length = min(missing, max(size - 1, 1))
        part = images.narrow(axis, max(size - 1 - length, 0), length)
        images = torch.cat((images, part.flip(axis)), dim=axis)
        missing -= length
    return images


def initialise(network: nn.Module, seed: int) -> None:
    """Draw all weights of convolutions from N(0, 0.02), a function of the seed; biases become zero."""
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        values = torch.zeros(parameter.shape)
        if parameter.ndim > 1:
            values.normal_(0, INIT_STD, generator=random)
        with torch.no_grad():
            parameter.copy_(values)


def instance_norm(channels: int) -> nn.Module:
    """Normalisation of each channel of each image, without learnt scale: a group norm of single channels,
    which keeps the memory format that it is given.
    """
    return nn.GroupNorm(channels, channels, affine=False)


def _down(channels_in: int, channels_out: int) -> nn.Module:
    convolution = nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, instance_norm(channels_out), nn.LeakyReLU(0.2))


def _up(channels_in: int, channels_out: int, upsampling: str) -> nn.Module:
    larger: list[nn.Module]
    if upsampling == "bilinear":
        larger = [
            nn.Conv2d(channels_in, channels_out, 1, bias=False),  # first: four times fewer pixels
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        ]
    else:
        larger = [nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)]
    return nn.Sequential(*larger, instance_norm(channels_out), nn.ReLU())
