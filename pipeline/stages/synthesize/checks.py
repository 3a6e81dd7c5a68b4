"""What ``dgan synthesize`` refuses before it starts. The run and ``--dry-run`` make the same checks.

They read what is there and write nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch

import fstore
from fstore.location import Location, get_attribute
from pipeline.errors import UsageError
from pipeline.interpreter.released import is_released
from pipeline.interpreter.rounds import kept_interpreter
from pipeline.stages import costs
from pipeline.stages.synthesize.filter_choice import filter_of
from pipeline.stages.synthesize.job import SynthesizeJob
from pipeline.stages.synthesize.memory import SynthesisMemory, plan_memory
from pipeline.stages.synthesize.precision import expected_precision, with_precision


def check(
    job: SynthesizeJob, device: torch.device, *, overwrite: bool, memory_budget: int | None
) -> SynthesisMemory:
    """Check that the run can start. Returns how it shares out its memory.

    ``memory_budget``: bytes of host memory that the process may take; None: as many as make it faster.

    Raises:
        UsageError: the filter cannot be set, the budget is too small, the images of the store were
            translated, or labelled by another interpreter than lies in the folder now. MismatchError: the
            store was begun with other settings.
        StoreError: it is longer, something else lies there, or another writer has it open. RunError: the
            disk cannot hold what is left to write.
    """
    if not overwrite:
        _check_not_translated(job)
    filter_of(job)
    memory = plan_memory(job, device, memory_budget)
    precision, _ = expected_precision(job, device, overwrite=overwrite)
    meta = with_precision(job, precision).meta  # of a store that is there: its own, or the one asked for
    config = job.config
    if not overwrite:
        _check_labelled_by(job)
    fstore.check_create_dataset(config.store, meta, num_images=config.num, overwrite=overwrite)
    location = Location.parse(config.store)
    left = config.num - (0 if overwrite else costs.committed_images(location))
    needed = costs.dataset_bytes(job.meta, left)
    way_out = "make room, or ask for fewer with --num"
    costs.check_disk(location, needed, f"a dataset of {left} more images", way_out, overwrite=overwrite)
    return memory


def _check_not_translated(job: SynthesizeJob) -> None:
    """Refuse to go on with a dataset of translated images. Raises UsageError."""
    location = Location.parse(job.config.store)
    if location.state() == "store" and "translator" in (get_attribute(location.open_group()) or {}):
        raise UsageError(
            f"{location}: holds the translated images of another dataset, to which `dgan synthesize` adds "
            "none; choose another --store, or pass --overwrite to replace it"
        )


def _check_labelled_by(job: SynthesizeJob) -> None:
    """Refuse a dataset that an earlier interpreter of the same folder has labelled. Raises UsageError."""
    location, folder = Location.parse(job.config.store), Path(job.config.interpreter)
    if location.state() != "store" or is_released(folder):  # a release is trained by nobody here
        return
    attribute = get_attribute(location.open_group()) or {}
    record = attribute.get("interpreter")
    if not isinstance(record, dict) or record.get("folder") != folder.name:
        return
    sha256 = str(record.get("sha256"))
    if sha256 == job.interpreter.sha256:
        return
    kept = kept_interpreter(folder, sha256)
    by = f"one with sha256 {sha256[:12]}..." if kept is None else f"the one that is kept as {kept}"
    more = "" if kept is None else f", --interpreter {kept} to go on with it"
    raise UsageError(
        f"{location}: is older than {folder} and was labelled by {by}; pass --overwrite to label it anew, "
        f"--store other.zarr to keep it and make another{more}"
    )
