"""The interpreter on disk: saved and loaded whole, and compared with a run's settings.

``interpreter.safetensors`` holds ``{member}.layers.{0,2,3,5,6}.*``, which an ``nn.Sequential`` takes, and,
where it is known, ``average_latent``. `pipeline.interpreter.folder` says what else is in the folder. This
module does not train, and it opens no store.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from fstore.durable import force_to_disk
from pipeline.errors import UsageError, cut, short
from pipeline.interpreter.description import InterpreterInfo, settings_differences, unexplained_differences
from pipeline.interpreter.description_file import load_description, save_description
from pipeline.interpreter.folder import (
    DESCRIPTION,
    NEXT_WEIGHTS,
    WEIGHTS,
    check_place,
    damaged,
    folder_state,
    remove_state,
    replace_file,
    unreadable,
)
from pipeline.interpreter.tensor_file import write_tensors
from pipeline.interpreter.training_state import load_state_info
from pipeline.models.interpreter import InterpreterEnsemble

AVERAGE_LATENT = "average_latent"
_OVERHEAD_BYTES = 2**28  # of a weights' file besides the members: names, and the average latent


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


def save_interpreter(
    folder: Path,
    ensemble: InterpreterEnsemble,
    info: InterpreterInfo,
    average_latent: np.ndarray | None,
) -> Interpreter:
    """Write the folder's two files, then delete the training state.

    An interpreter that is there can be loaded until the new description names the new tensors, and from then
    on the new one can: its tensors lie in a file of their own until they take the place of the old ones.
    """
    tensors = ensemble.export_members()
    if average_latent is not None:
        tensors[AVERAGE_LATENT] = torch.from_numpy(np.array(average_latent, dtype=np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / NEXT_WEIGHTS, lambda path: write_tensors(path, tensors))
    sha256 = hashlib.sha256((folder / NEXT_WEIGHTS).read_bytes()).hexdigest()
    save_description(folder, info, sha256)
    finish_saving(folder)
    return Interpreter(ensemble.eval(), info, average_latent, sha256)


def finish_saving(folder: Path) -> None:
    """End what ``save_interpreter`` had left to do in a finished folder where it was cut off."""
    place = weights_file(folder)
    if place.name == NEXT_WEIGHTS:
        os.replace(place, folder / WEIGHTS)
        force_to_disk(folder)
    (folder / NEXT_WEIGHTS).unlink(missing_ok=True)
    remove_state(folder)


def weights_file(folder: Path) -> Path:
    """The file of the tensors that a finished folder's description names. Raises UsageError as loading
    does.
    """
    following = folder / NEXT_WEIGHTS
    if not following.exists():
        return folder / WEIGHTS
    named = hashlib.sha256(following.read_bytes()).hexdigest() == load_description(folder)[1]
    return following if named else folder / WEIGHTS


def load_interpreter(folder: str | os.PathLike[str]) -> Interpreter:
    """The interpreter in ``folder``, on the CPU and in evaluation mode.

    Raises UsageError, one line, for a folder that is missing, foreign, unfinished, damaged, of a newer
    version, or that may not be read.
    """
    folder = Path(folder)
    check_place(folder)
    state = folder_state(folder)
    if state == "unfinished":
        raise UsageError(
            f"{folder}: training is unfinished; run the same `dgan train` again, it goes on where it was"
        )
    if state != "finished":
        found = {"absent": "holds no interpreter", "foreign": "is no interpreter folder"}[state]
        found = found if folder.exists() else "does not exist"
        raise UsageError(f"{folder}: {found}; expected one written by `dgan train`")
    info, sha256 = load_description(folder)
    path = weights_file(folder)
    weights = _read_weights(path, info, sha256)
    try:
        average = _average_latent(weights.pop(AVERAGE_LATENT, None))
        ensemble = InterpreterEnsemble.from_members(weights).eval()
        _check_sizes(ensemble, info)
    except ValueError as error:
        raise damaged(path, error) from None
    return Interpreter(ensemble, info, average, sha256)


def load_info(folder: Path) -> InterpreterInfo:
    """What a finished or unfinished folder says, without its tensors. Raises UsageError as loading does."""
    if (folder / DESCRIPTION).exists():
        return load_description(folder)[0]
    return load_state_info(folder)


def check_same_settings(folder: Path, found: InterpreterInfo, asked: InterpreterInfo) -> None:
    """Refuse to go on with an interpreter of other settings. Raises UsageError naming a difference.

    Where both are of one store, which has grown, the first difference that this does not explain is named.
    """
    differences = unexplained_differences(found, asked) or settings_differences(found, asked)
    if not differences:
        return
    key, left, right = differences[0]
    others = [name for name, *_ in differences[1:4]]
    more = f" (and in {', '.join(others)}{', ...' if len(differences) > 4 else ''})" if others else ""
    raise UsageError(
        f"{folder}: was trained with {key} = {_shown(left)}, this run has {_shown(right)}{more}; "
        "use the same settings, another --out, or --overwrite to start anew"
    )


def _read_weights(path: Path, info: InterpreterInfo, sha256: str) -> dict[str, Tensor]:
    """The tensors of the file ``path``, which must have this digest, and a size that ``info`` explains."""
    (h1, h2), num_outputs = info.widths, info.num_outputs
    member_bytes = 4 * (h1 * (info.channels + 5) + h2 * (h1 + 5) + num_outputs * (h2 + 1))
    most = info.members * member_bytes + _OVERHEAD_BYTES
    try:
        num_bytes = path.stat().st_size
        if num_bytes > most:
            raise damaged(path, f"it has {num_bytes:,} bytes; by {DESCRIPTION} it has {most:,} at most")
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise damaged(path, f"its sha256 begins {found[:12]}, {DESCRIPTION} says {sha256[:12]}")
    try:
        return load(content)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes fail in the library in many ways, all of the same meaning
        raise damaged(path, error) from None


def _check_sizes(ensemble: InterpreterEnsemble, info: InterpreterInfo) -> None:
    found = (ensemble.num_members, ensemble.channels, ensemble.widths, ensemble.num_classes)
    expected = (info.members, info.channels, info.widths, info.num_outputs)
    if found != expected:
        raise ValueError(f"members, channels, widths and outputs are {found}, {DESCRIPTION} says {expected}")


def _average_latent(tensor: Tensor | None) -> np.ndarray | None:
    """The average latent as an array. Raises ValueError for a tensor that cannot be one."""
    if tensor is None:
        return None
    if tensor.dtype != torch.float32 or tensor.ndim not in (1, 2):
        raise ValueError(
            f"{AVERAGE_LATENT} is {tensor.dtype} {tuple(tensor.shape)}, expected float32 (D,) or (L, D)"
        )
    return np.asarray(tensor.numpy())


def _shown(value: object) -> str:
    """A setting for a message: text as it is, and any other value as Python writes it."""
    return cut(value) if isinstance(value, str) else short(value)
