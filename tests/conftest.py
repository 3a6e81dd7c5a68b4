"""What every test shares: repeatable examples, few threads, no waiting for disks, and what is built once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.machine.environment import prepare_environment

prepare_environment()  # before torch is imported: its threads are not to burn the core of another process

import pytest
import torch
from hypothesis import settings
from support import fault_table
from support.browser import Browser, open_browser, require_browser
from support.tiny import build, write_inputs

from fstore import format as fmt

settings.register_profile("whole", derandomize=True, deadline=None)
settings.register_profile("fast", settings.get_profile("whole"), max_examples=25)
torch.set_num_threads(1)  # of two threads on a busy machine each waits for the other


def pytest_configure(config: pytest.Config) -> None:
    """The fast tests try the first 25 of the 100 examples that all tests try; a test may ask for its own."""
    settings.load_profile("fast" if config.option.markexpr == "not slow" else "whole")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: those that are left for the end are short, so that with several
    processes all of them end together.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of ``tests/faults/``. It stands here: with several processes the first one collects no folder
    below this one."""
    fault_table.write(terminalreporter)


@pytest.fixture(scope="session", autouse=True)
def _files_are_not_forced_to_the_disk() -> Iterator[None]:
    """A test's files need not survive a power cut, and forcing them took a quarter of the suite's time.

    That every file is forced before it counts is tested where `sync_file` and `sync_folders` are recorded.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which refuses what is no descriptor, too
        yield


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the inputs ``in``, ``features.zarr`` and ``interpreter``, for all tests: change a copy."""
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with inputs in ``in/``."""
    write_inputs(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(folder: Path, built: Path) -> Path:
    """The current folder, with copies of ``features.zarr`` and ``interpreter`` of ``built`` too."""
    for name in ("features.zarr", "interpreter"):
        shutil.copytree(built / name, name)
    return folder


@pytest.fixture
def tasks_of_16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of a dataset has 16 images, not 64: fewer to make where a test wants several tasks."""
    monkeypatch.setattr(fmt, "TASK_IMAGES", 16)


@pytest.fixture(scope="session")
def opened_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests, which are skipped where none is installed: to start it takes two seconds."""
    require_browser()
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(opened_browser: Browser) -> Iterator[Browser]:
    """The browser; the console must have stayed silent."""
    opened_browser.errors()
    yield opened_browser
    assert opened_browser.errors() == []
