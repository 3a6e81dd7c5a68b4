"""An epoch of training in shares: each is some members of the ensemble, whose steps another process does.

A share begins with the last epoch's state, which all read from the interpreter's folder, and ends with a file
of its members beside that. No tensor goes another way. A member's batches, products and moments do not depend
on who else learns in the same process, so that the tensors are those of one process, bit for bit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from fstore.feature_store import FeatureStore
from fstore.location import Location
from pipeline.cluster.pool import Pool
from pipeline.cluster.worker import check_stopped
from pipeline.errors import RunError, UsageError
from pipeline.interpreter.description import InterpreterInfo, settings_differences
from pipeline.interpreter.folder import remove_shares, share_name
from pipeline.interpreter.training_state import TrainingState, load_state, save_state
from pipeline.machine.progress import Bar
from pipeline.stages.train.epochs import epoch_images, epoch_steps, finite, learn, paced_batches
from pipeline.stages.train.inputs import check_same_store, open_features, reading
from pipeline.stages.train.job import TrainJob
from pipeline.stages.train.learner import Learner, joined, of_members
from pipeline.stages.train.making import make_learner
from pipeline.stages.train.memory import MemoryPlan
from pipeline.stages.train.pixels import Pixels, load_subspace, open_pixels
from pipeline.stages.train.plan import TrainPlan
from pipeline.stages.train.prepare import describe
from pipeline.stages.train.sampling import make_sampler, plan_memory
from pipeline.stages.train.schedule import next_epoch


@dataclass(frozen=True)
class Share:
    """The epoch ``epoch``, counted from 0, of members ``first`` to ``stop`` - 1."""

    epoch: int
    first: int
    stop: int

    @property
    def members(self) -> range:
        """Their places in the ensemble."""
        return range(self.first, self.stop)

    def words(self) -> str:
        """The share for people, who count from 1."""
        return f"epoch {self.epoch + 1} of members {self.first + 1} to {self.stop}"


@dataclass(frozen=True)
class ShareWorker:
    """What a worker holds from task to task."""

    store: FeatureStore
    pixels: Pixels
    folder: Path
    plan: TrainPlan
    info: InterpreterInfo
    memory: MemoryPlan
    device: torch.device


def cut(num_members: int, num_shares: int) -> list[range]:
    """Shares of equal size, the first ones larger by one where they do not divide; none is empty."""
    num_shares = min(num_members, num_shares)
    bounds = [-(-share * num_members // num_shares) for share in range(num_shares + 1)]
    return [range(*pair) for pair in pairwise(bounds)]


class WorkerShares:
    """Does epochs by workers. A class, because it remembers what they are told."""

    def __init__(
        self,
        pool: Pool,
        store_path: str | os.PathLike[str],
        job: TrainJob,
        memory_budget: int | None,
    ) -> None:
        """``memory_budget``: bytes of host memory that each worker may take, or None."""
        self._pool, self._folder = pool, job.folder.absolute()
        place = Location.parse(store_path)
        where = place.target if place.folder is None else str(place.folder.absolute())
        run = where, self._folder, job.plan, job.info, pool.device
        self._arguments = (*run, memory_budget, pool.num_sharing)

    def run(self, info: InterpreterInfo, learner: Learner, num_steps: int, bar: Bar) -> tuple[float, ...]:
        """Does what `pipeline.stages.train.epochs.Shares` says."""
        epoch, members = len(info.epochs), info.members
        remove_shares(self._folder)  # of an epoch that was cut off
        tasks = [Share(epoch, part.start, part.stop) for part in cut(members, self._pool.num_workers)]
        losses: dict[int, tuple[float, ...]] = {}
        shown = learnt = 0
        for share, found in self._pool.run(begin, self._arguments, work, tasks, Share.words):
            losses[share.first] = found
            learnt += len(share.members)
            bar.advance(learnt * num_steps // members - shown)
            shown = learnt * num_steps // members
        states = [load_state(self._folder, share_name(share.members)) for share in tasks]
        for share, state in zip(tasks, states, strict=True):
            if len(state.info.epochs) != epoch:
                raise RunError(
                    f"{self._folder / share_name(share.members)}: is of another epoch; run this again"
                )
        learner.adopt(joined([state.tensors for state in states]))
        remove_shares(self._folder)
        return finite(tuple(loss for share in tasks for loss in losses[share.first]), epoch)


def begin(
    store_path: str,
    folder: Path,
    plan: TrainPlan,
    info: InterpreterInfo,
    device: str,
    memory_budget: int | None,
    sharing: int,
) -> ShareWorker:
    """What a worker prepares. Raises UsageError where it does not see the store or the folder of the run."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder here; --out must lie on a disk that all workers share")
    store, where = open_features(store_path), torch.device(device)
    with reading(store):
        differences = settings_differences(info, describe(store, plan))
        if differences:
            raise UsageError(f"{store.location}: is another store here ({differences[0][0]} differs)")
        memory = plan_memory(plan, where, memory_budget, sharing)
        subspace = load_subspace(folder, info)
        pixels = open_pixels(store, plan, memory, where, folder, subspace)
    return ShareWorker(store, pixels, folder, plan, info, memory, where)


def work(worker: ShareWorker, share: Share) -> tuple[float, ...]:
    """Do the epoch of a share. Returns the mean loss of each of its members; their tensors lie in a file."""
    plan, members, info = worker.plan, share.members, worker.info
    learner = make_learner(
        worker.store, plan, info.seeds[share.first : share.stop], worker.device, worker.pixels.subspace
    )
    begins = next_epoch((), plan.config)
    if share.epoch:
        state = load_state(worker.folder)
        info = state.info
        if len(info.epochs) != share.epoch:
            raise RunError(
                f"{worker.folder}: has the state of epoch {len(info.epochs)} here, expected {share.epoch}; "
                "--out must lie on a disk that all workers share"
            )
        learner.restore(of_members(state.tensors, members))
        begins = next_epoch(info.epochs, plan.config)
    if begins.from_best:
        learner.restore_best()
    with reading(worker.store):
        images = epoch_images(plan, begins)
        sampler = make_sampler(worker.pixels.source, plan.config, images, worker.memory, members)
        _, rates = epoch_steps(info, plan, sampler)
        losses = learn(learner, paced_batches(sampler, share.epoch, rates), check_stopped)
    check_same_store(worker.store)
    learnt = {name: each for name, each in learner.tensors().items() if not name.startswith("best.")}
    save_state(worker.folder, TrainingState(info, learnt), share_name(members))
    return losses
