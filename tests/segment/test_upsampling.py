"""Labels in a photograph's own size, made in bands."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from pipeline.segment.upsampling import labels_in_size


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 4000),
    st.integers(0, 2**32 - 1),
)
def test_bands_give_the_labels_of_outputs_that_are_resized_whole(
    height: int, width: int, rows: int, columns: int, band_bytes: int, seed: int
) -> None:
    outputs = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, height, width)).astype(np.float32))
    whole = F.interpolate(outputs[None], (rows, columns), mode="bilinear", align_corners=False)[0]
    found = labels_in_size(outputs, (rows, columns), band_bytes)
    assert found.shape == (rows, columns) and found.dtype == np.uint8
    taken = whole.gather(0, torch.from_numpy(found.astype(np.int64))[None])[0]
    assert (taken >= whole.amax(0) - 1e-5).all()  # the greatest, or as good as that one


def test_more_than_256_outputs_take_two_bytes() -> None:
    outputs = torch.zeros(300, 2, 2)
    outputs[299] = 1
    found = labels_in_size(outputs, (3, 3))
    assert found.dtype == np.uint16 and (found == 299).all()
