"""Checkpoint files: what is accepted, and the one line that each fault gives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.checkpoints import read as checkpoints
from pipeline.checkpoints.containers import checkpoint_file
from pipeline.checkpoints.read import load_generator
from pipeline.errors import UsageError
from pipeline.models.stylegan1 import StyleGAN1


def state() -> dict[str, Any]:
    torch.manual_seed(0)
    return StyleGAN1((4, 4), 8).state_dict()


def saved(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "some.for_g_all.pt"
    torch.save(content, path)
    return path


def test_a_checkpoint_gives_generator_path_and_hash(tmp_path: Path) -> None:
    path = saved(tmp_path, state())
    loaded = load_generator(str(path))
    assert loaded.path == path
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (loaded.generator.resolution, loaded.generator.latent_size) == (8, 8)
    assert loaded.format == "StyleGAN1 state dict (for_g_all)"
    assert loaded.average_latent is None and loaded.generator.stored_noise is None
    assert not loaded.generator.mapping(torch.zeros(1, 8)).requires_grad


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"g_all": s},
        lambda s: {"iteration": 7, "g_all": s},
        lambda s: {f"module.{key}": value for key, value in s.items()},  # saved from DataParallel
        lambda s: {key: value.half() for key, value in s.items()},
    ],
    ids=["one level down", "beside other entries", "module prefixes", "half precision"],
)
def test_simple_wrappings_are_taken_off(tmp_path: Path, wrap: Callable[[dict[str, Any]], Any]) -> None:
    loaded = load_generator(saved(tmp_path, wrap(state())))
    w = torch.ones(1, 18, 8)
    image = loaded.generator.synthesis(
        w, [torch.zeros(1, 1, *s) for s in loaded.generator.noise_shapes]
    ).images
    assert image.shape == (1, 3, 8, 8) and image.dtype == torch.float32


def test_the_older_container_of_pytorch_is_read(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    new, old = load_generator(saved(tmp_path, state())), load_generator(tmp_path / "old.pt")
    for key, value in new.generator.state_dict().items():  # type: ignore[attr-defined]
        assert torch.equal(old.generator.state_dict()[key], value)  # type: ignore[attr-defined]


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_generator(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.pt")
    assert "found a folder" in refusal(tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, keep: float) -> None:
    path = saved(tmp_path, state())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    message = refusal(path)
    assert ("the file is empty" if keep == 0 else "expected a generator's checkpoint") in message


def test_another_kind_of_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert "found a PNG image, expected a generator's checkpoint" in refusal(path)


class Bomb:
    """Unpickling this would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    path = saved(tmp_path, state() | {"bomb": Bomb(tmp_path / "exploded")})
    message = refusal(path)
    assert "mkdir'" in message and "nothing was executed" in message
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "found a list"),
        ({"epoch": 3}, "keys 'epoch'"),
        ({"model": {"conv1.weight": torch.zeros(2)}}, "keys 'model'"),  # a classifier
        ({}, "found a dict; expected a StyleGAN1 generator"),
        (
            state() | {"g_mapping.dense2.weight": torch.zeros(8, 9)},
            r"'g_mapping.dense2.weight' has shape (8, 9)",
        ),
        (
            {k: v for k, v in state().items() if k != "g_synthesis.torgb.bias"},
            "missing key 'g_synthesis.torgb.bias'",
        ),
        (
            state() | {"g_synthesis.torgb.bias": torch.tensor([0.0, float("nan"), 0.0])},
            "has NaN or infinite values",
        ),
        (state() | {"g_synthesis.torgb.bias": "red"}, "'g_synthesis.torgb.bias' holds str"),
    ],
    ids=[
        "list",
        "no network",
        "another network",
        "nothing",
        "wrong shape",
        "missing key",
        "nan",
        "no tensor",
    ],
)
def test_a_file_that_is_no_whole_generator_is_named(tmp_path: Path, content: Any, message: str) -> None:
    assert message in refusal(saved(tmp_path, content))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "it needs more memory than there is"),
        (
            RuntimeError("[enforce fail] you tried to allocate 99 bytes\nat alloc_cpu.cpp"),
            "tried to allocate 99",
        ),
        (RuntimeError(), "its network cannot be built"),
    ],
    ids=repr,
)
def test_a_network_that_cannot_be_built_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def recognise(*_: Any) -> None:
        raise error

    monkeypatch.setattr(checkpoints, "recognise", recognise)
    assert words in refusal(saved(tmp_path, state()))


def test_memory_that_runs_out_while_a_file_is_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(checkpoint_file, "read_torch_zip", read)
    assert "reading it needs more memory than there is" in refusal(saved(tmp_path, state()))
