"""``dgan info`` and ``dgan verify`` on interpreters and datasets: what they show, and what they find."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.commands import dgan, done

import fstore
from fstore import format as fmt
from pipeline.interpreter.description import EpochMetrics, InterpreterInfo, with_epoch
from pipeline.interpreter.files import save_interpreter
from pipeline.interpreter.training_state import TrainingState, save_state
from pipeline.models.interpreter import InterpreterEnsemble, member_seeds

SEEDS = member_seeds(0, 2)
INFO = InterpreterInfo(
    members=2,
    widths=(5, 4),
    channels=6,
    classes=(fmt.ClassInfo(0, "background", "#000000"), fmt.ClassInfo(1, "skin", "#aabbcc")),
    ignore=255,
    layers=(fmt.LayerInfo("4_a", (4, 4), 4, 0), fmt.LayerInfo("8_b", (8, 8), 2, 4)),
    grid=(16, 16),
    crop_rows=(2, 14),
    upsample="bilinear",
    generator={"architecture": "stylegan1", "checkpoint": "face.pt", "sha256": "ab" * 32, "truncation": 0.7},
    seeds=SEEDS,
    store={"layout": "dense", "num_images": 4, "inputs": {"masks_sha256": "cd" * 32}},
    training={"batch_size": 64, "balance": 1.0, "seed": 0, "buffer_mb": 512, "learning_rate": 0.001},
)
TRAINED = with_epoch(with_epoch(INFO, EpochMetrics(0, 10, 0.7, 0.25), 0), EpochMetrics(1, 1020, 0.6, 0.75), 1)
FINISHED = with_epoch(TRAINED, EpochMetrics(2, 2030, 0.5, None, final=True), 1)


def interpreter(folder: Path, info: InterpreterInfo = FINISHED) -> Path:
    outputs = info.num_outputs
    save_interpreter(folder, InterpreterEnsemble(outputs, 6, seeds=SEEDS, widths=(5, 4)), info, None)
    return folder


def value(text: str, name: str) -> str:
    """The value of a line, unfolded."""
    return text.replace("\n" + " " * 13, " ").split(f"\n  {name:<10} ")[1].split("\n")[0]


def test_info_of_an_interpreter_says_what_it_was_trained_on_and_how_well(tmp_path: Path) -> None:
    text = done("info", interpreter(tmp_path / "i")).stdout
    assert value(text, "state") == "finished"
    assert value(text, "learnt") == "2 classes, ignore label 255"
    assert value(text, "generator") == (
        "architecture stylegan1, checkpoint face.pt, sha256 abababababab..., truncation 0.7"
    )
    assert "num_images 4" in value(text, "store") and "cdcdcdcdcdcd..." in value(text, "store")
    assert value(text, "grid") == "16 x 16, rows 2 to 13, bilinear"
    assert value(text, "layers") == "4_a 4, 8_b 2"
    assert value(text, "epochs") == "3 epochs, 2,030 steps; 1 epoch of them over all images"
    assert value(text, "quality") == "best epoch 2: mIoU 0.7500 on held-out images"
    assert text.splitlines()[-1] == "      1 #aabbcc skin"


def test_info_of_an_unfinished_interpreter_says_how_to_go_on(tmp_path: Path) -> None:
    save_state(tmp_path, TrainingState(TRAINED, {"a": torch.ones(2)}))
    assert value(done("info", tmp_path).stdout, "state").startswith(
        "unfinished; run the same `dgan train` again"
    )
    assert "unfinished after 2 epochs" in done("verify", tmp_path).stdout


def test_info_of_keypoints_names_them(tmp_path: Path) -> None:
    points = fmt.KeypointInfo(("eye", "nose", "chin"), 2.5)
    best = EpochMetrics(0, 10, 0.7, None, heat_error=0.0125, pck15=0.9375, pck10=0.5)
    info = with_epoch(replace(INFO, keypoints=points), best, 0)
    text = done("info", interpreter(tmp_path / "i", info)).stdout
    assert value(text, "learnt") == "3 keypoints, sigma 2.5 pixels"
    assert "heat-map error 0.0125, PCK@15 0.938, PCK@10 0.500" in value(text, "quality")
    assert text.splitlines()[-1] == "      2 chin"


@pytest.mark.parametrize("columns", [80, 60])
def test_long_records_are_folded_to_the_terminal(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = done("info", interpreter(tmp_path / "i")).stdout.splitlines()[1:]
    assert max(map(len, lines)) <= columns
    assert sum(line.startswith(" " * 13) for line in lines) >= 2


def test_an_interpreter_is_found_by_its_url_too(tmp_path: Path) -> None:
    folder = interpreter(tmp_path / "i")
    assert done("info", folder.as_uri()).output == done("info", folder).output
    assert done("verify", folder.as_uri()).output == done("verify", folder).output


def test_verify_reads_an_interpreter_and_exits_1_where_it_is_damaged(tmp_path: Path) -> None:
    folder = interpreter(tmp_path / "i")
    assert "2 members, all whole" in done("verify", folder).stdout
    weights = folder / "interpreter.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-4], b""):
        weights.write_bytes(damaged)
        result = dgan("verify", folder)
        assert result.exit_code == 1
        assert "interpreter.safetensors: is damaged" in result.stderr and len(result.stderr.splitlines()) == 1
    weights.unlink()
    assert dgan("verify", folder).exit_code == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"members": 3},
        {"widths": [5, 5]},
        {"channels": 7},
        {"classes": []},
        {"layers": [{"name": "4_a", "resolution": [4, 4], "channels": 4, "offset": 0}]},
    ],
    ids=str,
)
def test_verify_compares_the_description_with_the_tensors(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = interpreter(tmp_path / "i") / "interpreter.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    result = dgan("verify", tmp_path / "i")
    assert result.exit_code == 1 and str(tmp_path / "i") in result.stderr
    assert len(result.stderr.splitlines()) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(FINISHED.to_json())), wrong=JSON)
def test_a_description_of_any_content_is_shown_or_named_in_one_line(
    tmp_path: Path, key: str, wrong: object
) -> None:
    path = interpreter(tmp_path / "i") / "interpreter.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: wrong}))
    for command in ("info", "verify"):
        result = dgan(command, tmp_path / "i")
        assert result.exit_code in (0, 1, 2)
        assert "unexpected" not in result.output
        assert len(result.stderr.splitlines()) <= 1


def released(folder: Path, *channels: int) -> Path:
    folder.mkdir()
    for number, width in enumerate(channels):
        member = torch.nn.Sequential(
            *(torch.nn.Linear(width, 128), torch.nn.ReLU(), torch.nn.BatchNorm1d(128)),
            *(torch.nn.Linear(128, 32), torch.nn.ReLU(), torch.nn.BatchNorm1d(32), torch.nn.Linear(32, 4)),
        )
        state = {f"layers.{name}": tensor for name, tensor in member.state_dict().items()}
        torch.save({"model_state_dict": state}, folder / f"model_{number}.pth")
    return folder


def test_a_releases_members_are_shown_and_verified(tmp_path: Path) -> None:
    folder = released(tmp_path / "r", 6, 6)
    text = done("info", folder).stdout
    assert "2, each of 6 features a pixel and hidden widths 128 and 32" in value(text, "members")
    assert value(text, "outputs") == "4"
    assert "2 released members, all whole" in done("verify", folder).stdout
    result = dgan("verify", released(tmp_path / "other", 6, 7))
    assert result.exit_code == 1 and "model_1.pth" in result.stderr


def dataset(path: Path, labels: np.ndarray, kept: np.ndarray | None) -> None:
    classes = tuple(fmt.ClassInfo(i, f"class {i}", f"#{i:06x}") for i in range(3))
    num, height, width = labels.shape
    writer = fstore.create_dataset(path, fmt.DatasetMeta((height, width), classes, 8), num_images=num)
    writer.write_task(
        0,
        {
            "images": np.zeros((num, height, width, 3), np.uint8),
            "labels": labels,
            "divergence": np.zeros(labels.shape, np.float16),
            "uncertainty": np.zeros(num, np.float32),
            "latents": np.zeros((num, 8), np.float32),
        },
    )
    writer.close()
    if kept is not None:
        fstore.set_kept(path, kept, "0.5", 0.0)


def test_class_counts_of_a_dataset_are_of_all_and_of_the_kept_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (6, 8, 8)).astype(np.uint8)
    labels[0] = 0
    kept = np.array([True, False, True, False, False, True])
    dataset(tmp_path / "d.zarr", labels, kept)
    lines = done("info", tmp_path / "d.zarr").stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if "kept pixels" in line)
    assert lines[start].split() == ["pixels", "images", "kept", "pixels", "images"]
    for number, line in enumerate(lines[start + 1 : start + 4]):
        is_class = labels == number
        in_image = is_class.any(axis=(1, 2))
        counts = (is_class.sum(), in_image.sum(), is_class[kept].sum(), in_image[kept].sum())
        assert line.split()[-4:] == [str(int(count)) for count in counts]
        assert len(line) <= 80


def test_without_a_filter_there_is_no_column_of_kept_images(tmp_path: Path) -> None:
    dataset(tmp_path / "d.zarr", np.zeros((2, 8, 8), np.uint8), None)
    text = done("info", tmp_path / "d.zarr").stdout
    assert "kept pixels" not in text and "128 pixels in 2 images" in text


@pytest.mark.parametrize(("num", "images"), [(1, "1 image"), (2, "2 images")])
def test_one_image_is_no_plural(tmp_path: Path, num: int, images: str) -> None:
    path = tmp_path / "d.zarr"
    dataset(path, np.zeros((num, 8, 8), np.uint8), None)
    assert done("filter", path, "--keep", "0.1").stdout.startswith(f"{path}: 1 of {images} kept (")
    fstore.set_kept(path, np.ones(num, bool), "1", 0.0)
    assert done("verify", path).stdout.startswith(f"{path}: {num} of {images} committed, all whole (")


def test_filter_without_a_fraction_names_the_flag_that_is_missing(tmp_path: Path) -> None:
    result = dgan("filter", tmp_path)
    assert result.exit_code == 2
    assert "Missing option '--keep'" in result.stderr
