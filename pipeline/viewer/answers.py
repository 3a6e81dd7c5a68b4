"""What the server answers: a status, bytes and their type. It knows no sockets, no routes and no stores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

HTML, JSON = "text/html; charset=utf-8", "application/json"
BINARY, TEXT = "application/octet-stream", "text/plain; charset=utf-8"
LASTING_SECONDS = 3600


@dataclass(frozen=True)
class Answer:
    """One answer. ``is_lasting``: whether the browser may keep it, because the same question always gets it.
    ``policy``: the Content-Security-Policy that it is shown under.
    """

    content_type: str
    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    is_lasting: bool = False
    policy: str = "default-src 'none'"

    @property
    def cache_control(self) -> str:
        """The value of the header of that name."""
        return f"private, max-age={LASTING_SECONDS}" if self.is_lasting else "no-store"


class Refused(Exception):
    """A question that gets no content. ``line`` is all that the asker is told, and may be empty."""

    def __init__(self, status: HTTPStatus, line: str = "") -> None:
        super().__init__(line)
        self.status = status
        self.line = line

    @property
    def answer(self) -> Answer:
        """What is sent."""
        return Answer(TEXT, f"{self.line}\n".encode() if self.line else b"", self.status)


def as_json(value: Any) -> Answer:
    """A value as JSON. Numbers that are not finite are refused: JSON has none."""
    return Answer(JSON, json.dumps(value, allow_nan=False).encode())
