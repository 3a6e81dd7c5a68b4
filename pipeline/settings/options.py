"""What a command takes beside its settings, such as ``--dry-run``: the rule, help and default of each.

The flags of the commands and the keywords of the Python functions follow from these declarations, as they
follow from those of the settings. This module does not know what the options do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fstore.meta import SCORES
from pipeline.settings import values
from pipeline.settings.schema import (
    CALIBRATE,
    EVALUATE,
    EXPORT,
    EXTRACT,
    FILTER,
    KEEP_HELP,
    SAMPLE,
    SCORE_HELP,
    SEGMENT_PREDICT,
    SEGMENT_TEST,
    SEGMENT_TRAIN,
    SYNTHESIZE,
    TASKS,
    TRAIN,
    TRANSLATE_APPLY,
    TRANSLATE_TRAIN,
)
from pipeline.settings.values import (
    ANY_SEED,
    BOOLEAN,
    BYTES,
    IMAGE_SIDE,
    KEEP,
    PATH,
    STORE,
    Rule,
    choice,
    integer,
)

REPORT, VIEW = "report", "view"
RANDOM, DIVERSE, UNCERTAIN, SPREAD_UNCERTAIN, RARE = WAYS = (
    *("random", "diverse", "uncertain", "uncertain-diverse", "rare"),
)
"""How ``dgan sample`` may choose images. All but the first two ask an interpreter."""
PLAIN, DUSK, MASKS = STYLES = ("plain", "dusk", "masks")
"""How the demo's photographs may be drawn."""


@dataclass(frozen=True)
class Option:
    """One option: ``name`` is a keyword of Python, and the flag is the same with dashes.

    ``unset`` says in the help what None stands for, and ``group`` under which heading of ``--help`` it
    stands. An ``is_argument`` has no flag: it stands by its place. It is required, as what ``is_required``.
    ``begins_anew``: a run with it does not go on with what an interrupted run has left, but deletes it.
    """

    name: str
    rule: Rule
    help: str
    default: Any = None
    unset: str = ""
    group: str = "Run"
    is_argument: bool = False
    is_required: bool = False
    begins_anew: bool = False

    @property
    def flag(self) -> str:
        """What a command line and a message call it."""
        return self.name.upper() if self.is_argument else f"--{self.name.replace('_', '-')}"

    @property
    def help_with_default(self) -> str:
        """The help, and after it the default, where there is one to show."""
        shown = self.unset if self.default is None else str(self.default)
        return self.help if self.rule is BOOLEAN or not shown else f"{self.help}  [default: {shown}]"


CONFIG = Option(
    "config",
    PATH,
    "TOML file, or a .json experiment of DatasetGAN or EditGAN.",
    unset="./dgan.toml, else the demo's where no input is named",
)
DEVICE = Option("device", values.DEVICE, "auto (a GPU if there is one), cpu, cuda or cuda:i.", default="auto")
THREADS = Option("threads", values.THREADS, "CPU threads of torch.", unset="torch's own")
MEMORY_BUDGET = Option("memory_budget", BYTES, "Most host memory of the process, such as 8GB.")
WORKERS = Option(
    "workers",
    integer(1, 1024),
    "Processes of this machine that share the work; with GPUs one each.",
    unset="none",
)
SCHEDULER = Option(
    "scheduler", values.SCHEDULER, "Workers of this dask cluster: an address or a scheduler file."
)
OVERWRITE = Option(
    "overwrite", BOOLEAN, "Delete what is there and start anew.", default=False, begins_anew=True
)
REPLACE = replace(OVERWRITE, begins_anew=False)
"""Where what is there stays until the new is whole, or an interrupted run is gone on with all the same."""
BREAK_LOCK = Option(
    "break_lock",
    BOOLEAN,
    "Remove the writer's lock that a run elsewhere left on object storage when it was killed.",
    default=False,
)
DRY_RUN = Option("dry_run", BOOLEAN, "Print the plan and what it costs, and do nothing.", default=False)
TASK = Option("task", choice(*TASKS), "Stop if the store is of another task.", group="Input")
STAGE = (CONFIG, DEVICE, THREADS, MEMORY_BUDGET, OVERWRITE, DRY_RUN)
"""What every stage has."""
SHARED_STAGE = (CONFIG, DEVICE, THREADS, MEMORY_BUDGET, WORKERS, SCHEDULER, OVERWRITE, DRY_RUN)
"""What a stage has whose work other processes can share."""

_IMAGES = (
    Option("num", integer(1, 10**6), "Images to annotate.", default=40),
    Option("out", PATH, "Folder of the project.", default=Path("annotate")),
    Option(
        "by",
        choice(*WAYS),
        "Which of a larger pool: most different in W, least sure, the most different of the least sure "
        "quarter, or with most of the classes annotated least.",
        unset="random; with --interpreter uncertain-diverse",
    ),
    Option("interpreter", PATH, "Interpreter that labels the pool: which images are uncertain, or rare."),
    Option("diverse", BOOLEAN, "The same as --by diverse.", default=False),
    Option(
        "uncertain",
        PATH,
        "The same as --by uncertain with this --interpreter; beside --diverse --by uncertain-diverse.",
    ),
    Option("pool", integer(1, 10**5), "Latents to choose from.", unset="20 x num"),
    Option("add", BOOLEAN, "Add --num images to those that --out holds.", default=False),
    Option("seed", ANY_SEED, "Seed of the latents.", default=0),
)

_ANNOTATED = Option(
    "annotated",
    STORE,
    "Feature store of the annotated images that a dataset is compared with.",
    unset="the one beside it, where it fits",
    group="Input",
)

_SEGMENTER = Option(
    "segmenter", PATH, "Folder that segment train, or the released code, wrote.", is_argument=True
)
_EPOCH = Option("epoch", integer(0), "Which epoch's weights.", unset="the last", group="Input")

BEFORE_SETTINGS: dict[str, tuple[Option, ...]] = {
    SAMPLE: tuple(replace(option, group="Images") for option in _IMAGES),
    FILTER: (
        Option("store", STORE, "A dataset: a folder, or a URL.", is_argument=True),
        Option("keep", KEEP, KEEP_HELP, group="Dataset", is_required=True),
        Option(
            "score", choice(*SCORES), SCORE_HELP, unset="the one that the dataset stores", group="Dataset"
        ),
    ),
    EVALUATE: (
        Option("interpreter", PATH, "Folder that train wrote.", is_argument=True),
        Option(
            "store",
            STORE,
            "Feature store whose masks are the truth; or a dataset, beside --annotations.",
            group="Input",
            is_required=True,
        ),
        Option("annotations", PATH, "The truth of a dataset's images, in any format.", group="Input"),
        Option("label_map", PATH, "TOML file: rename, merge and drop classes.", group="Input"),
    ),
    REPORT: (
        Option(
            "path", STORE, "A dataset, a feature store, or the folder of an interpreter.", is_argument=True
        ),
    ),
    VIEW: (Option("store", STORE, "A dataset or a feature store: a folder, or a URL.", is_argument=True),),
    EXPORT: (
        Option("store", STORE, "A dataset or a feature store: a folder, or a URL.", is_argument=True),
        Option("out", PATH, "Folder of the export.", is_argument=True),
    ),
    SEGMENT_TEST: (_SEGMENTER,),
    SEGMENT_PREDICT: (
        _SEGMENTER,
        Option("images", PATH, "Folder of photographs.", group="Input", is_required=True),
        Option("out", PATH, "Folder of the predicted labels.", group="Input", is_required=True),
        _EPOCH,
        Option(
            "resolution",
            IMAGE_SIDE,
            "Side that images are resized to.",
            unset="that of the training",
            group="Input",
        ),
    ),
    TRANSLATE_APPLY: (
        Option("translator", PATH, "Folder that translate train wrote.", is_argument=True),
        Option("data", STORE, "Dataset whose images are translated.", group="Input", is_required=True),
        Option(
            "store", STORE, "Dataset of the translated images.", default="translated.zarr", group="Dataset"
        ),
    ),
}
"""By the command: what its help shows before the settings."""
AFTER_SETTINGS: dict[str, tuple[Option, ...]] = {
    EXTRACT: (*SHARED_STAGE, BREAK_LOCK),
    TRAIN: (TASK, *SHARED_STAGE),
    SYNTHESIZE: (
        replace(TASK, help="Stop if the interpreter is of another task."),
        Option(
            "force",
            BOOLEAN,
            "Label with another checkpoint than the interpreter was trained on.",
            default=False,
        ),
        *SHARED_STAGE,
        BREAK_LOCK,
    ),
    SAMPLE: (
        CONFIG,
        DEVICE,
        THREADS,
        replace(REPLACE, help="Replace the images of --out; annotations are never touched."),
        DRY_RUN,
    ),
    EXPORT: (
        replace(THREADS, help="How many parts are written at once.", unset="one a processor core"),
        replace(WORKERS, help="Processes of this machine that share the work, a part at a time each."),
        SCHEDULER,
        CONFIG,
        replace(OVERWRITE, help="Delete the export that is there and start anew."),
        DRY_RUN,
    ),
    EVALUATE: (
        Option(
            "out", PATH, "File of the figures; the picture stands beside it.", default=Path("evaluation.json")
        ),
        DEVICE,
        THREADS,
    ),
    CALIBRATE: (CONFIG, DEVICE, THREADS, MEMORY_BUDGET, OVERWRITE, DRY_RUN),
    REPORT: (
        Option("out", PATH, "The HTML file.", default=Path("report.html")),
        Option("images", integer(1, 2000), "Most images that the page shows.", default=240),
        _ANNOTATED,
        replace(REPLACE, help="Replace a file that is no report."),
    ),
    FILTER: (
        replace(THREADS, help="How many images are read at once.", unset="one a processor core"),
        BREAK_LOCK,
    ),
    SEGMENT_TRAIN: (CONFIG, DEVICE, THREADS, OVERWRITE, DRY_RUN),
    SEGMENT_TEST: (
        Option(
            "released_filter",
            BOOLEAN,
            "Refuse a segmenter that was not trained on the released slice.",
            default=False,
        ),
        CONFIG,
        DEVICE,
        THREADS,
        replace(OVERWRITE, help="Begin anew, and replace files that are no scores."),
    ),
    SEGMENT_PREDICT: (DEVICE, THREADS, replace(REPLACE, help="Replace predictions that are there.")),
    TRANSLATE_TRAIN: (CONFIG, DEVICE, THREADS, OVERWRITE, DRY_RUN),
    TRANSLATE_APPLY: (DEVICE, THREADS, OVERWRITE, DRY_RUN, BREAK_LOCK),
    VIEW: (
        Option("port", integer(0, 65535), "Port of 127.0.0.1.", unset="a free one"),
        Option("no_browser", BOOLEAN, "Open no browser.", default=False),
    ),
}
"""By the command: what its help shows after the settings."""


def options_of(command: str) -> tuple[Option, ...]:
    """All options of a command that are no settings."""
    return (*BEFORE_SETTINGS.get(command, ()), *AFTER_SETTINGS.get(command, ()))


def begins_anew(command: str, given: Mapping[str, Any]) -> bool:
    """Whether a run of a command with the options ``given`` would delete what an interrupted run has left."""
    return any(option.begins_anew and given.get(option.name) for option in options_of(command))
