"""Which way ``dgan sample`` chooses images, from the flags that say so, old and new.

Pure. ``pipeline.stages.sample.choice`` does what it says. ``benchmarks/next_images.py`` has measured the
ways; ``docs/sample.md`` has its tables.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UsageError
from pipeline.settings.options import DIVERSE, RANDOM, RARE, SPREAD_UNCERTAIN, UNCERTAIN

BEST = SPREAD_UNCERTAIN
"""What an interpreter is asked where nothing else is said: it raised mIoU most."""
ASKING = (UNCERTAIN, SPREAD_UNCERTAIN, RARE)
"""The ways that ask an interpreter."""
SPREADING = (DIVERSE, SPREAD_UNCERTAIN)
"""The ways that look at distances in W."""
RECORDED = {
    RANDOM: ["number"],
    DIVERSE: ["diverse"],
    UNCERTAIN: ["uncertain"],
    SPREAD_UNCERTAIN: ["uncertain", "diverse"],
    RARE: ["rare"],
}
"""What ``sample.json`` calls each way."""


def asked_way(
    by: str | None, interpreter: Path | None, *, diverse: bool, uncertain: Path | None
) -> tuple[str, Path | None]:
    """The way, and the interpreter that it asks.

    Raises UsageError where two flags say the same thing, or an interpreter is missing or in vain.
    """
    old = "--uncertain" if uncertain is not None else "--diverse"
    if by is not None and (diverse or uncertain is not None):
        raise UsageError(f"--by {by} and {old} both say how to choose; leave {old} out")
    if uncertain is not None and interpreter is not None:
        raise UsageError("--interpreter and --uncertain both name an interpreter; leave --uncertain out")
    if uncertain is not None:
        return (SPREAD_UNCERTAIN if diverse else UNCERTAIN), uncertain
    if diverse:
        by = DIVERSE
    if by is None:
        return (BEST if interpreter else RANDOM), interpreter
    if by in ASKING and interpreter is None:
        raise UsageError(f"--by {by} asks an interpreter; name it with --interpreter")
    if by not in ASKING and interpreter is not None:
        raise UsageError(f"choosing by {by} asks no interpreter; leave --interpreter out, or say --by {BEST}")
    return by, interpreter
