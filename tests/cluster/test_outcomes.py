"""An error of a worker becomes one line that names the worker, of a class with the same exit code."""

from __future__ import annotations

import errno
import pickle

import pytest

from fstore.errors import CorruptionError, MismatchError, OverflowError16, StoreError, UnreadableError
from pipeline.api.explanation import explain
from pipeline.cluster.outcomes import Failed, TraceOfWorker, error_of, failed
from pipeline.errors import RunError, UsageError
from pipeline.inputs.annotations.formats.detect import NoAnnotations

WORKER = "tcp://10.0.0.7:4000 (host node7, process 12)"


class Awkward(Exception):
    """Survives no pickling: its constructor wants more than it passes on."""

    def __init__(self, text: str, more: int) -> None:
        super().__init__(text)


@pytest.mark.parametrize(
    ("error", "code", "is_final"),
    [
        (UsageError("g.pt: no such file"), 2, True),
        (NoAnnotations("masks: none"), 2, True),  # a subclass counts as its class
        (RunError("interpreter: is no longer the one"), 1, True),
        (StoreError("features.zarr: is no store"), 2, True),
        (MismatchError("features.zarr: another seed"), 2, True),
        (OverflowError16("layer b8: 70000"), 1, True),
        (CorruptionError("latents: missing"), 1, False),  # a shared file system may show a file late
        (UnreadableError("latents: cannot be read"), 1, False),
        (OSError(errno.ENOSPC, "No space left on device", "c/0"), 1, True),
        (OSError(errno.EIO, "Input/output error", "c/0"), 1, False),
        (OSError("without a number"), 1, False),
        (MemoryError("no memory"), 1, False),
        (ValueError("two\nlines"), 1, False),
        (Awkward("awkward", 3), 1, False),
    ],
)
def test_an_error_keeps_its_exit_code_and_names_the_worker(
    error: Exception, code: int, is_final: bool
) -> None:
    outcome = pickle.loads(pickle.dumps(failed(error)))
    assert outcome.is_final == is_final
    found, line = explain(error_of(outcome, WORKER, "image 3 failed 3 times, the last time"))
    assert found == explain(error)[0] == code
    assert WORKER in line and "\n" not in line and "unexpected" not in line


def test_the_message_keeps_the_line_and_debug_shows_the_workers_traceback() -> None:
    try:
        raise UsageError("g.pt: no such file")
    except UsageError as error:
        made = error_of(failed(error), WORKER)
    assert str(made) == f"worker {WORKER}: g.pt: no such file"
    assert isinstance(made.__cause__, TraceOfWorker) and "test_outcomes.py" in str(made.__cause__)


def test_a_full_disk_says_what_a_full_disk_always_says() -> None:
    code, line = explain(error_of(failed(OSError(errno.ENOSPC, "No space left", "c/0")), WORKER))
    assert code == 1
    assert line.startswith(f"the disk is full (c/0 on worker {WORKER}); make room")


def test_an_outcome_of_another_kind_of_error_is_plain_data() -> None:
    assert failed(Awkward("why", 1)) == Failed(None, "Awkward: why", failed(Awkward("why", 1)).trace)
