"""The shuffle buffer that a run asks for: what is too small, and what large batches get by themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.training import SMALL, write_store

import fstore
from pipeline.errors import UsageError
from pipeline.stages.train import sampling
from pipeline.stages.train.prepare import plan_train

WIDE = replace(SMALL, members=10, batch_size=1 << 15, buffer_mb=None, balance=1.0)


@pytest.fixture
def store(tmp_path: Path) -> fstore.FeatureStore:
    opened = fstore.open(write_store(tmp_path / "features.zarr"))
    assert isinstance(opened, fstore.FeatureStore)
    return opened


def test_a_buffer_that_is_too_small_is_refused_by_its_setting(store: fstore.FeatureStore) -> None:
    says = r"^train.buffer_mb is 2; 10 members with batches of 32768 need 5 at least$"
    with pytest.raises(UsageError, match=says):
        plan_train(store, replace(WIDE, buffer_mb=2))
    assert plan_train(store, replace(WIDE, buffer_mb=5)).split


def test_by_itself_the_buffer_takes_what_large_batches_need(
    store: fstore.FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that is left open is no reason to refuse."""
    monkeypatch.setattr(sampling, "BUFFER_MB", 2)
    assert sampling.make_sampler(store, WIDE, (0, 1)).batch_size == WIDE.batch_size
