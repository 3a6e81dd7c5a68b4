"""The folder of a translator: what is opened, and what is refused in one line."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch

from pipeline.errors import RunError, UsageError
from pipeline.models.unet import initialise
from pipeline.resumable.saved_tensors import save_whole
from pipeline.translate.description import TranslatorInfo
from pipeline.translate.folder import (
    BACKWARD,
    FORWARD,
    TRANSLATOR,
    build_generator,
    generators_document,
    load_generators,
    open_translator,
)

INFO = TranslatorInfo(
    resolution=16,
    width=2,
    halvings=2,
    upsample="bilinear",
    source={"name": "dataset.zarr"},
    target={"name": "photos"},
    paired=False,
    training={"epochs": 3},
    created={},
)


def write_translator(folder: Path, *, epochs: int = 3, info: TranslatorInfo = INFO) -> Path:
    folder.mkdir()
    TRANSLATOR.write_description(folder, info)
    weights = {}
    for seed, name in enumerate((FORWARD, BACKWARD)):
        network = build_generator(info)
        initialise(network, seed)
        weights[name] = network.state_dict()
    save_whole(folder / "generators.pth", generators_document(epochs, weights))
    return folder


def test_the_network_that_is_opened_carries_from_source_to_target(tmp_path: Path) -> None:
    folder = write_translator(tmp_path / "translator")
    translator = open_translator(folder)
    expected = build_generator(INFO)
    initialise(expected, 0)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.equal(translator.network(images), expected(images))
    assert (translator.resolution, translator.is_finished) == (16, True)
    assert translator.record == {
        "folder": "translator",
        "sha256": hashlib.sha256((folder / "generators.pth").read_bytes()).hexdigest(),
        "source": {"name": "dataset.zarr"},
        "target": {"name": "photos"},
        "epochs": 3,
    }


def test_a_translator_with_epochs_to_go_is_not_finished(tmp_path: Path) -> None:
    assert not open_translator(write_translator(tmp_path / "t", epochs=2)).is_finished


def test_a_description_goes_through_json_unchanged() -> None:
    assert TranslatorInfo.from_json(json.loads(json.dumps(INFO.to_json()))) == INFO


def refusal(folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        open_translator(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_a_translator_is_refused(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "absent")
    assert "holds no translator" in refusal(tmp_path)


def test_a_translator_without_an_epoch_is_refused(tmp_path: Path) -> None:
    TRANSLATOR.write_description(tmp_path, INFO)
    assert "no finished epoch yet" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "segmenter"}, "kind is 'segmenter'"),
        ({"version": 99}, "version"),
        ({"width": 10**9}, "width"),
        ({"upsample": "nearest"}, "upsample"),
        ({"source": {}}, "source.name is missing"),
        ({"training": {}}, "training.epochs is missing"),
        ({"more": 1}, "'more' is no key"),
    ],
)
def test_a_malformed_description_is_refused_by_its_key(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = write_translator(tmp_path / "t")
    (folder / "translator.json").write_text(json.dumps({**INFO.to_json(), **change}))
    assert words in refusal(folder)


@pytest.mark.parametrize("position", [0, 300, -30])
def test_damaged_weights_are_refused(tmp_path: Path, position: int) -> None:
    folder = write_translator(tmp_path / "t")
    content = bytearray((folder / "generators.pth").read_bytes())
    content[position] ^= 0xFF
    (folder / "generators.pth").write_bytes(content)
    assert "generators.pth: is damaged" in refusal(folder)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = write_translator(tmp_path / "t")
    TRANSLATOR.write_description(folder, replace(INFO, width=3))
    assert "generators.pth: is damaged, or no file of this translator" in refusal(folder)


def test_weights_that_are_far_too_large_are_refused_before_they_are_read(tmp_path: Path) -> None:
    folder = write_translator(tmp_path / "t")
    with (folder / "generators.pth").open("ab") as file:
        file.truncate(10**8)
    assert "expected" in refusal(folder)


def test_the_hash_is_of_the_weights_that_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where training replaces the file in between."""
    folder, other = write_translator(tmp_path / "t"), write_translator(tmp_path / "other", epochs=2)
    file, load = folder / "generators.pth", torch.load
    expected = hashlib.sha256(file.read_bytes()).hexdigest()

    def replacing(*args: Any, **options: Any) -> Any:
        content = load(*args, **options)
        (other / "generators.pth").replace(file)
        return content

    monkeypatch.setattr(torch, "load", replacing)
    record = open_translator(folder).record
    assert (record["sha256"], record["epochs"]) == (expected, 3)


@pytest.mark.parametrize("width", [2, 3])
def test_a_translator_that_is_replaced_while_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """Also where the weights that are there now fit the description that was read."""
    path = write_translator(tmp_path / "t")
    other = write_translator(tmp_path / "o", info=replace(INFO, width=width, source={"name": "night.zarr"}))

    def replacing(*args: Any) -> Any:
        for name in ("translator.json", "generators.pth"):
            (other / name).replace(path / name)
        return load_generators(*args)

    monkeypatch.setattr("pipeline.translate.folder.load_generators", replacing)
    with pytest.raises(RunError, match="another run has trained there meanwhile; run the same"):
        open_translator(path)


def test_weights_that_unfold_to_more_than_their_file_are_refused(tmp_path: Path) -> None:
    folder = write_translator(tmp_path / "t")
    file = folder / "generators.pth"
    with ZipFile(file) as stored:
        entries = {name: stored.read(name) for name in stored.namelist()}
    with ZipFile(file, "w", ZIP_DEFLATED) as folded:
        for name, content in entries.items():
            folded.writestr(name, content)
        folded.writestr("archive/data/99", bytes(10**6))
    assert "larger than the file" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8, torch.complex64])
def test_weights_of_another_type_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = write_translator(tmp_path / "t")
    weights = {name: tensor.to(dtype) for name, tensor in build_generator(INFO).state_dict().items()}
    save_whole(folder / "generators.pth", generators_document(3, {FORWARD: weights, BACKWARD: weights}))
    assert str(dtype) in refusal(folder)


def test_a_description_of_a_huge_network_is_refused_before_it_is_built(tmp_path: Path) -> None:
    folder = write_translator(tmp_path / "t")
    TRANSLATOR.write_description(folder, replace(INFO, width=4096))  # 2 x 10 GB
    assert "expected (4096, 3, 3, 3)" in refusal(folder)


def test_a_pipe_in_place_of_weights_is_refused_at_once(tmp_path: Path) -> None:
    TRANSLATOR.write_description(tmp_path, INFO)
    os.mkfifo(tmp_path / "generators.pth")
    assert "no regular file" in refusal(tmp_path)
