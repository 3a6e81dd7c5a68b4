"""Reading one array out of a PyTorch file of plain tensors, ``.pt`` of either container.

Only tensors and plain containers are read (``weights_only=True``): nothing that a file carries is executed.
Knows nothing of what the tensors mean.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.inputs.npz import MAX_ARRAY_BYTES


def read_torch(
    path: Path, what: str, choose: Callable[[list[str]], str | None]
) -> tuple[str | None, np.ndarray[Any, Any]]:
    """The array in a file that holds a tensor, a list of equal tensors, or a dict of tensors of which
    ``choose`` picks one by name.

    A dict of such dicts, as StyleGAN2's projector writes for each picture, gives one row each. ``what`` names
    the array in errors ("latents"). Raises UsageError, one line, naming the file.
    """
    content = _load(path, what)
    try:
        return _find(content, choose)
    except (ValueError, TypeError, RuntimeError, KeyError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{path}: {reason}; expected {what} as a tensor, a list of equal tensors, or a dict with one"
        ) from error


def _load(path: Path, what: str) -> Any:
    import torch

    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{path}: {found}; expected {what} in a .pt file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old containers; torch's own, and nothing the user could do
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path}: holds something other than plain tensors, or is damaged; expected {what} as saved by "
            "torch.save(tensor)"
        ) from error
    except Exception as error:  # damaged bytes fail in torch in many ways, all meaning the same to the user
        raise UsageError(
            f"{path}: is truncated, damaged or not a PyTorch file; expected {what} as saved by "
            "torch.save(tensor)"
        ) from error


def _find(content: Any, choose: Callable[[list[str]], str | None]) -> tuple[str | None, np.ndarray[Any, Any]]:
    import torch

    if isinstance(content, torch.Tensor):
        return None, _array(content)
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Mapping) for value in content.values()):
            return _stacked([_find(value, choose) for value in content.values()])
        tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
        name = choose(list(tensors))
        if name is None:
            shown = ", ".join(repr(key) for key in list(tensors)[:8]) or "none"
            raise ValueError(
                f"found a dict of {len(tensors)} tensors ({shown}), and which to take is not clear"
            )
        return name, _array(tensors[name])
    if isinstance(content, Sequence) and content and not isinstance(content, (str, bytes)):
        return _stacked([_find(value, choose) for value in content])
    raise ValueError(f"found {type(content).__name__}")


def _stacked(
    parts: Sequence[tuple[str | None, np.ndarray[Any, Any]]],
) -> tuple[str | None, np.ndarray[Any, Any]]:
    """(D,) or (1, D) each -> (N, D); (L, D) or (1, L, D) each -> (N, L, D)."""
    arrays = [part[0] if part.ndim > 1 and len(part) == 1 else part for _, part in parts]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise ValueError(f"found tensors of different shapes, {shapes[0]} and {shapes[1]}")
    if len(arrays) * arrays[0].nbytes > MAX_ARRAY_BYTES:
        raise ValueError(f"found tensors of over {MAX_ARRAY_BYTES} bytes")
    return parts[0][0], np.stack(arrays)


def _array(tensor: Any) -> np.ndarray[Any, Any]:
    import torch

    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise ValueError(f"found a {tensor.layout} tensor on {tensor.device}")
    if tensor.numel() * 8 > MAX_ARRAY_BYTES:  # a view of few values may declare any shape
        raise ValueError(f"found a tensor of shape {tuple(tensor.shape)}")
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    return np.asarray(tensor.detach().numpy())
