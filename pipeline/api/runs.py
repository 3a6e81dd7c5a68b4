"""How each command runs, whether the command line or Python asked for it: the one thing that both call.

A run takes the flags of settings as ``section__key``, None where one is not given, and the other options by
their names, all of them checked by their rules. It tells ``say`` what people should know, a line each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.api.configuration import load_run_config
from pipeline.api.places import check_folder, check_store
from pipeline.cluster.choice import ClusterChoice, choose_cluster
from pipeline.settings.files import configured, with_overrides
from pipeline.settings.schema import REAL, Config
from pipeline.settings.values import Keep

if TYPE_CHECKING:
    from fstore.dataset import Dataset
    from fstore.feature_store import FeatureStore

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a run has to show: the ``lines`` that a command prints at its end, and what a function returns.

    ``result`` opens it, because a command has no use for it; None after ``--dry-run``.
    """

    lines: list[str]
    result: Callable[[], Any] | None = None


def extract_features(
    say: Say,
    *,
    config: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    workers: int | None,
    scheduler: str | None,
    overwrite: bool,
    dry_run: bool,
    break_lock: bool,
    **flags: Any,
) -> Outcome:
    """Run ``dgan extract-features``. The result is the `fstore.FeatureStore`."""
    cluster = choose_cluster(workers, scheduler, threads=threads, device=device)
    settings = load_run_config(config, flags["generator__checkpoint"], say, with_notes=True)
    settings = configured(settings, flags)
    check_store(settings.features.store)
    if break_lock and not dry_run:
        _break_lock(settings.features.store)

    from pipeline.machine.device import target_device
    from pipeline.stages.extract import stage

    target = target_device(device, threads)
    job = stage.prepare(settings, overwrite=overwrite)
    if dry_run:
        lines = stage.dry_run(job, target, overwrite=overwrite, memory_budget=memory_budget)
        return Outcome([*lines, *_workers_line(cluster)])
    line = stage.extract(
        job, target, overwrite=overwrite, memory_budget=memory_budget, cluster=cluster, say=say
    )
    return Outcome([line, *stage.annotation_lines(job)], partial(_opened, settings.features.store))


def train(
    say: Say,
    report: Say,
    *,
    config: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    workers: int | None,
    scheduler: str | None,
    overwrite: bool,
    dry_run: bool,
    task: str | None,
    **flags: Any,
) -> Outcome:
    """Run ``dgan train``; ``report`` is told what becomes of the interpreter.

    The result is the `TrainedInterpreter`.
    """
    cluster = choose_cluster(workers, scheduler, threads=threads, device=device)
    settings = configured(load_run_config(config, flags["features__store"], say), flags)
    check_store(settings.features.store)
    check_folder(settings.train.out)

    from pipeline.interpreter.trained import TrainedInterpreter
    from pipeline.machine.device import target_device
    from pipeline.stages.train import stage

    store, options = settings.features.store, settings.train
    asked: dict[str, Any] = {
        "device": target_device(device, threads),
        "overwrite": overwrite,
        "memory_budget": memory_budget,
        "task": task,
    }
    if dry_run:
        return Outcome([*stage.dry_run(store, options, **asked, cluster=cluster), *_workers_line(cluster)])
    interpreter = stage.train(store, options, **asked, report=report, cluster=cluster)
    return Outcome([], partial(TrainedInterpreter, options.out, interpreter))


def synthesize(
    say: Say,
    *,
    config: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    workers: int | None,
    scheduler: str | None,
    overwrite: bool,
    dry_run: bool,
    break_lock: bool,
    force: bool,
    task: str | None,
    **flags: Any,
) -> Outcome:
    """Run ``dgan synthesize``. The result is the `fstore.Dataset`."""
    cluster = choose_cluster(workers, scheduler, threads=threads, device=device)
    settings = configured(load_run_config(config, flags["generator__checkpoint"], say), flags)
    check_store(settings.synthesize.store)
    if break_lock and not dry_run:
        _break_lock(settings.synthesize.store)

    from pipeline.machine.device import target_device
    from pipeline.stages.synthesize import stage

    target = target_device(device, threads)
    job = stage.prepare(settings, force=force, task=task)
    if dry_run:
        lines = stage.dry_run(job, target, overwrite=overwrite, memory_budget=memory_budget)
        return Outcome([*lines, *_workers_line(cluster)])
    line = stage.synthesize(
        job, target, overwrite=overwrite, memory_budget=memory_budget, cluster=cluster, say=say
    )
    return Outcome([line], partial(_opened, settings.synthesize.store))


def sample(
    say: Say,
    *,
    config: Path | None,
    device: str,
    threads: int | None,
    dry_run: bool,
    by: str | None,
    interpreter: Path | None,
    uncertain: Path | None,
    num: int,
    out: Path,
    seed: int,
    diverse: bool,
    pool: int | None,
    add: bool,
    overwrite: bool,
    **flags: Any,
) -> Outcome:
    """Run ``dgan sample``. The result is the project's folder."""
    check_folder(out)
    if add and config is None and (out / "dgan.toml").exists():
        config = out / "dgan.toml"
    settings = load_run_config(config, flags["generator__checkpoint"], say, with_notes=True)

    from pipeline.machine.device import target_device
    from pipeline.stages.sample import stage
    from pipeline.stages.sample.ways import asked_way

    by, interpreter = asked_way(by, interpreter, diverse=diverse, uncertain=uncertain)
    if interpreter is not None:
        settings = with_overrides(settings, "synthesize", interpreter=interpreter)
        if not add:  # a project goes on with its own settings
            settings = stage.as_trained(settings)
    settings = configured(settings, flags)
    target = target_device(device, threads)
    options = stage.SampleOptions(num, out, seed, by, pool, add, overwrite)
    job = stage.prepare(settings, options)
    if dry_run:
        return Outcome(stage.dry_run(job, target))
    return Outcome([stage.sample(job, target)], lambda: out)


def export(
    say: Say,
    *,
    store: str,
    out: Path,
    config: Path | None,
    threads: int | None,
    workers: int | None,
    scheduler: str | None,
    overwrite: bool,
    dry_run: bool,
    **flags: Any,
) -> Outcome:
    """Run ``dgan export``. The result is the folder."""
    cluster = choose_cluster(workers, scheduler, uses_torch=False)
    settings = configured(load_run_config(config, store, say, tell_defaults=False), flags)
    check_store(store)
    check_folder(out)

    from pipeline.exports import job as jobs
    from pipeline.exports import run

    job = jobs.prepare(store, out, settings.export)
    if dry_run:
        return Outcome([*run.dry_run(job, overwrite=overwrite), *_workers_line(cluster)])
    line = run.export(job, overwrite=overwrite, threads=threads, cluster=cluster, say=say)
    return Outcome([line], lambda: out)


def report(say: Say, *, path: str, out: Path, images: int, annotated: str | None, overwrite: bool) -> Outcome:
    """Run ``dgan report``. The result is the path of the page."""
    check_store(path)
    check_folder(out)
    if annotated is not None:
        check_store(annotated)

    from pipeline.reports import run

    return Outcome(
        [run.report(path, out, num_images=images, annotated=annotated, overwrite=overwrite, say=say)],
        lambda: out,
    )


def view(say: Say, *, store: str, port: int | None, no_browser: bool) -> Outcome:
    """Run ``dgan view``, until it is interrupted."""
    check_store(store)

    from pipeline.viewer import run

    run.view(store, port=port or 0, open_browser=not no_browser, say=say)
    return Outcome([], lambda: None)


def evaluate(
    say: Say,
    *,
    interpreter: Path,
    store: str,
    annotations: Path | None,
    label_map: Path | None,
    out: Path,
    device: str,
    threads: int | None,
) -> Outcome:
    """Run ``dgan evaluate``. The result is the figures, as the file has them."""
    check_store(store)
    check_folder(out)

    from pipeline.evaluation import run
    from pipeline.machine.device import target_device

    target = target_device(device, threads)
    job = run.prepare(interpreter, store, annotations=annotations, label_map=label_map, out=out)
    figures = run.evaluate(job, target, say=say)
    return Outcome(run.table_lines(figures, out), lambda: figures)


def calibrate(
    say: Say,
    *,
    config: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    overwrite: bool,
    dry_run: bool,
    **flags: Any,
) -> Outcome:
    """Run ``dgan calibrate``. The result is the calibration, as the file has it."""
    settings = configured(load_run_config(config, flags["features__store"], say), flags)
    check_store(settings.features.store)
    check_folder(settings.calibrate.out)

    from pipeline.calibration import run
    from pipeline.machine.device import target_device

    target = target_device(device, threads)
    job = run.prepare(settings, target, overwrite=overwrite)
    if dry_run:
        return Outcome(run.dry_run(job, target, memory_budget=memory_budget))
    found = run.calibrate(job, target, memory_budget=memory_budget, say=say)
    return Outcome(run.table_lines(found, settings.calibrate.out), lambda: found)


def segment_train(
    say: Say,
    *,
    config: Path | None,
    device: str,
    threads: int | None,
    overwrite: bool,
    dry_run: bool,
    **flags: Any,
) -> Outcome:
    """Run ``dgan segment train``. The result is the folder; of an experiment the table's figures."""
    alone = flags["segment__only"] == REAL  # the demo's classes are none of the photographs'
    own_input = flags["segment__real_images"] if alone else flags["segment__data"]
    settings = configured(load_run_config(config, own_input, say), flags)
    check_store(settings.segment.data)
    check_folder(settings.segment.out)

    from pipeline.machine.device import target_device
    from pipeline.segment.training import mixing, run

    target = target_device(device, threads)
    way: Any = run if settings.segment.real_images is None else mixing
    job = way.prepare(settings, target, overwrite=overwrite)
    if dry_run:
        return Outcome(way.dry_run(job, target))
    result = way.train(job, target, say=say)
    return Outcome(result.lines, lambda: result.value)


def segment_test(
    say: Say,
    *,
    segmenter: Path,
    released_filter: bool,
    config: Path | None,
    device: str,
    threads: int | None,
    overwrite: bool,
    **flags: Any,
) -> Outcome:
    """Run ``dgan segment test``. The result is the figures, as the file has them."""
    settings = load_run_config(config, flags["segment_test__images"], say, tell_defaults=False)
    settings = configured(settings, flags)
    check_folder(settings.segment_test.out)

    from pipeline.machine.device import target_device
    from pipeline.segment.testing import run

    target = target_device(device, threads)
    job = run.prepare(segmenter, settings, released_filter=released_filter, overwrite=overwrite)
    figures = run.test(job, target, say=say)
    return Outcome(run.table_lines(figures, settings.segment_test.out), lambda: figures)


def segment_predict(
    say: Say,
    *,
    segmenter: Path,
    images: Path,
    out: Path,
    epoch: int | None,
    resolution: int | None,
    device: str,
    threads: int | None,
    overwrite: bool,
) -> Outcome:
    """Run ``dgan segment predict``. The result is the folder."""
    check_folder(out)

    from pipeline.machine.device import target_device
    from pipeline.segment import prediction

    target = target_device(device, threads)
    job = prediction.prepare(segmenter, images, out, epoch=epoch, resolution=resolution, overwrite=overwrite)
    return Outcome([prediction.predict(job, target, say=say)], lambda: out)


def translate_train(
    say: Say,
    *,
    config: Path | None,
    device: str,
    threads: int | None,
    overwrite: bool,
    dry_run: bool,
    **flags: Any,
) -> Outcome:
    """Run ``dgan translate train``. The result is the folder."""
    settings = configured(load_run_config(config, flags["translate__source"], say), flags)
    check_store(settings.translate.source)
    check_folder(settings.translate.out)

    from pipeline.machine.device import target_device
    from pipeline.translate.training import run

    target = target_device(device, threads)
    job = run.prepare(settings, target, overwrite=overwrite)
    if dry_run:
        return Outcome(run.dry_run(job, target))
    return Outcome(run.train(job, target, say=say), lambda: settings.translate.out)


def translate_apply(
    say: Say,
    *,
    translator: Path,
    data: str,
    store: str,
    device: str,
    threads: int | None,
    overwrite: bool,
    dry_run: bool,
    break_lock: bool,
) -> Outcome:
    """Run ``dgan translate apply``. The result is the `fstore.Dataset`."""
    check_store(data)
    check_store(store)
    if break_lock and not dry_run:
        _break_lock(store)

    from pipeline.machine.device import target_device
    from pipeline.translate.application import run

    target = target_device(device, threads)
    job = run.prepare(translator, data, store, overwrite=overwrite)
    if dry_run:
        return Outcome(run.dry_run(job, target))
    return Outcome([run.translate(job, target, say=say)], partial(_opened, store))


def filter_dataset(
    say: Say,
    *,
    store: str,
    keep: Keep,
    score: str | None,
    threads: int | None,
    break_lock: bool,
    **flags: Any,
) -> Outcome:
    """Run ``dgan filter``. The result is the `fstore.Dataset`."""
    check_store(store)
    if break_lock:
        _break_lock(store)
    settings = configured(Config(), flags).synthesize

    from pipeline.machine.device import set_threads
    from pipeline.stages.synthesize.filter_choice import FilterWish
    from pipeline.stages.synthesize.filtering import filter_store

    set_threads(threads)
    outcome = filter_store(store, FilterWish(keep, score, settings.keep_per_class, settings.calibration), say)
    return Outcome([outcome.line, *outcome.table], partial(_opened, store))


def _workers_line(cluster: ClusterChoice | None) -> list[str]:
    """What a plan, which is of one process, says of a run on workers."""
    return (
        []
        if cluster is None
        else [f"workers      {cluster.words()}; memory and time above are of one process"]
    )


def _break_lock(store: str) -> None:
    """Say whose lock of the store it was, and remove it."""
    import fstore

    fstore.break_lock(store)


def _opened(store: str) -> FeatureStore | Dataset:
    import fstore

    return fstore.open(store)
