"""What the networks share: checks of shapes at their boundary, initial values, and the channels of images.

It knows no architecture and no file. Every fault is a ValueError that says what was found and what expected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

MAX_BLOCKS = 11
"""Of a network that doubles the side from 4 px: 4096 px."""
CHANNELS_LAST_FROM = 128
"""Side in pixels."""


def initial_weight(*shape: int, std: float = 1.0) -> Tensor:
    """Normal values of standard deviation `std`. On the meta device a tensor without values: a network has
    only its shape there, and drawing would import parts of torch that take a second to load.
    """
    is_meta = torch.get_default_device().type == "meta"
    return torch.empty(shape) if is_meta else torch.randn(shape) * std


def are_finite(values: Tensor) -> bool:
    """Whether no value is infinite or NaN, which ``aminmax`` gives on: of all of them, `torch.isfinite` takes
    fifty times as long on a CPU.
    """
    return values.numel() == 0 or bool(torch.stack(torch.aminmax(values)).isfinite().all())


def laid_out(x: Tensor, side: int) -> Tensor:
    """Maps [B, C, h, w] in the order in memory in which layers of ``side`` pixels are fast; these keep it.

    On a CPU that is channels last: oneDNN's transposed and depthwise convolutions take a half to a third of
    the time so at 256 pixels and beyond, and nothing gains much below 128.
    """
    is_last = x.device.type == "cpu" and side >= CHANNELS_LAST_FROM
    return x.contiguous(memory_format=torch.channels_last) if is_last else x


def check_tensor(state: Mapping[str, Tensor], key: str, shape: tuple[int | None, ...]) -> None:
    """ValueError unless `state[key]` exists with `shape` (None: any length)."""
    if key not in state:
        raise ValueError(f"missing key {key!r}")
    found = tuple(state[key].shape)
    if not fits(found, shape):
        raise ValueError(f"key {key!r} has shape {found}, expected ({sides_text(shape)})")


def check_latents(name: str, latents: Tensor, tail: tuple[int | None, ...]) -> None:
    """ValueError unless `latents` is [B, *tail] (None: any length)."""
    found = tuple(latents.shape)
    if not fits(found, (None, *tail)):
        text = ", ".join(["batch"] + ["rows" if side is None else str(side) for side in tail])
        raise ValueError(f"got {name} of shape {found}, expected ({text})")


def check_synthesis_inputs(
    w_plus: Tensor, noise: Sequence[Tensor], latent_size: int, min_rows: int, num_noise: int
) -> None:
    """ValueError unless `w_plus` is [B, >= min_rows, latent_size] and there are `num_noise` noise maps."""
    check_latents("w_plus", w_plus, (None, latent_size))
    if w_plus.shape[1] < min_rows:
        raise ValueError(f"got {w_plus.shape[1]} W+ rows, expected at least {min_rows}")
    if len(noise) != num_noise:
        raise ValueError(f"got {len(noise)} noise maps, expected {num_noise}")


def fits(found: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    """Whether `found` is `shape`, of which None stands for any length."""
    return len(found) == len(shape) and all(w in (None, g) for g, w in zip(found, shape, strict=True))


def sides_text(shape: tuple[int | None, ...]) -> str:
    """A shape's sides as text, without its parentheses."""
    return ", ".join("any" if side is None else str(side) for side in shape)


class UnsupportedNetwork(ValueError):
    """A network that is whole, and of a kind that this project does not compute; the message says which."""


def image_channels(count: int) -> int:
    """`count`, the channels of a generator's image: 3, or 1 of a grey one. UnsupportedNetwork for others."""
    if count in (1, 3):
        return count
    known = {2: " (grey and alpha)", 4: " (RGB and alpha)", 12: " (wavelets of RGB, as in SWAGAN)"}
    raise UnsupportedNetwork(
        f"its images have {count} channels{known.get(count, '')}; only RGB (3) and grey (1) are supported"
    )


def check_square_start(shape: Sequence[int]) -> None:
    """UnsupportedNetwork unless the constant [..., height, width] that images grow from is of 4 x 4."""
    height, width = shape[-2:]
    if height != width:
        raise UnsupportedNetwork(
            f"its images are rectangular: they grow from {height} x {width}; only square generators, which "
            "grow from 4 x 4, are supported"
        )
    if height != 4:
        raise UnsupportedNetwork(
            f"its images grow from {height} x {width}; only generators that grow from 4 x 4 are supported"
        )


def as_rgb(image: Tensor) -> Tensor:
    """[B, 3, R, R] of an image [B, 1|3, R, R]: a grey one is repeated."""
    return image if image.shape[1] == 3 else image.repeat(1, 3, 1, 1)
