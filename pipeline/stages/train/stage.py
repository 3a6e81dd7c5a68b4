"""The train stage: one pass over a feature store after another, all members of the ensemble at once.

It ends with an interpreter folder. Killed and run again, it goes on from the last completed epoch and ends
with the same tensors. It knows neither generators nor latents beyond what the store's attribute says.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from fstore._version import __version__
from fstore.feature_store import FeatureStore
from fstore.location import Location
from fstore.lock import FolderLock
from fstore.sampler import Batch
from pipeline.errors import RunError, UsageError
from pipeline.interpreter.description import EpochMetrics, InterpreterInfo, with_epoch
from pipeline.interpreter.files import (
    Interpreter,
    TrainingState,
    check_same_settings,
    folder_state,
    load_info,
    load_interpreter,
    load_state,
    remove_interpreter,
    remove_state,
    save_interpreter,
    save_state,
)
from pipeline.interpreter.released_members import is_released
from pipeline.labelling.heat_maps import heat_objective
from pipeline.machine.device import resolve_precision
from pipeline.machine.progress import Bar, progress
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.settings.schema import TrainConfig
from pipeline.stages.costs import check_disk
from pipeline.stages.train.learner import Learner, Objective, cross_entropy
from pipeline.stages.train.memory import MemoryPlan
from pipeline.stages.train.plan import (
    CPU_FLOPS,
    GPU_FLOPS,
    TrainPlan,
    best_epoch,
    is_finished,
    is_stopped,
    rate_shares,
)
from pipeline.stages.train.setup import (
    check_task,
    coarse_grid_note,
    describe,
    make_sampler,
    open_features,
    pixel_source,
    plan_memory,
    plan_train,
    settle,
)
from pipeline.stages.train.validation import Quality, keypoint_array, read_validation


def train(
    store_path: str | os.PathLike[str],
    config: TrainConfig,
    *,
    device: str | torch.device = "cpu",
    overwrite: bool = False,
    memory_budget: int | None = None,
    task: str | None = None,
    report: Callable[[str], None] = print,
) -> Interpreter:
    """Train the interpreter of ``config.out`` on the store, or go on with it; a finished one is returned.

    ``memory_budget``: bytes of host memory that the process may take. ``task``: what the store must have been
    extracted for; None: whatever it was. ``report`` is told, in one line each, what a user should know.
    Raises UsageError for a store, task, folder or budget that cannot be used, RunError when the disk is too
    small or the loss no longer finite, StoreError for a damaged store.
    """
    device, folder = torch.device(device), Path(config.out)
    run = _open(store_path, config, device, overwrite, memory_budget, task)
    if run.memory is None:
        remove_state(folder)  # left where a run was killed at the very end
        report(f"{folder}: trained already with these settings; nothing to do")
        return load_interpreter(folder)
    store, plan = run.store, run.plan
    for note in _notes(store, plan):
        report(note)
    learner, info = _learner(run, device)
    if info.epochs:
        report(f"{folder}: going on after epoch {len(info.epochs) - 1}, step {info.epochs[-1].steps:,}")
    info = replace(_run_epochs(store, plan, run.memory, info, learner, folder), created=_created(device))
    learner.restore_best()
    interpreter = save_interpreter(folder, learner.ensemble, info, store.average_latent)
    report(f"{folder}: {summary(info)}")
    run.lock.release()
    return interpreter


@dataclass(frozen=True)
class _Run:
    """What a run works on, its folder locked and there."""

    store: FeatureStore
    plan: TrainPlan
    memory: MemoryPlan | None
    """None where the interpreter is finished: there is nothing to do, and nothing is taken."""
    info: InterpreterInfo
    lock: FolderLock


def _open(
    store_path: str | os.PathLike[str],
    config: TrainConfig,
    device: torch.device,
    overwrite: bool,
    memory_budget: int | None,
    task: str | None,
) -> _Run:
    """Read the store, plan the run, and make its folder ready. Raises as ``train`` does."""
    folder = Path(config.out)
    store = open_features(store_path)
    check_task(store, task)
    earlier = None if overwrite else _earlier(folder)
    plan = plan_train(store, settle(config, device, earlier.training if earlier else {}))
    memory = None
    if earlier is None or folder_state(folder) == "unfinished":
        memory = plan_memory(plan, device, memory_budget)
        plan = replace(plan, config=replace(plan.config, buffer_mb=memory.buffer_mb))
    info = describe(store, plan)
    lock = FolderLock(folder) if folder.is_dir() else None  # so that nobody else trains into it
    if _prepare_folder(folder, info, overwrite) == "finished":
        memory = None
    else:
        check_disk(Location.parse(folder), plan.disk_bytes, "training", "free some, or choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
    return _Run(store, plan, memory, info, lock or FolderLock(folder))


def _notes(store: FeatureStore, plan: TrainPlan) -> list[str]:
    """What a user should know before it begins, a line each."""
    notes = []
    if plan.missing_classes:
        missing = ", ".join(plan.missing_classes)
        notes.append(f"{store.location}: no training image has {missing}; they will not be learnt")
    coarse = coarse_grid_note(store, plan)
    return notes if coarse is None else [*notes, coarse]


def _learner(run: _Run, device: torch.device) -> tuple[Learner, InterpreterInfo]:
    """The ensemble as an unfinished run left it, with what its epochs reached; else a new one."""
    plan, info, folder = run.plan, run.info, Path(run.plan.config.out)
    ensemble = InterpreterEnsemble(plan.num_classes, plan.channels, seeds=info.seeds, widths=plan.widths)
    precision = resolve_precision(plan.config.precision, device)
    objective = _objective(run.store, plan, device)
    learner = Learner(ensemble.to(device), plan.config.learning_rate, precision, objective)
    if folder_state(folder) == "unfinished":
        state = load_state(folder)
        learner.restore(state.tensors)
        info = replace(info, epochs=state.info.epochs, best_epoch=state.info.best_epoch)
    return learner, info


def _objective(store: FeatureStore, plan: TrainPlan, device: torch.device) -> Objective:
    """The loss of classes, or of the store's keypoints."""
    if plan.keypoints is None:
        return cross_entropy
    return heat_objective(keypoint_array(store), *store.shape[1:3], plan.keypoints.sigma, device)


def _earlier(folder: Path) -> InterpreterInfo | None:
    """What an earlier run, finished or not, says of itself."""
    return load_info(folder) if folder_state(folder) in ("finished", "unfinished") else None


def summary(info: InterpreterInfo) -> str:
    """One line on what a trained interpreter reached."""
    best = info.epochs[info.best_epoch or 0]
    found = Quality(best.miou, best.heat_error, best.pck15, best.pck10).text()
    quality = f"{found[2:]} on held-out images" if found else f"loss {best.loss:.4f}"
    num_final = sum(epoch.final for epoch in info.epochs)
    then = f", then {num_final} epochs over all images" if num_final else ""
    num_epochs, num_steps = len(info.epochs), info.epochs[-1].steps
    length = f"{num_steps:,} steps, {num_epochs} epochs"
    return f"{info.members} members, {length}; best: {best.epoch}, {quality}{then}"


def dry_run(
    store_path: str | os.PathLike[str],
    config: TrainConfig,
    *,
    device: str | torch.device = "cpu",
    memory_budget: int | None = None,
    task: str | None = None,
) -> list[str]:
    """The lines of ``--dry-run``: what ``train`` would do with these settings, and what it would cost."""
    device = torch.device(device)
    store = open_features(store_path)
    check_task(store, task)
    earlier = _earlier(Path(config.out))
    plan = plan_train(store, settle(config, device, earlier.training if earlier else {}))
    memory = plan_memory(plan, device, memory_budget)
    flops = GPU_FLOPS if device.type == "cuda" else CPU_FLOPS * torch.get_num_threads()
    free_bytes = Location.parse(config.out).free_bytes()
    return plan.lines(memory, free_bytes=free_bytes, flops_per_second=flops)


def _run_epochs(
    store: FeatureStore,
    plan: TrainPlan,
    memory: MemoryPlan,
    info: InterpreterInfo,
    learner: Learner,
    folder: Path,
) -> InterpreterInfo:
    """Train until the stopping rule says so, then over all images, saving the state after every epoch."""
    if is_finished(info.epochs, plan):
        return info
    with progress("training", plan.max_steps, "steps", info.epochs[-1].steps if info.epochs else 0) as bar:
        bar.status("reading the validation pixels")
        source = pixel_source(store, plan, memory, learner.device)
        validation = read_validation(source, store, plan)
        while not is_finished(info.epochs, plan):
            epoch, done = len(info.epochs), info.epochs[-1].steps if info.epochs else 0
            final = is_stopped(info.epochs, plan.config)
            held_out = plan.split.held_out if final else ()
            sampler = make_sampler(source, plan.config, tuple(sorted(plan.split.training + held_out)), memory)
            num_steps = min(sampler.steps_per_epoch, (plan.config.steps or sys.maxsize) - done)
            shares = rate_shares(*_falling(plan, info.epochs, num_steps, final), num_steps)
            batches = zip(sampler.epoch(epoch), shares, strict=False)
            loss = _run_epoch(learner, islice(batches, num_steps), epoch, bar)
            quality = validation.measure(learner.ensemble) if validation and not final else Quality()
            metrics = EpochMetrics(epoch, done + num_steps, loss, final=final, **vars(quality))
            best = best_epoch((*info.epochs, metrics))
            info = with_epoch(info, metrics, best)
            if final or best == epoch:
                learner.remember_best()
            save_state(folder, TrainingState(info, learner.tensors()))
            bar.status(f"epoch {epoch}: loss {loss:.4f}{quality.text()}")
    return info


def _falling(
    plan: TrainPlan, epochs: Sequence[EpochMetrics], num_steps: int, final: bool
) -> tuple[int, float]:
    """Steps left, counting an epoch's ``num_steps``, and over how many of the last the rate falls to zero."""
    if plan.config.steps is not None:
        done = epochs[-1].steps if epochs else 0
        return plan.config.steps - done, plan.config.falling * plan.config.steps
    if final:
        num_left = plan.final_epochs - sum(metrics.final for metrics in epochs)
        return num_left * num_steps, plan.final_epochs * num_steps
    return num_steps, 0.0


def _run_epoch(learner: Learner, batches: Iterable[tuple[Batch, float]], epoch: int, bar: Bar) -> float:
    """Mean loss of an epoch's steps. Raises RunError where it is not finite."""
    total = torch.zeros((), dtype=torch.float64, device=learner.device)
    num_steps = 0
    for batch, share in batches:
        total += learner.step(batch, share)
        num_steps += 1
        bar.advance(1)
    loss = float(total) / num_steps
    if not math.isfinite(loss):
        raise RunError(
            f"training diverged in epoch {epoch}: the loss is {loss}, expected a finite number; "
            "lower the learning rate ([train] learning_rate) and run with --overwrite"
        )
    return loss


def _prepare_folder(folder: Path, info: InterpreterInfo, overwrite: bool) -> str:
    """``absent``, ``unfinished`` or ``finished``, these two with the same settings. Raises UsageError."""
    state = folder_state(folder)
    if is_released(folder):
        raise UsageError(
            f"{folder}: holds members of a release (model_0.pth ...), which `dgan synthesize` takes as they "
            "are; choose another --out to train your own"
        )
    if state == "foreign":
        raise UsageError(f"{folder}: exists and is no interpreter folder; choose another --out, or empty it")
    if overwrite and state != "absent":
        remove_interpreter(folder)
        return "absent"
    if state != "absent":
        check_same_settings(folder, load_info(folder), info)
    return state


def _created(device: str | torch.device) -> dict[str, Any]:
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return {"program": __version__, "time": time, "torch": torch.__version__, "device": str(device)}
