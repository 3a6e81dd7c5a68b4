"""Says which checkpoint, which network in it and which of its classes a run means.

The configuration says it, or the record that an interpreter keeps of its generator. Every stage asks here.
This module knows no stage. It does not know how a checkpoint is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import embedded
from pipeline.checkpoints.read import LoadedGenerator, file_sha256, load_generator
from pipeline.errors import UsageError
from pipeline.settings.schema import Config


def load_chosen(config: Config, record: Mapping[str, Any] | None = None) -> LoadedGenerator:
    """The generator that a run means; class and key are the configuration's, else the record's.

    Raises UsageError as `chosen_checkpoint` and `load_generator` do.
    """
    said = record or {}
    settings = config.generator
    label = said.get("class_label") if settings.class_label is None else settings.class_label
    key = said.get("key") if settings.key is None else settings.key
    return load_generator(chosen_checkpoint(config, record), label, key)


def chosen_checkpoint(config: Config, record: Mapping[str, Any] | None = None) -> Path:
    """The checkpoint that the configuration names; else the demo's; else the recorded file in this folder.

    ``record`` is what an interpreter says of its generator: None where a run has no interpreter, empty where
    the interpreter does not say. With a record, the demo's checkpoint is taken where the record is of it.
    Raises UsageError where none of these is there.
    """
    if config.generator.checkpoint is not None:
        return config.generator.checkpoint
    if is_demos(record) if record is not None else config.demo:
        return embedded.checkpoint_path()
    if record is None:
        raise UsageError(
            "no checkpoint is given; pass --checkpoint FILE, or set [generator] checkpoint in the "
            "configuration"
        )
    name = Path(str(record.get("checkpoint", ""))).name
    if not name:
        raise UsageError(
            f"no checkpoint is given, and the interpreter {config.synthesize.interpreter} does not say on "
            "which it was trained; pass --checkpoint FILE, or --config with its experiment"
        )
    if not Path(name).is_file():
        raise UsageError(
            f"no checkpoint is given and {name!r}, which the interpreter was trained on, is not in this "
            "folder; pass --checkpoint FILE"
        )
    return Path(name)


def is_demos(record: Mapping[str, Any]) -> bool:
    """Whether the record of a generator is of the demo's checkpoint, by its hash."""
    recorded = record.get("sha256")
    return recorded is not None and recorded == file_sha256(embedded.checkpoint_path())
