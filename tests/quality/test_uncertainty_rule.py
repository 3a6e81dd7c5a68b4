"""The share that is recommended: all of the images where the order is chance, fewer where it is not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pipeline.quality.calibration_record import ScoreFigures, curve_shares
from pipeline.quality.uncertainty_figures import (
    keeping_order,
    kept_curve,
    kept_parts,
    mean_gain,
    pooled_gain,
    pooled_quality,
)
from pipeline.quality.uncertainty_rule import (
    NUM_ORDERS,
    Advice,
    ChanceGains,
    adjusted_p_values,
    advise,
    choose_score,
)

NUM = 16


def images(seed: int, num: int = NUM) -> np.ndarray:
    """Counts (num, 3, 2) of images that differ in quality."""
    random = np.random.default_rng(seed)
    whole = random.integers(50, 100, (num, 3))
    share = np.clip(random.normal(0.8, 0.1, (num, 1)), 0, 1)
    return np.stack([(whole * share).astype(np.int64), whole], axis=2)


def advice(uncertainty: np.ndarray, parts: np.ndarray) -> Advice:
    curve = kept_curve(uncertainty, parts, curve_shares(len(parts)))
    return advise(curve, ChanceGains(parts), is_constant=False)


def test_on_pure_noise_all_images_are_kept_in_95_of_100_cases() -> None:
    kept = 0
    parts = images(0)
    chance = ChanceGains(parts)
    for seed in range(200):
        noise = np.random.default_rng(seed).normal(size=NUM)
        curve = kept_curve(noise, parts, curve_shares(NUM))
        kept += advise(curve, chance, is_constant=False).keep.fraction == 1
    assert kept >= 183  # of 190 expected: 3 standard deviations of a binomial


def test_noise_keeps_all_and_says_so() -> None:
    found = advice(np.random.default_rng(1).normal(size=NUM), images(1))
    assert found.keep.fraction == 1 and "says nothing here: keep all" in found.reason


def test_an_order_by_the_true_error_drops_images() -> None:
    parts = images(2)
    error = 1 - np.array([float(pooled_quality(image)) for image in parts])
    found = advice(error, parts)
    assert found.keep.fraction < 1 and "random choices" in found.reason


def test_the_reverse_of_the_true_order_keeps_all() -> None:
    parts = images(2)
    assert advice(np.array([float(pooled_quality(image)) for image in parts]), parts).keep.fraction == 1


def test_a_constant_score_and_two_images_keep_all() -> None:
    parts = images(3)
    curve = kept_curve(np.zeros(NUM), parts, curve_shares(NUM))
    assert advise(curve, ChanceGains(parts), is_constant=True).keep.fraction == 1
    assert advice(np.array([0.0, 1.0]), images(3, 2)).keep.fraction == 1


def test_random_orders_gain_nothing_on_average_and_are_the_same_each_time() -> None:
    parts, counts = images(4), (8, 12)
    gains = ChanceGains(parts).gains(counts)
    assert gains.shape == (NUM_ORDERS, 2)
    assert np.abs(gains.mean(axis=0)).max() < 4 * gains.std() / NUM_ORDERS**0.5 + 1e-3
    assert len({round(float(value), 12) for value in gains[:, 0]}) > NUM_ORDERS / 2
    assert (gains == ChanceGains(parts).gains(counts)).all()


def brute_p_values(found: np.ndarray, by_chance: np.ndarray) -> list[float]:
    rows = np.concatenate([found[None], by_chance])
    p = [
        [sum(other[f] >= row[f] - 1e-12 for other in rows) / len(rows) for f in range(rows.shape[1])]
        for row in rows
    ]
    rarest = [min(values) for values in p]
    return [sum(value <= p[0][f] + 1e-12 for value in rarest) / len(rows) for f in range(rows.shape[1])]


@pytest.mark.parametrize("seed", range(5))
def test_p_values_are_corrected_for_the_rarest_of_several_shares(seed: int) -> None:
    random = np.random.default_rng(seed)
    found, by_chance = random.normal(size=3).round(1), random.normal(size=(60, 3)).round(1)
    corrected = adjusted_p_values(found, by_chance)
    assert corrected.tolist() == pytest.approx(brute_p_values(found, by_chance))
    plain = [(by_chance[:, f] >= found[f]).sum() + 1 for f in range(3)]
    assert all(corrected >= np.array(plain) / 61)


def figures(uncertainty: np.ndarray, parts: np.ndarray) -> ScoreFigures:
    curve = kept_curve(uncertainty, parts, curve_shares(len(parts)))
    found = advice(uncertainty, parts)
    return ScoreFigures(True, 0.0, 0.0, mean_gain(curve), found.keep, found.reason, curve, (), ())


def test_another_score_is_chosen_only_where_resamples_agree() -> None:
    parts = images(5, 40)
    error = 1 - np.array([float(pooled_quality(image)) for image in parts])
    random = np.random.default_rng(0)
    values = {"top10": random.normal(size=40), "mean": error}
    scores = {name: figures(value, parts) for name, value in values.items()}
    assert choose_score(scores, values, parts).score == "mean"
    values["mean"] = values["top10"] + 1e-9 * error
    scores = {name: figures(value, parts) for name, value in values.items()}
    assert choose_score(scores, values, parts).score == "top10"


def test_a_score_that_is_not_usable_is_never_chosen() -> None:
    parts = images(6)
    error = 1 - np.array([float(pooled_quality(image)) for image in parts])
    values = {"top10": np.random.default_rng(0).normal(size=NUM), "tried": error}
    scores = {name: figures(value, parts) for name, value in values.items()}
    scores["tried"] = ScoreFigures(**{**vars(scores["tried"]), "usable": False})
    found = choose_score(scores, values, parts)
    assert found.score == "top10" and found.keep == scores["top10"].recommended_keep


def test_kept_counts_follow_an_order() -> None:
    parts = images(7, 4)
    order = keeping_order(np.array([0.3, np.nan, 0.1, 0.2]))
    assert order.tolist() == [2, 3, 0, 1]
    assert (kept_parts(parts, order, [0, 2])[1] == parts[2] + parts[3]).all()
    assert np.isnan(pooled_gain(kept_parts(parts, order, [0])[0], parts.sum(0)))
    assert Fraction(curve_shares(4)[0]) == Fraction(1, 2)
