"""The axes that weights read: found where they are fewer than the channels, where that saves work."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.labelling.weight_axes import WORTH, weight_axes

MANY = 10**9


def weights(n: int, channels: int, rank: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    """As training in a subspace of orthonormal axes leaves them, in float32."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(channels, rank, generator=generator)).Q
    return torch.randn(n, rank, generator=generator) * scale @ basis.T


@given(
    st.integers(1, 60),
    st.integers(1, 40),
    st.data(),
    st.integers(0, 2**31),
    st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_what_is_left_on_the_axes_is_all_there_was(
    n: int, channels: int, data: st.DataObject, seed: int, scale: float
) -> None:
    rank = data.draw(st.integers(1, channels))
    weight = weights(n, channels, rank, seed, scale)
    axes = weight_axes(weight, MANY)
    least = min(n, rank)
    if axes is None:
        assert least * (channels + n) > WORTH * channels * n
        return
    assert axes.shape == (channels, least) and axes.dtype == torch.float32
    assert least * (channels + n) <= WORTH * channels * n
    torch.testing.assert_close(axes.T @ axes, torch.eye(least), rtol=0, atol=1e-5)
    torch.testing.assert_close(weight @ axes @ axes.T, weight, rtol=0, atol=float(3e-6 * weight.abs().max()))


def test_a_trained_member_reads_the_axes_of_its_subspace_and_no_rounding() -> None:
    """Sizes of a face generator's layers of 256 pixels, ten members: rounding is not taken for an axis."""
    weight = weights(2560, 128, 60, seed=0)
    axes = weight_axes(weight, 512 * 512)
    assert axes is not None and axes.shape == (128, 60)


def test_weights_of_full_rank_or_of_few_positions_are_left_alone() -> None:
    assert weight_axes(torch.randn(64, 16), MANY) is None
    assert weight_axes(weights(640, 1024, 20, seed=0), 4 * 4) is None  # the search is dearer
    assert weight_axes(weights(640, 64, 20, seed=0), 64 * 64) is not None


def test_weights_of_zero_have_one_axis() -> None:
    axes = weight_axes(torch.zeros(64, 16), MANY)
    assert axes is not None and axes.shape == (16, 1)
