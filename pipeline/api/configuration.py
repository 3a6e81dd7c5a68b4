"""Which configuration a run has. It does not know what the settings do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.settings.files import DEMO_SOURCE, load_config
from pipeline.settings.schema import Config

BUILT_IN = "built-in defaults"
PROJECT = Path("annotate/dgan.toml")  # where `dgan sample` writes by default


def load_run_config(
    file: Path | None,
    own_input: Path | str | None,
    say: Callable[[str], None],
    *,
    with_notes: bool = False,
    tell_defaults: bool = True,
) -> Config:
    """The configuration of a run; ``say`` is told where it comes from.

    ``own_input`` is a checkpoint or a store that the caller has named. With it, the demo's configuration is
    not used in place of a missing file. ``with_notes``: say what people should know of the file. The first
    command of a project does so, and the following ones do not repeat it. ``tell_defaults``: say that the
    settings come from no file, too. Raises UsageError.
    """
    config = load_config(file)
    if own_input is not None and config.source == DEMO_SOURCE:
        config = Config(source=BUILT_IN)
    is_file = config.source not in (DEMO_SOURCE, BUILT_IN)
    if is_file or tell_defaults:
        say(f"using {config.source}" if is_file else f"using the {config.source}")
    if config.source == DEMO_SOURCE and PROJECT.is_file():
        say(f"{PROJECT} is not used; run in that folder, or pass --config {PROJECT}")
    for line in config.notes if with_notes else ():
        say(line)
    return config
