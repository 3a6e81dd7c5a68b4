"""``dgan demo``: the whole pipeline on the embedded generator."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.errors import report_errors
from pipeline.commands.options import DEBUG, DEVICE, THREADS, target_device
from pipeline.errors import UsageError


@click.command("demo")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder."
)
@click.option(
    "--num",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Fresh images to label and to test on.",
)
@click.option("--task", default="segmentation", show_default=True, help="segmentation or keypoints.")
@DEVICE
@THREADS
@DEBUG
@report_errors
def demo(out: Path, num: int, task: str, device: str, threads: int | None) -> None:
    """Run the three stages on the embedded generator of faces, and compare the labels with the exact masks,
    or the keypoints with the exact ones.
    """
    from pipeline.settings.schema import TASKS

    if task not in TASKS:
        raise UsageError(f"--task is {task!r}; expected {' or '.join(TASKS)}")
    target = target_device(device, threads)
    if task == "keypoints":
        from pipeline.demo.run_keypoints import run_keypoint_demo

        run_keypoint_demo(out, num, target, click.echo)
        return
    from pipeline.demo.run import run_demo

    run_demo(out, num, target, click.echo)
