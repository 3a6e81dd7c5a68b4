"""Calls in the background: in order, bounded, and no error lost."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.machine.background import BackgroundCalls


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_calls_run_in_the_order_of_submission(depth: int) -> None:
    seen: list[int] = []
    with BackgroundCalls(depth) as calls:
        for number in range(20):
            calls.submit(seen.append, number)
    assert seen == list(range(20))


@pytest.mark.parametrize("depth", [1, 2])
def test_no_more_than_the_depth_is_unfinished(depth: int) -> None:
    gate, started = threading.Event(), []

    def call(number: int) -> None:
        started.append(number)
        gate.wait(5)

    threads = []
    with BackgroundCalls(depth) as calls:
        for number in range(depth):
            calls.submit(call, number)
        threads.append(threading.Thread(target=calls.submit, args=(call, depth)))
        threads[0].start()
        time.sleep(0.05)
        assert threads[0].is_alive()  # waits: one too many
        gate.set()
        threads[0].join(5)
        assert not threads[0].is_alive()
    assert started == list(range(depth + 1))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_first_error_is_raised_and_nothing_later_is_begun(depth: int) -> None:
    seen: list[int] = []

    def call(number: int) -> None:
        if number == 3:
            raise OSError("the disk is full")
        seen.append(number)

    def submit_many() -> None:
        with BackgroundCalls(depth) as calls:
            for number in range(100):
                calls.submit(call, number)

    with pytest.raises(OSError, match="the disk is full"):
        submit_many()
    assert seen[:3] == [0, 1, 2]
    assert len(seen) <= 3 + max(0, depth - 1)  # what was queued behind it, at most


def test_an_error_of_the_caller_is_not_hidden_by_waiting_calls() -> None:
    seen: list[int] = []

    def be_interrupted() -> None:
        with BackgroundCalls(5) as calls:
            calls.submit(time.sleep, 0.05)
            for number in range(4):
                calls.submit(seen.append, number)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert len(seen) < 4


def test_check_raises_what_a_finished_call_raised_without_waiting_for_others() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    checked: list[bool] = []

    def submit_and_check() -> None:
        with BackgroundCalls(2) as calls:
            calls.check()  # nothing yet
            calls.submit(fail)
            for _ in range(500):
                calls.check()
                time.sleep(0.01)
            checked.append(True)

    with pytest.raises(OSError, match="the disk is full"):
        submit_and_check()
    assert not checked
