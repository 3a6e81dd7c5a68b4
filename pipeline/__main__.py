"""The program ``dgan``, also ``python -m pipeline``. It handles signals before it loads anything slow."""

from __future__ import annotations

import io
import sys

from pipeline.commands import interruption


def main() -> None:
    """Run the command line."""
    interruption.install()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold bytes that are no text
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        from pipeline.cli import main as dgan

        dgan(prog_name="dgan")
    finally:
        interruption.finish()


if __name__ == "__main__":
    main()
