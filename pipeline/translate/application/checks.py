"""What ``dgan translate apply`` refuses before it starts. The run and ``--dry-run`` make the same checks.

They read what is there and write nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

import fstore
from fstore.display import human_bytes
from fstore.location import Location, get_attribute
from pipeline.errors import UsageError, short
from pipeline.machine.memory import available_host_bytes
from pipeline.stages import costs
from pipeline.translate.application.images import images_at_once

if TYPE_CHECKING:
    from pipeline.translate.application.job import ApplicationJob


def check_apart(data: str, store: str) -> None:
    """Refuse to write into the dataset that is read, or into a folder around it. Raises UsageError."""
    source, target = Location.parse(data), Location.parse(store)
    if source.folder is None or target.folder is None:
        if source.target.rstrip("/") == target.target.rstrip("/"):
            raise UsageError(f"{target}: is the dataset that is translated; choose another --store")
        return
    read, written = source.folder.resolve(), target.folder.resolve()
    is_same = read == written or (read.exists() and written.exists() and read.samefile(written))
    if is_same:
        raise UsageError(f"{target}: is the dataset that is translated; choose another --store")
    if written.is_relative_to(read) or read.is_relative_to(written):
        one, other = (target, source) if written.is_relative_to(read) else (source, target)
        raise UsageError(f"{one}: lies in the store {other}; choose a --store beside the dataset")


def check_memory(job: ApplicationJob, device: torch.device) -> None:
    """Refuse a size at which the last layer alone has no room. Raises UsageError with both figures."""
    height, width = job.size
    values = 4 * job.translator.width * height * width  # what comes up and across, apart and joined
    needed = 4 * values * images_at_once(job.size)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_host_bytes()
    if needed > free:
        raise UsageError(
            f"{job.translator.path}: translates at {height} x {width} (rows x columns), which takes at least "
            f"{human_bytes(needed)} of memory, and {human_bytes(free)} are free; train a translator with a "
            "smaller --resolution or --width"
        )


def check_target(job: ApplicationJob) -> None:
    """Check that the new dataset can be written, or gone on with.

    Raises:
        UsageError: there is a dataset that is no translated one, or one of another dataset or translator.
        MismatchError: it was begun with other settings. StoreError: something else lies there, or another
            writer has it open. RunError: the disk cannot hold what is left to write.
    """
    location, num = Location.parse(job.store), job.source.num_images
    if not job.overwrite and location.state() == "store":
        _check_begun(job, location, get_attribute(location.open_group()) or {})
    fstore.check_create_dataset(job.store, job.meta, num_images=num, overwrite=job.overwrite)
    left = num - (0 if job.overwrite else costs.committed_images(location))
    needed = costs.dataset_bytes(job.meta, left)
    what = f"a dataset of {left} more images"
    costs.check_disk(location, needed, what, "make room, or choose another --store", overwrite=job.overwrite)


def _check_begun(job: ApplicationJob, location: Location, attribute: dict[str, Any]) -> None:
    """Refuse a store that this translator has not made of this dataset. Raises UsageError."""
    found = attribute.get("translator")
    way_out = "choose another --store, or pass --overwrite to replace it"
    if attribute.get("kind") == "features":  # which --overwrite does not replace
        raise UsageError(f"{location}: is a store of features, no dataset; choose another --store")
    if attribute.get("kind") != "dataset" or not isinstance(found, dict):
        what = "a dataset" if attribute.get("kind") == "dataset" else "a store"
        raise UsageError(f"{location}: is {what} that `dgan translate apply` has not made; {way_out}")
    asked = job.meta.translator or {}
    source = found.get("source")
    if not isinstance(source, dict) or source.get("id") != asked["source"]["id"]:
        raise UsageError(
            f"{location}: holds the translated images of another dataset than {job.source.location} is now; "
            f"{way_out}"
        )
    if found.get("sha256") != asked.get("sha256"):
        raise UsageError(
            f"{location}: was translated by a network with sha256 {_begin(found.get('sha256'))}, "
            f"{job.translator.path} has {_begin(asked.get('sha256'))}; {way_out}"
        )


def _begin(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 12 else short(value)
