"""Reads the tensors of a file of weights, by their names. It knows containers and no networks.

A file of PyTorch, old or new, or safetensors; told from its content, never from its name. Nothing that a
file carries is executed (``weights_only=True``).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.checkpoints.containers.safetensors_files import is_safetensors
from pipeline.errors import UsageError, short
from pipeline.machine.torch_files import load_plain, wrong_checksum

EXPECTED = "expected weights of a network, as torchvision or `dgan segment train` saves them"
_AGAIN = "download or copy it again"
_KEYS = ("model_state_dict", "state_dict", "model")
"""Under which programs keep weights beside other things: the released code, Lightning, torchvision's own."""
_PREFIXES = ("module.", "_orig_mod.")
"""Of all names of a network inside DataParallel, and of a compiled one."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU, in the file's order, without the prefix of a wrapper.

    Raises UsageError, one line: there is no such file, it is a folder, it is no file of weights, it is
    truncated, or it holds more than tensors.
    """
    check_place(path)
    head = _head(path)
    content = _safetensors(path) if is_safetensors(head) else _torch_file(path, head)
    return _without_prefixes(_tensors(path, content))


def check_place(path: Path) -> None:
    """Refuse what is no file: to open a pipe would wait for ever. Raises UsageError, one line."""
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name the file of weights in it")
    if not path.exists():
        raise UsageError(f"{path}: no such file; {EXPECTED}")
    if not path.is_file():
        raise UsageError(f"{path}: is no regular file; {EXPECTED}")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    if not head:
        raise UsageError(f"{path}: is empty; {_AGAIN}")
    return head


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, RuntimeError, OSError) as error:
        raise UsageError(f"{path}: is truncated or damaged; {_AGAIN}") from error


def _torch_file(path: Path, head: bytes) -> Any:
    if not head.startswith((b"PK", b"\x80")):  # a zip, or the pickles before PyTorch 1.6
        raise UsageError(f"{path}: is no file of PyTorch or safetensors; {EXPECTED}")
    try:
        if head.startswith(b"PK"):
            _check_zip(path)
        return load_plain(path)
    except UsageError:
        raise
    except pickle.UnpicklingError as error:
        raise UsageError(f"{path}: is damaged, or holds more than plain tensors; {EXPECTED}") from error
    except Exception as error:  # damaged bytes fail in torch in many ways, all meaning the same to the user
        raise UsageError(f"{path}: is truncated, damaged or no file of PyTorch; {EXPECTED}") from error


def _check_zip(path: Path) -> None:
    """UsageError for wrong checksums, which ``torch.load`` does not read; PackedError as `load_plain`."""
    with path.open("rb") as file:
        wrong = wrong_checksum(file)
    if wrong is not None:
        raise UsageError(
            f"{path}: the checksum of {short(wrong)} is wrong: the file is damaged, or was saved without "
            f"checksums; {_AGAIN}, or save it anew with torch.save"
        )


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    """The named tensors in a file's content. Raises UsageError for anything else, or more than fits in it."""
    table = content
    if isinstance(content, Mapping):
        table = next((content[key] for key in _KEYS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(table, Mapping) or not table:
        raise UsageError(f"{path}: holds {_kind(content)}; {EXPECTED}")
    most_bytes = path.stat().st_size
    for name, tensor in table.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise UsageError(f"{path}: {short(name)} is {_kind(tensor)}, expected a tensor; {EXPECTED}")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise UsageError(f"{path}: {short(name)} is no plain tensor; {EXPECTED}")
        if tensor.numel() * tensor.element_size() > most_bytes:  # a few bytes that repeat
            raise UsageError(
                f"{path}: {short(name)} is {tuple(tensor.shape)}, more than a file of {most_bytes:,} bytes "
                f"can hold; {_AGAIN}"
            )
    return dict(table)


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict of {short(next(iter(value)))} and more" if value else "an empty dict"
    return "one tensor" if isinstance(value, Tensor) else f"a value of type {type(value).__name__}"


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES * 2:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
