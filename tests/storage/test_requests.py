"""Requests: what an error means, how often and how long it is waited, and the one line at the end."""

from __future__ import annotations

import asyncio

import pytest

from fstore import requests
from fstore.errors import RequestError, StoreError
from fstore.object_errors import read_failure
from fstore.requests import LONGEST_WAIT_SECONDS, MOST_RETRIES, Requests, backoff_seconds


def s3_error(status: str, code: str) -> Exception:
    """As obstore says it, shortened; of its class GenericError, which need not be installed here."""
    kind = type("GenericError", (Exception,), {"__module__": "obstore.exceptions"})
    return kind(
        "Generic S3 error: Error performing GET https://s3.example/b/k?X-Amz-Signature=wJalrXUtn in 1.2ms - "
        f'Server returned non-2xx status code: {status}: <?xml version="1.0"?>\n<Error><Code>{code}</Code>'
        "<Message>wJalrXUtn</Message></Error>\n\nDebug source:\nGeneric { retry_timeout: 180s }"
    )


def http_error(kind: str, source: str) -> Exception:
    made = type("GenericError", (Exception,), {"__module__": "obstore.exceptions"})
    return made(
        "Generic S3 error: Error performing GET http://h.example/b/k in 5ms - HTTP error: error sending req"
        f"\n\nDebug source:\nGeneric {{ retry_timeout: 180s, inner: Http(HttpError {{ kind: {kind}, source: "
        f"reqwest::Error {{ kind: Request, source: {source} }} }}) }}"
    )


TRANSIENT = [
    s3_error("503 Service Unavailable", "SlowDown"),
    s3_error("500 Internal Server Error", "InternalError"),
    s3_error("429 Too Many Requests", "TooManyRequests"),
    s3_error("400 Bad Request", "RequestTimeout"),
    http_error("Request", "hyper::Error(IncompleteMessage)"),
    http_error("Request", 'Os { code: 104, kind: ConnectionReset, message: "Connection reset by peer" }'),
    http_error("Timeout", "TimedOut"),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError(),
]
LASTING = [
    (s3_error("403 Forbidden", "AccessDenied"), "no permission .403 AccessDenied.; check the credentials"),
    (s3_error("403 Forbidden", "SignatureDoesNotMatch"), "no permission .403 Signature"),
    (s3_error("400 Bad Request", "ExpiredToken"), "credentials are not valid .400 ExpiredToken."),
    (s3_error("401 Unauthorized", "x"), "credentials are not valid"),
    (s3_error("301 Moved Permanently", "PermanentRedirect"), "another region .*; set AWS_REGION"),
    (s3_error("400 Bad Request", "AuthorizationHeaderMalformed"), "another region .*; set AWS_REGION"),
    (s3_error("404 Not Found", "NoSuchBucket"), "no such bucket; make it, or name another"),
    (s3_error("409 Conflict", "BucketAlreadyExists"), "the server refused .409 BucketAlreadyExists."),
    (http_error("Connect", 'ConnectError("dns error", "failed to lookup address")'), "no such host; see to"),
    (http_error("Connect", "Os { code: 111, kind: ConnectionRefused }"), "nothing answers there; see to"),
    (http_error("Connect", "invalid peer certificate: UnknownIssuer"), "certificate is not valid"),
    (http_error("Unknown", "BadScheme"), "no http:// or https:// address; see to AWS_ENDPOINT_URL"),
    (
        http_error("Connect", "http://169.254.169.254/latest/api/token"),
        "no credentials were found; set AWS_ACC",
    ),
]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that are waited, which take no time."""
    waited: list[float] = []

    async def slept(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(requests.asyncio, "sleep", slept)
    monkeypatch.setattr(requests.time, "sleep", waited.append)
    return waited


def ask(asked: Requests, errors: list[Exception], *, now: bool) -> str:
    """One request that fails with ``errors``, one after another, and then is answered."""
    left = list(errors)

    def answer() -> str:
        if left:
            raise left.pop(0)
        return "yes"

    async def answered() -> str:
        return answer()

    return asked.ask_now("get", "k", answer) if now else asyncio.run(asked.ask("get", "k", answered))


@pytest.mark.parametrize("now", [True, False])
@pytest.mark.parametrize("error", TRANSIENT, ids=lambda e: str(read_failure(e).reason))
def test_an_error_that_passes_is_asked_again_counted_and_told(
    error: Exception, now: bool, waits: list
) -> None:
    asked = Requests("s3://bucket/x")
    assert ask(asked, [error] * 3, now=now) == "yes"
    assert asked.counts == {"get": 4} and asked.retries == 3 and len(waits) == 3
    assert asked.line() == "s3://bucket/x: the storage was busy or out of reach for a while; retried 3 times"
    assert asked.line() is None


@pytest.mark.parametrize("now", [True, False])
@pytest.mark.parametrize("error", TRANSIENT, ids=lambda e: str(read_failure(e).reason))
def test_an_error_that_goes_on_ends_the_request_in_a_bounded_time(
    error: Exception, now: bool, waits: list
) -> None:
    asked = Requests("s3://bucket/x")
    with pytest.raises(
        RequestError, match=rf"^s3://bucket/x: cannot get k: .*, retried {MOST_RETRIES} times; "
    ) as e:
        ask(asked, [error] * 99, now=now)
    assert asked.counts["get"] == MOST_RETRIES + 1 and sum(waits) < 60
    assert "\n" not in str(e.value) and "wJalr" not in str(e.value)


@pytest.mark.parametrize("now", [True, False])
@pytest.mark.parametrize(("error", "says"), LASTING, ids=[says for _, says in LASTING])
def test_an_error_that_lasts_stops_at_once_with_one_line(
    error: Exception, says: str, now: bool, waits: list
) -> None:
    asked = Requests("s3://bucket/x")
    with pytest.raises(StoreError, match=rf"^s3://bucket/x: .*{says}") as caught:
        ask(asked, [error], now=now)
    assert waits == [] and asked.retries == 0
    assert "\n" not in str(caught.value) and "wJalr" not in str(caught.value)


def test_a_host_that_has_answered_before_is_waited_for(waits: list) -> None:
    """A wrong address is known at once; a network that fails in the middle of a run comes back."""
    asked = Requests("s3://bucket/x")
    ask(asked, [], now=True)
    for error, _ in LASTING[8:10]:
        assert ask(asked, [error], now=True) == "yes"
    assert len(waits) == 2


@pytest.mark.parametrize("now", [True, False])
@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("404"), StoreError("said already"), ValueError("a bug"), KeyError("x")],
    ids=repr,
)
def test_what_is_no_failure_of_a_request_is_raised_as_it_is(error: Exception, now: bool, waits: list) -> None:
    with pytest.raises(type(error)) as caught:
        ask(Requests("s3://bucket/x"), [error], now=now)
    assert caught.value is error and waits == []


def test_waits_grow_are_spread_and_end() -> None:
    for retries in range(200):
        longest = min(LONGEST_WAIT_SECONDS, 0.2 * 2.0**retries)
        assert longest / 2 <= backoff_seconds(retries) <= longest


def test_waiting_leaves_the_random_numbers_of_others_alone() -> None:
    import random

    random.seed(7)
    first = random.random()
    random.seed(7)
    backoff_seconds(3)
    assert random.random() == first
