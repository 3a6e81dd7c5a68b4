"""The two ways a command can end badly; ``pipeline.cli`` turns them into exit codes. Nothing here knows of
any stage.
"""

from __future__ import annotations


class UsageError(Exception):
    """Wrong use or bad input: the user can mend it and run the command again (exit code 2)."""


class RunError(Exception):
    """A run that was asked for correctly and failed all the same (exit code 1)."""
