"""The candidate scores and errors of an image: closed forms on a picture that is small enough to count."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fstore.meta import SCORES
from pipeline.labelling.confusion import confusion, mean_iou
from pipeline.labelling.scores import score_images
from pipeline.quality.uncertainty_candidates import (
    DESCRIPTIONS,
    LabelledImage,
    boundary_length,
    class_divergences,
    is_usable,
    keypoint_candidates,
    label_candidates,
    pooled_class_means,
)
from pipeline.quality.uncertainty_errors import keypoint_error, label_error

LABELS = np.array([[0, 0, 1], [0, 2, 1]], np.uint8)
TRUTH = np.array([[0, 1, 1], [9, 2, 1]], np.uint8)  # 9 is no class: a pixel without annotation
DIVERGENCE = np.array([[0.0, 0.5, 0.25], [0.25, 1.0, 0.0]], np.float16)
IMAGE = LabelledImage(LABELS, TRUTH, TRUTH < 3, DIVERGENCE, entropy=0.5, error=0.2)


def test_an_error_is_the_share_of_wrong_annotated_pixels_and_quality_the_mean_iou() -> None:
    found = label_error(LABELS, TRUTH, TRUTH < 3, 3)
    assert found.error == pytest.approx(1 / 5)
    assert found.parts.tolist() == [[1, 2], [2, 3], [1, 1]]
    assert found.quality == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    counted = TRUTH < 3
    matrix = confusion(torch.from_numpy(TRUTH[counted]), torch.from_numpy(LABELS[counted]), 3)
    assert found.quality == pytest.approx(mean_iou(matrix))


def test_a_keypoint_error_is_one_minus_pck_10_of_the_labelled_points() -> None:
    truth = np.array([[2, 2, 1], [10, 2, 1], [5, 5, 0], [2, 10, 1]], np.float32)
    found = truth + np.array([[1, 1, 0], [3, 0, 0], [90, 0, 0], [0, 2, 0]], np.float32)
    wrong = keypoint_error(found, truth, (16, 20))  # near is 2 pixels: a tenth of the larger side
    assert wrong.parts.tolist() == [[2, 3]]
    assert (wrong.error, wrong.quality) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_each_candidate_is_what_its_description_says() -> None:
    means = pooled_class_means([class_divergences(IMAGE, 4), class_divergences(IMAGE, 4)])
    assert means.tolist() == [0.25, 0.125, 1.0, 0.0]
    found = label_candidates(IMAGE, means)
    assert found["mean"] == pytest.approx(2 / 6) and found["sum"] == pytest.approx(2.0)
    assert found["top10"] == 1.0
    assert found["class-mean"] == pytest.approx((0.25 + 0.125 + 1.0) / 3)
    assert found["class-mean-true"] == pytest.approx((0.0 + (0.5 + 0.25 + 0.0) / 3 + 1.0) / 3)
    assert found["entropy"] == 0.5 and found["entropy-share"] == pytest.approx(2 / 6 / 0.5)
    assert found["class-top10"] == pytest.approx((0.5 + 0.25 + 1.0) / 3)
    assert found["boundary-length"] == pytest.approx(2.0 / 4)
    relative = [0.0, 2.0, 2.0, 1.0, 1.0, 0.0]
    assert found["class-normalised-mean"] == pytest.approx(sum(relative) / 6)
    assert found["class-normalised-top10"] == pytest.approx(2.0)
    assert found["true-error"] == 0.2
    assert set(found) == {*SCORES, *DESCRIPTIONS}


def test_the_scores_of_a_dataset_are_those_of_the_stored_divergence() -> None:
    found = label_candidates(IMAGE, np.ones(3))
    stored = torch.from_numpy(DIVERGENCE).float()[None]
    for score in SCORES:
        expected = score_images(stored, score, torch.from_numpy(LABELS).long()[None])
        assert found[score] == float(expected) and is_usable(score)
    assert not any(map(is_usable, DESCRIPTIONS))


def test_boundary_length_counts_pairs_of_neighbours_that_differ() -> None:
    pairs = [(0, 1), (0, 2), (1, 1), (0, 0)]
    assert boundary_length(LABELS) == sum(
        LABELS[row, column] != LABELS[r, c]
        for row in range(2)
        for column in range(3)
        for r, c in ((row + 1, column), (row, column + 1))
        if r < 2 and c < 3
    )
    assert boundary_length(np.array(pairs)) == 7 and boundary_length(np.zeros((3, 3))) == 0


def test_a_divergence_that_is_not_finite_gives_no_score_and_no_boundary_is_no_fault() -> None:
    broken = DIVERGENCE.copy()
    broken[0, 0] = math.nan
    found = label_candidates(LabelledImage(LABELS, TRUTH, TRUTH < 3, broken, 0.5, 0.2), np.ones(3))
    assert all(math.isnan(found[score]) for score in SCORES)
    plain = LabelledImage(LABELS * 0, TRUTH, TRUTH < 3, DIVERGENCE * 0, 0.0, 0.2)
    assert label_candidates(plain, np.zeros(3))["boundary-length"] == 0
    assert label_candidates(plain, np.zeros(3))["entropy-share"] == 0


def test_keypoints_have_the_scores_that_need_no_labels() -> None:
    assert set(keypoint_candidates(DIVERGENCE, 0.5)) == {"top10", "mean", "sum", "true-error"}
