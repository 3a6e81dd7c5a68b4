"""The state of unfinished training on disk: the last completed epoch, as one safetensors file.

Its metadata holds ``info``, an interpreter's description as JSON, and ``sha256``, a digest of that and of all
tensors: a bit that flips on the disk must not be learnt from. It knows no optimiser and no stores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.description_file import read_info
from pipeline.interpreter.folder import STATE, damaged, replace_file, unreadable
from pipeline.interpreter.tensor_file import write_tensors
from pipeline.settings.json_values import parse_object


@dataclass(frozen=True)
class TrainingState:
    """The last completed epoch: ``info`` with its metrics, and the tensors that training goes on from."""

    info: InterpreterInfo
    tensors: dict[str, Tensor]


def save_state(folder: Path, state: TrainingState, name: str = STATE) -> None:
    """Replace the state of unfinished training, the file ``name``, in one step: a crash leaves the previous
    epoch or this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    info = state.info.to_json()
    text = json.dumps({"info": info, "sha256": _digest(info, tensors)}, allow_nan=False)
    metadata = {"training": text}  # one key: several have no fixed order
    replace_file(folder / name, lambda path: write_tensors(path, tensors, metadata))


def load_state(folder: Path, name: str = STATE) -> TrainingState:
    """The last completed epoch, of the file ``name``. Raises UsageError, one line, for a file that is damaged
    or cannot be read.
    """
    path = folder / name
    document, tensors = _read(path, with_tensors=True)
    return TrainingState(read_info(document.get("info"), path), tensors)


def load_state_info(folder: Path) -> InterpreterInfo:
    """What the state says, without its tensors. Raises UsageError as ``load_state`` does."""
    path = folder / STATE
    return read_info(_read(path, with_tensors=False)[0].get("info"), path)


def _read(path: Path, *, with_tensors: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with path.open("rb"), safe_open(path, framework="pt") as file:
            document = parse_object((file.metadata() or {})["training"])
            if not with_tensors:
                return document, {}
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
        if document.get("sha256") != _digest(document.get("info"), tensors):
            raise ValueError("its sha256 is not that of what it holds")
        return document, tensors
    except OSError as error:
        raise unreadable(path, error) from None
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes fail in the library in many ways, all of the same meaning
        raise damaged(path, error if isinstance(error, ValueError) else repr(error)) from None


def _digest(info: object, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(info, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
