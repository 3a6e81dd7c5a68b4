"""Votes, divergences, scores and the keep rule, each against a brute-force twin."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.labelling.votes import (
    confusion,
    divergence_limit,
    divergence_to_float16,
    js_divergence,
    keep_mask,
    label_pixels,
    mean_iou,
    score_images,
    vote,
)
from pipeline.models.interpreter import InterpreterEnsemble, member_seeds

sizes = st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(1, 7), st.integers(0, 10**6))
scales = st.sampled_from([0.0, 0.1, 1.0, 10.0, 1e4])


def image_score(divergence: Tensor, score: str = "top10") -> float:
    return float(score_images(divergence[None], score))


def random_logits(size: tuple[int, int, int, int], scale: float = 1.0) -> Tensor:
    members, pixels, classes, seed = size
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(members, pixels, classes, generator=generator) * scale


def brute_force_divergence(logits: Tensor) -> list[float]:
    def entropy_of(p: np.ndarray) -> float:
        return -sum(x * math.log(x) for x in p if x > 0)

    probabilities = logits.double().softmax(2).numpy()  # [E, P, K]
    return [
        entropy_of(probabilities[:, i].mean(0)) - float(np.mean([entropy_of(p) for p in probabilities[:, i]]))
        for i in range(logits.shape[1])
    ]


@given(sizes, st.integers(1, 3))
def test_vote_is_the_commonest_class_and_ties_go_to_the_lowest_id(
    size: tuple[int, int, int, int], levels: int
) -> None:
    logits = (random_logits(size) * levels).round()  # few distinct values: ties inside and among members
    expected = []
    for pixel in logits.unbind(1):
        winners = [max(range(len(row)), key=lambda k: (row[k], -k)) for row in pixel.tolist()]
        expected.append(max(range(size[2]), key=lambda k: (winners.count(k), -k)))
    assert vote(logits).tolist() == expected


@given(sizes, scales)
def test_divergence_is_the_definition_within_its_bounds(
    size: tuple[int, int, int, int], scale: float
) -> None:
    logits = random_logits(size, scale)
    divergence = js_divergence(logits.softmax(2))
    assert divergence.dtype == torch.float32
    np.testing.assert_allclose(divergence, brute_force_divergence(logits), atol=2e-6)
    assert divergence.min() >= 0
    assert divergence.max().item() <= math.log(size[0])


@given(sizes, scales)
def test_divergence_is_zero_where_members_agree(size: tuple[int, int, int, int], scale: float) -> None:
    logits = random_logits(size, scale)[:1].expand(size[0], -1, -1)
    assert js_divergence(logits.softmax(2)).max() < 1e-6


@given(st.integers(1, 12), st.integers(0, 5))
def test_divergence_is_ln_of_the_members_where_each_is_sure_of_another_class(
    members: int, spare: int
) -> None:
    probabilities = torch.eye(members, members + spare)[:, None]  # [E, 1, K]
    assert js_divergence(probabilities).item() == pytest.approx(math.log(members), abs=1e-6)


def test_divergence_averages_probabilities_not_logits() -> None:
    logits = torch.tensor(
        [[[40.0, 0.0]], [[-40.0, 0.0]]]
    )  # the mean of the logits is 0: no disagreement there
    assert js_divergence(logits.softmax(2)).item() == pytest.approx(math.log(2))


@given(st.integers(1, 300), st.sampled_from([torch.float16, torch.float32]))
def test_the_limit_is_the_largest_value_not_above_ln_of_the_members(members: int, dtype: torch.dtype) -> None:
    limit = divergence_limit(members, dtype)
    assert limit <= math.log(members)
    if members > 1:
        above = torch.nextafter(torch.tensor(limit, dtype=dtype), torch.tensor(math.inf, dtype=dtype))
        assert above.item() > math.log(members)


def test_divergence_stored_as_float16_stays_within_its_bounds() -> None:
    largest = torch.tensor([0.0, 1.0, divergence_limit(10, torch.float32)])
    assert largest.half()[2].item() > math.log(10)  # what plain rounding would store
    stored = divergence_to_float16(largest, 10)
    assert stored.dtype == torch.float16
    assert stored[2].item() <= math.log(10)
    assert stored[:2].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [(256, torch.uint8), (257, torch.int64)],  # 257 classes no longer fit in 8 bits
)
@pytest.mark.parametrize("feature_dtype", [torch.float16, torch.float32])
def test_pixels_are_labelled_alike_whatever_the_chunk(
    classes: int, dtype: torch.dtype, feature_dtype: torch.dtype
) -> None:
    ensemble = InterpreterEnsemble(classes, 6, seeds=member_seeds(0, 3), widths=(5, 4)).eval()
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).to(feature_dtype) * 100
    labels, divergence = label_pixels(ensemble, features, chunk_pixels=7)
    logits = ensemble(features.float().expand(3, -1, -1))
    assert (labels.dtype, divergence.dtype) == (dtype, torch.float32)
    assert torch.equal(labels.long(), vote(logits))
    torch.testing.assert_close(divergence, js_divergence(logits.softmax(2)).detach(), atol=1e-6, rtol=0)


def test_labelling_with_an_ensemble_in_training_mode_is_refused() -> None:
    ensemble = InterpreterEnsemble(3, 6, seeds=[0], widths=(5, 4))
    with pytest.raises(ValueError, match="evaluation mode"):
        label_pixels(ensemble, torch.zeros(4, 6))


@given(st.integers(1, 300), st.integers(0, 10**6))
def test_scores_are_the_mean_of_the_top_tenth_the_mean_and_the_sum(pixels: int, seed: int) -> None:
    divergence = torch.rand(pixels, 1, generator=torch.Generator().manual_seed(seed))
    values = sorted(divergence.flatten().tolist(), reverse=True)
    top = values[: max(1, pixels // 10)]
    assert image_score(divergence) == pytest.approx(sum(top) / len(top))
    assert image_score(divergence, "mean") == pytest.approx(sum(values) / pixels)
    assert image_score(divergence, "sum") == pytest.approx(sum(values))


def test_an_image_with_a_nan_has_a_nan_score() -> None:
    divergence = torch.zeros(10, 10)
    divergence[4, 7] = math.nan
    assert all(math.isnan(image_score(divergence, score)) for score in ("top10", "mean", "sum"))


def test_unknown_scores_and_empty_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="top10, mean, sum"):
        image_score(torch.zeros(2, 2), "top20")
    with pytest.raises(ValueError, match="empty"):
        image_score(torch.zeros(0, 4))


score_values = st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan])  # few values: many ties
keeps = st.integers(0, 1000).map(lambda thousandths: Fraction(thousandths, 1000))


@given(st.lists(score_values, max_size=60), keeps)
def test_exactly_the_asked_number_is_kept_and_none_dropped_is_better(
    scores: list[float], keep: Fraction
) -> None:
    kept, threshold = keep_mask(np.array(scores), keep)
    ranks = sorted((score, i) for i, score in enumerate(scores) if not math.isnan(score))
    wanted = -(-keep.numerator * len(scores) // keep.denominator)
    best = ranks[:wanted]  # fewer where fewer are finite
    assert sorted(np.flatnonzero(kept)) == sorted(i for _, i in best)
    assert threshold == (best[-1][0] if best else None)


@pytest.mark.parametrize(
    ("num", "keep", "expected"),
    [
        (100, "0.07", 7),  # ceil(100 * 0.07) is 8 in floating point
        (10, "0.9", 9),
        (1, "0.9", 1),  # the released slice is empty for a few images
        (3, "0.9", 3),
        (1000, "0.9", 900),
        (5, "1", 5),
        (0, "0.9", 0),
        (7, "0.001", 1),
    ],
)
def test_keep_counts(num: int, keep: str, expected: int) -> None:
    kept, _ = keep_mask(np.arange(num)[::-1].astype(float), Fraction(keep))
    assert kept.sum() == expected
    assert kept[num - expected :].all()  # the scores fall with the index: the last are the best


@pytest.mark.parametrize("keep", [Fraction(-1, 10), Fraction(11, 10)])
def test_fractions_outside_0_to_1_are_refused(keep: Fraction) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        keep_mask(np.zeros(3), keep)


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40))
def test_mean_iou_is_over_the_classes_present_in_either(spare: int, pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (torch.tensor(side) for side in zip(*pairs, strict=True))
    ious = []
    for k in {k for pair in pairs for k in pair}:
        both = sum(pair == (k, k) for pair in pairs)
        ious.append(both / sum(k in pair for pair in pairs))
    assert mean_iou(confusion(truth, predicted, 5 + spare)) == pytest.approx(sum(ious) / len(ious))
