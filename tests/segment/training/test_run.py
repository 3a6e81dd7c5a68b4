"""A whole training, of a tiny network: its files, its protocol, going on after a death, what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.deaths import dying, survived
from support.exports import make_dataset
from support.small_datasets import make_classes, write_dataset
from support.stores import tree_bytes
from support.tiny_segmenter import TinyNetwork, use_tiny_networks

import fstore
from fstore.errors import StoreError
from fstore.lock import FolderLock
from pipeline.errors import RunError, UsageError
from pipeline.segment.folder import open_segmenter
from pipeline.segment.trained import open_trained
from pipeline.segment.training import epochs, run
from pipeline.segment.training.job import SegmentJob
from pipeline.segment.training.learner import Learner, seed_torch
from pipeline.settings.schema import Config, SegmentConfig

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"epochs": 2, "batch_size": 2, "precision": "float32", "learning_rate": 0.01}
NUM_STEPS = 4  # of an epoch: 9 kept images


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "dataset.zarr", num_images=10)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_networks(monkeypatch)


def prepared(data: Path, out: Path, *, overwrite: bool = False, **settings: Any) -> SegmentJob:
    options = SegmentConfig(data=str(data), out=out, **{**SETTINGS, **settings})
    return run.prepare(Config(segment=options), CPU, overwrite=overwrite)


def trained(data: Path, out: Path, say: Callable[[str], None] = print, **settings: Any) -> run.Result:
    return run.train(prepared(data, out, **settings), CPU, say=say)


def compared(folder: Path) -> dict[str, Any]:
    """What must be equal of two runs: all but the time of day, and how fast it went."""
    files: dict[str, Any] = tree_bytes(folder)
    description = json.loads(files.pop("segmenter.json"))
    del description["created"]
    lines = [json.loads(line) for line in files.pop("log.jsonl").splitlines()]
    for line in lines:
        del line["images_per_second"]
    return {**files, "segmenter.json": description, "log.jsonl": lines}


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "segmenter"
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        patch.setattr(epochs, "LOG_STEPS", 2)
        trained(dataset, folder)
    return folder


def test_it_writes_a_description_a_log_and_the_weights_of_each_epoch(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        "deeplab_epoch_0.pth",
        "deeplab_epoch_1.pth",
        "log.jsonl",
        "segmenter.json",
    ]
    segmenter = open_segmenter(finished)
    assert segmenter.is_finished and list(segmenter.epochs) == [0, 1]
    assert segmenter.info is not None and segmenter.info.image_size == (16, 24)
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(0, 2), (0, 4), (1, 6), (1, 8)]
    assert [line.get("end_of_epoch") for line in lines] == [None, True, None, True]
    assert all(set(line) >= {"epoch", "step", "loss", "lr", "images_per_second"} for line in lines)


def test_weights_are_those_of_a_plain_loop_by_the_protocol(dataset: Path, finished: Path) -> None:
    """The twin is written from the protocol: `torch_dataset`, `CrossEntropyLoss`, `Adam`; the orders and the
    seeds of dropout are the run's own.
    """
    from pipeline.segment.pictures import normalised

    job = prepared(dataset, finished)
    images = fstore.torch_dataset(dataset)
    assert len(images) == 9
    seed_torch(0, 0)
    network = TinyNetwork(len(images.classes)).to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    criterion = torch.nn.CrossEntropyLoss(ignore_index=images.ignore or -100)
    step = 0
    for epoch in range(2):
        for places in job.batches.order(epoch):
            pictures, labels = images[places.tolist()]
            step += 1
            seed_torch(0, step)
            adam.zero_grad()
            inputs = normalised(pictures).contiguous(memory_format=torch.channels_last)
            criterion(network.train()(inputs), labels).backward()
            adam.step()
    assert step == 2 * NUM_STEPS
    saved = torch.load(finished / "deeplab_epoch_1.pth", weights_only=True)
    assert list(saved) == ["model_state_dict"]
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(saved["model_state_dict"][name], tensor, rtol=1e-3, atol=1e-5)


def test_two_runs_end_in_the_same_bytes_and_another_seed_does_not(
    dataset: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "LOG_STEPS", 2)
    torch.rand(3)  # what else draws from torch's generator makes no difference
    trained(dataset, tmp_path / "again")
    assert compared(tmp_path / "again") == compared(finished)
    trained(dataset, tmp_path / "other", seed=1)
    other = compared(tmp_path / "other")["deeplab_epoch_0.pth"]
    assert other != compared(finished)["deeplab_epoch_0.pth"]


def test_the_callers_random_numbers_stay_as_they_were(
    dataset: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.segment.trained.build_network", lambda *kind: TinyNetwork(kind[-1]))
    before = torch.random.get_rng_state()
    trained(dataset, tmp_path / "segmenter", epochs=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = finished / "deeplab_epoch_0.pth"
    run.dry_run(prepared(dataset, tmp_path / "other", pretrained=weights), CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    open_trained(finished, None).network(1, CPU)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("seconds", "stride", "least"),
    [
        pytest.param(0.0, 13, 3, id="a state a step, every 13th change"),
        pytest.param(0.0, 1, 25, marks=pytest.mark.slow, id="a state a step, every change"),
        pytest.param(300.0, 1, 12, marks=pytest.mark.slow, id="states of epochs, every change"),
    ],
)
def test_a_run_that_died_at_any_change_to_a_file_goes_on_to_the_same_bytes(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, stride: int, least: int
) -> None:
    """With everything that is drawn at random: dropout, mirrored images, crops, colours."""
    monkeypatch.setattr(epochs, "STATE_SECONDS", seconds)
    monkeypatch.setattr(epochs, "LOG_STEPS", 2)
    more = {"flip": True, "crop": 0.5, "color": 0.3}
    trained(dataset, tmp_path / "whole", **more)
    deaths, went_on = 0, 0
    for change in count(1, stride):
        folder = tmp_path / f"died-{change}"
        folder.mkdir()
        with dying(folder, change):
            trained(dataset, folder, **more)
        if survived():
            break
        deaths += 1
        said: list[str] = []
        trained(dataset, folder, said.append, **more)
        went_on += any("going on after step" in line for line in said)
        assert compared(folder) == compared(tmp_path / "whole"), f"died before change {change}"
        assert not list(folder.glob("*.partial"))
    assert deaths >= least
    assert went_on >= deaths / 3


def test_a_finished_run_says_so_and_does_nothing(dataset: Path, finished: Path) -> None:
    before = tree_bytes(finished)
    result = trained(dataset, finished)
    assert result.lines == [f"{finished}: trained already with these settings; nothing to do"]
    assert result.value == finished
    assert run.dry_run(prepared(dataset, finished), CPU) == result.lines
    assert tree_bytes(finished) == before


def test_it_ends_with_the_loss_and_the_next_command(dataset: Path, tmp_path: Path) -> None:
    (line,) = trained(dataset, tmp_path / "s", epochs=1).lines
    loss = json.loads((tmp_path / "s" / "log.jsonl").read_text().splitlines()[-1])["loss"]
    assert line == (
        f"{tmp_path / 's'}: 1 epoch of 9 images, loss {loss:.4f}; next: dgan segment test {tmp_path / 's'} "
        "--images DIR --annotations PATH"
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"epochs": 3}, "is a training of 2 epochs, this run has 3.*--pretrained", id="longer"),
        pytest.param({"seed": 1}, "other settings: seed is 0 there and 1 in this run", id="a setting"),
        pytest.param({"flip": True}, "flip is False there and True", id="an augmentation"),
        pytest.param({"resolution": 16}, "image_size is", id="the size"),
        pytest.param(
            {"num_synthetic": 4}, "learns from other images: data.synthetic.num_images is 9", id="images"
        ),
        pytest.param({"precision": "bfloat16"}, "precision is 'float32' there", id="precision"),
    ],
)
def test_a_finished_segmenter_of_other_settings_is_refused(
    dataset: Path, finished: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        prepared(dataset, finished, **settings)
    assert "\n" not in str(refused.value) and "--overwrite" in str(refused.value)


def test_without_a_precision_a_run_goes_on_with_that_of_the_folder(dataset: Path, tmp_path: Path) -> None:
    trained(dataset, tmp_path / "s", precision="bfloat16", epochs=1)
    assert "nothing to do" in trained(dataset, tmp_path / "s", precision="auto", epochs=1).lines[0]


def test_the_same_images_elsewhere_are_the_same(dataset: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "moved.zarr")
    assert "nothing to do" in trained(tmp_path / "moved.zarr", finished).lines[0]


def test_overwriting_deletes_the_segmenters_files_alone(
    dataset: Path, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "segmenter"
    shutil.copytree(finished, folder)
    (folder / "notes.txt").write_text("mine")
    trained(dataset, folder, overwrite=True, epochs=1)
    assert sorted(path.name for path in folder.iterdir()) == [
        "deeplab_epoch_0.pth",
        "log.jsonl",
        "notes.txt",
        "segmenter.json",
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("thesis.tex", r"is no segmenter's folder \(it holds thesis.tex\)", id="another's files"),
        pytest.param("deeplab_epoch_3.pth", "holds weights without segmenter.json", id="released weights"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_somebody_else_are_never_touched(
    dataset: Path, tmp_path: Path, name: str, words: str, overwrite: bool
) -> None:
    (tmp_path / name).write_text("dear to me")
    with pytest.raises(UsageError, match=words):
        prepared(dataset, tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_another_run_writes_to_is_refused(dataset: Path, tmp_path: Path) -> None:
    job = prepared(dataset, tmp_path)
    lock = FolderLock(tmp_path)
    with pytest.raises(StoreError, match="another writer"):
        run.train(job, CPU, say=print)
    lock.release()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"num_real": 3}, "--num-real is 3, and there are no photographs", id="number"),
        pytest.param({"only": "real"}, "--only is real, and there are no photographs", id="only"),
        pytest.param({"real_annotations": Path("m")}, "--real-annotations is m, and", id="annotations"),
        pytest.param(
            {"batch_size": 10}, "9 images to learn from, and a step takes 10; pass --batch-size 9", id="batch"
        ),
        pytest.param({"left_right": (("part 1", "x"),)}, "left_right names 'x'", id="a pair"),
        pytest.param({"pretrained": Path("no.pth")}, "no.pth: no such file", id="weights"),
    ],
)
def test_wrong_use_is_one_line(dataset: Path, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        prepared(dataset, tmp_path / "s", **settings)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "s").exists()


def test_one_image_makes_no_batch(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zarr", make_classes(["a", "b"]), np.zeros((1, 8, 8), int))
    with pytest.raises(UsageError, match="1 image to learn from, and a step takes 2"):
        prepared(tmp_path / "d.zarr", tmp_path / "s")


def test_a_filter_that_changes_during_the_run_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset(tmp_path / "dataset.zarr", num_images=10)
    scores = fstore.open(data).uncertainty  # type: ignore[union-attr]
    step = Learner.step

    def filtering(self: Learner, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        fstore.set_kept(data, scores <= np.sort(scores)[4], "0.5", float(np.sort(scores)[4]))
        return step(self, images, targets)

    monkeypatch.setattr(Learner, "step", filtering)
    with pytest.raises(RunError, match="its filter was changed"):
        trained(data, tmp_path / "s")
    assert not list((tmp_path / "s").glob("*.pth"))
    monkeypatch.undo()
    use_tiny_networks(monkeypatch)
    prepared(data, tmp_path / "s")  # nothing was learnt yet, so that nothing forbids the new filter


def test_a_loss_that_is_not_finite_ends_the_run(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "step", lambda self, images, targets: torch.tensor(torch.nan))
    with pytest.raises(RunError, match=r"diverged in epoch 1: the loss is nan.*learning_rate"):
        trained(dataset, tmp_path / "s")


@pytest.mark.parametrize("crop", [None, 0.5])
def test_images_without_anything_to_learn_end_the_run(tmp_path: Path, crop: float | None) -> None:
    labels = np.full((4, 8, 8), 255, np.uint8)
    write_dataset(tmp_path / "labels.zarr", make_classes(["a", "b"]), labels, ignore=255)
    points = np.ones((4, 2, 3), np.float32)
    points[..., 2] = 0
    write_dataset(tmp_path / "points.zarr", make_classes(["a", "b"]), labels, points=points)
    for name, words in (("labels", "no pixel has a class"), ("points", "no keypoint has a confidence")):
        with pytest.raises(RunError, match=f"nothing was learnt: in 4 images {words}"):
            trained(tmp_path / f"{name}.zarr", tmp_path / name, crop=crop)
        assert not list((tmp_path / name).glob("*.pth"))
    labels[3, 0, 0] = 1
    write_dataset(tmp_path / "one.zarr", make_classes(["a", "b"]), labels, ignore=255)
    trained(tmp_path / "one.zarr", tmp_path / "one")


def begun(dataset: Path, folder: Path) -> Path:
    """The folder of a run that died in its second epoch. Returns its state's file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "save_whole", _dies_at_the_second(epochs.save_whole))
        with pytest.raises(KeyboardInterrupt):
            trained(dataset, folder)
    return folder / "training_state.pt"


def _dies_at_the_second(save: Callable[..., None]) -> Callable[..., None]:
    paths: list[Path] = []

    def dying_save(path: Path, document: Any) -> None:
        paths.append(path)
        if len(paths) == 2:
            raise KeyboardInterrupt
        save(path, document)

    return dying_save


def flip_a_bit(state: Path) -> None:
    content = bytearray(state.read_bytes())
    place = content.rfind(
        torch.load(state, weights_only=True)["learnt"]["model"]["layers.4.weight"].numpy().tobytes()
    )
    content[place + 2] ^= 1
    state.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(flip_a_bit, r"is damaged \(the checksum", id="a bit"),
        pytest.param(lambda state: state.write_bytes(state.read_bytes()[:900]), "is damaged", id="cut off"),
        pytest.param(lambda state: os.truncate(state, 10**8), "100,000,000 bytes, expected", id="too large"),
        pytest.param(
            lambda state: torch.save({"progress": {}, "learnt": {"model": {}}}, state),
            "is of another network",
            id="of nothing",
        ),
    ],
)
def test_a_damaged_state_is_one_line(
    dataset: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(begun(dataset, tmp_path / "s"))
    with pytest.raises(UsageError, match=words) as refused:
        trained(dataset, tmp_path / "s")
    assert "\n" not in str(refused.value) and "--overwrite" in str(refused.value)


def test_a_dry_run_has_the_plan_and_writes_nothing(dataset: Path, tmp_path: Path) -> None:
    lines = run.dry_run(prepared(dataset, tmp_path / "s", flip=True, crop=0.5), CPU)
    network = TinyNetwork(5)
    number = sum(parameter.numel() for parameter in network.parameters())
    assert [line.split()[0] for line in lines[1:]] == [
        "images", "network", "epoch", "training", "changes", "memory", "disk",
    ]  # fmt: skip
    text = "\n".join(lines)
    assert f"9 synthetic of {dataset} by its filter; 16 x 24 pixels" in text
    assert f"{number:,} parameters" in text
    assert "4 steps of 2 images; 1 image of each order left out" in text
    assert "2 epochs, 8 steps; Adam 0.01, float32" in text
    assert not (tmp_path / "s").exists()


def test_a_dry_run_says_that_a_run_goes_on(dataset: Path, tmp_path: Path) -> None:
    begun(dataset, tmp_path / "s")
    lines = run.dry_run(prepared(dataset, tmp_path / "s"), CPU)
    assert lines[0] == f"{tmp_path / 's'}: goes on where an earlier run ended"


def test_the_plan_bounds_what_lies_on_disk(dataset: Path, tmp_path: Path) -> None:
    job = prepared(dataset, tmp_path / "s")
    state = begun(dataset, tmp_path / "s")
    assert state.stat().st_size <= job.plan.state_bytes
    assert (tmp_path / "s" / "deeplab_epoch_0.pth").stat().st_size <= job.plan.checkpoint_bytes


def test_it_may_begin_with_the_weights_of_another_segmenter(
    dataset: Path, finished: Path, tmp_path: Path
) -> None:
    weights = finished / "deeplab_epoch_1.pth"
    network, notes = prepared(dataset, tmp_path / "s", pretrained=weights).make_network()
    assert notes == ()
    saved = torch.load(weights, weights_only=True)["model_state_dict"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, saved[name])
    trained(dataset, tmp_path / "s", pretrained=weights, epochs=1)
    copied = tmp_path / "same.pth"
    shutil.copy(weights, copied)
    assert "nothing to do" in trained(dataset, tmp_path / "s", pretrained=copied, epochs=1).lines[0]
    with pytest.raises(UsageError, match=r"pretrained\.sha256 is"):
        prepared(dataset, tmp_path / "s", pretrained=finished / "deeplab_epoch_0.pth", epochs=1)
    with pytest.raises(UsageError, match="in the folder that --overwrite empties"):
        prepared(dataset, finished, pretrained=weights, overwrite=True)


def test_keypoints_are_learnt_as_heat_maps_of_the_resized_sigma(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "points.zarr", num_images=10, points=True)
    said: list[str] = []
    trained(data, tmp_path / "s", said.append, flip=True, resolution=8, epochs=12, learning_rate=0.05)
    assert said == ["--flip mirrors images and swaps these keypoints: left eye / right eye"]
    info = open_segmenter(tmp_path / "s").info
    assert info is not None and info.keypoints is not None
    assert info.num_outputs == 3
    assert info.keypoints.sigma == pytest.approx(1.5 * (8 * 8 / (16 * 24)) ** 0.5)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "s" / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] / 2


def test_learning_works(dataset: Path, tmp_path: Path) -> None:
    trained(dataset, tmp_path / "s", epochs=12, learning_rate=0.05)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "s" / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] - 0.05


def test_several_sources_are_learnt_by_the_same_job(dataset: Path, tmp_path: Path) -> None:
    from pipeline.segment.training.images import open_images
    from pipeline.segment.training.job import make_job

    options = SegmentConfig(data=str(dataset), out=tmp_path / "both", **SETTINGS)
    opened = open_images(options)
    twice = [opened.source, open_images(replace(options, num_synthetic=3)).source]
    twice[1].name = "real"
    job = make_job(options, twice, opened, CPU, overwrite=False)
    folder = run.train_one(job, CPU, print)
    assert folder.is_finished and folder.info is not None
    assert {name: record["num_images"] for name, record in folder.info.data.items()} == {
        "synthetic": 9,
        "real": 3,
    }
