"""Loaded by a worker that a library starts: Ctrl-C in a terminal is for its client alone, which ends it."""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
