"""`dgan view` as a program: its line in a pipe, and its end by a signal while a browser is connected."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from support.commands import dgan
from support.places import REPOSITORY
from support.small_datasets import make_classes, write_dataset

WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "dataset.zarr"
    write_dataset(path, make_classes(["a", "b"]), np.zeros((2, 8, 8), np.uint8))
    return path


def test_it_says_where_it_listens_and_a_signal_ends_it_at_once(store: Path) -> None:
    program = (
        "import sys; sys.modules.update(torch=None, dask=None)\n"  # whose import would be felt, and fails now
        "from pipeline.__main__ import main; main()"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "BROWSER")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    command = [sys.executable, "-c", program, "view", str(store)]  # without a display no browser is opened
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line.startswith(f"{store}: 2 images at http://127.0.0.1:")
        assert line.endswith("/ (Ctrl-C ends this)\n")
        page = urlopen(line.split(" at ")[1].split(" (")[0], timeout=WAIT_SECONDS)
        assert page.status == 200 and b"dataset.zarr" in page.read()
        port = int(line.split("127.0.0.1:")[1].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as idle:
            idle.sendall(b"GET / HT")
            child.send_signal(signal.SIGTERM)
            output, errors = child.communicate(timeout=WAIT_SECONDS)
    assert (child.returncode, output) == (143, "")
    assert errors == "stopped\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere.zarr"], "nowhere.zarr: no such store; expected a folder written by dgan"),
        (["{store}", "--port", "65536"], "--port is 65536; expected an integer from 0 to 65535"),
        (["memory://x"], "lies in the memory of one process"),
    ],
)
def test_bad_input_is_one_line(store: Path, words: list[str], says: str) -> None:
    result = dgan("view", "--no-browser", *(word.replace("{store}", str(store)) for word in words))
    assert result.exit_code == 2 and says in result.output and result.output.count("\n") == 1


def test_an_interpreter_is_told_from_a_store(tmp_path: Path) -> None:
    (tmp_path / "interpreter.json").write_text("{}")
    (tmp_path / "interpreter.safetensors").write_bytes(b"")
    result = dgan("view", str(tmp_path), "--no-browser")
    assert result.exit_code == 2
    assert f"is an interpreter, which holds no images; `dgan report {tmp_path}` shows it" in result.stderr
