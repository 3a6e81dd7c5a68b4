"""IoU and accuracy of confusion matrices that can be counted by hand, and against sets of pixels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.labelling.confusion import confusion, mean_iou
from pipeline.quality.overlap import class_iou, mean_present, normalised_rows, pixel_accuracy

# Truth in rows. Class 2 is predicted and never true, class 3 occurs nowhere.
MATRIX = torch.tensor([[6, 1, 1, 0], [2, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_a_matrix_made_by_hand() -> None:
    assert class_iou(MATRIX)[:3].tolist() == [6 / 10, 4 / 7, 0.0]
    assert pixel_accuracy(MATRIX) == 10 / 14
    assert normalised_rows(MATRIX)[:2].tolist() == [[6 / 8, 1 / 8, 1 / 8, 0], [2 / 6, 4 / 6, 0, 0]]


def test_a_class_in_neither_truth_nor_prediction_has_no_figure_and_is_in_no_mean() -> None:
    ious = class_iou(MATRIX)
    assert math.isnan(ious[3])
    assert mean_present(ious) == pytest.approx((6 / 10 + 4 / 7 + 0) / 3)
    assert normalised_rows(MATRIX)[2:].isnan().all()


def test_two_squares_that_half_overlap_have_an_iou_of_a_third() -> None:
    truth, predicted = torch.zeros(20, 20, dtype=torch.uint8), torch.zeros(20, 20, dtype=torch.uint8)
    truth[4:12, 4:12], predicted[4:12, 8:16] = 1, 1
    matrix = confusion(truth.flatten(), predicted.flatten(), 2)
    assert class_iou(matrix)[1] == 1 / 3
    assert pixel_accuracy(matrix) == (400 - 64) / 400


def test_nothing_has_no_figure() -> None:
    empty = torch.zeros(3, 3, dtype=torch.int64)
    assert math.isnan(pixel_accuracy(empty)) and math.isnan(mean_present(class_iou(empty)))


@given(arrays("uint8", (2, 30), elements=st.integers(0, 4)))
def test_every_figure_is_that_of_sets_of_pixels(labels: object) -> None:
    truth, predicted = torch.from_numpy(labels)
    matrix = confusion(truth, predicted, 6)
    for k, found in enumerate(class_iou(matrix).tolist()):
        true_set, set_found = ({i for i in range(30) if side[i] == k} for side in (truth, predicted))
        union = true_set | set_found
        assert found == len(true_set & set_found) / len(union) if union else math.isnan(found)
    assert mean_present(class_iou(matrix)) == pytest.approx(mean_iou(matrix))
    assert pixel_accuracy(matrix) == int((truth == predicted).sum()) / 30
