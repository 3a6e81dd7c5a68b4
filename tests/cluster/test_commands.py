"""Commands that share their work among processes: the same bytes from any number, killed, interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.on_workers import start, workers_of
from support.places import REPOSITORY
from support.processes import run
from support.stores import store_bytes
from support.tiny import input_flags

pytestmark = pytest.mark.slow
DEADLINE = 300
LINE = "interrupted; run the same command again to go on"
SYNTHESIZE = ["synthesize", "--checkpoint", "in/checkpoint.pt", "--num", "200", "--keep", "0.5"]


def extract(layout: str) -> list[str]:
    return ["extract-features", *input_flags(Path("in")), "--layout", layout, "--resolution", "64"]


@pytest.fixture
def place(built: Path, tmp_path: Path) -> Path:
    for name in ("in", "interpreter"):
        shutil.copytree(built / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("words", [extract("dense"), extract("pyramid"), SYNTHESIZE])
def test_one_two_and_three_workers_write_the_bytes_of_one_process(place: Path, words: list[str]) -> None:
    run([*words, "--store", "whole.zarr"], place)
    expected = store_bytes(place / "whole.zarr")
    for workers in ("1", "2", "3"):
        run([*words, "--workers", workers, "--store", f"{workers}.zarr"], place)
        assert store_bytes(place / f"{workers}.zarr") == expected


def test_one_two_and_three_workers_learn_the_weights_of_one_process(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "in", tmp_path / "in")
    run([*extract("pyramid"), "--store", "features.zarr"], tmp_path)
    (tmp_path / "dgan.toml").write_text(
        "[train]\nbatch_size = 16\nepoch_pixels = 320\nmax_epochs = 3\nfinal_epochs = 1\n"
    )
    words = ["train", "--members", "3"]
    run([*words, "--out", "whole"], tmp_path)
    expected = (tmp_path / "whole" / "interpreter.safetensors").read_bytes()
    for workers in ("1", "2", "3"):
        run([*words, "--workers", workers, "--out", workers], tmp_path)
        assert (tmp_path / workers / "interpreter.safetensors").read_bytes() == expected
        assert not list((tmp_path / workers).glob("training_*"))


def wait_for(process: subprocess.Popen[str], path: Path) -> None:
    end = time.monotonic() + DEADLINE
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert path.exists(), process.communicate()[1]


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
LONG = [*SYNTHESIZE, "--num", "400", "--workers", "2", "--store", "many.zarr"]


@pytest.fixture(scope="module")
def undisturbed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the long run by one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for name in ("in", "interpreter"):
        shutil.copytree(built / name, folder / name)
    run([*SYNTHESIZE, "--num", "400", "--store", "many.zarr"], folder)
    return store_bytes(folder / "many.zarr")


@needs_proc
def test_a_worker_that_is_killed_in_the_middle_changes_no_byte(
    place: Path, undisturbed: dict[str, bytes]
) -> None:
    process = start(LONG, place)
    wait_for(process, place / "many.zarr/committed/c/1")
    for worker in workers_of(process.pid):
        os.kill(worker, signal.SIGKILL)
    error = process.communicate(timeout=DEADLINE)[1]
    assert process.returncode == 0, error
    assert store_bytes(place / "many.zarr") == undisturbed


@needs_proc
@pytest.mark.parametrize(
    ("number", "code", "to_all"),
    [
        (signal.SIGINT, 130, True),  # Ctrl-C in a terminal reaches the whole group
        (signal.SIGTERM, 143, False),  # a batch system's time limit
    ],
)
def test_a_signal_ends_the_run_with_one_line_and_the_same_command_goes_on(
    place: Path, undisturbed: dict[str, bytes], number: signal.Signals, code: int, to_all: bool
) -> None:
    process = start(LONG, place)
    wait_for(process, place / "many.zarr/committed/c/1")
    workers = workers_of(process.pid)
    (os.killpg if to_all else os.kill)(process.pid, number)
    error = process.communicate(timeout=DEADLINE)[1]
    assert process.returncode == code, error
    assert "Traceback" not in error and "Exception ignored" not in error
    assert error.count("interrupted") == 1 and error.splitlines()[-1] == LINE
    assert workers and not any(Path(f"/proc/{worker}").exists() for worker in workers)
    run(LONG, place)
    assert store_bytes(place / "many.zarr") == undisturbed


def serve(words: list[str], **around: object) -> subprocess.Popen[bytes]:
    """A program of dask.distributed, as a user starts it on another machine."""
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **around,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("words", [extract("pyramid"), SYNTHESIZE])
def test_what_is_around_a_worker_of_a_cluster_does_not_matter(
    place: Path, tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    """Two workers in other folders, with other locales, file modes and folders of temporary files."""
    run([*words, "--store", "whole.zarr"], place)
    elsewhere, file = tmp_path_factory.mktemp("elsewhere"), place / "scheduler.json"
    quiet = ["--scheduler-file", str(file), "--no-dashboard", "--host", "127.0.0.1"]
    programs = [serve(["dask_scheduler", *quiet, "--port", "0"], cwd=elsewhere)]
    try:
        for umask, locale in ((0o077, "C"), (0o002, "tr_TR.UTF-8")):
            folder = tmp_path_factory.mktemp("worker")
            around = {**os.environ, "TMPDIR": str(folder), "LC_ALL": locale, "PYTHONPATH": str(REPOSITORY)}
            worker = ["dask_worker", *quiet, "--no-nanny", "--nthreads", "1"]
            programs.append(serve(worker, cwd=folder, env=around, umask=umask))
        end = time.monotonic() + DEADLINE
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        run([*words, "--scheduler", "scheduler.json", "--store", "many.zarr"], place)
    finally:
        for program in reversed(programs):
            program.terminate()
            program.wait()
    assert store_bytes(place / "many.zarr") == store_bytes(place / "whole.zarr")
