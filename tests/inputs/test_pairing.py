"""Pairing: image i is latent i or i - 1, said or recognised; every doubt is one line that names the flags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.inputs.pairing import Pairing, pair


def message_of(*arguments: object, **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        pair(*arguments, location="masks", **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message and message.startswith("masks: ")
    return message


def pairs(pairing: Pairing) -> list[tuple[int, int | None]]:
    return list(zip(pairing.annotations, pairing.latents, strict=True))


# --- what is taken ---


@pytest.mark.parametrize(
    ("annotations", "latents", "options", "reading", "expected"),
    [
        (range(3), range(3), {}, "latent", [(0, 0), (1, 1), (2, 2)]),
        ([2, 0, 1], [1, 0, 2], {}, "latent", [(0, 1), (1, 0), (2, 2)]),  # by number, in the numbers' order
        ([5, 7], [7, 5], {}, "latent", [(5, 1), (7, 0)]),  # a folder of latents numbered otherwise
        (range(4), range(3), {}, "mean", [(0, None), (1, 0), (2, 1), (3, 2)]),  # the released off-by-one
        (range(1, 4), range(3), {}, "skip", [(1, 0), (2, 1), (3, 2)]),
        (range(4), range(3), {"image_zero": "skip"}, "skip", [(1, 0), (2, 1), (3, 2)]),
        (range(1, 4), range(3), {"image_zero": "skip"}, "skip", [(1, 0), (2, 1), (3, 2)]),
        (range(4), range(3), {"image_zero": "mean"}, "mean", [(0, None), (1, 0), (2, 1), (3, 2)]),
        ([0, 2], range(9), {"annotated_only": True}, "latent", [(0, 0), (2, 2)]),
        ([0, 9], range(9), {"annotated_only": True}, "mean", [(0, None), (9, 8)]),  # 9 is no latent's number
        ([3, 9], range(9), {"annotated_only": True}, "skip", [(3, 2), (9, 8)]),
        ([0, 2], range(9), {"annotated_only": True, "image_zero": "mean"}, "mean", [(0, None), (2, 1)]),
        (range(9), range(9), {"max_images": 2}, "latent", [(0, 0), (1, 1)]),
        (range(2), range(9), {"max_images": 2}, "latent", [(0, 0), (1, 1)]),
        (range(9), range(8), {"max_images": 2, "image_zero": "mean"}, "mean", [(0, None), (1, 0)]),
        (range(9), range(2), {"max_images": 2}, "latent", [(0, 0), (1, 1)]),
        (range(16), range(100, 116), {"max_images": 3}, "latent", [(0, 0), (1, 1), (2, 2)]),
        (range(3), range(100, 116), {"max_images": 3}, "latent", [(0, 0), (1, 1), (2, 2)]),
        (range(5), [9, 4, 2, 0, 1], {"max_images": 2}, "latent", [(0, 0), (1, 1)]),  # as without the limit
        (range(3), [2, 0, 1], {"max_images": 2}, "latent", [(0, 1), (1, 2)]),  # by number, as without it
        (range(3), [0, 1, 9], {}, "latent", [(0, 0), (1, 1), (2, 2)]),  # EditGAN: one embedding left out
        (range(3), [9, 4, 2], {}, "latent", [(0, 0), (1, 1), (2, 2)]),  # seeds as written, images in order
    ],
)
def test_each_annotation_has_its_latent(annotations, latents, options, reading, expected) -> None:
    pairing = pair(list(annotations), list(latents), **options)
    assert (pairing.reading, pairs(pairing)) == (reading, expected)


@pytest.mark.parametrize(
    ("annotations", "latents", "options", "says"),
    [
        (range(4), range(3), {}, "--image-zero skip"),
        (range(1, 4), range(3), {}, "--image-zero latent"),
        (range(3), [0, 1, 9], {}, "in order"),
        (range(2), range(9), {"annotated_only": True}, "--image-zero mean"),  # either may be meant
        (range(2), range(9), {"max_images": 2}, "--image-zero mean"),
    ],
)
def test_a_guess_is_told_with_the_way_to_have_it_otherwise(annotations, latents, options, says: str) -> None:
    note = pair(list(annotations), list(latents), **options).note
    assert note is not None and says in note and "\n" not in note


@pytest.mark.parametrize("options", [{}, {"image_zero": "latent"}, {"annotated_only": True}])
def test_what_is_plain_is_not_remarked_upon(options) -> None:
    assert pair([0, 1], [0, 1], **options).note is None


@given(
    num=st.integers(1, 20),
    start=st.integers(0, 5),
    reading=st.sampled_from(["latent", "mean", "skip"]),
    data=st.data(),
)
def test_a_reading_that_is_asked_for_is_the_shift_by_definition(num, start, reading, data) -> None:
    latents = data.draw(st.permutations(range(start, start + num)))
    shift = 0 if reading == "latent" else 1
    images = {number + shift for number in latents} | ({0} if reading == "mean" else set())
    annotations = data.draw(st.lists(st.sampled_from(sorted(images)), min_size=1, unique=True))
    pairing = pair(annotations, latents, image_zero=reading, annotated_only=True)
    wanted = [n for n in sorted(annotations) if not (reading == "skip" and n == 0)]
    assert list(pairing.annotations) == wanted
    for image, row in pairs(pairing):
        assert row is None if (reading == "mean" and image == 0) else latents[row] == image - shift


# --- what is refused ---


@pytest.mark.parametrize(
    ("annotations", "latents", "options", "says"),
    [
        ([], [0], {}, ["no annotation"]),
        ([5], range(6), {"max_images": 3}, ["below max_images, 3"]),
        (range(3), range(4), {}, ["1 of 4", "missing: 3", "--annotated-only", "--image-zero mean"]),
        ([0, 2], range(4), {}, ["2 of 4", "missing: 1, 3", "--annotated-only"]),
        (range(6), range(3), {}, ["3 annotations are surplus to the 3 latents: 3, 4, 5"]),
        ([0, 1, 7], range(3), {}, ["missing: 2", "surplus", "7"]),
        (range(5, 8), range(3), {}, ["numbered from 5 to 7", "0 to 2", "rename"]),
        (range(1, 4), range(3), {"image_zero": "latent"}, ["numbered from 1 to 3", "0 to 2"]),
        (range(3), range(3), {"image_zero": "mean"}, ["missing: 3", "0 to 3", "--image-zero mean"]),
        (range(1, 4), range(3), {"image_zero": "mean"}, ["missing: 0"]),
        (range(4), range(3), {"image_zero": "latent"}, ["surplus", "3"]),
        ([0, 12], range(9), {"annotated_only": True}, ["surplus", "12"]),
        (range(1, 30), range(1, 40), {}, ["missing: 30, 31, 32, 33, 34, 35 and 4 more"]),
        ([0], range(3), {"image_zero": "skip"}, ["3 of 3"]),
        ([0], range(3), {"image_zero": "skip", "annotated_only": True}, ["3 of 3"]),  # nothing would be left
    ],
)
def test_what_does_not_fit_is_told_in_one_line(annotations, latents, options, says) -> None:
    message = message_of(list(annotations), list(latents), **options)
    for part in says:
        assert part in message


def test_the_annotations_files_and_what_was_not_read_are_named() -> None:
    message = message_of([0, 7], [0, 1], names={7: "image_mask7.png"}, hint="not read: image1.gif")
    assert "surplus to the 2 latents: image_mask7.png" in message and message.endswith("not read: image1.gif")
    assert "gif" not in message_of(range(6), [0, 1, 2], hint="not read: image1.gif")  # nothing is missing


@given(
    annotations=st.lists(st.integers(0, 12), unique=True),
    latents=st.lists(st.integers(0, 12), min_size=1, unique=True),
    image_zero=st.sampled_from(["auto", "latent", "mean", "skip"]),
    annotated_only=st.booleans(),
    max_images=st.none() | st.integers(1, 14),
)
def test_any_numbers_give_a_pairing_or_one_line(
    annotations, latents, image_zero, annotated_only, max_images
) -> None:
    options = {"image_zero": image_zero, "annotated_only": annotated_only, "max_images": max_images}
    try:
        pairing = pair(annotations, latents, **options)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    used = [row for row in pairing.latents if row is not None]
    assert len(pairing.annotations) == len(pairing.latents) == len(set(pairing.annotations))
    assert len(set(used)) == len(used) and all(0 <= row < len(latents) for row in used)
    assert set(pairing.annotations) <= set(annotations)
    assert max_images is None or all(number < max_images for number in pairing.annotations)
    if not annotated_only and max_images is None:
        assert sorted(used) == list(range(len(latents)))


@given(
    latents=st.lists(st.integers(0, 12), min_size=1, unique=True),
    max_images=st.integers(1, 12),
)
def test_a_limit_leaves_out_images_and_changes_no_pair(latents: list[int], max_images: int) -> None:
    annotations = range(len(latents))
    whole = pair(annotations, latents)
    assert pairs(pair(annotations, latents, max_images=max_images)) == pairs(whole)[:max_images]


def test_latents_of_the_images_numbers_are_not_taken_in_order() -> None:
    """The first eight could be those of images 1 to 8: image 0 is what lacks its latent."""
    message = message_of(range(8), range(1, 16), max_images=8)
    assert "surplus" in message


def test_many_numbers_are_compared_in_one_pass() -> None:
    """Each number against each other would be 10 billion steps."""
    numbers = range(100_000)
    assert pair(list(numbers), list(numbers)).annotations == tuple(numbers)
    with pytest.raises(UsageError, match="50000 of 100,000 annotations are missing"):
        pair(list(numbers)[::2], list(numbers))
