"""What made a file and when: the one part of a result that two equal runs differ in."""

from __future__ import annotations

import datetime

from fstore._version import __version__


def created_record(**details: str) -> dict[str, str]:
    """Program version and UTC time, for the ``created`` key of stores and interpreters; then ``details``."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"program": f"dgan {__version__}", "time": now, **details}
