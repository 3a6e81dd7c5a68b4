"""Reads generator checkpoint files: hash, tensors, and the network whose names and shapes these have.

Only tensors are read (``weights_only=True``): nothing that a file carries is ever executed. Every fault of a
file is a `UsageError` of one line. It knows nothing of latents, truncation or stages.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.models.generator import Generator
from pipeline.models.stylegan1 import StyleGAN1

_PREFIXES = ("g_mapping.", "g_synthesis.")
_EXPECTED = "expected a StyleGAN1 state dict (*.for_g_all.pt, keys g_mapping.* and g_synthesis.*)"


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator ready for inference, and which file it is."""

    generator: Generator
    """On the CPU, in evaluation mode, no parameter requiring gradients."""
    path: Path
    sha256: str
    """Hexadecimal digest of the whole file."""


def load_generator(path: str | Path) -> LoadedGenerator:
    """The generator in the checkpoint file `path`.

    A state dict one level down (``{"g_all": ...}``) or with ``module.`` before its keys is accepted. Raises
    UsageError when the file is missing, a folder, truncated, no PyTorch tensor file, no StyleGAN1 or has a
    weight that is not finite.
    """
    path = Path(path)
    sha256 = file_sha256(path)
    state = _state_dict(_read(path), path)
    try:
        network = StyleGAN1.from_state_dict(state)
    except ValueError as error:
        raise UsageError(f"checkpoint {path}: {error}; {_EXPECTED}, whole and unmodified") from error
    for key, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise UsageError(
                f"checkpoint {path}: {key!r} has NaN or infinite values, expected finite weights; "
                "export or download it anew"
            )
    return LoadedGenerator(network.eval().requires_grad_(False), path, sha256)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces. Raises UsageError when there is no such file to read."""
    if not path.exists():
        raise UsageError(
            f"checkpoint {path}: no such file; expected a generator, check --checkpoint or the config"
        )
    if not path.is_file():
        raise UsageError(f"checkpoint {path}: found a folder, expected a file; name the file in it")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(
            f"checkpoint {path}: cannot be read ({error.strerror}); check its permissions"
        ) from error


def _read(path: Path) -> Any:
    """What `torch.load` makes of the file with tensors and plain containers only."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"checkpoint {path}: found something other than plain tensors; {_EXPECTED}"
        ) from error
    except Exception as error:  # damaged bytes fail in torch in many ways, all meaning the same to the user
        kind = "empty" if path.stat().st_size == 0 else "truncated, damaged or no PyTorch file"
        raise UsageError(
            f"checkpoint {path}: the file is {kind}; {_EXPECTED}, download or copy it again"
        ) from error


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in what was read, one level down if need be, without ``module.`` prefixes."""
    candidates = [content]
    if isinstance(content, Mapping):
        candidates += [value for value in content.values() if isinstance(value, Mapping)]
    for candidate in candidates:
        if isinstance(candidate, Mapping):
            state = {str(key).removeprefix("module."): value for key, value in candidate.items()}
            if any(key.startswith(_PREFIXES) for key in state):
                return _checked(state, path)
    if isinstance(content, Mapping):
        names = ", ".join(repr(str(key)) for key in list(content)[:3]) or "none"
        raise UsageError(
            f"checkpoint {path}: found a dict with the keys {names} ({len(content)} in all); {_EXPECTED}"
        )
    raise UsageError(f"checkpoint {path}: found a {type(content).__name__}; {_EXPECTED}")


def _checked(state: dict[str, Any], path: Path) -> dict[str, Tensor]:
    for key, value in state.items():
        if not (isinstance(value, Tensor) and value.is_floating_point()):
            found = f"dtype {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(
                f"checkpoint {path}: key {key!r} holds {found}, expected a floating-point tensor; {_EXPECTED}"
            )
    return state
