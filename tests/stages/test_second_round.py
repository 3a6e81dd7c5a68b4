"""The second round of annotation by the command line: what each command says, does, and leaves alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.commands import dgan, done
from support.stores import store_bytes, tree_bytes
from support.tiny import write_checkpoint

import fstore
from pipeline.interpreter import folder
from pipeline.interpreter.files import load_interpreter
from pipeline.stages.train import epochs

TRAIN = ("train", "--members", 2, "--steps", 12, "--batch-size", 16)
SYNTHESIZE = ("synthesize", "--num", 4, "--precision", "float32")
ADD = ("sample", "--uncertain", "interpreter", "--num", 3, "--pool", 6, "--add", "--out", ".")


@pytest.fixture(scope="module")
def after_one_round(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a store of four of its five images, an interpreter and a dataset; three images added."""
    made = tmp_path_factory.mktemp("round")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        write_checkpoint(made / "checkpoint.pt")
        done("sample", "--checkpoint", "checkpoint.pt", "--num", 5, "--out", "annotate")
        patch.chdir("annotate")
        draw([0, 1, 2, 3])
        for words in (["extract-features", "--layout", "pyramid"], TRAIN, SYNTHESIZE, ADD):
            done(*words)
    return made


@pytest.fixture
def project(after_one_round: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, which is the current folder."""
    shutil.copytree(after_one_round, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy" / "annotate")
    return tmp_path / "copy" / "annotate"


def draw(images: list[int], classes: int = 3, turned: bool = False) -> None:
    """Masks in blocks of classes, as an annotator saves them."""
    for image in images:
        coarse = np.random.default_rng(image).integers(0, classes, (4, 4)).astype(np.uint8)
        coarse.flat[:classes] = range(classes)
        rows = np.arange(32) * 4 // 32
        mask = coarse[rows[:, None], rows]
        np.save(f"masks/image_mask{image}.npy", mask.T if turned else mask)


def extract(*more: str) -> str:
    result = done("extract-features", "--layout", "pyramid", *more)
    return result.stdout + result.stderr


def refused(*words: object) -> str:
    result = dgan(*words)
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("using ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.slow  # a shorter one is docs/second-round.md, whose commands are run
def test_the_second_round_is_one_chain_of_commands(project: Path) -> None:
    old, dataset = load_interpreter("interpreter"), tree_bytes(Path("dataset.zarr"))
    draw([4, 5, 6, 7])
    draw([1], turned=True)
    change = "features.zarr: 4 images added to the 4 there, the mask of image 1 corrected; nothing else"
    assert f"changes      {change}" in extract("--dry-run")
    assert len(fstore.open("features.zarr")) == 4
    said = extract()
    assert change in said and "5 of 5 annotated pictures are what the latents render" in said
    extract("--store", "anew.zarr")
    assert store_bytes(Path("features.zarr")) == store_bytes(Path("anew.zarr"))

    anew = "interpreter: features.zarr has grown from 4 to 8 images since it was trained; it is trained anew"
    assert anew in done(*TRAIN, "--dry-run").output
    assert load_interpreter("interpreter").sha256 == old.sha256
    said = done(*TRAIN).output
    assert anew in said and "kept as interpreter.round-1" in said
    assert load_interpreter("interpreter").info.store["num_images"] == 8
    assert load_interpreter("interpreter.round-1").sha256 == old.sha256
    assert "nothing to do" in done(*TRAIN).output

    for more in ((), ("--dry-run",)):
        line = refused(*SYNTHESIZE, *more)
        assert "dataset.zarr: is older than interpreter and was labelled by the one that is kept as" in line
        assert "pass --overwrite" in line and "--store other.zarr" in line
    assert tree_bytes(Path("dataset.zarr")) == dataset
    done(*SYNTHESIZE, "--interpreter", "interpreter.round-1")  # nothing is left to do
    done(*SYNTHESIZE, "--store", "other.zarr")
    done(*SYNTHESIZE, "--overwrite")
    sha256 = load_interpreter("interpreter").sha256
    for name in ("dataset.zarr", "other.zarr"):
        assert fstore.open(name).meta.interpreter["sha256"] == sha256
    done(*ADD)
    assert np.load("latents.npy").shape[0] == 11


@pytest.mark.slow
def test_masks_may_be_corrected_without_more_images(project: Path) -> None:
    before = fstore.open("features.zarr").masks.compute()
    draw([0, 3], turned=True)
    assert "the masks of images 0, 3 corrected; nothing else" in extract()
    after = fstore.open("features.zarr").masks.compute()
    assert [i for i in range(4) if not np.array_equal(before[i], after[i])] == [0, 3]
    assert "has corrected annotations since it was trained" in done(*TRAIN).output
    assert "added" not in extract() and "corrected" not in extract()


@pytest.mark.slow
def test_a_class_that_is_new_in_the_second_round_is_added(project: Path) -> None:
    draw([4], classes=4)
    assert "1 image added to the 4 there, class class_3 added" in extract()
    extract("--store", "anew.zarr")
    assert store_bytes(Path("features.zarr")) == store_bytes(Path("anew.zarr"))
    done(*TRAIN)
    assert len(load_interpreter("interpreter").info.classes) == 4
    assert fstore.verify_store("features.zarr").ok


def test_an_image_that_was_left_out_at_first_is_appended(project: Path) -> None:
    """Its number lies between those that are there: the store keeps their order."""
    shutil.rmtree("features.zarr")
    Path("masks/image_mask1.npy").unlink()
    extract()
    draw([1, 5])
    assert "2 images added to the 3 there; nothing" in extract()
    store = fstore.open("features.zarr")
    assert store.meta.inputs["image_numbers"] == [0, 2, 3, 1, 5]
    np.testing.assert_array_equal(store.latents.compute(), np.load("latents.npy")[[0, 2, 3, 1, 5]])
    assert "image_numbers" not in extract() and fstore.verify_store("features.zarr").ok


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("latent", "features.zarr: image 2: its latent is another one than the store's"),
        ("mask", "features.zarr: holds image 2, which this run lacks"),
        ("setting", "features.zarr: was begun with render_batch"),
    ],
)
def test_anything_else_that_differs_is_refused_in_one_line(project: Path, damage: str, says: str) -> None:
    draw([5])
    more = ["--render-batch", "2"] if damage == "setting" else []
    if damage == "latent":
        latents = np.load("latents.npy")
        latents[2] += 1
        np.save("latents.npy", latents)
    if damage == "mask":
        Path("masks/image_mask2.npy").unlink()
    before = tree_bytes(Path("features.zarr"))
    for flags in (more, [*more, "--dry-run"]):
        line = refused("extract-features", "--layout", "pyramid", *flags)
        assert says.replace("begun with ", "begun with generator.") in line and "--overwrite" in line
    assert tree_bytes(Path("features.zarr")) == before


def test_a_training_that_was_not_finished_begins_anew_on_a_store_that_has_grown(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(epochs, "is_finished", lambda *arguments: len(arguments[0]) > 0)
        patch.setattr("pipeline.stages.train.stage.save_interpreter", _killed)
        assert dgan(*TRAIN, "--out", "half").exit_code == 130
    draw([4])
    extract()
    said = done(*TRAIN, "--out", "half").output
    assert (
        "half: features.zarr has grown from 4 to 5 images since this training began; it begins anew" in said
    )
    assert load_interpreter("half").info.store["num_images"] == 5
    assert not Path("half.round-1").exists()


def _killed(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_place_in_which_the_old_interpreter_cannot_be_kept_is_refused_before_training(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder itself may be written to, and the one around it not."""
    draw([4])
    extract()
    before = tree_bytes(Path("interpreter"))
    monkeypatch.setattr(
        folder.os, "access", lambda place, mode: Path(place) == Path("interpreter").absolute()
    )
    for more in ((), ("--dry-run",)):
        assert f"{project}: may not be written to; change its permissions" in refused(*TRAIN, *more)
    assert tree_bytes(Path("interpreter")) == before


def test_a_training_during_which_images_are_added_ends_with_a_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw([4])
    run_epoch = epochs._run_epoch

    def and_extract(*arguments: object) -> float:
        loss = run_epoch(*arguments)
        extract()
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(epochs, "_run_epoch", and_extract)
        result = dgan(*TRAIN, "--out", "other")
    assert result.exit_code == 1
    assert "features.zarr: images were added or annotations corrected while it was read" in result.output
    done(*TRAIN, "--out", "other")


@pytest.mark.slow  # of a store that is as it was, tests/stages/train/test_stage.py has the same
def test_other_settings_are_refused_though_the_store_has_grown(project: Path) -> None:
    draw([4])
    extract()
    words = ("train", "--members", 2, "--steps", 12, "--batch-size", 32)
    assert "training.batch_size = 16, this run has 32" in refused(*words)
    shutil.rmtree("features.zarr")
    extract()  # another store, though of the same content
    assert "trained with store.num_images = 4, this run has 5" in refused(*TRAIN)
