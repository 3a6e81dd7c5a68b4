"""Reads what a run of ``dgan synthesize`` needs: the interpreter, and the checkpoint that it was trained on.

It writes nothing.
"""

from __future__ import annotations

from pathlib import Path

from fstore import format as fmt
from pipeline.errors import UsageError
from pipeline.inputs.generator import generator_record
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.pairing import PairedInterpreter, load_paired
from pipeline.labelling.labelled_images import SAMPLED_SPACE
from pipeline.machine.provenance import created_record
from pipeline.rendering.renderer import RenderSettings
from pipeline.settings.schema import TASKS, Config, SynthesizeConfig
from pipeline.stages.synthesize.job import SynthesizeJob


def prepare(config: Config, *, force: bool = False, task: str | None = None) -> SynthesizeJob:
    """Read the interpreter and the checkpoint that it was trained on.

    Raises UsageError, one line, where either cannot be used, the interpreter has learnt another ``task``
    (None: any), or the checkpoint is another one and ``force`` is not set.
    """
    trained = load_paired(config, force=force)
    loaded, interpreter, info = trained.loaded, trained.interpreter, trained.interpreter.info
    _check_task(config, info, task)
    settings = RenderSettings.from_record(info.generator, info.grid, info.crop_rows)
    meta = _meta(config.synthesize, trained, settings)
    average = trained.average_latent
    return SynthesizeJob(
        loaded, interpreter, average, settings, meta, config.synthesize, trained.notes, config, force
    )


def _check_task(config: Config, info: InterpreterInfo, task: str | None) -> None:
    if task is not None and task not in TASKS:
        raise UsageError(f"--task is {task!r}; expected {' or '.join(TASKS)}")
    if task not in (None, info.task):
        raise UsageError(
            f"{config.synthesize.interpreter}: has learnt {info.task}, --task is {task}; leave it out, or "
            "pass another --interpreter"
        )


def _meta(config: SynthesizeConfig, trained: PairedInterpreter, settings: RenderSettings) -> fmt.DatasetMeta:
    loaded, interpreter, info = trained.loaded, trained.interpreter, trained.interpreter.info
    return fmt.DatasetMeta(
        shape=(info.crop_rows[1] - info.crop_rows[0], info.grid[1]),
        classes=info.classes,
        latent_size=loaded.generator.z_size,
        ignore=info.ignore,
        score=config.score,
        seed=config.seed,
        interpreter={
            "folder": Path(config.interpreter).name,
            "sha256": interpreter.sha256,
            "members": info.members,
            **trained.settings,
        },
        generator=generator_record(
            loaded,
            settings,
            latent_space=SAMPLED_SPACE,
            average=str(info.generator.get("average_latent", "unknown")),
            render_batch=config.render_batch,
        ),
        created=created_record(),
        keypoints=info.keypoints,
        member_votes=_are_votes_kept(info),
    )


def _are_votes_kept(info: InterpreterInfo) -> bool:
    """Whether the dataset gets ``member_votes``: its numbers have four bytes, and one label may have all."""
    votes = info.members * (info.crop_rows[1] - info.crop_rows[0]) * info.grid[1]
    return info.keypoints is None and len(info.classes) <= fmt.MOST_VOTED and votes < 2**32
