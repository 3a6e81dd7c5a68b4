"""Mean intersection over union against its definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.labelling.confusion import confusion, mean_iou


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40))
def test_mean_iou_is_over_the_classes_present_in_either(spare: int, pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (torch.tensor(side) for side in zip(*pairs, strict=True))
    ious = []
    for k in {k for pair in pairs for k in pair}:
        both = sum(pair == (k, k) for pair in pairs)
        ious.append(both / sum(k in pair for pair in pairs))
    assert mean_iou(confusion(truth, predicted, 5 + spare)) == pytest.approx(sum(ious) / len(ious))
