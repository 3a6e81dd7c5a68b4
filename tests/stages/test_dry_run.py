"""``--dry-run`` refuses what the run refuses: the same line and exit code, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.commands import dgan, done
from support.stores import tree_bytes
from support.synthesis import train_in

import fstore
from fstore.location import Location


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs of all three commands; a test writes beside them only."""
    return train_in(tmp_path_factory.mktemp("dry"))


@pytest.fixture(scope="module")
def made(trained: Path) -> Path:
    """A folder with what each command makes, under its name: change a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained)
        for command, words in COMMANDS.items():
            done(*words)
            Path("there").rename(f"made by {command}")
    return trained


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("in", "interpreter"):
        (tmp_path / name).symlink_to(trained / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = {
    "extract-features": [
        "extract-features", "--checkpoint", "in/checkpoint.pt", "--latents", "in/latents.npy",
        "--annotations", "in/masks", "--store", "there",
    ],
    "synthesize": [
        "synthesize", "--checkpoint", "in/checkpoint.pt", "--num", "3", "--store", "there",
        "--precision", "float32",
    ],
    "sample": ["sample", "--checkpoint", "in/checkpoint.pt", "--num", "3", "--out", "there"],
}  # fmt: skip


def copied(command: str) -> None:
    """What this command has made lies there already."""
    shutil.copytree(Path("in").resolve().parent / f"made by {command}", "there")


def foreign() -> None:
    Path("there").mkdir()
    Path("there/letter.txt").write_text("dear all")


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Location, "free_bytes", lambda self: 1000)


CASES = [
    *[pytest.param(name, lambda _: foreign(), [], 2, "there: ", id=f"{name}-foreign") for name in COMMANDS],
    *[pytest.param(name, full, [], 1, "1 kB free", id=f"{name}-disk") for name in COMMANDS],
    pytest.param(
        "extract-features", lambda _: copied("extract-features"), ["--layout", "pyramid"], 2,
        "layout",
        id="other-layout",
    ),
    pytest.param(
        "extract-features", lambda _: copied("extract-features"), ["--resolution", "16"], 2, "grid",
        id="other-grid",
    ),
    pytest.param(
        "extract-features", lambda _: copied("synthesize"), [], 2, "dataset", id="a-dataset-is-there"
    ),
    pytest.param(
        "extract-features", lambda _: copied("synthesize"), ["--overwrite"], 2,
        "there: is a store of kind 'dataset', and the new one is of kind 'features'", id="over-a-dataset",
    ),
    pytest.param(
        "synthesize", lambda _: copied("extract-features"), ["--overwrite"], 2,
        "there: is a store of kind 'features', and the new one is of kind 'dataset'", id="over-features",
    ),
    pytest.param(
        "synthesize", lambda _: copied("synthesize"), ["--seed", "3"], 2, "seed", id="other-seed"
    ),
    pytest.param(
        "synthesize", lambda _: copied("synthesize"), ["--num", "2"], 2,
        "holds 3 images, this run asks for 2", id="fewer-than-there-are",
    ),
    pytest.param(
        "synthesize", lambda _: None, ["--memory-budget", "1MB"], 2, "--memory-budget", id="budget"
    ),
    pytest.param(
        "sample", lambda _: copied("sample"), [], 2, "holds 3 images already", id="images-are-there"
    ),
    pytest.param(
        "sample", lambda _: annotated_project(), ["--overwrite", "--seed", "1"], 2, "which latents these are",
        id="annotated-images-would-change",
    ),
]  # fmt: skip


def annotated_project() -> None:
    copied("sample")
    np.save("there/masks/image_mask0.npy", np.zeros((32, 32), np.uint8))


@pytest.mark.parametrize(("command", "prepare", "flags", "code", "says"), CASES)
def test_it_says_what_the_run_says(
    folder: Path,
    made: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    prepare: Callable[[pytest.MonkeyPatch], None],
    flags: list[str],
    code: int,
    says: str,
) -> None:
    prepare(monkeypatch)
    before = tree_bytes(Path("there"))
    words = [*COMMANDS[command], *flags]
    dry, run = dgan(*words, "--dry-run"), dgan(*words)
    assert (dry.exit_code, dry.stderr) == (run.exit_code, run.stderr)
    assert dry.exit_code == code and says in dry.stderr.splitlines()[-1]
    assert tree_bytes(Path("there")) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_what_it_lets_through_runs(folder: Path, command: str) -> None:
    words = COMMANDS[command]
    assert "time" in done(*words, "--dry-run").stdout
    assert not Path("there").exists() and not list(Path().glob(".*"))
    done(*words)
    if command == "sample":
        return
    assert "time" in done(*words, "--dry-run").stdout  # it goes on with the store
    other = ["--seed", "3"] if command == "synthesize" else ["--layout", "pyramid"]
    assert "time" in done(*words, *other, "--overwrite", "--dry-run").stdout


@pytest.mark.parametrize("command", ["extract-features", "synthesize"])
def test_a_store_that_another_writer_has_open_is_refused(folder: Path, made: Path, command: str) -> None:
    copied(command)
    meta = fstore.open("there").meta
    if command == "synthesize":
        writer = fstore.create_dataset("there", meta, num_images=3)
    else:
        writer = fstore.create("there", meta, num_images=4, latent_shape=(16,))
    try:
        dry, run = dgan(*COMMANDS[command], "--dry-run"), dgan(*COMMANDS[command])
    finally:
        writer.close()
    assert (dry.exit_code, dry.stderr) == (run.exit_code, run.stderr)
    assert "another writer has it open" in dry.stderr
    done(*COMMANDS[command], "--dry-run")
