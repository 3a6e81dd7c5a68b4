"""`dgan segment train --real-images`: segmenters that learn from photographs, from a dataset, and from both.

Without ``--only`` three segmenters are trained alike and tested on the same photographs, a fifth of all,
which none of them learns:

    OUT/
      real/, synthetic/, both/    a segmenter each, and its scores, as `dgan segment test` writes them
      mixing.json                 all scores; written last

With ``--only`` it is one segmenter in OUT. What is finished is not done again. It knows how the parts of the
experiment hang together, and leaves training and testing to others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fstore.location import Location
from pipeline.errors import UsageError, count
from pipeline.interpreter.folder import check_place, check_writable
from pipeline.resumable.begun import used_bytes
from pipeline.segment.folder import SEGMENTER, epoch_files
from pipeline.segment.testing import run as testing
from pipeline.segment.testing.checks import number_of_folds
from pipeline.segment.testing.job import ScoringJob
from pipeline.segment.trained import open_trained
from pipeline.segment.training import run
from pipeline.segment.training.data import Source
from pipeline.segment.training.images import OpenedImages, open_images
from pipeline.segment.training.job import SegmentJob, make_job
from pipeline.segment.training.mixing_table import (
    RESULTS,
    check_results,
    known_scores,
    result_row,
    table_lines,
    write_results,
)
from pipeline.segment.training.real_images import RealImages, open_real_alone, open_real_images
from pipeline.settings.schema import BOTH, MIXES, REAL, SYNTHETIC, Config, SegmentTestConfig
from pipeline.stages.costs import check_disk

SCORES = "scores.json"
"""In the folder of each segmenter."""


@dataclass(frozen=True)
class MixingJob:
    """An experiment that may begin, or go on. ``jobs``: mix -> the training of its segmenter.

    Where ``only`` is a mix, ``jobs`` has that alone, into ``out`` itself. real: the photographs. testing: how
    segmenters are tested. notes: lines for the user.
    """

    out: Path
    jobs: Mapping[str, SegmentJob]
    real: RealImages
    only: str | None
    testing: SegmentTestConfig
    overwrite: bool
    notes: tuple[str, ...]


def prepare(config: Config, device: torch.device, *, overwrite: bool) -> MixingJob:
    """All that the run needs, checked. Raises UsageError, one line; StoreError, RunError."""
    options = config.segment
    out = Path.cwd() if options.out == Path() else options.out
    _check_place(out, options.only)
    real, opened, sources = _open(config)
    if options.only in (None, REAL):
        _check_batch(config, len(real.learnt))
    jobs = {
        mix: make_job(
            replace(options, out=out if options.only else out / mix),
            sources[mix],
            replace(opened, notes=()),  # they are said once, and not of each segmenter
            device,
            overwrite=overwrite,
        )
        for mix in ([options.only] if options.only else MIXES)
    }
    if not options.only:
        _check_disk(out, list(jobs.values()))
    notes = _notes(config, real, opened)
    return MixingJob(out, jobs, real, options.only, config.segment_test, overwrite, notes)


def _open(config: Config) -> tuple[RealImages, OpenedImages, dict[str, list[Source]]]:
    """The photographs, what is learnt, and the sources of each mix."""
    options = config.segment
    if options.only == REAL:
        real, opened = open_real_alone(config)
        return real, opened, {REAL: [real.source]}
    opened = open_images(options)
    opened = replace(opened, notes=(*opened.notes, *run.demo_note(config, opened)))
    real = open_real_images(config, opened.task, f"the dataset {options.data}")
    both: list[Source] = [real.source, opened.source]
    return real, opened, {REAL: both[:1], SYNTHETIC: both[1:], BOTH: both}


def _check_place(out: Path, only: str | None) -> None:
    """Refuse a folder in which three segmenters cannot have folders of their own. Raises UsageError."""
    check_place(out)
    if only is not None or not out.is_dir():
        return
    check_writable(out)
    if (out / SEGMENTER.description).exists() or epoch_files(out):
        raise UsageError(
            f"{out}: is the folder of one segmenter, and the three of an experiment go to {MIXES[0]}, "
            f"{MIXES[1]} and {MIXES[2]} in it; choose another --out"
        )
    check_results(out)


def _check_batch(config: Config, num_learnt: int) -> None:
    """Refuse photographs that are too few for one step. Raises UsageError."""
    options = config.segment
    if num_learnt >= options.batch_size:
        return
    lower = f"pass --batch-size {num_learnt} or less, or annotate more" if num_learnt > 1 else "annotate more"
    raise UsageError(
        f"{options.real_images}: {count(num_learnt, 'annotated photograph')} to learn from, and a step takes "
        f"{options.batch_size}; {lower}"
    )


def _check_disk(out: Path, jobs: Sequence[SegmentJob]) -> None:
    """Refuse a disk that has room for each segmenter and not for all of them. Raises RunError."""
    needed = sum(max(0, job.plan.disk_bytes - used_bytes(job.folder, SEGMENTER)) for job in jobs)
    check_disk(Location.parse(out), needed, "training", "free some, or choose another --out")


def _notes(config: Config, real: RealImages, opened: OpenedImages) -> tuple[str, ...]:
    """What a user should know of the images."""
    num, tested, learnt = len(real.photographs), len(real.tested), len(real.learnt)
    left = num - tested - learnt
    line = (
        f"{config.segment.real_images}: {count(num, 'annotated photograph')}; {tested} to test on, which are "
        f"never learnt, {learnt} to learn from{f', {left} left out' if left else ''}"
    )
    return (*dict.fromkeys((*opened.notes, *real.photographs.notes)), line)


def dry_run(job: MixingJob, device: torch.device) -> list[str]:
    """The plan of each segmenter and what it costs, a line each."""
    lines = list(job.notes)
    for mix, each in job.jobs.items():
        lines += [*([] if job.only else ["", f"{mix}:"]), *run.dry_run(each, device)]
    return lines


def train(job: MixingJob, device: torch.device, *, say: Callable[[str], None]) -> run.Result:
    """Train and test, or go on where an earlier run ended."""
    for note in job.notes:
        say(note)
    if job.only is not None:
        return run.train(job.jobs[job.only], device, say=say)
    if job.overwrite:
        (job.out / RESULTS).unlink(missing_ok=True)
    rows = []
    for mix, each in job.jobs.items():
        images, steps = count(each.plan.num_images, "image"), each.info.epochs * each.plan.num_steps
        say(f"{each.folder}: learns from {images} in {count(steps, 'step')}")
        run.train_one(each, device, say)
        rows.append(result_row(mix, each, _scores(job, each, device, say)))
    results = write_results(job.out, job.real.tested_names, rows)
    return run.Result(table_lines(results, job.out), results)


def _scores(
    job: MixingJob, each: SegmentJob, device: torch.device, say: Callable[[str], None]
) -> dict[str, Any]:
    """What `dgan segment test` would say of a segmenter on the photographs that none learns."""
    photographs = job.real.to_test
    trained = open_trained(each.folder, job.testing.resolution)
    folds, notes = number_of_folds(job.testing.cross_validate, len(photographs))
    epochs = tuple(trained.folder.epochs) if folds else (trained.last_epoch,)
    scoring = ScoringJob(trained, photographs, each.folder / SCORES, folds, epochs, job.overwrite, notes)
    return known_scores(scoring) or testing.test(scoring, device, say=say)
