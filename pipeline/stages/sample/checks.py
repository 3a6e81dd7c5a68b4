"""What ``dgan sample`` refuses before it renders. The run and ``--dry-run`` make the same checks.

They read what is there and write nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fstore.location import Location
from pipeline.errors import UsageError, count
from pipeline.settings.options import DIVERSE, RANDOM
from pipeline.stages import costs
from pipeline.stages.sample import project
from pipeline.stages.sample.job import SampleJob, SampleOptions
from pipeline.stages.sample.placing import check_out


def present_project(options: SampleOptions, rendering: dict[str, Any]) -> project.Project | None:
    """The project that is in the folder.

    Raises UsageError where the run may not write there.
    """
    found, out = project.read_project(options.out), project.shown(options.out)
    check_out(options.out)
    if options.add:
        if found is None:
            raise UsageError(f"{out}: holds no images to --add to; leave --add out, or name another --out")
        for key, was, now in project.differences(found.rendering, rendering):
            raise UsageError(
                f"{out}: its images were made with {key} = {was!r}, this run has {now!r}; --add "
                "takes the same settings: leave the flag out"
            )
    elif found is not None and options.overwrite:
        project.check_replaceable(
            options.out, found, found.latents, rendering
        )  # the latents are not known yet
    elif found is not None:
        raise UsageError(
            f"{out}: holds {count(len(found.latents), 'image')} already; --add more to them, --overwrite "
            "them, or choose another --out"
        )
    return found


def check_pool(options: SampleOptions, pool_size: int) -> None:
    """Refuse a pool that is too small, or that nothing is chosen from. Raises UsageError."""
    if options.pool is not None and options.by == RANDOM:
        raise UsageError(
            f"--pool is {options.pool}, and choosing by {RANDOM} looks at no pool; leave it out, or say --by "
            f"{DIVERSE}"
        )
    if pool_size < options.num:
        raise UsageError(f"--pool is {options.pool}; expected at least --num, {options.num}")


def check_replaceable(job: SampleJob, latents: Sequence[tuple[int, int]]) -> None:
    """Raise UsageError where the project with these ``latents`` would change images that are annotated."""
    out = job.options.out
    before = project.read_project(out)
    if before is not None:
        project.check_replaceable(out, before, latents, job.rendering)


def check_disk(job: SampleJob) -> None:
    """Raise RunError where the disk cannot hold the pictures: all are written before any is replaced."""
    num = len(job.present) + job.options.num
    out = Location.parse(job.options.out)
    costs.check_disk(out, picture_bytes(job), count(num, "picture"), "make room, or choose another --out")


def picture_bytes(job: SampleJob) -> int:
    """Bytes of the run's pictures, which as PNG are hardly larger than raw."""
    (first, last), width = job.settings.crop_rows, job.settings.grid[1]
    return (len(job.present) + job.options.num) * (last - first) * width * 3
