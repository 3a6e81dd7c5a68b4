"""Sets the filter of a dataset: which images are kept. Nothing is rendered again.

Scores other than the stored one, and which image shows which class, are computed from the stored divergence
and labels, image by image in threads, so that memory does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

import fstore
from fstore import format as fmt
from fstore.values import printable
from pipeline.errors import RunError, UsageError, count
from pipeline.labelling.scores import keep_mask, keep_mask_per_class, score_images
from pipeline.machine.progress import progress
from pipeline.machine.threads import parallel
from pipeline.stages.synthesize.class_shares import losing_line, share_lines
from pipeline.stages.synthesize.filter_choice import FilterChoice, FilterWish, choose_filter


@dataclass(frozen=True)
class FilterOutcome:
    """``line`` says what is kept; ``table`` has a line for each class, of a filter that is per class."""

    line: str
    table: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageFacts:
    """What was read of N images: ``scores`` (N,) float32, ``shown`` (N, K) bool, whether an image shows a
    class; None where it was not asked for.
    """

    scores: np.ndarray | None
    shown: np.ndarray | None


def filter_store(store: str, wish: FilterWish, say: Callable[[str], None]) -> FilterOutcome:
    """Do what ``dgan filter`` does. ``say`` is told of classes that lose much.

    Raises UsageError: the dataset is not complete, the store is no dataset, or what ``choose_filter``
    refuses. RunError: no image has a finite score.
    """
    dataset = open_complete(store)
    return _set(dataset, choose_filter(dataset.location, dataset.meta, wish), say)


def set_filter(store: str, choice: FilterChoice, say: Callable[[str], None]) -> FilterOutcome:
    """Set the filter of a complete dataset as it was chosen before. Raises as ``filter_store`` does."""
    return _set(open_complete(store), choice, say)


def open_complete(store: str) -> fstore.Dataset:
    """The dataset there, all of whose images are committed. Raises UsageError, StoreError."""
    dataset = fstore.open(store)
    if not isinstance(dataset, fstore.Dataset):
        raise UsageError(
            f"{dataset.location}: is a store of kind 'features', expected a dataset written by `dgan "
            "synthesize`"
        )
    if not dataset.complete:
        raise UsageError(
            f"{dataset.location}: {len(dataset)} of {dataset.num_images} images are committed; run the same "
            f"`{dataset.meta.maker}` to its end"
        )
    num = dataset.array("kept").array.shape[0]
    if num != dataset.num_images:  # before hours of reading, and not only when the filter is written
        raise UsageError(
            f"{dataset.location}: kept has {num} places, the dataset {dataset.num_images} images; a run with "
            "a larger --num was cut off, run it again"
        )
    return dataset


def _set(dataset: fstore.Dataset, choice: FilterChoice, say: Callable[[str], None]) -> FilterOutcome:
    meta, where, keep = dataset.meta, dataset.location, choice.keep
    other_score = choice.score if choice.score != meta.score else None
    facts = read_facts(dataset, other_score, with_classes=_classes_matter(dataset, choice))
    scores = dataset.uncertainty if facts.scores is None else facts.scores
    plain, threshold = keep_mask(scores, keep.fraction)
    if threshold is None:
        name = "array 'uncertainty'" if other_score is None else f"its score {choice.score}"
        raise RunError(
            f"{where}: {name} has no finite value; the generator or the interpreter computes none: pass the "
            "checkpoint that it was trained on, or train it again"
        )
    kept = plain
    table: list[str] = []
    names = [printable(info.name) for info in meta.classes]
    if facts.shown is not None:
        shown = facts.shown & np.isfinite(scores)[:, None]
        if choice.per_class:
            kept, threshold = keep_mask_per_class(scores, keep.fraction, shown)
            table = share_lines(names, shown, plain, kept)
        elif line := losing_line(names, shown, plain):
            say(f"{where}: {line}")
    if facts.scores is not None or facts.shown is not None:
        dataset.check_unchanged()
    fstore.set_kept(
        where.target, kept, keep.text, threshold, rule=choice.rule(meta.score), scores=facts.scores
    )
    return FilterOutcome(_line(dataset, choice, scores, kept, threshold), tuple(table))


def _classes_matter(dataset: fstore.Dataset, choice: FilterChoice) -> bool:
    """Whether to read the labels: the rule needs them, or it may drop much of a class.

    For the second alone a store at a URL is not read whole.
    """
    if dataset.meta.keypoints is not None:
        return False
    return choice.per_class or (choice.keep.fraction < 1 and dataset.location.folder is not None)


def _line(
    dataset: fstore.Dataset,
    choice: FilterChoice,
    scores: np.ndarray,
    kept: np.ndarray,
    threshold: float | None,
) -> str:
    by = "uncertainty" if choice.score == dataset.meta.score else choice.score
    share = f"{int(kept.sum()):,} of {count(len(kept), 'image')} kept"
    line = f"{dataset.location}: {share} ({choice.words()}, {by} at most {threshold:.4g})"
    failed = int((~np.isfinite(scores)).sum())
    return line if not failed else f"{line}; {failed} with values that are not finite are never kept"


def read_facts(dataset: fstore.Dataset, score: str | None, *, with_classes: bool) -> ImageFacts:
    """Read the images of a complete dataset once, the labels and divergence that are needed.

    Args:
        dataset: open, complete.
        score: by which the images are scored, or None.
        with_classes: whether it is wanted which image shows which class.

    Raises CorruptionError where a chunk is damaged.
    """
    num, num_classes = dataset.num_images, len(dataset.meta.classes)
    scores = None if score is None else np.empty(num, np.float32)
    shown = np.empty((num, num_classes), bool) if with_classes else None
    if scores is None and shown is None:
        return ImageFacts(None, None)
    with_labels = with_classes or (dataset.meta.keypoints is None and score is not None)

    def read(image: int) -> None:
        labels = _tensor(dataset, "labels", image) if with_labels else None
        if shown is not None and labels is not None:
            pixels = torch.bincount(labels.flatten(), minlength=num_classes)
            shown[image] = (pixels[:num_classes] > 0).numpy()
        if scores is not None:
            divergence = _tensor(dataset, "divergence", image).float()
            scored = score_images(divergence[None], str(score), None if labels is None else labels[None])
            value = scored.float().item()
            scores[image] = value if np.isfinite(value) else np.nan

    doing = "reading labels" if scores is None else "scoring"
    with progress(doing, num, "images") as bar:

        def read_task(task: int) -> None:
            images = range(task * fmt.TASK_IMAGES, min((task + 1) * fmt.TASK_IMAGES, num))
            for image in images:
                read(image)
                bar.advance()

        parallel(read_task, range(-(-num // fmt.TASK_IMAGES)), torch.device("cpu"))
    return ImageFacts(scores, shown)


def _tensor(dataset: fstore.Dataset, name: str, image: int) -> torch.Tensor:
    """One image of an array [H, W]; labels as uint8, or int32 where they have more classes."""
    checked = dataset.array(name)
    region = ((image, image + 1), *((0, size) for size in checked.array.shape[1:]))
    values = checked.read_in_thread(region)[0]
    kind = np.int32 if values.dtype == np.uint16 else values.dtype  # what torch knows to do with
    return torch.from_numpy(values.astype(kind))  # a copy: what is read may be read-only
