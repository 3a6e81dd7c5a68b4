"""Where tests find the repository and, where it is there, the shared folder of fixtures beside it."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY.parent / "shared" / "fixtures"
