"""The state of a training on disk: all that it has learnt, Adam's moments too, and how far it is.

It knows one file. It knows no networks.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import UsageError
from pipeline.interpreter.folder import PARTIAL, unreadable
from pipeline.resumable.kind import STATE
from pipeline.resumable.saved_tensors import load_whole, save_whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Progress = TypeVar("Progress", bound="DataclassInstance")


def save_state(folder: Path, progress: DataclassInstance, learnt: Mapping[str, Any]) -> None:
    """Replace the state in one step: a crash leaves the one before or this one.

    Equal values give equal bytes, also where a part of them was read from an earlier state.
    """
    save_whole(folder / STATE, _alike({"progress": asdict(progress), "learnt": dict(learnt)}))


def load_state(
    folder: Path, progress: type[Progress], most_bytes: int
) -> tuple[Progress, dict[str, Any]] | None:
    """How far a training is, and what it has learnt; None where there is no state yet.

    ``most_bytes``: of the file. Raises UsageError, one line, for one that is damaged or cannot be read.
    """
    path = folder / STATE
    try:
        content = load_whole(path, most_bytes)
        return progress(**content["progress"]), dict(content["learnt"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, TypeError, KeyError) as error:
        raise damaged_state(folder, error) from None


def remove_state(folder: Path) -> None:
    """Delete the state, and what a kill has left of one that was being written; that first, for a folder
    without a state may count as finished.
    """
    for name in (STATE + PARTIAL, STATE):
        (folder / name).unlink(missing_ok=True)


def damaged_state(folder: Path, reason: object) -> UsageError:
    """The error for a state that no training can go on from."""
    words = " ".join(str(reason).split())[:120]
    return UsageError(f"{folder / STATE}: is damaged ({words}); restore it, or train anew with --overwrite")


def _alike(value: Any) -> Any:
    """The same value, in which equal texts are one object and no two containers are.

    A pickle has an object once and refers to it where it comes again, so its bytes tell equal objects from
    the same one. Which are the same depends on whether a run has read them from a state.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, Mapping):
        return {_alike(key): _alike(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_alike, value))
    return value
