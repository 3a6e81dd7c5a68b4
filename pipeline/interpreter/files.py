"""The interpreter on disk: a folder of a safetensors and a JSON file, and the state of training.

    interpreter/
        interpreter.safetensors      ``{member}.layers.{0,2,3,5,6}.*`` and, where known, ``average_latent``
        interpreter.json             what it was trained on and how well, the other file's sha256; written
        last training_state.safetensors   only until training is finished: the last completed epoch

Each file is written under a temporary name, forced to disk and renamed. This module knows files and what
they must say; it does not train, and it opens no store.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor

from fstore.durable import force_to_disk
from pipeline.errors import UsageError
from pipeline.interpreter.description import FORMAT_VERSION, InterpreterInfo, settings_differences
from pipeline.models.interpreter import InterpreterEnsemble

WEIGHTS = "interpreter.safetensors"
DESCRIPTION = "interpreter.json"
STATE = "training_state.safetensors"
PARTIAL = ".partial"
AVERAGE_LATENT = "average_latent"
_OURS = {name + suffix for name in (WEIGHTS, DESCRIPTION, STATE) for suffix in ("", PARTIAL)}


@dataclass(frozen=True)
class Interpreter:
    """A trained interpreter: the ensemble in evaluation mode, what it is, and the generator's average latent.

    ``average_latent`` is (D,) or (L, D) float32, or None where the store did not have it. ``sha256`` is that
    of the safetensors file.
    """

    ensemble: InterpreterEnsemble
    info: InterpreterInfo
    average_latent: np.ndarray | None
    sha256: str


@dataclass(frozen=True)
class TrainingState:
    """The last completed epoch: ``info`` with its metrics, and the tensors that training goes on from."""

    info: InterpreterInfo
    tensors: dict[str, Tensor]


def folder_state(folder: Path) -> str:
    """``absent`` (or nothing of use in it), ``unfinished``, ``finished``, or ``foreign`` (something else)."""
    if not folder.exists():
        return "absent"
    if not folder.is_dir():
        return "foreign"
    if (folder / DESCRIPTION).exists():
        return "finished"
    if (folder / STATE).exists():
        return "unfinished"
    strangers = [e for e in folder.iterdir() if e.name not in _OURS and not e.name.startswith(".")]
    return "foreign" if strangers else "absent"


def remove_interpreter(folder: Path) -> None:
    """Delete this module's files, the description first: what a crash leaves is never taken for finished."""
    for name in (DESCRIPTION, STATE, WEIGHTS, *sorted(_OURS)):
        (folder / name).unlink(missing_ok=True)


def remove_state(folder: Path) -> None:
    """Delete the state of training, and temporary files."""
    for name in sorted(_OURS - {WEIGHTS, DESCRIPTION}):
        (folder / name).unlink(missing_ok=True)


def save_interpreter(
    folder: Path,
    ensemble: InterpreterEnsemble,
    info: InterpreterInfo,
    average_latent: np.ndarray | None,
) -> Interpreter:
    """Write the folder's two files, the description last, then delete the training state."""
    tensors = ensemble.export_members()
    if average_latent is not None:
        tensors[AVERAGE_LATENT] = torch.from_numpy(np.array(average_latent, dtype=np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / WEIGHTS, lambda path: save_file(tensors, path))
    sha256 = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    text = json.dumps({**info.to_json(), "sha256": sha256}, indent=2, allow_nan=False) + "\n"
    _replace(folder / DESCRIPTION, lambda path: path.write_text(text, encoding="utf-8"))
    remove_state(folder)
    return Interpreter(ensemble.eval(), info, average_latent, sha256)


def load_interpreter(folder: str | os.PathLike[str]) -> Interpreter:
    """The interpreter in ``folder``, on the CPU and in evaluation mode.

    Raises UsageError, one line, for a folder that is missing, foreign, unfinished, damaged or of a newer
    version.
    """
    folder = Path(folder)
    state = folder_state(folder)
    if state == "unfinished":
        raise UsageError(
            f"{folder}: training is unfinished; run the same `dgan train` again, it goes on where it was"
        )
    if state != "finished":
        found = {"absent": "holds no interpreter", "foreign": "is no interpreter folder"}[state]
        found = found if folder.exists() else "does not exist"
        raise UsageError(f"{folder}: {found}; expected one written by `dgan train`")
    document = _read_description(folder / DESCRIPTION)
    info = _parse_info(document, folder / DESCRIPTION)
    weights = _read_weights(folder / WEIGHTS, document.get("sha256"))
    average = weights.pop(AVERAGE_LATENT, None)
    try:
        ensemble = InterpreterEnsemble.from_members(weights).eval()
        _check_sizes(ensemble, info)
    except ValueError as error:
        raise UsageError(_damaged(folder / WEIGHTS, str(error))) from None
    return Interpreter(ensemble, info, None if average is None else average.numpy(), document["sha256"])


def load_info(folder: Path) -> InterpreterInfo:
    """What a finished or unfinished folder says, without its tensors. Raises UsageError as loading does."""
    if (folder / DESCRIPTION).exists():
        return _parse_info(_read_description(folder / DESCRIPTION), folder / DESCRIPTION)
    return load_state(folder, with_tensors=False).info


def save_state(folder: Path, state: TrainingState) -> None:
    """Replace the state of unfinished training in one step: a crash leaves the previous epoch or this one."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {
        "info": json.dumps(state.info.to_json(), allow_nan=False)
    }  # one key: several have no fixed order
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    _replace(folder / STATE, lambda path: save_file(tensors, path, metadata))


def load_state(folder: Path, *, with_tensors: bool = True) -> TrainingState:
    """The last completed epoch. Raises UsageError for a damaged file or one of a newer version."""
    path = folder / STATE
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {})["info"])
            names = list(file.keys()) if with_tensors else []
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(_damaged(path, repr(error))) from None
    if not isinstance(document, dict):
        raise UsageError(_damaged(path, "what it says of itself is no JSON object"))
    return TrainingState(_parse_info(document, path), tensors)


def check_same_settings(folder: Path, found: InterpreterInfo, asked: InterpreterInfo) -> None:
    """Refuse to go on with an interpreter of other settings. Raises UsageError naming a difference."""
    differences = settings_differences(found, asked)
    if not differences:
        return
    key, left, right = differences[0]
    others = [name for name, *_ in differences[1:4]]
    more = f" (and in {', '.join(others)}{', ...' if len(differences) > 4 else ''})" if others else ""
    raise UsageError(
        f"{folder}: was trained with {key} = {_short(left)}, this run has {_short(right)}{more}; "
        "use the same settings, another --out, or --overwrite to start anew"
    )


def _read_description(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(_damaged(path, " ".join(str(error).split()))) from None
    if not isinstance(document, dict):
        raise UsageError(_damaged(path, "it is no JSON object"))
    return document


def _parse_info(document: Mapping[str, Any], path: Path) -> InterpreterInfo:
    version = document.get("version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UsageError(
            f"{path}: format version {version} is newer than {FORMAT_VERSION}, the newest that this "
            "program reads; upgrade it"
        )
    if version != FORMAT_VERSION or document.get("kind") != "interpreter":
        raise UsageError(_damaged(path, f"version is {version!r}, kind {document.get('kind')!r}"))
    try:
        return InterpreterInfo.from_json(document)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UsageError(_damaged(path, repr(error))) from None


def _read_weights(path: Path, sha256: object) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(_damaged(path, error.strerror or repr(error))) from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UsageError(
            _damaged(path, f"its sha256 begins {found[:12]}, {DESCRIPTION} says {str(sha256)[:12]}")
        )
    try:
        return load(content)
    except SafetensorError as error:
        raise UsageError(_damaged(path, str(error))) from None


def _check_sizes(ensemble: InterpreterEnsemble, info: InterpreterInfo) -> None:
    found = (ensemble.num_members, ensemble.channels, ensemble.widths, ensemble.num_classes)
    expected = (info.members, info.channels, info.widths, info.num_outputs)
    if found != expected:
        raise ValueError(f"members, channels, widths and outputs are {found}, {DESCRIPTION} says {expected}")


def _damaged(path: Path, reason: str) -> str:
    return (
        f"{path}: is damaged ({_short(reason, 120)}); restore it, or train anew with `dgan train --overwrite`"
    )


def _short(value: Any, limit: int = 60) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write under a temporary name, force to disk, rename: there is never half a file under ``path``."""
    partial = path.with_name(path.name + PARTIAL)
    write(partial)
    force_to_disk(partial)
    os.replace(partial, path)
    force_to_disk(path.parent)
