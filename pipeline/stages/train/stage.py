"""The train stage: from a feature store to an interpreter's folder, all members of the ensemble at once.

Killed and run again, it goes on from the last completed epoch and ends with the same tensors. It knows no
generators and no latents beyond what the store says of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch

from fstore.location import Location
from fstore.lock import FolderLock
from pipeline.cluster.choice import ClusterChoice
from pipeline.cluster.opening import open_pool
from pipeline.errors import UsageError, count
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.files import Interpreter, finish_saving, save_interpreter
from pipeline.interpreter.folder import (
    STATE,
    SUBSPACE,
    check_place,
    damaged,
    folder_state,
    remove_interpreter,
)
from pipeline.interpreter.rounds import keep_interpreter
from pipeline.machine.progress import progress
from pipeline.machine.provenance import created_record
from pipeline.settings.schema import TrainConfig
from pipeline.stages.train.epochs import run_epochs
from pipeline.stages.train.inputs import check_same_store, reading
from pipeline.stages.train.job import TrainJob
from pipeline.stages.train.learner import Learner
from pipeline.stages.train.making import make_learner, on_all_channels
from pipeline.stages.train.pixels import Pixels, load_subspace, open_pixels, save_subspace
from pipeline.stages.train.plan import CPU_FLOPS, GPU_FLOPS, OFF
from pipeline.stages.train.prepare import notes, prepare
from pipeline.stages.train.schedule import num_final
from pipeline.stages.train.shares import WorkerShares
from pipeline.stages.train.subspace import Subspace
from pipeline.stages.train.validation import Quality


def train(
    store_path: str | os.PathLike[str],
    config: TrainConfig,
    *,
    device: str | torch.device = "cpu",
    overwrite: bool = False,
    memory_budget: int | None = None,
    task: str | None = None,
    excluded: Collection[int] = (),
    report: Callable[[str], None] = print,
    cluster: ClusterChoice | None = None,
) -> Interpreter:
    """Train the interpreter of ``config.out`` on the store, or go on with it; a finished one is returned.

    One of the same store before images were added to it, or its annotations corrected, is trained anew and
    kept beside the new one; it can be loaded until the new one is whole.

    ``memory_budget``: bytes of host memory that the process may take. ``task``: what the store must have been
    extracted for; None: whatever it was. ``excluded``: positions in the store of images that take no part,
    neither in learning nor in validation. ``report`` is told, in one line each, what a user should know.
    ``cluster``: processes that do the steps, each those of some members; None: this process does them.
    ``memory_budget`` is of each.
    Raises UsageError for a store, task, folder or budget that cannot be used; RunError where the disk is too
    small, the loss is no longer finite, or the store is replaced meanwhile; StoreError for a damaged store.
    """
    device, config = torch.device(device), _with_named_folder(config)
    folder = config.out
    with _locked(folder) as lock:
        job = prepare(
            store_path,
            config,
            device,
            overwrite=overwrite,
            memory_budget=memory_budget,
            task=task,
            excluded=excluded,
            workers=_workers_here(cluster),
        )
        if job.interpreter is not None:
            finish_saving(folder)  # where a run was killed at the very end
            report(_nothing_to_do(folder))
            return job.interpreter
        _make_folder(folder, lock, overwrite)
        for note in notes(job):
            report(note)
        pixels = _pixels(job, device, report)
        learner, info = _learner(job, device, pixels.subspace)
        job = replace(job, state=None)  # its tensors are the learner's now, and would be held twice
        with _shares(cluster, store_path, job, memory_budget, report) as shares:
            interpreter = _run(job, learner, info, pixels, report, shares)
    report(f"{folder}: {summary(interpreter.info)}")
    return interpreter


def dry_run(
    store_path: str | os.PathLike[str],
    config: TrainConfig,
    *,
    device: str | torch.device = "cpu",
    overwrite: bool = False,
    memory_budget: int | None = None,
    task: str | None = None,
    cluster: ClusterChoice | None = None,
) -> list[str]:
    """The lines of ``--dry-run``: what ``train`` would do with these settings, and what it would cost.

    Memory and time are of one process, the disk of all on this machine.

    Raises what ``train`` would raise before it begins, with the same words.
    """
    device, config = torch.device(device), _with_named_folder(config)
    folder = config.out
    with _locked(folder):
        job = prepare(
            store_path,
            config,
            device,
            overwrite=overwrite,
            memory_budget=memory_budget,
            task=task,
            workers=_workers_here(cluster),
        )
    if job.memory is None:
        return [_nothing_to_do(folder)]
    flops = GPU_FLOPS if device.type == "cuda" else CPU_FLOPS * torch.get_num_threads()
    free_bytes = Location.parse(folder).free_bytes()
    return [*notes(job), *job.plan.lines(job.memory, free_bytes=free_bytes, flops_per_second=flops)]


def _workers_here(cluster: ClusterChoice | None) -> int:
    """How many processes of this machine are asked for. Those of a cluster are not known before they come."""
    return cluster.workers or 0 if cluster is not None else 0


def summary(info: InterpreterInfo) -> str:
    """One line on what a trained interpreter reached. Epochs are counted from 1."""
    best = info.epochs[info.best_epoch or 0]
    found = Quality(best.miou, best.heat_error, best.pck15, best.pck10).text()
    quality = f"{found[2:]} on held-out images" if found else f"loss {best.loss:.4f}"
    final = num_final(info.epochs)
    then = f", from there {count(final, 'epoch')} over all images" if final else ""
    length = f"{count(info.epochs[-1].steps, 'step')}, {count(len(info.epochs), 'epoch')}"
    return f"{count(info.members, 'member')}, {length}; best: epoch {best.epoch + 1}, {quality}{then}"


@contextmanager
def _locked(folder: Path) -> Iterator[ExitStack]:
    """A block during which nobody else trains into the folder, if the folder exists.

    Callbacks that the block adds to the stack are called at its end too, also after an error.
    """
    check_place(folder)
    with ExitStack() as stack:
        if folder.is_dir():
            stack.callback(FolderLock(folder).release)
        yield stack


def _make_folder(folder: Path, lock: ExitStack, overwrite: bool) -> None:
    """Make the folder and lock it, and empty it where it is overwritten. A folder that stays empty is
    deleted.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        lock.callback(_remove_empty, folder)
        lock.callback(FolderLock(folder).release)
        if folder_state(folder) != "absent":
            raise UsageError(f"{folder}: another run has written there meanwhile; run the same command again")
    if overwrite:
        remove_interpreter(folder)


def _remove_empty(folder: Path) -> None:
    if folder_state(folder) == "absent":
        (folder / SUBSPACE).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _shares(
    cluster: ClusterChoice | None,
    store_path: str | os.PathLike[str],
    job: TrainJob,
    memory_budget: int | None,
    say: Callable[[str], None],
) -> Iterator[WorkerShares | None]:
    """A block in which workers do the steps, if the run asks for some."""
    if cluster is None:
        yield None
        return
    with open_pool(cluster, say) as pool:
        yield WorkerShares(pool, store_path, job, memory_budget)


def _run(
    job: TrainJob,
    learner: Learner,
    info: InterpreterInfo,
    pixels: Pixels,
    report: Callable[[str], None],
    shares: WorkerShares | None,
) -> Interpreter:
    if info.epochs:
        steps = f"{info.epochs[-1].steps:,}"
        report(f"{job.folder}: going on after epoch {len(info.epochs)}, step {steps}")
    info = run_epochs(job, info, learner, pixels.source, shares)
    info = replace(info, created=created_record(torch=torch.__version__, device=str(learner.device)))
    learner.restore_best()
    check_same_store(job.store)
    if job.replaces is not None and folder_state(job.folder) == "finished":
        keep_interpreter(job.folder)
    ensemble = on_all_channels(learner.ensemble, pixels.subspace)
    return save_interpreter(job.folder, ensemble, info, job.average_latent)


def _pixels(job: TrainJob, device: torch.device, report: Callable[[str], None]) -> Pixels:
    """What the run reads its pixels from. A subspace is found before the first epoch, and then kept with the
    state of training.
    """
    plan, memory = job.plan, job.memory
    assert memory is not None, "a run that is not finished takes memory"
    if plan.config.subspace == OFF:
        return open_pixels(job.store, plan, memory, device, job.folder)
    known = load_subspace(job.folder, job.info)
    images = len(plan.split.training) + len(plan.split.held_out)
    passes = 1 if known is not None or memory.cached else 2
    with progress("reading features", passes * images, "images") as bar, reading(job.store):
        pixels = open_pixels(job.store, plan, memory, device, job.folder, known, bar.advance)
    check_same_store(job.store)
    assert pixels.subspace is not None, "only `off` has none"
    if known is None:
        save_subspace(job.folder, job.info, pixels.subspace)
    report(
        f"{job.folder}: learning on {pixels.subspace.channels:,} axes, which hold "
        f"{100 * float(plan.config.subspace):g}% of the energy of {plan.channels:,} channels"
    )
    return pixels


def _learner(
    job: TrainJob, device: torch.device, subspace: Subspace | None
) -> tuple[Learner, InterpreterInfo]:
    """The ensemble as an unfinished run left it, with what its epochs reached; else a new one."""
    info = job.info
    learner = make_learner(job.store, job.plan, info.seeds, device, subspace)
    if job.state is not None:
        try:
            learner.restore(job.state.tensors)
        except ValueError as error:
            raise damaged(job.folder / STATE, error) from None
        info = replace(info, epochs=job.state.info.epochs, best_epoch=job.state.info.best_epoch)
    return learner, info


def _with_named_folder(config: TrainConfig) -> TrainConfig:
    """``config`` with a folder that a message can begin with: the current one has no name in ``.``."""
    folder = Path(config.out)
    return replace(config, out=Path.cwd() if folder == Path() else folder)


def _nothing_to_do(folder: Path) -> str:
    return f"{folder}: trained already with these settings; nothing to do"
