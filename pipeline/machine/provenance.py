"""Says what made a file, and when. Only in this do the results of two equal runs differ."""

from __future__ import annotations

import datetime

from fstore._version import __version__


def created_record(**details: str) -> dict[str, str]:
    """Program version and UTC time, for the ``created`` key of stores and interpreters; then ``details``."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"program": f"dgan {__version__}", "time": now, **details}
