"""The program ``dgan``, also ``python -m pipeline``. It handles signals before it loads anything slow."""

from __future__ import annotations

import io
import os
import sys

from pipeline.commands import interruption


def main() -> None:
    """Run the command line."""
    interruption.install()
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold bytes that are no text
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        from pipeline.cli import main as dgan

        dgan(prog_name="dgan")
    finally:
        interruption.finish()


def _open_closed_streams() -> None:
    """Let nobody read what the caller has closed, as by ``2>&-``.

    Else the first file that is opened takes the number of the closed one, and messages would be written into
    that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the lowest number, this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


if __name__ == "__main__":
    main()
