"""What is made on one thread ahead of who uses it."""

from __future__ import annotations

import threading

import pytest

from pipeline.machine.read_ahead import read_ahead


def test_what_is_made_ahead_comes_in_order_and_is_bounded() -> None:
    begun: list[int] = []
    allowed = threading.Semaphore(0)

    def make(item: int) -> int:
        begun.append(item)
        allowed.acquire(timeout=10)
        return 10 * item

    found = read_ahead(make, range(6), 2, most_threads=1)
    for _ in range(6):
        allowed.release()
    assert next(found) == 0
    assert max(begun) <= 2
    assert list(found) == [10, 20, 30, 40, 50]


def test_an_error_is_raised_where_its_batch_is_wanted() -> None:
    def make(item: int) -> float:
        return 1 / (2 - item)

    found = read_ahead(make, range(9), 3, most_threads=1)
    assert [next(found), next(found)] == [0.5, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_what_waits_is_not_begun_once_the_iterator_is_closed() -> None:
    begun: list[int] = []
    running, go_on = threading.Event(), threading.Event()

    def make(item: int) -> int:
        begun.append(item)
        if item == 1:
            running.set()
            go_on.wait(timeout=10)
        return item

    found = read_ahead(make, range(9), 4, most_threads=1)
    assert next(found) == 0
    running.wait(timeout=10)
    threading.Timer(0.05, go_on.set).start()
    found.close()  # type: ignore[attr-defined]
    assert begun == [0, 1]
