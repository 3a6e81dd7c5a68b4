"""``dgan demo``: the whole pipeline on the embedded generator."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.api.places import check_folder
from pipeline.commands.options import DEBUG, declared
from pipeline.commands.program import Command
from pipeline.settings.options import DEVICE, THREADS, Option
from pipeline.settings.schema import KEYPOINTS, SEGMENTATION, TASKS
from pipeline.settings.values import PATH, POSITIVE, choice


@click.command(
    "demo",
    cls=Command,
    short_help="Run the stages on the embedded generator of faces.",
    examples=("dgan demo --out demo", "dgan demo --task keypoints --num 50"),
)
@declared(Option("out", PATH, "Folder of all results.", default=Path("demo")))
@declared(Option("num", POSITIVE, "Fresh images to label and to test on.", default=200))
@declared(Option("task", choice(*TASKS), "What is learnt.", default=SEGMENTATION))
@declared(DEVICE)
@declared(THREADS)
@DEBUG
def demo(out: Path, num: int, task: str, device: str, threads: int | None) -> None:
    """Run the three stages on the embedded generator of faces, and compare the labels with the exact masks,
    or the keypoints with the exact ones.
    """
    check_folder(out)

    from pipeline.machine.device import target_device

    target = target_device(device, threads)
    if task == KEYPOINTS:
        from pipeline.demo.run_keypoints import run_keypoint_demo

        run_keypoint_demo(out, num, target, click.echo)
        return
    from pipeline.demo.run import run_demo

    run_demo(out, num, target, click.echo)
