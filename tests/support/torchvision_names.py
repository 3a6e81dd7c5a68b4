"""Imports torchvision, or a package that needs it, beside a build of torch that it was not made for.

torchvision's Python files register functions for operators of its compiled library. Where that library does
not load, as beside the CPU-only build of torch, the import fails for want of their names. Defined here, they
are names without an implementation, which no segmentation network calls.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import torch

_LIBRARIES: list[torch.library.Library] = []  # the names live as long as these


def imported(name: str) -> ModuleType:
    """The module, which needs torchvision. Skips the test, with a reason, where one is not installed."""
    for needed in ("torchvision", name.split(".")[0]):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    define_names()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that are not under test
        return importlib.import_module(name)


def define_names() -> None:
    """Give torch the names that torchvision wants, unless its own library loads or this was done before."""
    if _LIBRARIES or _has_operators():
        return
    library = torch.library.Library("torchvision", "DEF")
    _LIBRARIES.append(library)
    for name in _wanted():
        library.define(f"{name}(Tensor input) -> Tensor")


def _folder() -> Path:
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def _has_operators() -> bool:
    for file in (*_folder().glob("_C*.so"), *_folder().glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(file))
            return True
        except OSError:
            return False
    return False


def _wanted() -> list[str]:
    """Operators that its two files of registrations name."""
    texts = [file.read_text(encoding="utf-8") for file in _folder().glob("_*_registrations.py")]
    found = re.findall(r'register_meta\("(\w+)"|torchvision::(\w+)"', "\n".join(texts))
    return sorted({first or second for first, second in found})
