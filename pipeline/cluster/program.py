"""Tells whether a worker runs the same program as this process, which equal bytes need.

It compares versions, and the sources of this program itself: two checkouts of one version may differ.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fstore._version import __version__

PACKAGES = ("torch", "numpy", "zarr", "numcodecs")  # what computes the values, and what encodes them
ROOT = Path(__file__).parents[2]


@cache
def program() -> dict[str, str]:
    """Names and versions of what the bytes of a run depend on, in this process."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = {"dgan": __version__, "Python": python, **{name: _version(name) for name in PACKAGES}}
    return {**found, "the source of dgan": source_digest(ROOT)}


def difference(worker: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """What is another on a worker, in words; None where nothing is."""
    for name, expected in here.items():
        found = worker.get(name, "unknown")
        if found != expected:
            return f"{name} is {found} there, expected {expected} as here"
    return None


def _version(name: str) -> str:
    """Without the label of a build: a login node may have torch for CPUs, and the workers for GPUs."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "not installed"


def source_digest(root: Path) -> str:
    """The first digits of a SHA-256 of all modules of ``fstore`` and ``pipeline`` below ``root``."""
    digest = hashlib.sha256()
    for package in ("fstore", "pipeline"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
