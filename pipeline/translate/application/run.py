"""``dgan translate apply``: writes a dataset with translated images; everything else is the source's.

A task is 64 images, all written and then committed; the filter is set once all are there. Which images the
network takes together follows from their indices alone, so that the bytes do not depend on interruptions.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

import fstore
from fstore import format as fmt
from fstore.errors import CorruptionError, StoreError
from fstore.filter import Filter, filter_of
from fstore.store import check_unchanged
from pipeline.errors import RunError, count
from pipeline.machine.background import BackgroundCalls
from pipeline.machine.progress import progress
from pipeline.translate.application.checks import check_memory, check_target
from pipeline.translate.application.images import ImageTranslation
from pipeline.translate.application.job import ApplicationJob, read_job
from pipeline.translate.application.plan import plan_lines

QUEUE_DEPTH = 1  # tasks that may be written while the next one is made


def prepare(translator: Path, data: str, store: str, *, overwrite: bool) -> ApplicationJob:
    """All that the run needs, read and checked.

    Raises UsageError, one line: the dataset is not complete or is the store to write, the translator cannot
    be used, or the store is no translated dataset, or one of another dataset or translator. StoreError: a
    store is not there, has no filter, or cannot be written. RunError: the disk is too small.
    """
    job = read_job(translator, data, store, overwrite=overwrite)
    check_target(job)
    return job


def dry_run(job: ApplicationJob, device: torch.device) -> list[str]:
    """What ``translate`` would make and cost, a line for each subject."""
    check_memory(job, device)
    return plan_lines(job, device)


def translate(job: ApplicationJob, device: torch.device, *, say: Callable[[str], None]) -> str:
    """Translate what is not translated yet, and set the filter.

    Returns:
        One line on what is in the dataset.

    Raises:
        RunError: the network gives values that are not finite. StoreError: the source was replaced or
            filtered meanwhile, or is damaged; MismatchError: the store was begun with other settings.
    """
    check_memory(job, device)
    for note in job.notes:
        say(note)
    num = job.source.num_images
    writer = fstore.create_dataset(job.store, job.meta, num_images=num, overwrite=job.overwrite)
    with closing(writer):  # after an error too: who catches it can go on in the same process
        pending = writer.pending_tasks()
        if pending:
            _fill(writer, job, pending, device)
    job.source.check_unchanged()
    is_new = _set_filter(job.store, job.filter)
    kept = f"{int(job.filter.kept.sum()):,} kept (keep {job.filter.keep})"
    if not pending and not is_new:
        return f"{writer.location}: {count(num, 'image')} translated already, {kept}; nothing to do"
    return f"{writer.location}: {count(num, 'image')} translated, labels of {job.source.location}, {kept}"


def _fill(
    writer: fstore.DatasetWriter, job: ApplicationJob, pending: list[int], device: torch.device
) -> None:
    """Make the pending tasks. Each is written while the next one is made."""
    translation = ImageTranslation(job.translator.network, job.size, device)
    num = job.source.num_images
    done = num - sum(len(writer.task_images(task)) for task in pending)
    with progress("translating", num, "images", done) as bar, BackgroundCalls(QUEUE_DEPTH) as background:

        def advance(count: int) -> None:
            bar.advance(count)
            background.check()

        for task in pending:
            images = writer.task_images(task)
            pictures = _read(job.source, "images", images)
            check_unchanged(job.source.location, job.source.meta, with_filter=False)
            translated = _translated(job, translation, pictures, images, advance)
            background.submit(_write, writer, job, task, translated)


def _translated(
    job: ApplicationJob,
    translation: ImageTranslation,
    pictures: np.ndarray,
    images: range,
    advance: Callable[[int], None],
) -> np.ndarray:
    """The translated images of a task, (n, H, W, 3) uint8, in batches that begin at multiples of their size.

    Raises RunError for an image that the network cannot translate.
    """
    found, step = np.empty_like(pictures), translation.num_at_once
    for first in range(0, len(images), step):
        found[first : first + step], finite = translation.translated(pictures[first : first + step])
        if not finite.all():
            image = images[first + int(np.argmin(finite))]
            raise RunError(
                f"{job.translator.path}: its network gives values that are not finite for image {image} of "
                f"{job.source.location}; train it anew, with a smaller learning rate"
            )
        advance(len(finite))
    return found


def _write(writer: fstore.DatasetWriter, job: ApplicationJob, task: int, translated: np.ndarray) -> None:
    """Copy the other arrays of a task, heat maps file by file, and commit it."""
    images, parts = writer.task_images(task), {"images": translated}
    for spec in fmt.dataset_arrays(writer.meta, writer.num_images):
        side = (spec.shards or spec.chunks)[0]  # images of a file
        if spec.name in parts:
            continue
        if side >= len(images):
            parts[spec.name] = _read(job.source, spec.name, images)
            continue
        for first in range(images.start, images.stop, side):
            of_file = range(first, min(first + side, images.stop))
            writer.write_part(task, spec.name, first, _read(job.source, spec.name, of_file))
    check_unchanged(job.source.location, job.source.meta, with_filter=False)
    writer.write_task(task, parts)


def _read(source: fstore.Dataset, name: str, images: range) -> np.ndarray:
    """An array's values of some images.

    Raises CorruptionError where the source is damaged, StoreError where it was changed, which looks so too.
    """
    checked = source.array(name)
    rest = ((0, size) for size in checked.array.shape[1:])
    try:
        return checked.read(((images.start, images.stop), *rest))
    except CorruptionError:
        source.check_unchanged()
        raise


def _set_filter(store: str, wanted: Filter) -> bool:
    """Give the new dataset the source's filter. Returns whether it had another one, or none."""
    if _has_filter(store, wanted):
        return False
    fstore.set_kept(store, wanted.kept, wanted.keep, wanted.threshold, rule=wanted.rule, scores=wanted.scores)
    return True


def _has_filter(store: str, wanted: Filter) -> bool:
    dataset = fstore.open(store)
    assert isinstance(dataset, fstore.Dataset)
    try:
        found = filter_of(dataset)
    except StoreError:  # none is set, or what is there is damaged: it is written anew
        return False
    said = (found.keep, found.threshold, found.rule) == (wanted.keep, wanted.threshold, wanted.rule)
    if not said or not np.array_equal(found.kept, wanted.kept):
        return False
    if found.scores is None or wanted.scores is None:
        return found.scores is wanted.scores
    return np.array_equal(found.scores, wanted.scores, equal_nan=True)
