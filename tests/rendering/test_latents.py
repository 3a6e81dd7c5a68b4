"""Latents: draws that depend on (purpose, seed, index) alone, and the hash of an array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.machine.random_streams import Purpose
from pipeline.rendering.latents import array_sha256, average_latent_samples, seeded_latents

DATASET, ANNOTATED = Purpose.DATASET_LATENTS, Purpose.ANNOTATED_LATENTS


@given(seed=st.integers(0, 2**63 - 1), indices=st.lists(st.integers(0, 2**40), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_a_latent_depends_on_its_purpose_seed_and_index_alone(seed: int, indices: list[int]) -> None:
    together = seeded_latents(DATASET, seed, indices, 16)
    assert together.shape == (len(indices), 16) and together.dtype == np.float32
    for row, index in zip(together, indices, strict=True):
        np.testing.assert_array_equal(row, seeded_latents(DATASET, seed, [index], 16)[0])


def test_latents_of_other_seeds_and_indices_differ() -> None:
    drawn = np.concatenate([seeded_latents(DATASET, seed, range(20), 8) for seed in range(20)])
    assert len(np.unique(drawn, axis=0)) == 400


def test_latents_are_standard_normal_across_indices() -> None:
    drawn = seeded_latents(DATASET, 0, range(2000), 8)
    assert np.abs(drawn.mean(axis=0)).max() < 0.1 and np.abs(drawn.std(axis=0) - 1).max() < 0.1


def test_no_indices_give_no_latents() -> None:
    assert seeded_latents(DATASET, 0, [], 8).shape == (0, 8)


@pytest.mark.parametrize("purpose", [DATASET, ANNOTATED])
def test_values_are_those_of_philox_with_the_purpose_in_the_last_word(purpose: Purpose) -> None:
    """A dataset or a project that a later version goes on with must have the same latents."""
    for index in (0, 1, 2**40):
        generator = np.random.Philox(key=[5, index], counter=[0, 0, 0, int(purpose)])
        expected = np.random.Generator(generator).standard_normal(8).astype(np.float32)
        np.testing.assert_array_equal(seeded_latents(purpose, 5, [index], 8)[0], expected)


def test_average_latent_samples_are_fixed_and_are_nobodys_latents() -> None:
    samples = average_latent_samples(8, num=50)
    assert samples.shape == (50, 8) and samples.dtype == np.float32
    np.testing.assert_array_equal(samples, average_latent_samples(8, num=50))
    assert not np.isin(samples, seeded_latents(DATASET, 0, range(50), 8)).any()
    assert average_latent_samples(4).shape == (8000, 4)


def test_the_hash_is_of_values_shape_and_dtype() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    same: list[Any] = [np.asfortranarray(array), array.astype(">f4"), array[::1].copy()]
    other: list[Any] = [array.reshape(3, 2), array.astype(np.float64), array + 1, array.view(np.int32)]
    assert {array_sha256(each) for each in same} == {array_sha256(array)}
    assert array_sha256(array) not in {array_sha256(each) for each in other}
    assert len(array_sha256(array)) == 64
