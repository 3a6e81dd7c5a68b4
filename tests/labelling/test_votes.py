"""Votes and divergences, each against a brute-force twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.labelling.votes import (
    ConfidenceTally,
    Tally,
    divergence_limit,
    divergence_to_float16,
    js_divergence,
    label_pixels,
    vote,
)
from pipeline.models.interpreter import InterpreterEnsemble, member_seeds

sizes = st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(1, 7), st.integers(0, 10**6))
scales = st.sampled_from([0.0, 0.1, 1.0, 10.0, 1e4])


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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_pixel_with_an_output_that_is_not_finite_has_no_divergence(value: float) -> None:
    logits = random_logits((3, 6, 4, 0))
    logits[1, 2, 0] = value
    tally = Tally(6, 4, torch.device("cpu"))
    for member in logits:
        tally.add(member)
    found = tally.divergence()
    assert found.isnan().tolist() == [False, False, True, False, False, False]
    rest = [0, 1, 3, 4, 5]
    assert found[rest].tolist() == pytest.approx(brute_force_divergence(logits[:, rest]), abs=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_plain_way_finds_it_too(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = InterpreterEnsemble(4, 6, seeds=member_seeds(0, 3), widths=(5, 4)).eval()
    logits = random_logits((3, 8, 4, 0))
    logits[2, 5, 3] = value
    monkeypatch.setattr(InterpreterEnsemble, "forward_shared", lambda self, features: logits)
    assert label_pixels(ensemble, torch.zeros(8, 6))[1].isnan().nonzero().tolist() == [[5]]


@given(sizes, scales)
def test_a_confidence_is_the_largest_mean_probability(size: tuple[int, int, int, int], scale: float) -> None:
    logits = random_logits(size, scale)
    tally = ConfidenceTally(size[1], size[2], torch.device("cpu"))
    for member in logits:
        tally.add(member)
    label, winner, confidence = tally.labels().unbind(1)
    mean = logits.double().softmax(2).mean(0)  # [P, K]
    assert label.tolist() == vote(logits).tolist()
    np.testing.assert_allclose(confidence, mean.amax(1), rtol=1e-5)
    np.testing.assert_allclose(mean.gather(1, winner.long()[:, None])[:, 0], mean.amax(1), rtol=1e-5)
    assert confidence.max() <= 1


def test_a_pixel_with_an_output_that_is_nan_has_no_confidence() -> None:
    logits = random_logits((3, 6, 4, 0))
    logits[1, 2, 0] = math.nan
    tally = ConfidenceTally(6, 4, torch.device("cpu"))
    for member in logits:
        tally.add(member)
    assert tally.labels()[:, 2].isnan().tolist() == [False, False, True, False, False, False]


def add_all(logits: Tensor) -> Tally:
    tally = Tally(logits.shape[1], logits.shape[2], torch.device("cpu"))
    for member in logits:
        tally.add(member)
    return tally


@given(sizes, st.integers(0, 20), st.integers(0, 20))
def test_votes_by_label_are_those_of_brute_force(
    size: tuple[int, int, int, int], start: int, stop: int
) -> None:
    """Also of a part of the pixels, which may be empty."""
    logits = random_logits(size)
    members, pixels, num_classes, _ = size
    labels = vote(logits)
    expected = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for member in range(members):
        for pixel in range(pixels)[start:stop]:
            expected[labels[pixel], logits[member, pixel].argmax()] += 1
    tally = add_all(logits)
    assert torch.equal(tally.votes_by_label(tally.labels(), slice(start, stop)), expected)


def test_outputs_that_are_not_finite_vote_for_what_argmax_gives() -> None:
    """The first NaN counts as the largest; of infinities the largest is larger than every number."""
    nan, inf = math.nan, math.inf
    logits = torch.tensor([[[0, nan, nan]], [[5, 0, inf]], [[-inf, 1, -inf]]])  # [E, 1, K]
    tally = add_all(logits)
    assert tally.labels().tolist() == [1]
    assert tally.votes_by_label(tally.labels(), slice(None)).tolist() == [[0, 0, 0], [0, 2, 1], [0, 0, 0]]
