"""All that the training of a translator needs, checked. It writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fstore.display import human_bytes
from fstore.location import Location
from pipeline.errors import UsageError, count
from pipeline.interpreter.folder import check_writable
from pipeline.machine.memory import available_host_bytes
from pipeline.machine.provenance import created_record
from pipeline.machine.training_format import training_format
from pipeline.models.patch_discriminator import PatchDiscriminator, discriminator_halvings
from pipeline.models.unet import UNet, generator_halvings
from pipeline.resumable.begun import FINISHED, used_bytes
from pipeline.resumable.precision import definite_precision
from pipeline.settings.schema import TranslateConfig
from pipeline.stages.costs import check_disk
from pipeline.translate.description import LARGEST_SIDE, WIDEST, TranslatorInfo
from pipeline.translate.folder import BACKWARD, FORWARD, TRANSLATOR, build_generator
from pipeline.translate.order import split
from pipeline.translate.pairs import pair_sides
from pipeline.translate.sides import PAIR, SOURCE, TARGET, Side, open_side
from pipeline.translate.training.batches import BatchPlan
from pipeline.translate.training.begun import check_begun
from pipeline.translate.training.learner import OF_SOURCE, OF_TARGET, Learner, Weights, initialise_network
from pipeline.translate.training.plan import TrainPlan, measure_cost

LEAST_SIDE, USUAL_SIDE = 16, 256
_MEAN_LOOK = (
    "--no-adversary without --paired: images of two sides that show different things are held against each "
    "other, so it learns the mean look of the target, and no details"
)


@dataclass(frozen=True)
class TranslateJob:
    """A training that may begin, or go on. ``options`` have a definite precision and resolution.

    info: what the translator is. batches: how its batches are made. plan: what it costs. notes: lines for the
    user. overwrite: whether what is in ``folder`` is to be deleted first.
    """

    folder: Path
    options: TranslateConfig
    info: TranslatorInfo
    batches: BatchPlan
    plan: TrainPlan
    overwrite: bool
    notes: tuple[str, ...]

    def make_learner(self, device: torch.device) -> Learner:
        """Networks with their first weights, on their device."""
        options, info, seed = self.options, self.info, self.options.seed
        generators: dict[str, UNet] = {}
        for number, name in enumerate((FORWARD, BACKWARD)):
            generators[name] = build_generator(info)
            initialise_network(generators[name], seed, number)
        judges: dict[str, PatchDiscriminator] = {}
        for number, name in enumerate((OF_SOURCE, OF_TARGET), 2):
            judges[name] = PatchDiscriminator(info.width, discriminator_halvings(info.resolution))
            initialise_network(judges[name], seed, number)
        return Learner(
            generators,
            judges if options.adversary else None,
            Weights(options.adversary_weight, options.cycle_weight, options.identity_weight),
            options.learning_rate,
            device,
            training_format(device, options.precision).autocast,
        )


def make_job(options: TranslateConfig, device: torch.device, *, overwrite: bool) -> TranslateJob:
    """The training of a translator into ``options.out``.

    Raises UsageError, one line, for settings or pictures that cannot be used, and for a folder with something
    else; StoreError for a store that cannot be read; RunError where the disk is too small.
    """
    if options.target is None:
        raise UsageError("--target is not given; pass the images that the source shall look like")
    folder = Path.cwd() if options.out == Path() else options.out
    sides, notes = _sides(options.source, options.target, paired=options.paired)
    resolution = options.resolution or _usual_resolution(sides[SOURCE])
    _check_sizes(options.width, resolution, given=options.resolution is not None)
    precision = definite_precision(TRANSLATOR, folder, device, options.precision, overwrite=overwrite)
    options = replace(options, out=folder, precision=precision, resolution=resolution)
    batches = _batch_plan(options, sides, resolution)
    info = TranslatorInfo(
        resolution=resolution,
        width=options.width,
        halvings=generator_halvings(resolution),
        upsample=options.upsample,
        source=sides[SOURCE].record,
        target=sides[TARGET].record,
        paired=options.paired,
        training=_recorded(options),
        created=created_record(torch=torch.__version__, device=str(device)),
    )
    plan = measure_cost(info, options, batches)
    if check_begun(folder, info, overwrite=overwrite) != FINISHED:
        check_writable(folder)
        _check_memory(plan, device)
        needed = max(0, plan.disk_bytes - used_bytes(folder, TRANSLATOR))
        check_disk(Location.parse(folder), needed, "training", "free some, or choose another --out")
    if not options.adversary and not options.paired:
        notes = (*notes, _MEAN_LOOK)
    return TranslateJob(folder, options, info, batches, plan, overwrite, notes)


def _sides(source: str, target: str, *, paired: bool) -> tuple[tuple[Side, Side], tuple[str, ...]]:
    """Both sides, of pairs in one order, and notes on what is left out."""
    sides = open_side(source), open_side(target)
    if not paired:
        return sides, ()
    pairs = pair_sides(*sides)
    note = f"paired by {pairs.how}: {count(len(pairs.source), 'pair')}"
    return (pairs.source, pairs.target), (note, *pairs.notes)


def _usual_resolution(side: Side) -> int:
    """The shorter side of the pictures, the first one's where they differ; at most USUAL_SIDE."""
    return min(*(side.size or side.read([0])[0].shape[:2]), USUAL_SIDE)


def _check_sizes(width: int, resolution: int, *, given: bool) -> None:
    if not LEAST_SIDE <= resolution <= LARGEST_SIDE:
        what = "--resolution is" if given else "the source's images have a side of"
        raise UsageError(
            f"{what} {resolution}; expected {LEAST_SIDE} to {LARGEST_SIDE}, pass another --resolution"
        )
    if width > WIDEST:
        raise UsageError(f"--width is {width}; expected at most {WIDEST}")


def _batch_plan(options: TranslateConfig, sides: tuple[Side, Side], resolution: int) -> BatchPlan:
    parts = (PAIR, PAIR) if options.paired else (SOURCE, TARGET)
    source, target = (
        split(len(side), options.held_out, options.seed, part)
        for side, part in zip(sides, parts, strict=True)
    )
    return BatchPlan(
        sides=sides,
        splits=(source, target),
        is_paired=options.paired,
        crops=(options.source_crop, options.target_crop),
        resolution=resolution,
        batch_size=options.batch_size,
        seed=options.seed,
    )


def _check_memory(plan: TrainPlan, device: torch.device) -> None:
    """Refuse a step that has no room. Raises UsageError with both figures."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_host_bytes()
    if plan.memory_bytes > free:
        raise UsageError(
            f"a step takes about {human_bytes(plan.memory_bytes)} of memory, and {human_bytes(free)} are "
            f"free; lower --batch-size ({plan.options.batch_size}), --resolution ({plan.info.resolution}) or "
            f"--width ({plan.info.width})"
        )


def _recorded(options: TranslateConfig) -> dict[str, Any]:
    """The settings that must be equal where a run goes on; ``epochs`` may differ."""
    names = (
        *("epochs", "batch_size", "seed", "learning_rate", "precision", "adversary", "held_out"),
        *("source_crop", "target_crop", "adversary_weight", "cycle_weight", "identity_weight"),
    )
    found = {name: getattr(options, name) for name in names}
    if options.paired:
        del found["target_crop"]  # the source's holds for both
    if not options.adversary:
        del found["adversary_weight"]
    return found
