"""The state of unfinished training on disk: the weights, Adam's moments, and how far the training is.

It knows one file. It knows no networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.interpreter.folder import PARTIAL, unreadable
from pipeline.segment.folder import STATE
from pipeline.segment.saved_tensors import load_whole, save_whole


@dataclass(frozen=True)
class Progress:
    """How far a training is. ``step`` counts the steps of the epoch ``epoch`` that are taken; ``loss`` is the
    sum of theirs, and ``line_loss`` that of the ``line_steps`` since the last line of the log.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    line_loss: float = 0.0
    line_steps: int = 0


def save_state(folder: Path, progress: Progress, learnt: Mapping[str, Any]) -> None:
    """Replace the state in one step: a crash leaves the one before or this one."""
    save_whole(folder / STATE, {"progress": asdict(progress), "learnt": dict(learnt)})


def load_state(folder: Path, most_bytes: int) -> tuple[Progress, dict[str, Any]] | None:
    """How far a training is, and what it has learnt; None where there is no state yet.

    ``most_bytes``: of the file. Raises UsageError, one line, for one that is damaged or cannot be read.
    """
    path = folder / STATE
    try:
        content = load_whole(path, most_bytes)
        return Progress(**content["progress"]), dict(content["learnt"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, TypeError, KeyError) as error:
        raise damaged_state(folder, error) from None


def remove_state(folder: Path) -> None:
    """Delete the state, and what a kill has left of one that was being written; that first, for a folder
    without a state counts as finished.
    """
    for name in (STATE + PARTIAL, STATE):
        (folder / name).unlink(missing_ok=True)


def damaged_state(folder: Path, reason: object) -> UsageError:
    """The error for a state that no training can go on from."""
    words = " ".join(str(reason).split())[:120]
    return UsageError(f"{folder / STATE}: is damaged ({words}); restore it, or train anew with --overwrite")
