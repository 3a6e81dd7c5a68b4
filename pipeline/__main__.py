"""The program ``dgan``, also ``python -m pipeline``. It handles signals before it loads anything slow."""

from __future__ import annotations

from pipeline.commands.interruption import install


def main() -> None:
    """Run the command line."""
    install()
    from pipeline.cli import main as dgan

    dgan(prog_name="dgan")


if __name__ == "__main__":
    main()
