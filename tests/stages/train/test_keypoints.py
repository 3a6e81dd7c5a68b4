"""Keypoints through the three stages, as a user types them, and in the stores that they leave."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st
from support.commands import dgan, done
from support.feature_maps import ensemble, layers_of, plain_logits, random_maps
from support.stores import NATIVE, make_image, make_maps, make_meta, tree_bytes
from support.tiny import LATENT_SIZE, RESOLUTION, input_flags, write_checkpoint, write_inputs
from support.variants import variants

import fstore
from fstore import format as fmt
from fstore.dataset_writer import DatasetWriter
from fstore.errors import MismatchError, StoreError
from pipeline.interpreter.description import EpochMetrics, InterpreterInfo
from pipeline.interpreter.files import load_interpreter
from pipeline.interpreter.training_state import TrainingState
from pipeline.labelling.heat_maps import heat, peaks
from pipeline.labelling.labeller import ImageLabeller
from pipeline.labelling.scores import score_images
from pipeline.labelling.votes import HeatTally
from pipeline.models.folded import FoldedEnsemble
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.settings.files import Config, with_overrides
from pipeline.stages.synthesize import stage
from pipeline.stages.synthesize.job import make_source
from pipeline.stages.train import epochs as train_epochs
from pipeline.stages.train.schedule import best_epoch
from pipeline.stages.train.split import validation_grid
from pipeline.stages.train.validation import HeatValidation, Quality

NUM_IMAGES, NAMES = 4, ("left", "right", "top")
TRAIN = ["--members", "3", "--steps", "10", "--batch-size", "16", "--threads", "1"]
KEYPOINTS = fmt.KeypointInfo(NAMES, 1.5)


def refused(*words: str | Path) -> str:
    result = dgan(*words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr.splitlines()[-1]


def points() -> np.ndarray:
    """(N, K, 3) in pixels of 32 x 32; one of them has no label."""
    values = np.random.default_rng(3).uniform(3, 29, (NUM_IMAGES, len(NAMES), 3))
    values[..., 2] = 1
    values[1, 2, 2] = 0
    return values


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a checkpoint, latents and keypoints in ``in/``."""
    write_keypoint_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_keypoint_inputs(folder: Path) -> None:
    (folder / "in").mkdir()
    write_checkpoint(folder / "in" / "checkpoint.pt")
    latents = np.random.default_rng(0).standard_normal((NUM_IMAGES, LATENT_SIZE))
    np.save(folder / "in" / "latents.npy", latents)
    np.savez(folder / "in" / "keypoints.npz", keypoints=points(), names=NAMES, image_size=[32, 32])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ``features.zarr`` of these inputs, a pyramid, and the ``interpreter`` of that."""
    made = tmp_path_factory.mktemp("keypoints")
    with pytest.MonkeyPatch.context() as patch:
        write_keypoint_inputs(made)
        patch.chdir(made)
        done(*extract("--layout", "pyramid"))
        done("train", *TRAIN)
    return made


def extract(*more: str | Path) -> list[str | Path]:
    return [
        "extract-features", "--checkpoint", "in/checkpoint.pt", "--latents", "in/latents.npy",
        "--annotations", "in/keypoints.npz", "--task", "keypoints", "--threads", "1", *more,
    ]  # fmt: skip


def synthesize(*more: str | Path) -> list[str | Path]:
    flags = ["--checkpoint", "in/checkpoint.pt", "--threads", "1", "--precision", "float32"]
    return ["synthesize", *flags, *more]


@pytest.mark.parametrize("layout", variants("dense", "pyramid"))
def test_the_three_stages_make_heat_maps_and_keypoints(folder: Path, layout: str) -> None:
    done(*extract("--layout", layout))
    store = fstore.open("features.zarr")
    assert store.meta.keypoints == fmt.KeypointInfo(NAMES, 1.0)
    np.testing.assert_allclose(
        store.keypoints.compute()[..., :2] * points()[..., 2:], store.keypoints[..., :2]
    )
    assert [c.name for c in store.meta.classes] == ["background", *NAMES]
    done("verify", "features.zarr")
    done("train", "--task", "keypoints", *TRAIN)
    info = load_interpreter("interpreter").info
    assert (info.task, info.keypoints, info.num_outputs) == ("keypoints", store.meta.keypoints, 3)
    assert info.training["balance"] == 0.5
    metrics = info.epochs[-1]
    assert metrics.miou is None and metrics.heat_error is not None
    assert 0 <= metrics.pck10 <= metrics.pck15 <= 1
    done(*synthesize("--num", "5", "--render-batch", "2", "--task", "keypoints"))
    done("verify", "dataset.zarr")
    dataset = fstore.open("dataset.zarr")
    assert dataset.heatmaps.shape == (5, RESOLUTION, RESOLUTION, 3) and dataset.heatmaps.dtype == np.float16
    assert dataset.keypoints.shape == (5, 3, 3) and dataset.keypoints.dtype == np.float32
    found = peaks(torch.from_numpy(dataset.heatmaps.compute()))
    np.testing.assert_array_equal(dataset.keypoints.compute(), found)
    divergence = torch.from_numpy(dataset.divergence.compute()).float()
    np.testing.assert_allclose(dataset.uncertainty, score_images(divergence), rtol=1e-2, atol=1e-6)
    assert dataset.kept.sum() == 5  # ceil(0.9 x 5)
    shown = done("info", "dataset.zarr").output
    assert "keypoints  3, sigma 1 pixels" in shown and "nats" not in shown
    with pytest.raises(StoreError, match="holds keypoints, not labels"):
        dataset.labels  # noqa: B018


def test_coco_keypoints_of_larger_pictures_come_to_the_grid(folder: Path) -> None:
    images, annotations = [], []
    for i, image in enumerate(points()):
        images.append({"id": i + 10, "file_name": f"task_1/image_{i}.png", "width": 64, "height": 64})
        flat = (image * [2, 2, 2]).ravel().tolist()
        annotations.append({"id": i, "image_id": i + 10, "category_id": 1, "keypoints": flat})
    categories = [{"id": 1, "name": "face", "keypoints": list(NAMES)}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    Path("in/person.json").write_text(json.dumps(document))
    done(*extract("--crop-rows", "2:30"))
    done(*extract("--crop-rows", "2:30", "--annotations", "in/person.json", "--store", "coco.zarr"))
    first, second = (fstore.open(name).keypoints.compute() for name in ("features.zarr", "coco.zarr"))
    np.testing.assert_allclose(first, second, rtol=1e-6)
    assert (first[..., 1] <= 28).all()


def test_the_demo_has_keypoints_where_no_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        "9 classes" in done("extract-features", "--task", "keypoints", "--dry-run", "--threads", "1").output
    )


def test_agreement_of_two_precisions_is_that_of_keypoints(trained: Path) -> None:
    config = with_overrides(Config(), "generator", checkpoint="in/checkpoint.pt")
    job = stage.prepare(config)
    source = make_source(job, torch.device("cpu"), torch.float32)
    assert source.agreement([0, 1], torch.float32, batch_size=2) == 1
    assert 6 * source.agreement([0, 1], torch.bfloat16, batch_size=2) in range(
        7
    )  # of 2 images with 3 keypoints each


@pytest.mark.usefixtures("tasks_of_8")
def test_a_longer_dataset_is_that_of_one_run(trained: Path, whole_dataset: dict[str, bytes]) -> None:
    done(*synthesize("--num", "3", "--store", "grown.zarr"))  # a shard of four images, cut off
    done(*synthesize("--num", "16", "--store", "grown.zarr"))  # a second task
    done("verify", "grown.zarr")
    assert dataset_bytes(trained / "grown.zarr") == whole_dataset


@pytest.fixture
def tasks_of_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of heat maps in a task, not 16: fewer images to label."""
    monkeypatch.setattr(fmt, "TASK_IMAGES", 8)


@pytest.fixture(scope="module")
def whole_dataset(built: Path) -> dict[str, bytes]:
    """The files of 16 images of ``built``, made by one run in tasks of 8, but for the store's own record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fmt, "TASK_IMAGES", 8)
        patch.chdir(built)
        done(*synthesize("--num", "16", "--store", "whole.zarr"))
    return dataset_bytes(built / "whole.zarr")


def dataset_bytes(store: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree_bytes(store).items() if name != "zarr.json"}


@pytest.mark.usefixtures("tasks_of_8")
@pytest.mark.parametrize("before", variants(1, 0, 3))  # of 2 files of the first task, then 2
def test_a_dataset_cut_off_between_files_of_heat_maps_is_that_of_one_run(
    trained: Path, whole_dataset: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    write_part, calls = DatasetWriter.write_part, []

    def full(self: DatasetWriter, task: int, name: str, first: int, values: np.ndarray) -> None:
        calls.append(len(values))
        if calls.count(fmt.HEATMAP_IMAGES) > before:
            raise OSError(errno.ENOSPC, "No space left on device", name)
        write_part(self, task, name, first, values)

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "write_part", full)
        assert "the disk is full" in dgan(*synthesize("--num", "16", "--store", "cut.zarr")).stderr
    assert len(fstore.open("cut.zarr")) == (8 if before >= 2 else 0)
    done(*synthesize("--num", "16", "--store", "cut.zarr", "--render-batch", "2"))
    assert dataset_bytes(trained / "cut.zarr") == whole_dataset


@pytest.mark.slow  # as of labels, in test_stage.py
@pytest.mark.usefixtures("trained")
def test_a_resumed_training_ends_with_the_same_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    more = [
        "--members",
        "2",
        "--batch-size",
        "16",
        "--threads",
        "1",
        "--steps",
        "40",
        "--precision",
        "float32",
    ]
    config = "[train]\nepoch_pixels = 320\n"
    Path("dgan.toml").write_text(config)
    done("train", *more, "--out", "whole")
    save, saved = train_epochs.save_state, []

    def stop(folder: Path, state: TrainingState) -> None:
        save(folder, state)
        saved.append(state)
        if len(saved) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_epochs, "save_state", stop)
    assert dgan("train", *more, "--out", "resumed").exit_code != 0
    done("train", *more, "--out", "resumed")
    whole, resumed = (Path(name) / "interpreter.safetensors" for name in ("whole", "resumed"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_sigma_can_be_set_where_it_is_extracted_and_where_it_is_learnt(folder: Path) -> None:
    done(*extract("--sigma", "2.5"))
    assert fstore.open("features.zarr").meta.keypoints.sigma == 2.5
    done("train", *TRAIN)
    assert load_interpreter("interpreter").info.keypoints.sigma == 2.5
    done("train", *TRAIN, "--sigma", "1.25", "--out", "finer")
    assert load_interpreter("finer").info.keypoints.sigma == 1.25
    line = refused("train", *TRAIN, "--sigma", "1.5", "--out", "finer")
    assert "keypoints.sigma = 1.25, this run has 1.5" in line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "--task", "segmentation"], "was extracted for keypoints, --task is segmentation"),
        (["train", "--task", "poses"], '--task is \'poses\'; expected one of "segmentation", "keypoints"'),
        ([*synthesize("--task", "segmentation")], "has learnt keypoints, --task is segmentation"),
        ([*synthesize("--task", "poses")], "--task is 'poses'"),
        (["demo", "--task", "poses"], "--task is 'poses'"),
    ],
)
def test_another_task_is_refused(trained: Path, words: list[str], expected: str) -> None:
    assert expected in refused(*words)


def test_a_sigma_for_masks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs(Path("in"))
    line = refused("extract-features", *input_flags(Path("in")), "--sigma", "2")
    assert "--sigma is 2 and the task is segmentation" in line
    done("extract-features", *input_flags(Path("in")))
    assert "holds masks, and --sigma is 2" in refused("train", "--sigma", "2")


@pytest.mark.usefixtures("trained")
def test_a_dry_run_names_keypoints_and_writes_nothing() -> None:
    assert "a better heat-map error" in done("train", "--members", "2", "--out", "new", "--dry-run").output
    assert not Path("new").exists()
    assert "3 keypoints" in done(*synthesize("--num", "2", "--dry-run")).output
    assert not Path("dataset.zarr").exists()


def test_a_store_of_masks_says_nothing_of_keypoints(tmp_path: Path) -> None:
    attribute = make_meta().to_attribute()
    assert "keypoints" not in attribute
    with_points = replace(make_meta(), keypoints=KEYPOINTS).to_attribute()
    assert {k: v for k, v in with_points.items() if k != "keypoints"} == attribute
    assert fmt.FeatureMeta.from_attribute(with_points, "here").keypoints == KEYPOINTS
    dataset = fmt.DatasetMeta((8, 8), make_meta().classes, 4)
    assert "keypoints" not in dataset.to_attribute()
    again = replace(dataset, keypoints=KEYPOINTS)
    assert fmt.DatasetMeta.from_attribute(again.to_attribute(), "here") == again


@pytest.mark.parametrize(
    "values", [{"names": [], "sigma": 1}, {"names": ["a"], "sigma": 0}, {"names": ["a"]}, 5]
)
def test_a_malformed_attribute_is_a_store_error(values: object) -> None:
    attribute = {**make_meta().to_attribute(), "keypoints": values}
    with pytest.raises(StoreError, match="malformed"):
        fmt.FeatureMeta.from_attribute(attribute, "here")


def test_the_writer_asks_for_the_keypoints_that_the_store_holds(tmp_path: Path) -> None:
    meta = replace(make_meta(), keypoints=KEYPOINTS)
    writer = fstore.create(tmp_path / "s.zarr", meta, num_images=1, latent_shape=(8,))
    picture, mask = make_image(meta, 0)
    latent, given = np.zeros(8, np.float32), np.ones((3, 3), np.float32)
    for wrong in (None, given[:2]):
        with pytest.raises(StoreError, match=r"keypoints have shape .*expected \(3, 3\)"):
            writer.write_image(0, make_maps(0, NATIVE), picture, mask, latent, wrong)
    with pytest.raises(
        StoreError, match=r"array 'keypoints', image 0: has 2.0 as third value, expected 0 or 1"
    ):
        writer.write_image(0, make_maps(0, NATIVE), picture, mask, latent, 2 * given)
    writer.write_image(0, make_maps(0, NATIVE), picture, mask, latent, given)
    writer.close()
    zarr.open_array(tmp_path / "s.zarr" / "keypoints", mode="r+")[0] = 2 * given
    assert any("expected 0 or 1" in line for line in fstore.verify_store(tmp_path / "s.zarr").problems)
    with pytest.raises(MismatchError, match="keypoints"):
        fstore.create(tmp_path / "s.zarr", make_meta(), num_images=1, latent_shape=(8,))


def test_heat_maps_lie_in_files_of_four_images(tmp_path: Path) -> None:
    meta = fmt.DatasetMeta((6, 5), make_meta().classes, 4, keypoints=KEYPOINTS)
    writer = fstore.create_dataset(tmp_path / "d.zarr", meta, num_images=10)
    rng = np.random.default_rng(0)
    specs = fmt.dataset_arrays(meta, 10)
    parts = {spec.name: rng.integers(0, 2, spec.shape).astype(spec.dtype) for spec in specs}
    writer.write_task(0, parts)
    writer.close()
    files = sorted(p.name for p in (tmp_path / "d.zarr" / "heatmaps" / "c").iterdir())
    assert files == ["0", "1", "2"]
    dataset = fstore.open(tmp_path / "d.zarr")
    np.testing.assert_array_equal(dataset.heatmaps.compute(), parts["heatmaps"])
    np.testing.assert_array_equal(dataset.keypoints.compute(), parts["keypoints"])
    assert fstore.verify_store(tmp_path / "d.zarr").ok


@pytest.mark.parametrize("crop", [(0, 64), (3, 61)])
def test_the_factored_heat_is_the_plain_one(crop: tuple[int, int]) -> None:
    maps = random_maps([(4, 4), (8, 8), (16, 16), (32, 32), (64, 64)])
    model = ensemble(sum(m.shape[0] for m in maps))
    with torch.no_grad():
        model.weight3.mul_(1e-3)  # into the range of heats
    plain = plain_logits(model, maps, (64, 64), crop).clamp(0, 1)  # [E, P, K]
    labeller = ImageLabeller(
        FoldedEnsemble(model, torch.float32),
        layers_of(maps, (64, 64)),
        (64, 64),
        crop,
        tile_rows=24,
        tally=HeatTally,
    )
    heats, variance = labeller.label(maps)
    assert heats.shape == (crop[1] - crop[0], 64, 7)
    assert (plain > 0).double().mean() > 0.05
    assert plain.std() > 0.01  # it is not all the same
    torch.testing.assert_close(heats.flatten(0, 1), plain.mean(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(variance.flatten(), plain.var(0, correction=0).mean(1), atol=1e-4, rtol=0)


def test_epochs_and_interpreters_of_masks_are_told_as_before(built: Path) -> None:
    plain = EpochMetrics(0, 5, 0.5, 0.25)
    assert plain.to_json() == {"epoch": 0, "steps": 5, "loss": 0.5, "miou": 0.25, "final": False}
    info = load_interpreter(built / "interpreter").info
    document = json.loads(json.dumps(info.to_json()))
    assert InterpreterInfo.from_json(document) == info
    labels = replace(info, keypoints=None, epochs=(plain,))
    assert not {"task", "keypoints"} & labels.to_json().keys()
    assert InterpreterInfo.from_json(labels.to_json()) == labels
    with pytest.raises(ValueError, match="task"):
        InterpreterInfo.from_json({**labels.to_json(), "task": "keypoints"})


def test_the_best_epoch_has_the_least_heat_error() -> None:
    errors = [0.3, 0.1, 0.2, 0.1]
    epochs = [EpochMetrics(i, i, -i, None, heat_error=error) for i, error in enumerate(errors)]
    assert best_epoch(epochs) == 1


@pytest.mark.parametrize(
    ("shape", "sigma", "stride", "counts"),
    [
        ((64, 64), 1.0, 1, (64, 64)),
        ((65, 40), 1.0, 2, (32, 20)),
        ((512, 512), 8.0, 8, (64, 64)),  # of the default sigma
        ((512, 512), 30.0, 8, (64, 64)),  # a larger one needs no more, and has no less
        ((384, 512), 8.0, 8, (48, 64)),
        ((1, 640), 10.0, 10, (1, 64)),  # lower than the stride: its one row all the same
        ((512, 512), 2.0, 4, (128, 128)),  # two sigma
        ((256, 256), 1.2, 2, (128, 128)),  # less than two sigma: a whole number
        ((64, 64), 0.3, 1, (64, 64)),  # never less than a pixel
        ((512, 512), 1.0, 4, (128, 128)),  # not 2: 65,536 pixels are too many
    ],
)
def test_the_validation_grid_is_two_sigma_apart_within_its_bounds(
    shape: tuple[int, int], sigma: float, stride: int, counts: tuple[int, int]
) -> None:
    rows, columns, found = validation_grid(*shape, sigma, 20_000)
    assert (found, (len(rows), len(columns))) == (stride, counts)
    assert rows[-1] < shape[0] and columns[-1] < shape[1]


@given(side=st.integers(16, 200), sigma=st.floats(0.8, 8), x=st.floats(0.2, 0.8), y=st.floats(0.2, 0.8))
def test_every_heat_map_has_its_peak_on_the_validation_grid(
    side: int, sigma: float, x: float, y: float
) -> None:
    rows, columns, stride = validation_grid(side, side, sigma, side * side)
    beside = torch.meshgrid(torch.from_numpy(rows + 0.5), torch.from_numpy(columns + 0.5), indexing="ij")
    point = torch.tensor([[side * x, side * y]], dtype=torch.float64)
    maps = heat(torch.stack(beside[::-1], -1), point, sigma)
    found = peaks(maps[None])[0, 0]
    assert found[2] >= 0.999 * np.exp(-1)
    place = (found[:2] - 0.5) * stride + torch.tensor([columns[0] + 0.5, rows[0] + 0.5])
    np.testing.assert_allclose(place, point[0], atol=0.02 * stride)


@given(
    shape=st.tuples(st.integers(1, 1100), st.integers(1, 1100)),
    sigma=st.floats(0.1, 40),
    num_pixels=st.integers(1, 40_000),
)
def test_a_validation_grid_is_bounded(shape: tuple[int, int], sigma: float, num_pixels: int) -> None:
    rows, columns, stride = validation_grid(*shape, sigma, num_pixels)
    assert 1 <= len(rows) * len(columns) <= max(num_pixels, 64 * 64)
    assert stride <= max(1, -(-max(shape) // 64))


def test_a_grid_too_coarse_for_sigma_is_told(folder: Path) -> None:
    done(*extract("--resolution", "96", "--layout", "pyramid"))
    words = [*TRAIN, "--sigma", "0.5", "--steps", "2"]
    assert "PCK is an underestimate" not in done("train", *words, "--out", "fine").output
    Path("dgan.toml").write_text("[train]\nvalidation_pixels = 5000\n")
    said = done("train", *words, "--out", "coarse").output
    assert "heat maps of sigma 0.5 are validated on pixels 2 apart: PCK is an underestimate" in said


def test_what_no_label_is_there_to_measure_by_is_none_not_zero() -> None:
    points = np.random.default_rng(0).uniform(0, 8, (1, 3, 3)).astype(np.float32)
    points[..., 2] = 0
    grid = validation_grid(8, 8, 1.0, 64)
    features = torch.zeros(64, 5, dtype=torch.float16)
    model = InterpreterEnsemble(3, 5, seeds=[0, 1], widths=(4, 4))
    found = HeatValidation(points, features, grid, sigma=1.0, side=8).measure(model)
    assert found == Quality() and found.text() == ""
    document = EpochMetrics(0, 5, 0.5, **vars(found)).to_json()
    assert document == {"epoch": 0, "steps": 5, "loss": 0.5, "miou": None, "final": False}
    points[0, 1, 2] = 1
    found = HeatValidation(points, features, grid, sigma=1.0, side=8).measure(model)
    assert found.pck10 is not None and "PCK@10" in found.text()
