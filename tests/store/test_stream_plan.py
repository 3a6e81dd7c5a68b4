"""The order of a stream: every image once over all readers, in bounded memory, by seed and epoch alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fstore.stream_plan import Reader, runs_of, turns

SHAPES = st.fixed_dictionaries(
    {
        "ids": st.sets(st.integers(0, 400), max_size=120).map(sorted).map(np.array),
        "images_of_file": st.sampled_from([1, 7, 64]),
        "num_ranks": st.integers(1, 5),
        "num_workers": st.integers(1, 4),
        "shuffle_buffer": st.integers(1, 90),
        "seed": st.integers(0, 2**63 - 1),
        "epoch": st.integers(0, 3),
        "drop_last": st.booleans(),
    }
)


def given_by_all(shape: dict) -> dict[tuple[int, int], list[int]]:
    """(rank, worker) -> the places that it gives, in order. What each promises for itself is checked here."""
    found = {}
    for rank in range(shape["num_ranks"]):
        for worker in range(shape["num_workers"]):
            found[rank, worker] = given_by(
                Reader(rank, shape["num_ranks"], worker, shape["num_workers"]), shape
            )
    return found


def given_by(reader: Reader, shape: dict) -> list[int]:
    random = {"seed": shape["seed"], "epoch": shape["epoch"]}
    runs = runs_of(
        shape["ids"].astype(np.int64),
        shape["images_of_file"],
        reader,
        longest=shape["shuffle_buffer"],
        drop_last=shape["drop_last"],
        **random,
    )
    places, held = [], set()
    for turn in turns(runs, reader, shuffle_buffer=shape["shuffle_buffer"], **random):
        for run in turn.runs:
            assert len(set(shape["ids"][run] // shape["images_of_file"])) == 1
            held |= set(run.tolist())
        assert len(held) <= shape["shuffle_buffer"]
        held.remove(turn.place)
        places.append(turn.place)
    assert not held
    return places


@given(SHAPES)
def test_every_image_comes_once_over_all_workers_and_ranks(shape: dict) -> None:
    num = len(shape["ids"])
    found = given_by_all(shape)
    counts = Counter(place for places in found.values() for place in places)
    of_rank = [sum(len(p) for (r, _), p in found.items() if r == rank) for rank in range(shape["num_ranks"])]
    assert set(counts.values()) <= {1} and set(counts) <= set(range(num))
    if not shape["drop_last"]:
        assert len(counts) == num
        assert max(of_rank) - min(of_rank) <= 1
        return
    assert of_rank == [num // shape["num_ranks"]] * shape["num_ranks"]
    for worker in range(shape["num_workers"]):  # so each rank has as many batches as any other
        assert len({len(found[rank, worker]) for rank in range(shape["num_ranks"])}) == 1


@given(SHAPES)
def test_the_order_follows_from_seed_and_epoch(shape: dict) -> None:
    reader = Reader(0, 1, 0, 1)
    assert given_by(reader, shape) == given_by(reader, shape)
    if len(shape["ids"]) > 20 and (shape["shuffle_buffer"] > 20 or shape["images_of_file"] == 1):
        others = [given_by(reader, {**shape, name: shape[name] + 1}) for name in ("epoch", "seed")]
        assert given_by(reader, shape) not in others


def test_few_files_are_read_by_more_than_one_reader() -> None:
    shape = {"ids": np.arange(6400), "images_of_file": 64, "num_ranks": 3, "num_workers": 4}
    shape |= {"shuffle_buffer": 64, "seed": 0, "epoch": 0, "drop_last": False}
    files = Counter(
        file for places in given_by_all(shape).values() for file in {place // 64 for place in places}
    )
    assert set(files) == set(range(100))
    assert sum(files.values()) <= 100 + 3 * 4 - 1


@pytest.mark.parametrize("drop_last", [True, False])
def test_what_is_left_out_is_other_images_in_other_epochs(drop_last: bool) -> None:
    left = set()
    for epoch in range(12):
        shape = {"ids": np.arange(50), "images_of_file": 4, "num_ranks": 3, "num_workers": 1}
        shape |= {"shuffle_buffer": 8, "seed": 0, "epoch": epoch, "drop_last": drop_last}
        given_places = {place for places in given_by_all(shape).values() for place in places}
        left |= set(range(50)) - given_places
    assert len(left) > 4 if drop_last else not left


def test_a_buffer_of_all_images_shuffles_evenly() -> None:
    """Where an image comes does not depend on its file: its mean place over many epochs is the middle."""
    reader, sums = Reader(), np.zeros(32)
    for epoch in range(400):
        runs = runs_of(np.arange(32), 8, reader, seed=1, epoch=epoch, longest=32, drop_last=False)
        order = [turn.place for turn in turns(runs, reader, seed=1, epoch=epoch, shuffle_buffer=32)]
        sums[order] += np.arange(32)
    assert abs(sums / 400 - 15.5).max() < 5 * np.sqrt((32**2 - 1) / 12 / 400)  # five standard errors
