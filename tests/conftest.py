"""What every test shares: repeatable examples, as many threads as small tensors need, no waiting for disks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
torch.set_num_threads(1)  # of two threads on a busy machine each waits for the other


@pytest.fixture(scope="session", autouse=True)
def _files_are_not_forced_to_the_disk() -> Iterator[None]:
    """A test's files need not survive a power cut, and forcing them took a third of the suite's time.

    That every file is forced before it counts is tested where `sync_file` and `sync_folders` are recorded.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which refuses what is no descriptor, too
        yield
