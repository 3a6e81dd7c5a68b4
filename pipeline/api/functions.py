"""The commands as functions: `pipeline.extract_features`, `train`, `synthesize`, `sample`, `export`,
`filter`, `report`, `view`, `evaluate`, `calibrate`, `segment_train`, `segment_test`, `segment_predict`,
`translate_train` and `translate_apply`.

Each does what the command of its name does, with the flags as keywords. Signature and documentation follow
from the settings' declarations. A function installs no signal handler and may be called from any thread; an
interruption is a KeyboardInterrupt, and the same call goes on from where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from inspect import Parameter, Signature, cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.api import runs
from pipeline.api.explanation import errors_explained
from pipeline.api.keywords import by_name, checked, command_flags, keywords
from pipeline.errors import UsageError, short
from pipeline.machine.environment import prepare_environment
from pipeline.settings.options import REPORT, VIEW, begins_anew
from pipeline.settings.schema import (
    CALIBRATE,
    EVALUATE,
    EXPORT,
    EXTRACT,
    FILTER,
    SAMPLE,
    SEGMENT_PREDICT,
    SEGMENT_TEST,
    SEGMENT_TRAIN,
    SYNTHESIZE,
    TRAIN,
    TRANSLATE_APPLY,
    TRANSLATE_TRAIN,
)

if TYPE_CHECKING:
    from fstore.dataset import Dataset
    from fstore.feature_store import FeatureStore
    from pipeline.interpreter.trained import TrainedInterpreter

if "torch" not in sys.modules:
    prepare_environment()

Function = TypeVar("Function", bound=Callable[..., Any])

SAY = "say: A function of one line, called with each that the command would print; None: show nothing at all."
ENDING = """
A keyword that is None or left out has the value of the configuration's file, and if it has none there, the
default. Values are Python's, or the flags' texts, such as "4GB" or "64:448". A store or an interpreter that a
function returned may stand in place of its path. Messages name a keyword by its flag. After an interruption
the same call goes on from where it was, but without ``overwrite``, which begins anew.

Raises:
    UsageError: wrong use or bad input, where the command has exit code 2.
    RunError: a run that failed, where the command has exit code 1. Both are in `pipeline`, and have one line
        and the cause in ``__cause__``.
"""


def documented(command: str) -> Callable[[Function], Function]:
    """Give a function the signature and the documentation of the command's declarations."""

    def decorate(function: Function) -> Function:
        """The function itself, with both."""
        known = keywords(command).values()
        lines = "\n".join(f"    {line}" for line in (*(each.line() for each in known), SAY))
        function.__doc__ = f"{cleandoc(function.__doc__ or '')}\n\nArgs:\n{lines}\n{ENDING}"
        say = Parameter("say", Parameter.KEYWORD_ONLY, default=print)
        parameters = sorted((*(each.parameter() for each in known), say), key=lambda each: each.kind)
        function.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return function

    return decorate


@documented(EXTRACT)
def extract_features(*places: Any, **settings: Any) -> FeatureStore | str:
    """Render annotated latents and write their per-pixel features to a Zarr store.

    Returns the opened `fstore.FeatureStore`; with ``dry_run=True`` the plan as a text.
    """
    return _run(EXTRACT, "extract_features", places, runs.extract_features, settings)


@documented(TRAIN)
def train(*places: Any, **settings: Any) -> TrainedInterpreter | str:
    """Train the ensemble of pixel classifiers on a feature store.

    Returns the interpreter: its ``folder``, ``members``, ``epochs``, ``miou``, ``info``, ``ensemble``; with
    ``dry_run=True`` the plan as a text.
    """
    return _run(TRAIN, "train", places, lambda say, **flags: runs.train(say, say, **flags), settings)


@documented(SYNTHESIZE)
def synthesize(*places: Any, **settings: Any) -> Dataset | str:
    """Generate labelled images, score each by the members' divergence, and filter the most uncertain.

    Returns the opened `fstore.Dataset`; with ``dry_run=True`` the plan as a text.
    """
    return _run(SYNTHESIZE, "synthesize", places, runs.synthesize, settings)


@documented(SAMPLE)
def sample(*places: Any, **settings: Any) -> Path | str:
    """Start a project: images to annotate, and a dgan.toml for the next stage.

    Returns the project's folder; with ``dry_run=True`` the plan as a text.
    """
    return _run(SAMPLE, "sample", places, runs.sample, settings)


@documented(EXPORT)
def export(*places: Any, **settings: Any) -> Path | str:
    """Write images and labels of a store as files that other tools read.

    Returns the folder; with ``dry_run=True`` the plan as a text.
    """
    return _run(EXPORT, "export", places, runs.export, settings)


@documented(FILTER)
def filter(*places: Any, **settings: Any) -> Dataset:
    """Change which images of a dataset are kept; nothing is rendered again.

    Returns the opened `fstore.Dataset`.
    """
    return _run(FILTER, "filter", places, runs.filter_dataset, settings)


@documented(REPORT)
def report(*places: Any, **settings: Any) -> Path:
    """Write one HTML file that shows a dataset, the annotations of a feature store, or an interpreter.

    Returns the path of the file.
    """
    return _run(REPORT, "report", places, runs.report, settings)


@documented(VIEW)
def view(*places: Any, **settings: Any) -> None:
    """Show all images of a store in the browser of this machine, until it is interrupted."""
    _run(VIEW, "view", places, runs.view, settings)


@documented(EVALUATE)
def evaluate(*places: Any, **settings: Any) -> dict[str, Any]:
    """Compare an interpreter's labels with true ones.

    Returns the figures, as the JSON file has them.
    """
    return _run(EVALUATE, "evaluate", places, runs.evaluate, settings)


@documented(CALIBRATE)
def calibrate(*places: Any, **settings: Any) -> dict[str, Any] | str:
    """Compare error with uncertainty on annotated images that a training has not seen.

    Returns the calibration, as the JSON file has it; with ``dry_run=True`` the plan as a text.
    """
    return _run(CALIBRATE, "calibrate", places, runs.calibrate, settings)


@documented(SEGMENT_TRAIN)
def segment_train(*places: Any, **settings: Any) -> Path | dict[str, Any] | str:
    """Train a segmentation network on a dataset's images and labels.

    Returns the segmenter's folder, or with real images the figures of the comparison; with ``dry_run=True``
    the plan as a text.
    """
    return _run(SEGMENT_TRAIN, "segment_train", places, runs.segment_train, settings)


@documented(SEGMENT_TEST)
def segment_test(*places: Any, **settings: Any) -> dict[str, Any]:
    """Compare a segmenter's labels with annotations of photographs.

    Returns the figures, as the JSON file has them.
    """
    return _run(SEGMENT_TEST, "segment_test", places, runs.segment_test, settings)


@documented(SEGMENT_PREDICT)
def segment_predict(*places: Any, **settings: Any) -> Path:
    """Write the labels that a segmenter gives to photographs.

    Returns the folder.
    """
    return _run(SEGMENT_PREDICT, "segment_predict", places, runs.segment_predict, settings)


@documented(TRANSLATE_TRAIN)
def translate_train(*places: Any, **settings: Any) -> Path | str:
    """Train a CycleGAN between two sets of images.

    Returns the translator's folder; with ``dry_run=True`` the plan as a text.
    """
    return _run(TRANSLATE_TRAIN, "translate_train", places, runs.translate_train, settings)


@documented(TRANSLATE_APPLY)
def translate_apply(*places: Any, **settings: Any) -> Dataset | str:
    """Write a dataset with translated images and the same labels.

    Returns the opened `fstore.Dataset`; with ``dry_run=True`` the plan as a text.
    """
    return _run(TRANSLATE_APPLY, "translate_apply", places, runs.translate_apply, settings)


def _run(
    command: str,
    name: str,
    places: Sequence[Any],
    run: Callable[..., runs.Outcome],
    named: Mapping[str, Any],
) -> Any:
    """Check the values of the call, run, and say what the command would print at its end."""
    settings = by_name(command, f"pipeline.{name}", places, named)
    say = settings.get("say", print)
    if say is not None and not callable(say):
        raise UsageError(f"say is {short(say)}; expected a function of one line, or None")
    given = {key: value for key, value in settings.items() if key != "say"}
    anew = begins_anew(command, given)
    with errors_explained(command_flags(command), begins_anew=anew), ExitStack() as stack:
        flags = checked(command, f"pipeline.{name}", given)  # before anything heavy is loaded

        from pipeline.machine.device import settings_restored
        from pipeline.machine.progress import progress_hidden

        stack.enter_context(settings_restored())
        if say is None:
            stack.enter_context(progress_hidden())
        outcome = run(say or (lambda line: None), **flags)
        if outcome.result is None:
            return "\n".join(outcome.lines)
        retries = sys.modules.get("fstore.requests")
        lines = [*outcome.lines, *(retries.retry_lines() if retries is not None else ())]
        for line in lines if say is not None else ():
            say(line)
        return outcome.result()
