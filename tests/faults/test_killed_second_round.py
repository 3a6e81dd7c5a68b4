"""``kill -9`` of a second round, and of `dgan sample`, at any moment: what was there stays until the new is
whole, and the same command ends in the bytes of an undisturbed run, but for ``created``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.fault_table import SURVIVED
from support.processes import run, run_until
from support.stores import store_bytes, tree_bytes
from support.tiny import input_flags, write_inputs

import fstore
from pipeline.interpreter.files import load_interpreter

EXTRACT = ["extract-features", "--resolution", "64", "--render-batch", "3"]
SECOND = [*EXTRACT, "--layout", "pyramid", "--annotated-only", "--image-zero", "latent"]
TRAIN = ["train", "--members", "2"]
TRAIN_SETTINGS = "[train]\nbatch_size = 16\nepoch_pixels = 320\nmax_epochs = 4\nfinal_epochs = 1\n"
SAMPLE = ["sample", "--checkpoint", "in/checkpoint.pt", "--num", "9"]
MANY = pytest.param(12, marks=pytest.mark.slow, id="twelve-moments")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the folder ``in`` of inputs."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder / "in", num=9)
    return folder


@pytest.fixture(scope="module")
def second_round(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ``first.zarr``, of five images, an interpreter of it, and masks of four images more; of
    images 1 and 3 the masks have been corrected.
    """
    folder = tmp_path_factory.mktemp("second")
    write_inputs(folder / "in", num=9)
    (folder / "dgan.toml").write_text(TRAIN_SETTINGS)
    masks, later = folder / "in" / "masks", folder / "later"
    later.mkdir()
    for image in range(5, 9):
        (masks / f"image_mask{image}.npy").rename(later / f"image_mask{image}.npy")
    run([*SECOND, *input_flags(folder / "in"), "--store", "first.zarr"], folder)
    run([*TRAIN, "--store", "first.zarr"], folder)
    for mask in later.iterdir():
        mask.rename(masks / mask.name)
    for image in (1, 3):
        path = masks / f"image_mask{image}.npy"
        np.save(path, np.load(path).T)
    return folder


def round_of(folder: Path, name: str) -> Path:
    """A copy of what the first round made, under the names of the project."""
    copy = folder / name
    shutil.copytree(folder / "first.zarr", copy / "features.zarr")
    shutil.copytree(folder / "interpreter", copy / "interpreter")
    shutil.copy(folder / "dgan.toml", copy / "dgan.toml")
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("kills", [pytest.param(2, id="two-moments"), MANY])
def test_a_second_extraction_killed_is_never_less_and_ends_in_the_bytes_of_one_run(
    second_round: Path, kills: int, note: Callable[[str], None]
) -> None:
    words = [*SECOND, *input_flags(second_round / "in")]
    whole, killed = (round_of(second_round, f"{name}{kills}") for name in ("whole", "killed"))
    changes = run(words, whole)
    assert "4 images added to the 5 there, the masks of images 1, 3 corrected" in output(whole)
    run([*words, "--store", "anew.zarr"], whole)
    assert store_bytes(whole / "features.zarr") == store_bytes(whole / "anew.zarr")
    for kill in range(kills):
        run_until(changes // kills if kill else changes // 8, words, killed)
        report = fstore.verify_store(killed / "features.zarr")
        assert report.ok and report.checked >= 5, report.problems
    run(words, killed)
    assert store_bytes(killed / "features.zarr") == store_bytes(whole / "features.zarr")
    note(SURVIVED)


ONE_AFTER_ANOTHER = [(0, 1 / 2, 1 / 4)]
EACH_ALONE = [(kill / 12,) for kill in range(12)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(ONE_AFTER_ANOTHER, id="three-moments"),
        pytest.param(EACH_ALONE, marks=pytest.mark.slow, id="twelve-moments"),
    ],
)
def test_a_second_training_killed_leaves_one_of_the_two_and_ends_in_the_same_weights(
    second_round: Path, runs: list[tuple[float, ...]], note: Callable[[str], None]
) -> None:
    """``runs``: of each, the shares of an undisturbed run's changes after which it is killed, one by one."""
    first, whole = (round_of(second_round, f"{name}{len(runs)}") for name in ("begun", "trained"))
    run([*SECOND, *input_flags(second_round / "in")], first)
    shutil.copytree(first, whole, dirs_exist_ok=True)
    old = load_interpreter(whole / "interpreter").sha256
    changes = run(TRAIN, whole)
    new = load_interpreter(whole / "interpreter").sha256
    for number, shares in enumerate(runs):
        killed = shutil.copytree(first, second_round / f"killed{len(runs)}-{number}")
        for share in shares:
            run_until(1 + int(share * changes), TRAIN, killed)
            assert load_interpreter(killed / "interpreter").sha256 in (old, new)
        run(TRAIN, killed)
        check_second_training(killed, whole, old)
        note(SURVIVED)


def check_second_training(killed: Path, whole: Path, old: str) -> None:
    """Both have the new interpreter, and beside it the first one, whose hash is ``old``."""
    assert described(killed / "interpreter") == described(whole / "interpreter")
    for folder in (whole, killed):
        assert load_interpreter(folder / "interpreter.round-1").sha256 == old
        assert sorted(path.name for path in folder.glob("*interpreter*")) == [
            "interpreter",
            "interpreter.round-1",
        ]


def output(folder: Path) -> str:
    return (folder / "output.txt").read_text()


def described(folder: Path) -> dict[str, object]:
    """The files of an interpreter; of its description all but its time of creation."""
    description = json.loads((folder / "interpreter.json").read_text())
    return {**tree_bytes(folder), "interpreter.json": {**description, "created": None}}


def test_sample_killed_leaves_nothing_that_its_rerun_does_not_clear(
    inputs: Path, note: Callable[[str], None]
) -> None:
    changes = run([*SAMPLE, "--out", "project"], inputs)
    for change in (1, changes // 3, changes - 1):
        run_until(change, [*SAMPLE, "--out", "annotate"], inputs)
        assert not (inputs / "annotate").exists()
    run([*SAMPLE, "--out", "annotate"], inputs)
    assert not list(inputs.glob(".annotate*"))
    assert sampled(inputs / "annotate") == sampled(inputs / "project")
    note(SURVIVED)


def sampled(folder: Path) -> dict[str, object]:
    """The files of a project; of its record all but its time of creation."""
    record = json.loads((folder / "sample.json").read_text())
    return {**tree_bytes(folder), "sample.json": {**record, "created": None}}
