"""What the error of a request to storage at a URL means: ask again or not, why it failed, what to do. Pure.

obstore and fsspec say it in text and in attributes. Of the text only status and code are taken over, because
it quotes addresses, and an address may hold a token. It knows no store and asks nothing.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

_STATUS = re.compile(r"(?:status code:? |HTTP |\()([1-5]\d\d)\b")
_CODE = re.compile(
    r"<Code>(\w+)</Code>|\"(?:code|reason)\": ?\"(\w+)\"|when calling the \w+ operation|\((\w+)\) when"
)
_CONNECT = re.compile(r"kind: connect\b")
_TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)
_TRANSIENT_CODES = (
    *("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling", "ServerBusy"),
    *("ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded", "OperationAborted"),
)
_TRANSIENT_ERRNO = (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.ECONNABORTED, errno.ENETRESET)
_RESET = (
    *("connection reset", "connection closed", "broken pipe", "incompletemessage", "unexpected eof"),
    *("error decoding response body", "error reading a body", "kind: request", "kind: decode", "kind: body"),
    *("server disconnected", "interrupted", "end of file before message length"),
)
_TIMED_OUT = ("timed out", "timeout", "timedout", "time-out")
_NO_HOST = ("dns error", "failed to lookup address", "name or service not known", "nodename nor servname")
_NO_CREDENTIALS = (
    *("169.254.169.254", "fd00:ec2", "169.254.170", "unable to locate credentials", "metadata.google"),
    *("missing credential", "received none from credential"),
)
_REGION = (
    "permanentredirect",
    "authorizationheadermalformed",
    "illegallocationconstraint",
    "without location",
)
_KEYS = "check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE, or those of your cloud)"


@dataclass(frozen=True)
class Failure:
    """Why a request failed. ``transient``: asking again may help. ``unreached``: nothing answered at all.
    ``beyond_end``: the object has no such bytes.
    """

    reason: str
    way_out: str
    transient: bool = False
    unreached: bool = False
    beyond_end: bool = False


def read_failure(error: BaseException) -> Failure | None:
    """What an error of obstore, fsspec or the system means; None for one that says nothing of a request."""
    text = str(error)
    lower = text.lower().replace("retry_timeout", "")  # a setting that obstore quotes
    status, code = _status(error, text), _code(text)
    what = " ".join(str(part) for part in (status, code) if part) or type(error).__name__
    if status == 416 or "non-partial response" in lower:
        return Failure(f"it is too short ({what})", "restore it from a copy", beyond_end=True)
    return (
        _lasting(lower, status, code, what, error)
        or _passing(lower, status, code, what, error)
        or (_other(status, what) if status is not None or _is_generic(error) else None)
    )


def is_no_bucket(error: BaseException) -> bool:
    """Whether the bucket itself is absent, and not only the object. Both have status 404."""
    text = str(error)
    return any(word in text for word in ("NoSuchBucket", "ContainerNotFound", "bucket does not exist"))


def is_unsupported(error: BaseException) -> bool:
    """Whether the storage does not know what it is asked for, such as a conditional put."""
    named = type(error).__name__ in ("NotSupportedError", "NotImplementedError")
    return named or _status(error, str(error)) == 501 or "NotImplemented" in str(error)


def _lasting(lower: str, status: int | None, code: str, what: str, error: BaseException) -> Failure | None:
    if is_no_bucket(error):
        return Failure("no such bucket", "make it, or name another")
    if any(words in lower for words in _NO_CREDENTIALS):
        return Failure(
            "no credentials were found", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if any(words in lower for words in _REGION) or status in (301, 307):
        return Failure(f"the bucket lies in another region ({what})", "set AWS_REGION to that of the bucket")
    if status == 403 or type(error).__name__ == "PermissionDeniedError" or isinstance(error, PermissionError):
        return Failure(f"no permission ({what})", f"{_KEYS} and what they may do in this bucket")
    if status == 401 or type(error).__name__ == "UnauthenticatedError" or code == "ExpiredToken":
        return Failure(f"the credentials are not valid ({what})", _KEYS)
    if "badscheme" in lower:
        return Failure("the endpoint is no http:// or https:// address", "see to AWS_ENDPOINT_URL")
    if any(words in lower for words in _NO_HOST):
        return Failure(
            "no such host", "see to the endpoint (AWS_ENDPOINT_URL) and the network", unreached=True
        )
    if any(words in lower for words in ("certificate", "invalidcertificate", "handshake")):
        return Failure("the server's certificate is not valid", "see to the endpoint (AWS_ENDPOINT_URL)")
    return None


def _passing(lower: str, status: int | None, code: str, what: str, error: BaseException) -> Failure | None:
    if status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES:
        return Failure(f"the server is busy or failing ({what})", "run this again later", transient=True)
    if status is not None:
        return None
    if isinstance(error, TimeoutError) or any(words in lower for words in _TIMED_OUT):
        return Failure("no answer in time", "run this again once the network is better", transient=True)
    if (
        "connection refused" in lower
        or "connectionrefused" in lower
        or isinstance(error, ConnectionRefusedError)
    ):
        way_out = "see to the endpoint (AWS_ENDPOINT_URL), and whether the server runs"
        return Failure("nothing answers there", way_out, transient=True, unreached=True)
    if _CONNECT.search(lower):
        way_out = "see to the endpoint (AWS_ENDPOINT_URL) and the network"
        return Failure("no connection", way_out, transient=True, unreached=True)
    number = getattr(error, "errno", None)
    if (
        isinstance(error, ConnectionError)
        or number in _TRANSIENT_ERRNO
        or any(words in lower for words in _RESET)
    ):
        return Failure("the connection was lost", "run this again once the network is better", transient=True)
    return None


def _other(status: int | None, what: str) -> Failure:
    if status is not None:
        return Failure(f"the server refused ({what})", "see to that, then run this again")
    return Failure(f"the request failed ({what})", "see to the settings of this storage, then run this again")


def _is_generic(error: BaseException) -> bool:
    """Whether obstore raised it. Its module is asked by name, because it need not be installed."""
    return type(error).__module__.startswith("obstore")


def _status(error: BaseException, text: str) -> int | None:
    for name in ("status", "status_code"):
        value = getattr(error, name, None)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    found = _STATUS.search(text)
    return int(found[1]) if found else None


def _code(text: str) -> str:
    found = _CODE.search(text)
    return next((group for group in found.groups() if group), "") if found else ""
