"""A whole training of tiny networks: its files, going on after a death or for more epochs, refusals."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.deaths import dying, survived
from support.exports import make_dataset
from support.stores import tree_bytes
from support.translators import CPU, SIDE, compared, domains, log_of, prepared, trained, write_domains

import fstore
from fstore.errors import StoreError
from fstore.lock import FolderLock
from pipeline.errors import RunError, UsageError
from pipeline.settings.schema import Config, TranslateConfig
from pipeline.translate.folder import open_translator
from pipeline.translate.training import epochs, run
from pipeline.translate.training.learner import LOSSES, Learner

NUM_STEPS = 3  # of an epoch: 5 of 6 images, two at a time


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "translator"
    trained(data, folder)
    return folder


@pytest.fixture(scope="module")
def interrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was interrupted in its second epoch: change a copy."""
    folder = tmp_path_factory.mktemp("interrupted") / "translator"

    def interrupt(epoch: int, learner: Learner) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.train(prepared(data, folder), CPU, say=print, after_epoch=interrupt)
    return folder


@pytest.fixture
def begun(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(interrupted, tmp_path / "t")


def test_it_writes_what_the_folder_says(finished: Path) -> None:
    assert sorted(
        path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()
    ) == [
        "curves.svg",
        "generators.pth",
        "log.jsonl",
        "samples/epoch_00001.png",
        "samples/epoch_00002.png",
        "samples/latest.png",
        "training_state.pt",
        "translator.json",
    ]
    translator = open_translator(finished)
    assert translator.is_finished and translator.resolution == SIDE
    assert translator.record["epochs"] == 2 and translator.record["target"] == {"name": "target"}


def test_the_log_has_losses_and_feedback_of_both_directions(finished: Path) -> None:
    rows = log_of(finished)
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, NUM_STEPS), (2, 2 * NUM_STEPS)]
    for row in rows:
        assert set(row["losses"]) == set(LOSSES)
        for part in ("training", "validation"):
            assert list(row[part]) == ["source_to_target", "target_to_source", "real"]
            assert all(0 < figures["feedback"] < 1 for name, figures in row[part].items() if name != "real")
            assert set(row[part]["real"]) == {"source", "target"}


def test_of_pairs_the_log_has_the_errors_of_the_translated_images(data: Path, tmp_path: Path) -> None:
    """They are computed again here, from the saved network and the pictures."""
    settings = {"paired": True, "held_out": 0.3, "epochs": 1}
    trained(data, tmp_path / "t", **settings)
    (row,) = log_of(tmp_path / "t")
    job = prepared(data, tmp_path / "t", **settings)
    places = job.batches.splits[0].validation
    assert job.batches.splits[0] == job.batches.splits[1] and len(places) == 2
    source, target = (images[list(places)] for images in domains(6))
    network = open_translator(tmp_path / "t").network
    with torch.no_grad():
        made = network(torch.from_numpy(source).permute(0, 3, 1, 2).float() / 127.5 - 1)
    values = ((made + 1) / 2).permute(0, 2, 3, 1).numpy()  # [0, 1]
    found = row["validation"]["source_to_target"]
    assert found["l2"] == pytest.approx(np.mean((values - target / 255) ** 2), rel=1e-4)
    levels = np.round(values * 255).clip(0, 255)
    assert found["pixel_error"] == pytest.approx(np.abs(levels - target).mean(), abs=0.01)


def test_without_an_adversary_there_is_no_feedback(data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    lines = trained(data, tmp_path / "t", said.append, adversary=False, held_out=0, epochs=1)
    assert "mean look" in said[0]
    (row,) = log_of(tmp_path / "t")
    assert set(row["losses"]) == {"generators", "cycle", "identity"}
    assert row["training"] == {} and "validation" not in row
    assert "feedback" not in lines[0]
    state = torch.load(tmp_path / "t" / "training_state.pt", weights_only=True)
    assert set(state["learnt"]) == {"source_to_target", "target_to_source", "adam_generators"}


def test_a_sample_sheet_has_the_result_left_of_the_image_in_both_directions(
    data: Path, finished: Path
) -> None:
    page = np.asarray(Image.open(finished / "samples" / "latest.png"))
    batches = prepared(data, finished).batches
    (source,), (target,) = (split.validation for split in batches.splits)
    assert page.shape == (SIDE, 4 * SIDE + 4 + 8 + 4, 3)
    assert np.array_equal(page[:, SIDE + 4 : 2 * SIDE + 4], domains(6)[0][source])
    assert np.array_equal(page[:, -SIDE:], domains(6)[1][target])
    made = open_translator(finished).network(
        torch.from_numpy(domains(6)[0][[source]]).permute(0, 3, 1, 2).float() / 127.5 - 1
    )
    expected = ((made + 1) * 127.5).round().clamp(0, 255)[0].permute(1, 2, 0).detach().numpy()
    assert np.abs(page[:, :SIDE].astype(float) - expected).max() <= 1


def test_two_runs_end_in_the_same_bytes_and_another_seed_does_not(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    torch.rand(3)  # what else draws from torch's generator makes no difference
    trained(data, tmp_path / "again")
    assert compared(tmp_path / "again") == compared(finished)
    trained(data, tmp_path / "other", seed=1)
    assert compared(tmp_path / "other")["generators.pth"] != compared(finished)["generators.pth"]


@pytest.mark.parametrize(
    ("seconds", "settings", "stride", "least"),
    [
        pytest.param(0.0, {"epochs": 1}, 10, 3, id="a state a step, every tenth change of an epoch"),
        pytest.param(0.0, {}, 1, 20, marks=pytest.mark.slow, id="a state a step, every change"),
        pytest.param(300.0, {}, 1, 15, marks=pytest.mark.slow, id="states of epochs, every change"),
        pytest.param(
            0.0, {"paired": True, "adversary": False}, 3, 8, marks=pytest.mark.slow, id="pairs, no adversary"
        ),
    ],
)
def test_a_run_that_died_at_any_change_to_a_file_goes_on_to_the_same_bytes(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    settings: dict[str, Any],
    stride: int,
    least: int,
) -> None:
    monkeypatch.setattr(epochs, "STATE_SECONDS", seconds)
    trained(data, tmp_path / "whole", **settings)
    deaths, went_on = 0, 0
    for change in count(1, stride):
        folder = tmp_path / f"died-{change}"
        folder.mkdir()
        with dying(folder, change):
            trained(data, folder, **settings)
        if survived():
            break
        deaths += 1
        said: list[str] = []
        trained(data, folder, said.append, **settings)
        went_on += any("going on after step" in line for line in said)
        assert compared(folder) == compared(tmp_path / "whole"), f"died before change {change}"
    assert deaths >= least
    assert went_on >= deaths / 3


def test_the_state_holds_no_speed_and_no_time(finished: Path) -> None:
    progress = torch.load(finished / "training_state.pt", weights_only=True)["progress"]
    (*_, last) = log_of(finished)
    assert last.pop("images_per_second") > 0
    assert progress == {"epochs": 2, "step": 0, "losses": (), "row": last}


@pytest.mark.parametrize("speed", [None, 12.5])
def test_a_line_of_the_log_that_was_lost_has_the_speed_that_an_earlier_version_kept_in_its_state(
    data: Path, finished: Path, tmp_path: Path, speed: float | None
) -> None:
    folder = tmp_path / "t"
    shutil.copytree(finished, folder)
    state = torch.load(folder / "training_state.pt", weights_only=True)
    if speed is not None:
        state["progress"]["row"]["images_per_second"] = speed
    torch.save(state, folder / "training_state.pt")
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join(lines[:1]))
    trained(data, folder)
    first, last = log_of(folder)
    assert first == json.loads(lines[0])
    assert last == {**json.loads(lines[1]), "images_per_second": speed}


def test_more_epochs_go_on_to_what_a_longer_run_ends_with(data: Path, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "longer"
    trained(data, folder, epochs=1)
    said: list[str] = []
    trained(data, folder, said.append, epochs=2)
    assert said == [f"{folder}: going on after step {NUM_STEPS}, in epoch 2 of 2"]
    assert compared(folder) == compared(finished)
    assert open_translator(folder).is_finished


def test_more_epochs_without_a_state_are_refused(data: Path, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    shutil.copytree(finished, folder)
    (folder / "training_state.pt").unlink()
    with pytest.raises(UsageError, match="has learnt 2 epochs, and training_state"):
        prepared(data, folder, epochs=3)
    assert "nothing to do" in trained(data, folder)[0]


def test_a_finished_run_says_so_and_does_nothing(data: Path, finished: Path) -> None:
    before = tree_bytes(finished)
    assert trained(data, finished) == [f"{finished}: trained already with these settings; nothing to do"]
    assert run.dry_run(prepared(data, finished), CPU) == trained(data, finished)
    assert tree_bytes(finished) == before


def test_it_ends_with_figures_what_is_left_out_and_the_next_command(data: Path, tmp_path: Path) -> None:
    first, left_out, last = trained(data, tmp_path / "t", epochs=1, paired=True)
    row = log_of(tmp_path / "t")[-1]
    figures = row["validation"]["source_to_target"]
    assert first.startswith(
        f"{tmp_path / 't'}: 1 epoch, cycle loss {row['losses']['cycle']:.4f}; on held-out"
    )
    assert f"source to target feedback {figures['feedback']:.3f}, L2 {figures['l2']:.4f}" in first
    assert left_out.startswith("FID is left out")
    assert last == f"next: dgan translate apply {tmp_path / 't'} --data dataset.zarr"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param(
            {"epochs": 1}, "has learnt 2 epochs, this run has 1; pass --epochs 2 or more", id="fewer"
        ),
        pytest.param({"seed": 1}, "other settings: seed is 0 there and 1 in this run", id="a setting"),
        pytest.param({"paired": True}, "paired is False there and True", id="pairs"),
        pytest.param({"width": 3}, "width is 2 there and 3", id="width"),
        pytest.param({"adversary": False}, "adversary is True there and False", id="adversary"),
        pytest.param({"precision": "bfloat16"}, "precision is 'float32' there", id="precision"),
    ],
)
def test_a_finished_translator_of_other_settings_is_refused(
    data: Path, finished: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        prepared(data, finished, **settings)
    assert "\n" not in str(refused.value) and "--overwrite" in str(refused.value)


def test_other_pictures_are_refused_and_moved_ones_are_not(finished: Path, tmp_path: Path) -> None:
    moved = write_domains(tmp_path / "elsewhere")
    assert "nothing to do" in trained(moved, finished)[0]
    (moved / "target" / "image_5.png").unlink()
    with pytest.raises(UsageError, match=r"learns from other images: target\.num_images is 6 there and 5"):
        prepared(moved, finished)


def test_without_a_precision_a_run_goes_on_with_that_of_the_folder(data: Path, tmp_path: Path) -> None:
    trained(data, tmp_path / "t", precision="bfloat16", epochs=1)
    assert "nothing to do" in trained(data, tmp_path / "t", precision="auto", epochs=1)[0]


def test_overwriting_deletes_the_translators_files_alone(data: Path, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    shutil.copytree(finished, folder)
    for name in ("notes.txt", "samples/mine.png"):
        (folder / name).write_text("mine")
    trained(data, folder, overwrite=True, epochs=1)
    assert not (folder / "samples" / "epoch_00002.png").exists()
    assert all((folder / name).read_text() == "mine" for name in ("notes.txt", "samples/mine.png"))
    assert [row["epoch"] for row in log_of(folder)] == [1]


@pytest.mark.parametrize("name", ["thesis.tex", "samples/holiday.png"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_somebody_else_are_never_touched(
    data: Path, tmp_path: Path, name: str, overwrite: bool
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("dear to me")
    with pytest.raises(UsageError, match="is no translator's folder"):
        prepared(data, tmp_path, overwrite=overwrite)
    assert (tmp_path / name).read_text() == "dear to me"


def test_a_folder_that_another_run_writes_to_is_refused(data: Path, tmp_path: Path) -> None:
    job = prepared(data, tmp_path)
    lock = FolderLock(tmp_path)
    with pytest.raises(StoreError, match="another writer"):
        run.train(job, CPU, say=print)
    lock.release()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"target": None}, "--target is not given", id="no target"),
        pytest.param({"target": "nowhere"}, "nowhere: no such folder", id="an absent target"),
        pytest.param({"resolution": 15}, "--resolution is 15; expected 16 to", id="too small"),
        pytest.param({"resolution": 10**6}, "--resolution is 1000000; expected 16 to", id="too large"),
        pytest.param({"width": 10**5}, "--width is 100000; expected at most", id="too wide"),
        pytest.param(
            {"resolution": 2**14, "width": 4096}, "a step takes about .* of memory, and .* free", id="memory"
        ),
    ],
)
def test_wrong_use_is_one_line(data: Path, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises((UsageError, StoreError), match=words) as refused:
        prepared(data, tmp_path / "t", **settings)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "t").exists()


def test_a_picture_that_cannot_be_read_ends_the_run_in_one_line(tmp_path: Path) -> None:
    data = write_domains(tmp_path)
    (data / "target" / "image_2.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"image_2\.png: cannot be read as a picture"):
        trained(data, tmp_path / "t", held_out=0)


def test_a_run_that_ended_before_it_learnt_forbids_nothing(tmp_path: Path) -> None:
    data = write_domains(tmp_path, num=3)
    (data / "target" / "image_2.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="take it out of the folder"):
        trained(data, tmp_path / "t", held_out=0)
    (data / "target" / "image_2.png").unlink()
    trained(data, tmp_path / "t", held_out=0, width=3, epochs=1)
    trained(data, tmp_path / "new", held_out=0, width=3, epochs=1)
    assert compared(tmp_path / "t") == compared(tmp_path / "new")


def test_partners_of_two_aspects_are_named(tmp_path: Path) -> None:
    data = write_domains(tmp_path)
    Image.new("RGB", (20, 10)).save(data / "target" / "image_4.png")
    with pytest.raises(UsageError, match=r"image_4\.png is 16 x 16 .* 10 x 20; a pair must have one aspect"):
        trained(data, tmp_path / "t", held_out=0, paired=True)


def test_a_filter_that_changes_during_the_run_ends_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_dataset(tmp_path / "dataset.zarr", num_images=10)
    scores = fstore.open(path).uncertainty  # type: ignore[union-attr]
    step = Learner.step

    def filtering(self: Learner, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        fstore.set_kept(path, scores <= np.sort(scores)[4], "0.5", float(np.sort(scores)[4]))
        return step(self, source, target)

    monkeypatch.setattr(Learner, "step", filtering)
    with pytest.raises(RunError, match="its filter was changed"):
        trained(data, tmp_path / "t", source=str(path))
    assert not (tmp_path / "t" / "training_state.pt").exists()


def test_a_loss_that_is_not_finite_ends_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "step", lambda self, source, target: torch.full((5,), torch.nan))
    with pytest.raises(RunError, match=r"diverged in epoch 1: a loss is nan.*learning_rate"):
        trained(data, tmp_path / "t")


def flip_a_bit(state: Path) -> None:
    content = bytearray(state.read_bytes())
    weights = torch.load(state, weights_only=True)["learnt"]["source_to_target"]["last.bias"]
    content[content.rfind(weights.numpy().tobytes()) + 2] ^= 1
    state.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(flip_a_bit, r"is damaged \(the checksum", id="a bit"),
        pytest.param(lambda state: state.write_bytes(state.read_bytes()[:900]), "is damaged", id="cut off"),
        pytest.param(
            lambda state: os.truncate(state, 10**9), "1,000,000,000 bytes, expected", id="too large"
        ),
        pytest.param(
            lambda state: torch.save({"progress": {}, "learnt": {"source_to_target": {}}}, state),
            "is of another network",
            id="of nothing",
        ),
    ],
)
def test_a_damaged_state_is_one_line(
    data: Path, begun: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(begun / "training_state.pt")
    with pytest.raises(UsageError, match=words) as refused:
        trained(data, begun)
    assert "\n" not in str(refused.value) and "--overwrite" in str(refused.value)


def test_an_unfinished_translator_can_be_used_and_says_so(data: Path, begun: Path) -> None:
    translator = open_translator(begun)
    assert not translator.is_finished and translator.record["epochs"] == 1
    lines = run.dry_run(prepared(data, begun), CPU)
    assert lines[0] == f"{begun}: goes on where an earlier run ended"


def test_the_plan_bounds_what_lies_on_disk(data: Path, finished: Path) -> None:
    plan = prepared(data, finished).plan
    assert (finished / "training_state.pt").stat().st_size <= plan.state_bytes
    assert sum(path.stat().st_size for path in finished.rglob("*") if path.is_file()) <= plan.disk_bytes


def test_a_dry_run_has_the_plan_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    job = prepared(data, tmp_path / "t", paired=True)
    text = "\n".join(run.dry_run(job, CPU))
    learner = job.make_learner(CPU)
    for networks in (learner.generators, learner.discriminators):
        number = sum(p.numel() for p in next(iter(networks.values())).parameters())
        assert f"{number:,} parameters each" in text
    assert "5 of " in text and "1 validate; crops of a side from 0.95" in text and "0.55" not in text
    assert "3 steps of 2 pairs, 16 x 16 pixels" in text
    assert "patches of 16 x 16 pixels" in text
    assert not (tmp_path / "t").exists()


def test_sides_of_any_numbers_sizes_and_kinds_meet(tmp_path: Path) -> None:
    write_domains(tmp_path, num=3, target=7)
    Image.new("RGB", (50, 30)).save(tmp_path / "target" / "wide.png")
    path = make_dataset(tmp_path / "dataset.zarr", num_images=10)  # 16 x 24
    trained(tmp_path, tmp_path / "t", source=str(path), epochs=1)
    described = json.loads((tmp_path / "t" / "translator.json").read_text())
    assert described["resolution"] == 16
    assert (described["source"]["num_images"], described["target"]["num_images"]) == (9, 8)


@pytest.mark.slow
def test_learning_works_on_pairs(data: Path, tmp_path: Path) -> None:
    """Inversion is learnt: the error falls to a part of what the copy has."""
    trained(data, tmp_path / "t", paired=True, adversary=False, epochs=15, width=4, learning_rate=0.01)
    rows = log_of(tmp_path / "t")
    source, target = domains(6)
    copying = np.mean((source / 255 - target / 255) ** 2)
    assert rows[-1]["validation"]["source_to_target"]["l2"] < copying / 10


def test_the_command_prints_what_the_run_has_to_say(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.commands import dgan, done

    monkeypatch.chdir(data)
    words = ["translate", "train", "--source", "source", "--target", "target", "--out", tmp_path / "t"]
    words += ["--width", 2, "--batch-size", 4]
    assert "2 of 16" not in done(*words, "--dry-run").output
    assert "next: dgan translate apply" in done(*words, "--epochs", 1).output
    missing = dgan("translate", "train", "--source", "source")
    assert missing.exit_code == 2 and "--target is not given" in missing.output


def test_settings_have_the_defaults_of_the_paper_and_the_seed() -> None:
    options = Config().translate
    assert (options.identity_weight, options.cycle_weight, options.adversary_weight) == (5, 10, 1)
    assert (options.batch_size, options.learning_rate) == (16, 2e-4)
    assert (options.source_crop, options.target_crop) == (0.95, 0.55)
    assert isinstance(options, TranslateConfig) and options.adversary and not options.paired
