"""Opens what a run reads its pixels from: the store itself, its maps in memory, or their coordinates in a
subspace, in memory or in a file.

It knows stores, plans, and the file of the bases in an interpreter's folder. It knows no networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from fstore.cache import CachedPyramid, pyramid_bytes
from fstore.feature_store import FeatureStore
from fstore.location import Location
from fstore.map_file import MapFile
from fstore.meta import FeatureMeta
from fstore.recover import resolution_runs
from fstore.sampler import SampledStore
from pipeline.interpreter.description import InterpreterInfo, settings_differences
from pipeline.interpreter.folder import SUBSPACE, damaged
from pipeline.interpreter.training_state import TrainingState, load_state, save_state
from pipeline.stages.costs import check_disk
from pipeline.stages.train.memory import MemoryPlan
from pipeline.stages.train.plan import AUTO, FEATURE_BYTES, OFF, TrainPlan
from pipeline.stages.train.sampling import fits_device, plan_memory
from pipeline.stages.train.subspace import Subspace, find_subspace

ENERGY = "0.999"
FEWER = 2  # a dense store has native maps if these have so many times fewer values than its features


@dataclass(frozen=True)
class Pixels:
    """What pixels are read from, and the subspace whose coordinates it gives; None: it gives all channels."""

    source: SampledStore
    subspace: Subspace | None = None


def settle_subspace(subspace: str, meta: FeatureMeta, is_whole_epoch: bool) -> str:
    """``off`` or a part of the energy in place of ``auto``.

    Coordinates cost one pass over the store, which a run of less than an epoch does not make, and memory or
    disk for the maps. A dense store whose layers were not interpolated has none that are smaller than itself.
    """
    if subspace != AUTO:
        return subspace
    dense_bytes = meta.height * meta.width * meta.channels * 2
    has_maps = meta.layout == "pyramid" or FEWER * pyramid_bytes(meta, 1) <= dense_bytes
    return ENERGY if is_whole_epoch and has_maps else OFF


def map_file_bytes(store: FeatureStore, plan: TrainPlan, subspace: Subspace | None = None) -> int:
    """Bytes of the temporary file of one process; at most, while the ``subspace`` is not known.

    A run of layers has no more axes than channels, nor than all images have positions.
    """
    images = len(plan.split.training) + len(plan.split.held_out)
    if subspace is not None:
        values = [prod(layer.resolution) * layer.channels for layer in subspace.layers]
        return images * FEATURE_BYTES * sum(values)
    values = []
    for run in resolution_runs(store.meta.layers):
        positions, channels = prod(run[0].resolution), sum(layer.channels for layer in run)
        values.append(positions * min(channels, images * positions))
    return images * FEATURE_BYTES * sum(values)


def all_map_bytes(
    store: FeatureStore,
    plan: TrainPlan,
    memory: MemoryPlan,
    device: torch.device,
    budget: int | None,
    workers: int,
    known: Subspace | None,
) -> int:
    """Bytes at most of the temporary files of a run: of this process, and of each of its ``workers`` here.

    A worker has half of its share of the free memory for sure: others may have taken some when it begins.
    """
    if plan.config.subspace == OFF:
        return 0
    files = 0 if memory.cached else 1
    if workers and not plan_memory(plan, device, budget, 2 * workers).cached:
        files += workers
    return files * map_file_bytes(store, plan, known)


def open_pixels(
    store: FeatureStore,
    plan: TrainPlan,
    memory: MemoryPlan,
    device: torch.device,
    folder: Path,
    known: Subspace | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Pixels:
    """The pixels of a run. A subspace is ``known``, or found in one pass over the images.

    Maps that do not fit memory lie in a temporary file in ``folder``. ``advance(n)`` is called after every n
    images of a pass, of which there are up to two. Raises RunError where the disk is too small for the file.
    """
    images = plan.split.training + plan.split.held_out
    if plan.config.subspace == OFF:
        return Pixels(_whole(store, plan, memory, device, images))

    def read(image: int) -> Sequence[Tensor]:
        maps = store.recovered_maps(image)
        advance(1)
        return maps

    held: dict[int, Sequence[Tensor]] = {}
    subspace = known
    if subspace is None:
        if memory.cached:
            held = {image: read(image) for image in images}
        maps = (held[image] if held else read(image) for image in images)
        subspace = find_subspace(store.meta, maps, float(plan.config.subspace))

    def coordinates(image: int) -> Sequence[Tensor]:
        return subspace.project(held.pop(image) if held else read(image))

    layers = subspace.layers
    if not memory.cached:
        needed = map_file_bytes(store, plan, subspace)
        check_disk(Location.parse(folder), needed, "a file of maps", "free some, or hold them with --cache")
        return Pixels(MapFile(store, images, folder, layers=layers, read=coordinates), subspace)
    bytes_there = plan.pyramid_bytes * subspace.channels // store.meta.channels
    where = device if fits_device(plan, device, bytes_there) else torch.device("cpu")
    return Pixels(CachedPyramid(store, images, where, layers=layers, read=coordinates), subspace)


def _whole(
    store: FeatureStore, plan: TrainPlan, memory: MemoryPlan, device: torch.device, images: Sequence[int]
) -> SampledStore:
    """All channels: the pyramid in the memory of the device or of the host where it fits, else the store.

    The bits of the pixels are the same in each case.
    """
    if plan.pyramid_bytes and fits_device(plan, device, plan.pyramid_bytes):
        return CachedPyramid(store, images, device)
    return CachedPyramid(store, images) if memory.cached else store


def save_subspace(folder: Path, info: InterpreterInfo, subspace: Subspace) -> None:
    """Keep the axes of a run of these settings, for the run that goes on with it and for its workers."""
    save_state(folder, TrainingState(info, subspace.tensors()), SUBSPACE)


def load_subspace(folder: Path, info: InterpreterInfo) -> Subspace | None:
    """The axes of an unfinished run of these settings; None where there is none.

    Raises UsageError for a file that is damaged or cannot be read.
    """
    if not (folder / SUBSPACE).exists():
        return None
    state = load_state(folder, SUBSPACE)
    if settings_differences(state.info, info):
        return None
    try:
        return Subspace.from_tensors(info.layers, state.tensors)
    except ValueError as error:
        raise damaged(folder / SUBSPACE, error) from None
