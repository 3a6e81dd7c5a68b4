"""Which checkpoint a run means: the one that is given, the demo's, or the recorded one in this folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import embedded
from pipeline.checkpoints.read import file_sha256
from pipeline.errors import UsageError
from pipeline.inputs.checkpoint_choice import chosen_checkpoint, is_demos
from pipeline.settings.schema import Config, GeneratorConfig

DEMO = Config(demo=True)
OWN = Config()
GIVEN = Config(demo=True, generator=GeneratorConfig(checkpoint=Path("given.pt")))


def demo_record() -> dict[str, str]:
    return {"sha256": file_sha256(embedded.checkpoint_path()), "checkpoint": "moved.pt"}


def test_a_checkpoint_that_is_given_is_the_one() -> None:
    for record in (None, {}, demo_record(), {"checkpoint": "other.pt"}):
        assert chosen_checkpoint(GIVEN, record) == Path("given.pt")


def test_without_an_interpreter_the_demo_has_its_own() -> None:
    assert chosen_checkpoint(DEMO) == embedded.checkpoint_path()
    with pytest.raises(UsageError, match="no checkpoint is given; pass --checkpoint FILE, or set"):
        chosen_checkpoint(OWN)


def test_the_demos_interpreter_has_the_demos_checkpoint_wherever_it_is_used() -> None:
    assert chosen_checkpoint(OWN, demo_record()) == embedded.checkpoint_path()
    assert is_demos(demo_record()) and not is_demos({}) and not is_demos({"sha256": "0" * 64})


def test_the_recorded_file_is_taken_from_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = {"sha256": "0" * 64, "checkpoint": "faces.pt"}
    with pytest.raises(UsageError, match=r"'faces\.pt', which the interpreter was trained on, is not in"):
        chosen_checkpoint(DEMO, record)
    (tmp_path / "faces.pt").touch()
    assert chosen_checkpoint(DEMO, record) == Path("faces.pt")
    outside = {**record, "checkpoint": "../elsewhere/faces.pt"}  # a record never names a place
    assert chosen_checkpoint(DEMO, outside) == Path("faces.pt")


def test_an_interpreter_that_does_not_say_needs_a_checkpoint() -> None:
    config = replace(DEMO, synthesize=replace(DEMO.synthesize, interpreter=Path("released")))
    with pytest.raises(UsageError, match="the interpreter released does not say on which it was trained"):
        chosen_checkpoint(config, {})
