"""Which checkpoint a run means: the one that is given, the demo's, or the recorded one in this folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny import write_checkpoint

from pipeline import embedded
from pipeline.checkpoints.read import file_sha256
from pipeline.errors import UsageError
from pipeline.inputs.checkpoint_choice import chosen_checkpoint, is_demos, load_chosen
from pipeline.inputs.generator import average_latent, generator_record, render_settings
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


def two_generators(folder: Path) -> Path:
    tiny = [torch.load(write_checkpoint(folder / f"{seed}.pt", seed)) for seed in (0, 1)]
    torch.save({"cats": tiny[0], "dogs": tiny[1]}, folder / "two.pt")
    return folder / "two.pt"


def test_a_key_is_the_settings_else_the_records(tmp_path: Path) -> None:
    generator = GeneratorConfig(checkpoint=two_generators(tmp_path))
    config = Config(generator=generator)
    with pytest.raises(UsageError, match="--key, which may be 'cats' or 'dogs'"):
        load_chosen(config)
    assert load_chosen(config, {"key": "dogs"}).key == "dogs"
    chosen = replace(config, generator=replace(generator, key="cats"))
    assert load_chosen(chosen, {"key": "dogs"}).key == "cats"


def test_the_record_has_the_key_where_it_matters(tmp_path: Path) -> None:
    config = Config(generator=GeneratorConfig(checkpoint=two_generators(tmp_path), key="dogs"))
    assert recorded(config)["key"] == "dogs"
    alone = Config(generator=GeneratorConfig(checkpoint=tmp_path / "0.pt"))
    assert "key" not in recorded(alone) and "class_label" not in recorded(alone)


def recorded(config: Config) -> dict[str, object]:
    loaded = load_chosen(config)
    settings = render_settings(config, loaded)
    return generator_record(loaded, settings, latent_space="z", average="checkpoint", render_batch=1)


@pytest.mark.parametrize(("rows", "fits"), [(8, True), (9, True), (7, False)])
def test_a_checkpoints_average_latent_has_the_rows_that_truncation_moves(
    tmp_path: Path, rows: int, fits: bool
) -> None:
    state = torch.load(write_checkpoint(tmp_path / "c.pt"))
    average = torch.arange(rows * 16.0).reshape(rows, 16)
    torch.save({**state, "truncation.avg_latent": average}, tmp_path / "c.pt")
    config = Config(generator=GeneratorConfig(checkpoint=tmp_path / "c.pt"))
    loaded = load_chosen(config)
    if fits:
        found, origin = average_latent(config, loaded, render_settings(config, loaded))
        assert origin == "checkpoint"
        np.testing.assert_array_equal(found, average.numpy())
    else:
        with pytest.raises(UsageError, match="has 7 rows, truncation moves 8; pass --average-latent FILE"):
            average_latent(config, loaded, render_settings(config, loaded))
