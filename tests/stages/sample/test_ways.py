"""``dgan sample --by``: what each flag means, and that the chosen images are those of a brute-force twin."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.commands import dgan, done
from support.tiny import LATENT_SIZE, write_checkpoint, write_inputs

import fstore
from fstore.errors import UnreadableError
from fstore.meta import ClassInfo
from pipeline.errors import UsageError
from pipeline.labelling import labelled_images
from pipeline.rendering.latents import seeded_latents
from pipeline.settings.options import WAYS
from pipeline.stages.sample.diversity import farthest_points
from pipeline.stages.sample.ways import RECORDED, asked_way

INTERPRETER = Path("interpreter")
POOL, NUM = 12, 4


@pytest.mark.parametrize(
    ("by", "interpreter", "diverse", "uncertain", "way"),
    [
        (None, None, False, None, "random"),
        (None, None, True, None, "diverse"),
        (None, None, False, INTERPRETER, "uncertain"),
        (None, None, True, INTERPRETER, "uncertain-diverse"),
        (None, INTERPRETER, False, None, "uncertain-diverse"),  # what measured best
        ("random", None, False, None, "random"),
        ("diverse", None, False, None, "diverse"),
        ("uncertain", INTERPRETER, False, None, "uncertain"),
        ("uncertain-diverse", INTERPRETER, False, None, "uncertain-diverse"),
        ("rare", INTERPRETER, False, None, "rare"),
    ],
)
def test_every_flag_means_one_way(
    by: str | None, interpreter: Path | None, diverse: bool, uncertain: Path | None, way: str
) -> None:
    found, asked = asked_way(by, interpreter, diverse=diverse, uncertain=uncertain)
    assert (found, asked) == (way, interpreter or uncertain)
    assert RECORDED.keys() == set(WAYS)


@pytest.mark.parametrize(
    ("by", "interpreter", "diverse", "uncertain", "says"),
    [
        ("rare", INTERPRETER, True, None, "--by rare and --diverse both say how to choose"),
        ("rare", None, False, INTERPRETER, "--by rare and --uncertain both say how to choose"),
        (None, INTERPRETER, False, INTERPRETER, "--interpreter and --uncertain both name an interpreter"),
        ("rare", None, False, None, "--by rare asks an interpreter; name it with --interpreter"),
        ("random", INTERPRETER, False, None, "choosing by random asks no interpreter"),
        (None, INTERPRETER, True, None, "choosing by diverse asks no interpreter"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(
    by: str | None, interpreter: Path | None, diverse: bool, uncertain: Path | None, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        asked_way(by, interpreter, diverse=diverse, uncertain=uncertain)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``features.zarr``, ``interpreter``, and in ``dataset.zarr`` the very images of the pool."""
    folder = tmp_path_factory.mktemp("ways")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_inputs(folder / "in")
        state = torch.load("in/checkpoint.pt", weights_only=True)  # whose pictures hardly differ
        mapping = {name: 100 * values for name, values in state.items() if "mapping" in name}
        torch.save({**state, **mapping}, "checkpoint.pt")
        done("extract-features", "--checkpoint", "checkpoint.pt", "--latents", "in/latents.npy",
             "--annotations", "in/masks")  # fmt: skip
        done("train", "--members", 2, "--steps", 10, "--batch-size", 16)

        def offered(_: object, *rest: object) -> np.ndarray:
            return seeded_latents(labelled_images.Purpose.ANNOTATED_LATENTS, *rest)  # type: ignore[arg-type]

        with patch.context() as inner:
            inner.setattr(labelled_images, "seeded_latents", offered)
            done("synthesize", "--num", POOL, "--checkpoint", "checkpoint.pt", "--precision", "float32")
    return folder


@pytest.fixture
def folder(trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder as current one; what a test writes goes elsewhere."""
    monkeypatch.chdir(trained)
    return tmp_path


def sample(out: Path, *more: object) -> str:
    words = ["sample", "--interpreter", "interpreter", "--num", NUM, "--pool", POOL, "--out", out / "a"]
    return str(done(*words, *more).stdout)


def record(out: Path) -> dict:
    return json.loads((out / "a" / "sample.json").read_text())


def numbers(out: Path) -> list[int]:
    return [number for _, number in record(out)["latents"]]


def pool_pixels(num_classes: int = 4) -> np.ndarray:
    labels = fstore.open("dataset.zarr").labels.compute()  # type: ignore[union-attr]
    return np.array([[(label == k).sum() for k in range(num_classes)] for label in labels], float)


def greedy(shown: np.ndarray, total: np.ndarray) -> list[int]:
    """By trying every image at every step."""
    chosen: list[int] = []
    for _ in range(NUM):
        worth = {
            i: np.log(1 + total + shown[[*chosen, i]].sum(0)).sum()
            for i in range(len(shown))
            if i not in chosen
        }
        chosen.append(max(worth, key=lambda i: worth[i]))
    return chosen


def test_rare_goes_by_the_store_s_counts_and_the_predicted_labels(folder: Path) -> None:
    masks = fstore.open("features.zarr").masks.compute()  # type: ignore[union-attr]
    total = np.array([(masks == k).sum() for k in range(4)], float)
    shown = pool_pixels()
    expected = greedy(shown, total)
    assert expected != list(range(NUM)) and len(np.unique(shown, axis=0)) > NUM
    line = sample(folder, "--by", "rare")
    assert numbers(folder) == expected
    chosen = record(folder)["chosen"]
    assert chosen["by"] == ["rare"] and list(chosen["annotated"].values()) == total.tolist()
    uncertainty = fstore.open("dataset.zarr").uncertainty  # type: ignore[union-attr]
    np.testing.assert_allclose(chosen["uncertainty"], uncertainty[expected], rtol=1e-6)
    names = [entry.name for entry in fstore.open("features.zarr").meta.classes]
    order = np.argsort(total, kind="stable")[:3]
    rarest = ", ".join(f"{names[k]} {total[k] / total.sum():.1%}" for k in order)
    assert f"show most of the classes with the fewest pixels in features.zarr ({rarest})" in line


def test_the_ways_by_name_are_those_of_the_older_flags(folder: Path) -> None:
    points_of = {}
    for name, by, old in (
        ("u", "uncertain", ()),
        ("ud", "uncertain-diverse", ("--diverse",)),
    ):
        sample(folder / name, "--by", by)
        words = ["sample", "--uncertain", "interpreter", *old, "--num", NUM, "--pool", POOL]
        done(*words, "--out", folder / "old" / name / "a")
        assert numbers(folder / name) == numbers(folder / "old" / name)
        assert record(folder / name)["chosen"] == record(folder / "old" / name)["chosen"]
        points_of[name] = numbers(folder / name)
    uncertainty = fstore.open("dataset.zarr").uncertainty  # type: ignore[union-attr]
    assert points_of["u"] == np.argsort(-uncertainty, kind="stable")[:NUM].tolist()
    assert set(points_of["ud"]) == set(points_of["u"])  # a quarter of the pool is fewer than are wanted


def test_by_diverse_and_random_ask_no_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.checkpoints.read import load_generator
    from pipeline.machine.random_streams import Purpose

    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "checkpoint.pt")
    words = ["sample", "--checkpoint", "checkpoint.pt", "--num", NUM]
    done(*words, "--by", "diverse", "--pool", POOL, "--out", "d/a")
    done(*words, "--by", "random", "--out", "r/a")
    latents = torch.from_numpy(seeded_latents(Purpose.ANNOTATED_LATENTS, 0, range(POOL), LATENT_SIZE))
    with torch.inference_mode():
        points = load_generator(Path("checkpoint.pt")).generator.mapping(latents).numpy()
    assert numbers(Path("d")) == farthest_points(points, NUM).tolist()
    assert numbers(Path("r")) == list(range(NUM))


def test_an_interpreter_alone_is_asked_in_the_way_that_measured_best(folder: Path) -> None:
    sample(folder)
    assert record(folder)["chosen"]["by"] == ["uncertain", "diverse"]


def test_keypoints_have_no_rare_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path / "in")
    shutil.move("in/checkpoint.pt", "checkpoint.pt")
    np.savez("points.npz", keypoints=np.random.default_rng(0).uniform(4, 28, (4, 3, 2)).astype(np.float32))
    done("extract-features", "--checkpoint", "checkpoint.pt", "--latents", "in/latents.npy",
         "--annotations", "points.npz", "--task", "keypoints")  # fmt: skip
    done("train", "--members", 2, "--steps", 2, "--batch-size", 16)
    sample(tmp_path)
    assert record(tmp_path)["chosen"]["by"] == ["uncertain", "diverse"]
    result = dgan("sample", "--interpreter", "interpreter", "--by", "rare", "--out", "b")
    assert result.exit_code == 2 and "has learnt keypoints; --by rare is for classes" in result.stderr


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("nowhere.zarr", "nowhere.zarr: "),
        ("dataset.zarr", "dataset.zarr: is a dataset; --by rare needs the feature store"),
    ],
)
def test_counts_that_cannot_be_had_are_refused_in_a_line(folder: Path, store: str, says: str) -> None:
    words = ["sample", "--interpreter", "interpreter", "--by", "rare", "--store", store]
    result = dgan(*words, "--out", folder / "a")
    assert result.exit_code == 2 and "Traceback" not in result.output
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("using ")]
    assert says in line and "choose --by uncertain" in line
    assert not (folder / "a").exists()


def test_a_store_of_counts_that_cannot_be_read_is_a_failed_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(place: str) -> None:
        raise UnreadableError(f"{place}: zarr.json cannot be read (Permission denied)")

    words = ["sample", "--interpreter", "interpreter", "--by", "rare", "--store", "features.zarr"]
    monkeypatch.setattr(fstore, "open", forbidden)
    result = dgan(*words, "--out", folder / "a")
    assert result.exit_code == 1 and not (folder / "a").exists()
    assert result.stderr.endswith("Error: features.zarr: zarr.json cannot be read (Permission denied)\n")


@pytest.mark.usefixtures("folder")
def test_a_class_that_the_store_lacks_is_named() -> None:
    from pipeline.interpreter.files import load_interpreter
    from pipeline.stages.sample.annotated import annotated_pixels

    info = load_interpreter(INTERPRETER).info
    assert len(annotated_pixels("features.zarr", info)) == 4
    renamed = replace(info, classes=(*info.classes[:2], ClassInfo(2, "beak", "#000000"), info.classes[3]))
    with pytest.raises(UsageError, match="has no class 'beak', which the interpreter has learnt"):
        annotated_pixels("features.zarr", renamed)
    permuted = replace(info, classes=info.classes[::-1])  # classes are matched by their names
    expected = annotated_pixels("features.zarr", info)[::-1]
    assert annotated_pixels("features.zarr", permuted).tolist() == expected.tolist()
    twice = replace(info, classes=(*info.classes[:3], info.classes[2]))
    with pytest.raises(UsageError, match=f"has 1 class '{info.classes[2].name}', which the interpreter"):
        annotated_pixels("features.zarr", twice)
    ignoring = annotated_pixels("features.zarr", replace(info, ignore=1))
    assert expected[2] > 0 and ignoring.tolist() == [0 if k == 1 else expected[3 - k] for k in range(4)]


def test_an_interpreter_that_is_replaced_meanwhile_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.stages.sample import stage

    chosen = stage.chosen_latents
    shutil.copytree(INTERPRETER, folder / "mine")

    def replaced(*arguments: Any) -> Any:
        shutil.rmtree(folder / "mine")
        return chosen(*arguments)

    monkeypatch.setattr(stage, "chosen_latents", replaced)
    words = ["sample", "--interpreter", folder / "mine", "--num", NUM, "--pool", POOL, "--out", folder / "a"]
    result = dgan(*words)
    assert result.exit_code == 1 and "is no longer the interpreter" in result.stderr
    assert not (folder / "a").exists()
