"""Streams of random numbers: of two purposes none has a number of the other's, whatever the seeds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.commands import done
from support.tiny import LATENT_SIZE

import fstore
from fstore import plan
from pipeline.embedded import annotated_latents
from pipeline.machine.random_streams import Purpose, counter_based
from pipeline.models.interpreter import member_seeds
from pipeline.rendering.latents import average_latent_samples, seeded_latents
from pipeline.rendering.noise import noise_maps

WORDS = st.integers(0, 2**64 - 1)
NEAR = st.integers(0, 3)  # so that equal seeds, indices and parts come together
SEEDS = st.one_of(NEAR, WORDS)

Block = tuple[int, ...]


def first_block(stream: np.random.Generator) -> Block:
    """The key and the last three words of the counter: what no two streams may share."""
    state = stream.bit_generator.state["state"]
    return (*map(int, state["key"]), *map(int, state["counter"][1:]))


@given(SEEDS, SEEDS, SEEDS, SEEDS, SEEDS, SEEDS)
def test_streams_of_two_purposes_never_meet(
    seed: int, other_seed: int, index: int, other_index: int, part: int, other_part: int
) -> None:
    ours = [first_block(counter_based(purpose, seed, index, part)) for purpose in Purpose]
    others = [first_block(counter_based(purpose, other_seed, other_index, other_part)) for purpose in Purpose]
    for first, second in combinations(range(len(Purpose)), 2):
        assert ours[first] != others[second]
        assert ours[second] != others[first]


@given(SEEDS, SEEDS, SEEDS, SEEDS, SEEDS, SEEDS)
def test_streams_of_the_sampler_are_no_ones_else(
    seed: int, epoch: int, first: int, second: int, index: int, part: int
) -> None:
    sampler = {
        first_block(plan.random_stream(seed, epoch, purpose, *path))
        for purpose in plan.Purpose
        for path in ((), (first,), (first, second))
        if purpose != plan.Purpose.PRIMARY or path == ()  # it has none: see the table
    }
    for purpose in Purpose:
        assert first_block(counter_based(purpose, seed, index, part)) not in sampler
        assert first_block(counter_based(purpose, seed, epoch, part)) not in sampler


@given(SEEDS, SEEDS, SEEDS)
def test_a_stream_is_its_arguments_alone(seed: int, index: int, part: int) -> None:
    streams = [counter_based(Purpose.DATASET_LATENTS, seed, index, part) for _ in range(2)]
    assert np.array_equal(*(stream.integers(2**63, size=9) for stream in streams))


def draws_by_purpose(seeds: range, indices: range) -> Iterator[tuple[str, np.ndarray]]:
    """The normal numbers that every part of the program draws, called as it calls them."""
    size, shapes = 64, [(8, 8), (8, 8)]
    for seed in seeds:
        for purpose in (Purpose.DATASET_LATENTS, Purpose.ANNOTATED_LATENTS):
            yield purpose.name, seeded_latents(purpose, seed, indices, size)
        yield "demo", annotated_latents(len(indices), seed)
        for mode, purpose in (
            ("const", Purpose.ANNOTATED_NOISE),
            ("random", Purpose.ANNOTATED_NOISE),
            ("random", Purpose.DATASET_NOISE),
        ):
            maps = noise_maps(shapes, mode, seed, indices, purpose)
            yield f"{mode} {purpose.name}", torch.cat(maps).numpy()
        for epoch in indices:
            for word in plan.Purpose:
                stream = plan.random_stream(seed, epoch, word)
                yield f"sampler {word}", stream.standard_normal(size).astype(np.float32)
        for member in member_seeds(seed, len(indices)):
            yield "members", torch.randn(size, generator=torch.Generator().manual_seed(member)).numpy()
    yield "average latent", average_latent_samples(size, 100)


def test_no_number_is_drawn_for_two_purposes() -> None:
    drawn: dict[str, set[bytes]] = {}
    for name, values in draws_by_purpose(range(12), range(6)):
        pairs = np.ascontiguousarray(values).reshape(-1, 2)  # one float32 alone repeats by chance
        drawn.setdefault(name, set()).update(row.tobytes() for row in pairs)
    assert len(drawn) == 2 + 1 + 3 + len(plan.Purpose) + 1 + 1
    for first, second in combinations(drawn, 2):
        assert not drawn[first] & drawn[second], f"{first} and {second} share numbers"


def test_a_dataset_has_no_image_that_sample_offered(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = ["--checkpoint", str(built / "in" / "checkpoint.pt")]

    done("synthesize", *files, "--interpreter", str(built / "interpreter"), "--num", "4")
    done("sample", *files, "--num", "4")
    dataset = fstore.open("dataset.zarr")
    offered = np.load("annotate/latents.npy")
    assert offered.shape == dataset.latents.shape == (4, LATENT_SIZE)
    assert not np.isin(offered, dataset.latents.compute()).any()
