"""URLs of stores as text: a scheme, what may be shown, the folder that ``file://`` means. Pure."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import url2pathname

from fstore.errors import StoreError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(::[A-Za-z][A-Za-z0-9+.\-]*)*")  # fsspec chains by "::"
_LOST_SLASH = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/(?!/)")  # not C:/, a drive
_USER_IN_URL = re.compile(r"([A-Za-z][\w+.\-]*://)[^\s'\"@/]+@")
_SHORTEST_SECRET = 4  # shorter ones would be found in words that mean something else


def is_url(text: str) -> bool:
    """Whether a place is written as a URL."""
    return "://" in text


def scheme_of(url: str) -> str:
    """The scheme in lower case, the first of several that are chained by ``::``."""
    return url.partition("://")[0].partition("::")[0].lower()


def check_place(text: str) -> None:
    """Refuse what is neither a path nor a URL, with one line. Raises StoreError."""
    if not text or "\0" in text:
        raise StoreError(f"the store's place is {text!r}: expected a folder or a URL")
    if is_url(text) and not _SCHEME.fullmatch(text.partition("://")[0]):
        raise StoreError(
            f"{shown(text)}: is no URL, no scheme precedes '://'; expected a folder, or a URL such as "
            "s3://bucket/x.zarr"
        )
    if not is_url(text) and _LOST_SLASH.match(text):
        scheme, _, rest = text.partition(":/")
        raise StoreError(
            f"{shown(f'{scheme}://{rest}')}: was given with one slash after '{scheme}:', which names a "
            f"folder; write '{scheme}://' as text (pathlib.Path takes one of two slashes away)"
        )


def shown(url: str) -> str:
    """A URL without user, password, query and fragment. A path is as it was."""
    if not is_url(url):
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{_split(rest)[1]}"


def hide(message: str, url: str) -> str:
    """A message that may quote ``url`` or a part of it, without what ``shown`` leaves out."""
    message = message.replace(url, shown(url))
    for secret in _secrets(url):
        message = message.replace(secret, "***")
    return _USER_IN_URL.sub(r"\1", message)


def local_path(url: str) -> str:
    """The absolute path that a ``file://`` URL names. Raises StoreError for a URL that names none."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise StoreError(
            f"{shown(url)}: names the host {parts.netloc.rpartition('@')[2]!r}, expected none; "
            "write file:///absolute/path, or the path alone"
        )
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise StoreError(f"{shown(url)}: has a '?' or '#', which ends a URL's path; write the path alone")
    if not parts.path.strip("/"):
        raise StoreError(f"{shown(url)}: names no folder; write file:///absolute/path, or the path alone")
    return url2pathname(parts.path)


def _split(rest: str) -> tuple[str, str, str]:
    """What follows '://' as user and password, place, query with fragment.

    Secrets may hold '/', '?', '#' that are not escaped: where the host seems to have a colon, and an '@'
    follows, all before the last '@' is taken for a secret.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user = ""
    if "@" in authority or (":" in authority and "@" in rest):
        user, _, rest = rest.rpartition("@")
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    return user, place, rest[len(place) + 1 :]


def _secrets(url: str) -> list[str]:
    """Pieces of a URL that no message may hold, the longest first."""
    if not is_url(url):
        return []
    user, _, query = _split(url.partition("://")[2])
    pieces = [user, *user.split(":", 1)[1:], query, *(value for _, value in parse_qsl(query))]
    found = {text for piece in pieces for text in (piece, unquote(piece)) if len(text) >= _SHORTEST_SECRET}
    return sorted(found, key=len, reverse=True)
