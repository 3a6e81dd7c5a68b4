"""Counts requests to storage at URLs, and asks again after errors that pass, with longer and longer waits.

A place's counter is one for the whole process, so that what a run asked for and asked again is known at its
end. It does not know what is asked for.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from threading import Lock
from typing import TypeVar

from fstore.errors import BeyondEndError, RequestError, StoreError
from fstore.object_errors import Failure, is_no_bucket, is_unsupported, read_failure

MOST_RETRIES = 8
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 20.0  # 8 waits take 45 s at most
_ANSWERS = ("AlreadyExistsError", "PreconditionError", "NotModifiedError", "NotSupportedError")
T = TypeVar("T")

_random = random.Random()
_places: dict[str, Requests] = {}
_guard = Lock()


class Requests:
    """The requests to one place: ``counts`` by kind (get, put, list, delete, head), retries apart.

    ``shown`` names the place in messages, without secrets.
    """

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.counts: Counter[str] = Counter()
        self.retries = 0
        self._answered = False
        self._told = 0
        self._lock = Lock()

    @property
    def total(self) -> int:
        """Requests that were sent, retries included."""
        return sum(self.counts.values())

    def line(self) -> str | None:
        """One line for people about retries since the last such line; None where there were none."""
        with self._lock:
            new, self._told = self.retries - self._told, self.retries
        if not new:
            return None
        times = f"{new} times" if new > 1 else "once"
        return f"{self.shown}: the storage was busy or out of reach for a while; retried {times}"

    async def ask(self, kind: str, key: str, request: Callable[[], Awaitable[T]]) -> T:
        """The answer to a request, which is sent again where that may help.

        Raises RequestError of one line, StoreError where there is no bucket; FileNotFoundError where the
        object is absent, and errors that say nothing of a request, are raised as they are.
        """
        attempts = self._attempts(kind, key)
        while True:
            next(attempts)
            try:
                answer = await request()
            except Exception as error:
                seconds = attempts.send(error)
                if seconds is None:
                    raise
                await asyncio.sleep(seconds)
                continue
            self._answered = True
            return answer

    def ask_now(self, kind: str, key: str, request: Callable[[], T]) -> T:
        """The same for a request that the calling thread waits for."""
        attempts = self._attempts(kind, key)
        while True:
            next(attempts)
            try:
                answer = request()
            except Exception as error:
                seconds = attempts.send(error)
                if seconds is None:
                    raise
                time.sleep(seconds)
                continue
            self._answered = True
            return answer

    def _attempts(self, kind: str, key: str) -> _Attempts:
        return _Attempts(self, kind, key)

    def count(self, kind: str, *, retry: bool) -> None:
        """Note that a request is sent."""
        with self._lock:
            self.counts[kind] += 1
            self.retries += retry

    def wait_seconds(self, kind: str, key: str, error: Exception, retries: int) -> float | None:
        """How long to wait before asking again. Raises what ``ask`` raises, where that is no use.

        None: the error is to be raised as it is. It is not raised here: an error that a frame of its own
        traceback names would keep all outer frames alive, with the writers and their locks in them.
        """
        absent = isinstance(error, FileNotFoundError) and not is_no_bucket(error)
        absent |= is_unsupported(error)
        if absent or isinstance(error, StoreError) or type(error).__name__ in _ANSWERS:
            self._answered = True
            return None
        failure = read_failure(error)
        if failure is None:
            return None
        if is_no_bucket(error):
            raise StoreError(f"{self.shown}: {failure.reason}; {failure.way_out}") from None
        # Where it has answered before, the network is down for a while; else the address is wrong.
        passes = self._answered if failure.unreached else failure.transient
        if not passes or retries >= MOST_RETRIES:
            raise self._error(kind, key, failure, retries) from None
        return backoff_seconds(retries)

    def _error(self, kind: str, key: str, failure: Failure, retries: int) -> RequestError:
        again = f", retried {retries} times" if retries > 1 else ", retried once" if retries else ""
        what = f"cannot {kind} {key}" if key else f"cannot {kind} it"
        kind_of_error = BeyondEndError if failure.beyond_end else RequestError
        return kind_of_error(f"{self.shown}: {what}: {failure.reason}{again}; {failure.way_out}")


class _Attempts:
    """The attempts of one request: ``next`` counts one; ``send`` an error gives the wait before the next."""

    def __init__(self, requests: Requests, kind: str, key: str) -> None:
        self._requests, self._kind, self._key, self._retries = requests, kind, key, -1

    def __next__(self) -> None:
        self._retries += 1
        self._requests.count(self._kind, retry=self._retries > 0)

    def send(self, error: Exception) -> float | None:
        return self._requests.wait_seconds(self._kind, self._key, error, self._retries)


def backoff_seconds(retries: int) -> float:
    """Exponential backoff with equal jitter: between half and all of 0.2 s x 2 ** retries, at most 20 s."""
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**retries)
    return longest * (0.5 + 0.5 * _random.random())


def requests_of(target: str, shown: str) -> Requests:
    """The counter of a place, made when it is first asked for."""
    with _guard:
        return _places.setdefault(target, Requests(shown))


def retry_lines() -> Iterator[str]:
    """A line for each place at which requests were retried since the last call."""
    with _guard:
        places = list(_places.values())
    yield from (line for each in places if (line := each.line()) is not None)
