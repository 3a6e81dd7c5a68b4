"""``dgan segment train`` as people type it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.commands import dgan, done
from support.exports import make_dataset
from support.tiny_segmenter import use_tiny_networks

import pipeline


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with ``dataset.zarr`` of 9 kept images."""
    use_tiny_networks(monkeypatch)
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "dataset.zarr", num_images=10)
    return tmp_path


def test_the_command_trains_and_says_what_comes_next() -> None:
    result = done("segment", "train", "--data", "dataset.zarr", "--epochs", 1, "--flip")
    assert "next: dgan segment test segmenter --images DIR --annotations PATH" in result.stdout
    assert "--flip mirrors images and swaps no classes" in result.stderr
    again = done("segment", "train", "--data", "dataset.zarr", "--epochs", 1, "--flip")
    assert "trained already with these settings; nothing to do" in again.stdout


def test_the_function_returns_the_folder_and_a_dry_run_the_plan() -> None:
    options = {"data": "dataset.zarr", "epochs": 1, "out": "other", "say": None}
    assert "1 epoch, 1 step" in pipeline.segment_train(dry_run=True, **options)
    assert pipeline.segment_train(**options) == Path("other")
    assert Path("other/deeplab_epoch_0.pth").is_file()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(["--only", "real"], "--only is real, and there are no photographs", id="no photographs"),
        pytest.param(["--batch-size", 10], "pass --batch-size 9 or less", id="too few images"),
        pytest.param(["--released-filter"], "expected over 30", id="an empty slice"),
        pytest.param(["--data", "none.zarr"], "none.zarr: no such store", id="no dataset"),
        pytest.param(["--resolution", 10**6], "expected an integer from 1 to 16384", id="a huge side"),
        pytest.param(["--out", "dataset.zarr/inner"], "lies in the store", id="in the dataset"),
        pytest.param(["--out", "o" * 256], "a name of 256 bytes; expected 255", id="a long name"),
        pytest.param(["--data", "ü" * 128], "a name of 256 bytes; expected 255", id="a long name of data"),
        pytest.param(["--pretrained", "pipe"], "pipe: is a pipe; expected a file", id="weights in a pipe"),
        pytest.param(["--pretrained", "dataset.zarr"], "name the file of weights in it", id="a folder"),
        pytest.param(
            ["--real-annotation-format", "coco"], "--real-annotation-format is coco, and there", id="format"
        ),
    ],
)
def test_wrong_use_ends_with_one_line_and_leaves_nothing(
    folder: Path, words: list[object], line: str
) -> None:
    os.mkfifo(folder / "pipe")
    result = dgan("segment", "train", "--data", "dataset.zarr", *words)
    assert result.exit_code == 2
    assert line in result.stderr.splitlines()[-1]
    assert not (folder / "segmenter").exists()


def test_the_demos_settings_are_told_where_the_dataset_is_another(folder: Path) -> None:
    result = done("segment", "train", "--epochs", 1)
    assert "using the embedded demo configuration" in result.stderr
    assert "dataset.zarr: is not the demo's" in result.stderr
