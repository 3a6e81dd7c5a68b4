"""``dgan demo``: the whole pipeline on the embedded generator, or pictures of its renderer."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.api.places import check_folder
from pipeline.commands.options import DEBUG, declared
from pipeline.commands.program import Command
from pipeline.errors import UsageError
from pipeline.settings.options import DEVICE, PLAIN, STYLES, THREADS, Option
from pipeline.settings.schema import KEYPOINTS, SEGMENTATION, TASKS
from pipeline.settings.values import ANY_SEED, PATH, POSITIVE, choice

NUM, OUT, PHOTOGRAPHS = 200, Path("demo"), Path("photos")


@click.command(
    "demo",
    cls=Command,
    short_help="Run the stages on the embedded generator of faces.",
    examples=("dgan demo --out demo", "dgan demo --photographs 200 --style dusk --out dusk"),
)
@declared(Option("out", PATH, "Folder of all results.", unset=f"{OUT}; of --photographs {PHOTOGRAPHS}"))
@declared(Option("num", POSITIVE, "Fresh images to label and to test on.", unset=f"{NUM}"))
@declared(Option("task", choice(*TASKS), "What is learnt.", default=SEGMENTATION))
@declared(
    Option("photographs", POSITIVE, "Write so many pictures of the renderer, with exact masks; run no stage.")
)
@declared(
    Option("style", choice(*STYLES), "How the pictures are drawn: another look, the same mask.", unset=PLAIN)
)
@declared(Option("seed", ANY_SEED, "Seed of the pictures.", unset="0"))
@declared(DEVICE)
@declared(THREADS)
@DEBUG
def demo(
    out: Path | None,
    num: int | None,
    task: str,
    photographs: int | None,
    style: str | None,
    seed: int | None,
    device: str,
    threads: int | None,
) -> None:
    """Run the three stages on the embedded generator of faces, and compare the labels with the exact masks,
    or the keypoints with the exact ones. Or write photographs: pictures of the renderer that the generator
    imitates, to test on.
    """
    out = out or (OUT if photographs is None else PHOTOGRAPHS)
    check_folder(out)
    _check_together(photographs, {"--style": style, "--seed": seed}, num, task)

    from pipeline.machine.device import target_device

    target = target_device(device, threads)
    if photographs is not None:
        from pipeline.demo.photographs import write_photographs

        click.echo(write_photographs(out, photographs, style or PLAIN, seed or 0))
    elif task == KEYPOINTS:
        from pipeline.demo.run_keypoints import run_keypoint_demo

        run_keypoint_demo(out, num or NUM, target, click.echo)
    else:
        from pipeline.demo.run import run_demo

        run_demo(out, num or NUM, target, click.echo)


def _check_together(
    photographs: int | None, of_photographs: dict[str, object], num: int | None, task: str
) -> None:
    """Refuse flags that would do nothing beside the others. Raises UsageError."""
    if photographs is None:
        for flag, value in of_photographs.items():
            if value is not None:
                raise UsageError(f"{flag} is for pictures of the renderer; pass --photographs N too")
    elif num is not None or task == KEYPOINTS:
        flag = "--num" if num is not None else "--task keypoints"
        raise UsageError(
            f"{flag} is for the demo's stages, and --photographs runs none; leave one of them out"
        )
