"""Tasks without a network, for the tests of a pool. Functions of a module, so that workers can load them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


def begin(*arguments: Any) -> tuple[Any, ...]:
    """The state is the arguments; a folder as the first gets a file for each process that begins."""
    if arguments and isinstance(arguments[0], str):
        Path(arguments[0], f"begun-{os.getpid()}").touch()
    return arguments


def double(state: tuple[Any, ...], task: int) -> int:
    return 2 * task


def process_of(state: tuple[Any, ...], task: Any) -> int:
    time.sleep(0.01)
    return os.getpid()
