"""An interpreter labels with the generator that it was trained on, also where a file holds several."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.tiny import write_checkpoint

from pipeline.checkpoints.read import file_sha256
from pipeline.errors import UsageError
from pipeline.interpreter import pairing
from pipeline.interpreter.pairing import load_paired
from pipeline.settings.schema import Config, GeneratorConfig


@pytest.mark.parametrize(("force", "way_out"), [(False, "or pass --force"), (None, "leave --key out")])
def test_another_generator_of_the_same_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool | None, way_out: str
) -> None:
    tiny = [torch.load(write_checkpoint(tmp_path / f"{seed}.pt", seed)) for seed in (0, 1)]
    torch.save({"cats": tiny[0], "dogs": tiny[1]}, tmp_path / "two.pt")
    record = {"sha256": file_sha256(tmp_path / "two.pt"), "checkpoint": "two.pt", "key": "dogs"}
    learnt = SimpleNamespace(info=SimpleNamespace(generator=record))
    monkeypatch.setattr(pairing, "load_interpreter", lambda _: learnt)
    monkeypatch.setattr(pairing, "_check_rendering", lambda *_: None)
    config = Config(generator=GeneratorConfig(checkpoint=tmp_path / "two.pt", key="cats"))
    with pytest.raises(UsageError, match="--key cats is another of its generators") as caught:
        load_paired(config, force=force)
    assert way_out in str(caught.value) and "\n" not in str(caught.value)
