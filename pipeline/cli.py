"""The command line ``dgan``: the group of its commands, which stand in ``pipeline.commands``.

Heavy imports stay inside the commands, so that ``dgan --help`` answers at once. Exit codes: 0 done, 1 a run
that failed, 2 wrong use or bad input, 130, 143 or 129 ended by SIGINT, SIGTERM or SIGHUP.
"""

from __future__ import annotations

import click

from fstore._version import __version__
from pipeline.commands import demo, export, judge, look, repair, sample, segment, stages, translate
from pipeline.commands.options import DEBUG
from pipeline.commands.program import Program
from pipeline.machine.environment import prepare_environment

prepare_environment()


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dgan")
@DEBUG
def main() -> None:
    """DatasetGAN on an out-of-core feature store.

    From a pretrained StyleGAN and a few labelled images of it to a labelled dataset: extract-features, train
    and synthesize, in this order. sample makes the images to label; report and view show what came out,
    evaluate and calibrate measure it; segment and translate use it; export writes files for other tools.
    """


for command in (
    stages.extract_features,
    stages.train,
    stages.synthesize,
    sample.sample,
    export.export,
    segment.segment,
    translate.translate,
    judge.report,
    judge.view,
    judge.evaluate,
    judge.calibrate,
    look.filter_dataset,
    look.info,
    look.verify,
    repair.repair,
    look.inspect_checkpoint,
    demo.demo,
):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="dgan")
