"""The program ``dgan``, also ``python -m pipeline``. It handles signals before it loads anything slow."""

from __future__ import annotations

from pipeline.commands import interruption


def main() -> None:
    """Run the command line."""
    interruption.install()
    try:
        from pipeline.cli import main as dgan

        dgan(prog_name="dgan")
    finally:
        interruption.finish()


if __name__ == "__main__":
    main()
