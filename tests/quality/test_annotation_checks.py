"""What is pointed out in annotations: exact masks give nothing, and made faults are found where they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import embedded
from pipeline.quality.annotation_checks import (
    HOLE,
    SINGLE,
    SLIP,
    SPECK,
    Finding,
    mask_findings,
    region_findings,
    slip_findings,
)
from pipeline.quality.boundary_slips import MAX_SHIFT, boundary_slips
from pipeline.quality.keypoint_checks import keypoint_findings
from pipeline.quality.swapped_masks import Outlines, better_elsewhere, boundary, edges, fit

NAMES = ("background", "skin", "hair")
SIDE = 64


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray]:
    """(pictures, exact masks) of the demo."""
    latents = embedded.annotated_latents(12)
    return embedded.exact_images(latents), embedded.exact_masks(latents)


def square(left: int = 20) -> np.ndarray:
    """(64, 64) a square of class 1, 24 pixels wide, its left side at ``left``."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:44, left : left + 24] = 1
    return mask


def picture_of(mask: np.ndarray) -> np.ndarray:
    colors = np.array([[40, 60, 80], [200, 150, 120], [90, 30, 20]], np.uint8)
    return colors[mask]


def moved(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.pad(mask, MAX_SHIFT, mode="edge")[
        MAX_SHIFT - rows : MAX_SHIFT - rows + len(mask),
        MAX_SHIFT - columns : MAX_SHIFT - columns + mask.shape[1],
    ]


@settings(max_examples=12, deadline=None)
@given(
    st.integers(3, 6),
    st.sampled_from([(1, 0), (-1, 0), (0, 1), (0, -1)]),
)
def test_a_moved_square_is_off_by_as_many_pixels_on_both_of_its_sides(
    shift: int, way: tuple[int, int]
) -> None:
    mask = square()
    rows, columns = shift * way[0], shift * way[1]
    slips = boundary_slips(moved(mask, rows, columns), picture_of(mask))
    assert slips and {(slip.rows, slip.columns) for slip in slips} == {(-rows, -columns)}
    assert {slip.classes for slip in slips} == {(0, 1)} and {slip.shift for slip in slips} == {shift}
    assert sum(slip.length for slip in slips) >= 2 * (24 - shift)


def test_the_exact_square_and_one_that_is_off_by_one_pixel_are_on_their_edges() -> None:
    mask = square()
    assert boundary_slips(mask, picture_of(mask)) == []
    assert boundary_slips(moved(mask, 0, 1), picture_of(mask)) == []


def test_no_edge_means_no_slip() -> None:
    flat = np.full((SIDE, SIDE, 3), 90, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, flat.shape).astype(np.uint8)
    assert boundary_slips(square(), flat) == [] and boundary_slips(square(), noise) == []


def test_a_boundary_of_another_class_is_no_edge_to_slip_to() -> None:
    """The boundary between 1 and 2 has no edge of its own; the edges beside it are those of 0."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[16:48, 20:24], mask[16:48, 24:28] = 1, 2
    picture = picture_of(np.minimum(mask, 1))
    assert boundary_slips(mask, picture) == []


def test_the_ignored_label_has_no_edge_to_lie_on() -> None:
    mask, ignored = square(), square(24)
    ignored[ignored == 0] = 255
    assert boundary_slips(ignored, picture_of(mask), 255) == []
    assert boundary_slips(ignored, picture_of(mask)) != []


@pytest.mark.parametrize("shift", [3, 4, 5])
def test_exact_masks_of_the_demo_have_no_slip_and_moved_ones_have(
    faces: tuple[np.ndarray, np.ndarray], shift: int
) -> None:
    for picture, mask in zip(*faces, strict=True):
        assert slip_findings(0, mask, picture) == []
        for rows, columns in ((0, shift), (-shift, 0)):
            assert slip_findings(0, moved(mask, rows, columns), picture)


def test_what_is_said_of_a_slip_names_place_classes_and_direction() -> None:
    mask = square()
    text = slip_findings(7, moved(mask, 0, 4), picture_of(mask))[0].text(NAMES)
    assert text.startswith("boundary slip: background and skin, row ")
    assert text.endswith(": the edge lies 4 pixels left")


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(64, 64\).*expected"):
        boundary_slips(square(), np.zeros((32, 32, 3), np.uint8))


def test_a_hole_is_small_and_enclosed() -> None:
    mask = square()
    mask[30:32, 30:33] = 0
    (hole,) = region_findings(2, mask)
    assert (hole.image, hole.kind, hole.box) == (2, HOLE, (30, 30, 32, 33))
    assert hole.text(NAMES) == "hole: row 30, column 30: 6 pixels"
    mask[22:42, 22:42] = 0  # as large as what is seen through
    assert region_findings(2, mask) == []
    open_to_the_side = square(0)
    open_to_the_side[30, 0] = 0
    assert region_findings(2, open_to_the_side) == []


def test_ignored_pixels_are_a_hole_with_the_background_beside_them() -> None:
    mask = square()
    mask[30, 30], mask[30, 31] = 0, 255
    assert [(f.kind, f.box) for f in region_findings(0, mask, 255)] == [(HOLE, (30, 30, 31, 32))]


def test_a_speck_is_apart_from_a_far_larger_region_of_its_class() -> None:
    mask = square()
    mask[5, 5] = 1
    (speck,) = region_findings(0, mask)
    assert (speck.kind, speck.classes, speck.box) == (SPECK, (1,), (5, 5, 6, 6))
    assert speck.text(NAMES) == "speck: skin, row 5, column 5: 1 pixel"
    mask[50, 5] = mask[50, 60] = 2  # a class of small parts
    assert [finding.kind for finding in region_findings(0, mask)] == [SPECK]


def test_a_mask_of_a_single_class_is_pointed_out() -> None:
    blank = np.ones((SIDE, SIDE), np.uint8)
    assert [f.text(NAMES) for f in region_findings(0, blank)] == ["single-class image: skin"]
    blank[0] = 255
    assert [f.kind for f in region_findings(0, blank, 255)] == [SINGLE]


def test_other_areas_than_those_of_all_other_images_are_no_fault() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[1:63, 1:63] = 1
    assert mask_findings(0, mask, picture_of(mask)) == []


def test_swapped_masks_fit_each_other_and_exact_ones_themselves(
    faces: tuple[np.ndarray, np.ndarray],
) -> None:
    pictures, masks = faces
    order = [0, 4, 2, 3, 1, *range(5, 12)]

    def swapped(order: list[int], extra: np.ndarray | None = None) -> list[tuple[int, int]]:
        outlines = Outlines()
        for image, place in enumerate(order):
            mask = extra if extra is not None and image == 6 else masks[place]
            outlines.add(image, mask, pictures[image])
        return outlines.swapped()

    assert swapped(list(range(12))) == []
    assert swapped(order) == [(1, 4), (4, 1)]
    assert swapped(order, moved(masks[6], 0, 5)) == [(1, 4), (4, 1)]  # it fits no picture


def test_the_fit_is_the_mean_edge_along_the_boundary() -> None:
    random = np.random.default_rng(0)
    masks = random.integers(0, 2, (3, 5, 7))
    pictures = random.integers(0, 256, (3, 5, 7, 3)).astype(np.uint8)
    lines = np.stack([boundary(mask).ravel() for mask in masks])
    strengths = np.stack([edges(picture).ravel() for picture in pictures])
    found = fit(lines, strengths)
    for i in range(3):
        for j in range(3):
            assert found[i, j] == pytest.approx(strengths[j][lines[i] > 0].mean(), rel=1e-5)
    for picture, strength in zip(pictures.astype(float), strengths, strict=True):
        plain = np.zeros((5, 7))
        for y, x in np.ndindex(5, 7):
            right = ((picture[y, x + 1] - picture[y, x]) ** 2).sum() if x < 6 else 0
            below = ((picture[y + 1, x] - picture[y, x]) ** 2).sum() if y < 4 else 0
            plain[y, x] = np.sqrt(right + below)
        np.testing.assert_allclose(strength.reshape(5, 7), plain / plain.mean(), rtol=1e-5)


def test_a_mask_without_boundary_fits_nothing_and_is_not_swapped() -> None:
    assert better_elsewhere(np.zeros((3, 3), np.float32)) == []


POINTS = ("left_eye", "right_eye", "nose")


def points() -> np.ndarray:
    """(5, 3, 3): left eye at the left, in every image."""
    one = np.array([[10.0, 20, 1], [30, 20, 1], [20, 30, 1]])
    return np.stack([one + np.array([image, 0, 0]) for image in range(5)])


def said(values: np.ndarray) -> list[tuple[int, str]]:
    return [(finding.image, finding.text(POINTS)) for finding in keypoint_findings(values, POINTS, 64, 64)]


def test_plain_keypoints_give_nothing() -> None:
    assert said(points()) == []


def test_keypoints_outside_doubled_and_exchanged_are_found() -> None:
    values = points()
    values[0, 2, 0] = 70
    values[1, 2] = values[1, 0]
    values[4, [0, 1]] = values[4, [1, 0]]
    assert said(values) == [
        (0, "odd keypoint: nose, at x 70, y 30: outside the picture"),
        (1, "odd keypoint: left_eye and nose, at one position"),
        (4, "odd keypoint: left_eye and right_eye, in another order than in all other images"),
    ]


def test_unlabelled_keypoints_and_few_images_say_nothing() -> None:
    values = points()
    values[:, :, 2] = 0
    values[:, :, 0] = 99
    assert said(values) == []
    few = points()[:3]
    few[0, [0, 1]] = few[0, [1, 0]]
    assert said(few) == []


def test_a_label_without_a_name_is_shown_by_its_number() -> None:
    assert Finding(0, SLIP, None, (1, 9)).text(NAMES) == "boundary slip: skin and 9"
