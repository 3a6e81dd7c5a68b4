"""Distances of keypoints that a right triangle gives."""

from __future__ import annotations

import math

import numpy as np

from pipeline.quality.keypoint_distance import distances, mean_distance, pck_by_keypoint

TRUTH = np.array([[[10, 10, 1], [20, 20, 1]], [[10, 10, 1], [20, 20, 0]]], np.float32)
FOUND = np.array([[[13, 14, 0.9], [20, 20, 0.9]], [[10, 17, 0.2], [0, 0, 0.1]]], np.float32)


def test_a_point_without_a_label_has_no_distance() -> None:
    np.testing.assert_array_equal(distances(FOUND, TRUTH), [[5, 0], [7, np.nan]])
    assert mean_distance(FOUND, TRUTH) == 4


def test_a_point_that_was_not_found_counts_against_pck_and_in_no_mean() -> None:
    found = FOUND.copy()
    found[0, 0, :2] = np.nan
    assert mean_distance(found, TRUTH) == 3.5
    assert pck_by_keypoint(found, TRUTH, 0.5, 20) == [0.5, 1]


def test_each_keypoint_has_its_own_share() -> None:
    assert pck_by_keypoint(FOUND, TRUTH, 0.1, 50) == [0.5, 1]


def test_no_labelled_point_has_no_figure() -> None:
    nothing = TRUTH * [1, 1, 0]
    assert math.isnan(mean_distance(FOUND, nothing))
    assert all(math.isnan(share) for share in pck_by_keypoint(FOUND, nothing, 0.1, 50))
