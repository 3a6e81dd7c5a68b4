"""An epoch in shares of the members: the files and figures of one process, whatever the shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.training import Killed
from support.variants import variants

import fstore
from fstore.errors import StoreError
from fstore.sampler import StratifiedChunkSampler
from pipeline.cluster.choice import ClusterChoice
from pipeline.errors import UsageError
from pipeline.interpreter.files import Interpreter
from pipeline.interpreter.training_state import load_state
from pipeline.settings.schema import TrainConfig
from pipeline.stages.train import stage
from pipeline.stages.train.shares import cut
from pipeline.stages.train.stage import train

pytestmark = pytest.mark.usefixtures("one_thread")


class HerePool:
    """A pool of workers that are all this process, and give back what they do in reverse order."""

    device = "cpu"

    def __init__(self, workers: int, dies_after: int | None = None) -> None:
        self.num_workers = self.num_sharing = workers
        self.left = dies_after

    def run(
        self,
        begin: Callable[..., Any],
        arguments: tuple[Any, ...],
        work: Callable[[Any, Any], Any],
        tasks: Iterable[Any],
        describe: Callable[[Any], str],
    ) -> Iterator[tuple[Any, Any]]:
        for task in reversed(list(tasks)):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Killed
            assert describe(task).startswith(f"epoch {task.epoch + 1} of members ")
            yield task, work(begin(*arguments), task)


@given(st.integers(1, 40), st.integers(1, 50))
def test_shares_are_all_members_once_and_of_nearly_equal_size(members: int, shares: int) -> None:
    parts = cut(members, shares)
    assert [member for part in parts for member in part] == list(range(members))
    assert len(parts) == min(members, shares)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("layout", ["dense", "pyramid"])
def test_a_member_gets_the_same_batches_whoever_else_gets_some(tmp_path: Path, layout: str) -> None:
    from support.training import write_store

    store = fstore.open(write_store(tmp_path / "features.zarr", layout))
    options: dict[str, Any] = {"batch_size": 16, "members": 4, "draws_per_epoch": 400, "buffer_bytes": 40_000}
    together = list(StratifiedChunkSampler(store, **options).epoch(3))
    for dealt in (range(0, 1), range(1, 3), range(3, 4), range(0, 4)):
        apart = list(StratifiedChunkSampler(store, dealt=dealt, **options).epoch(3))
        assert len(apart) == len(together)
        part = slice(dealt.start, dealt.stop)
        for some, whole in zip(apart, together, strict=True):
            assert torch.equal(some.features, whole.features[part])
            assert (some.labels == whole.labels[part]).all() and (some.pixels == whole.pixels[part]).all()


@pytest.mark.parametrize("dealt", [range(0), range(2, 5), range(0, 4, 2), range(-1, 2)])
def test_members_that_are_not_there_get_no_batches(store: Path, dealt: range) -> None:
    with pytest.raises(StoreError, match="expected one or more of"):
        StratifiedChunkSampler(fstore.open(store), batch_size=4, members=4, dealt=dealt)


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> Callable[[HerePool], dict[str, Any]]:
    """Has a run work with such a pool: what it is to be given."""

    def use(pool: HerePool) -> dict[str, Any]:
        monkeypatch.setattr(stage, "open_pool", lambda choice, say: nullcontext(pool))
        return {"cluster": ClusterChoice(workers=pool.num_workers)}

    return use


Working = Callable[[HerePool], dict[str, Any]]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "interpreter.json"}


def settings(out: Path) -> TrainConfig:
    from support.training import SMALL

    return replace(SMALL, members=5, out=out, patience=1, max_epochs=3, final_epochs=1, learning_rate=1e-2)


@pytest.fixture(scope="module")
def alone(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Interpreter]:
    """What one process has learnt, and its folder."""
    out = tmp_path_factory.mktemp("alone") / "interpreter"
    return out, train(store, settings(out))


@pytest.mark.parametrize("workers", variants(2, 1, 3, 9))
def test_shares_learn_what_one_process_learns(
    store: Path, tmp_path: Path, alone: tuple[Path, Interpreter], workers: int, working: Working
) -> None:
    shared = train(store, settings(tmp_path / "shared"), **working(HerePool(workers)))
    assert contents(tmp_path / "shared") == contents(alone[0])
    assert shared.info.epochs == alone[1].info.epochs
    assert any(epoch.final for epoch in alone[1].info.epochs)


def test_a_run_that_ends_within_an_epoch_goes_on_with_other_workers(
    store: Path, tmp_path: Path, alone: tuple[Path, Interpreter], working: Working
) -> None:
    out = tmp_path / "shared"
    with pytest.raises(Killed):
        train(store, settings(out), **working(HerePool(3, dies_after=5)))
    assert len(load_state(out).info.epochs) == 1
    assert [path.name for path in out.glob("training_share_*")]  # of the second epoch
    train(store, settings(out), **working(HerePool(2)))
    assert contents(out) == contents(alone[0])


def test_a_worker_that_sees_another_store_says_so(store: Path, tmp_path: Path, working: Working) -> None:
    from support.training import write_store

    class Elsewhere(HerePool):
        def run(
            self, begin: Any, arguments: Any, work: Any, tasks: Any, describe: Any
        ) -> Iterator[tuple[Any, Any]]:
            other = str(write_store(tmp_path / "other.zarr", offset=1.0))
            return super().run(begin, (other, *arguments[1:]), work, tasks, describe)

    with pytest.raises(UsageError, match=r"other.zarr: is another store here"):
        train(store, settings(tmp_path / "shared"), **working(Elsewhere(2)))
