"""Which requests are answered at all: those with the token, for this host, that only ask. Pure.

A page of another site can make a browser send requests to 127.0.0.1, but it cannot know the token. It can
also let its own name point to 127.0.0.1 (DNS rebinding), and then the browser names that host. So both are
checked. A path is compared as it came: nothing in it is decoded, and it is never taken for a file's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from secrets import compare_digest
from urllib.parse import parse_qsl

from pipeline.errors import short
from pipeline.viewer.answers import Refused

METHODS = ("GET", "HEAD")
HOSTS = ("127.0.0.1", "localhost")
DEFAULT_PORT = 80  # which browsers leave out
MOST_PARAMETERS = 8
INTEGER = re.compile(r"0|[1-9][0-9]{0,9}")


@dataclass(frozen=True)
class Question:
    """What a request with the right token asks for: ``route``, what stands behind the token in the path, and
    the ``parameters`` behind the question mark.
    """

    route: str
    parameters: Mapping[str, str]

    def integer(self, name: str, first: int, last: int) -> int | None:
        """A parameter in [first, last], None where it is not given. Raises Refused."""
        text = self.parameters.get(name)
        if text is None:
            return None
        if not INTEGER.fullmatch(text) or not first <= int(text) <= last:
            expected = f"expected an integer from {first} to {last}"
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is {short(text)}, {expected}")
        return int(text)

    def check_names(self, *names: str) -> None:
        """Refuse parameters of other names. Raises Refused."""
        for name in self.parameters:
            if name not in names:
                expected = ", ".join(names) or "none"
                raise Refused(HTTPStatus.BAD_REQUEST, f"unknown parameter {short(name)}, expected {expected}")


@dataclass(frozen=True)
class Gate:
    """Lets requests through that name the ``token`` and this ``port`` of this machine."""

    token: str
    port: int

    def passed(self, method: str, target: str, hosts: Sequence[str]) -> Question:
        """The question of a request: its method, the target of its first line, its ``Host`` headers.

        Raises Refused: 404 without a word where the token is not there, 403 for another host, 405 for another
        method, 400 for parameters that cannot be read.
        """
        path, _, query = target.partition("?")
        root, _, rest = path.partition("/")
        token, slash, route = rest.partition("/")
        same = compare_digest(token.encode("utf-8", "surrogateescape"), self.token.encode())
        if root or not same:
            raise Refused(HTTPStatus.NOT_FOUND)
        if len(hosts) != 1 or hosts[0].strip().lower() not in self._hosts():
            expected = f"expected {' or '.join(f'{host}:{self.port}' for host in HOSTS)}"
            raise Refused(HTTPStatus.FORBIDDEN, f"the request names another host, {expected}")
        if method not in METHODS:
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are answered")
        if not slash:
            raise Refused(HTTPStatus.NOT_FOUND, "the address of the page ends with a slash")
        return Question(route, _parameters(query))

    def _hosts(self) -> set[str]:
        return {f"{host}:{self.port}" for host in HOSTS} | set(HOSTS if self.port == DEFAULT_PORT else ())


def _parameters(query: str) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, "the parameters cannot be read, expected name=value") from None
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        raise Refused(HTTPStatus.BAD_REQUEST, "a parameter is given twice")
    return parameters
