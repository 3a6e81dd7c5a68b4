"""Runs ``dgan`` in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from pipeline.cli import main


def dgan(*words: object) -> Result:
    """The result of a command; the exception, if any, is in it."""
    return CliRunner().invoke(main, [str(word) for word in words])


def done(*words: object) -> Result:
    """The result of a command that must end well."""
    result = dgan(*words)
    assert result.exit_code == 0, result.output
    return result
