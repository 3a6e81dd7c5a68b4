"""What a user sees while training: where it is, and no end that early stopping makes a lie of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.machine import progress
from pipeline.settings.schema import TrainConfig
from pipeline.stages.train.learner import Learner
from pipeline.stages.train.stage import train


@pytest.fixture(autouse=True)
def _two_seconds_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, step = [0.0], Learner.step

    def slow(self: Learner, *arguments: object) -> torch.Tensor:
        seconds[0] += 2
        return step(self, *arguments)

    monkeypatch.setattr(Learner, "step", slow)
    monkeypatch.setattr(progress, "monotonic", lambda: seconds[0])


def test_a_log_tells_the_epochs_of_an_early_stopping_run(
    store: Path, config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    train(store, replace(config, max_epochs=30, patience=2, final_epochs=1, learning_rate=1e-9))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "epoch 1 of at most 30: 15/20 steps, 2 s/step"
    assert lines[1].startswith("epoch 2 of at most 30, best 1: 10/20 steps, 2 s/step, mIoU ")
    assert any(line.startswith("final epoch 1 of 1: ") for line in lines)
    assert all(len(line) <= 80 and "left" not in line for line in lines)
    assert 4 <= len(lines) < 30


def test_a_log_of_given_steps_tells_the_time_left(
    store: Path, config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    train(store, replace(config, steps=60))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "epoch 1 of 3: 15/60 steps, 2 s/step, 0:01:30 left"
    assert lines[1].startswith("epoch 2 of 3, best 1: 30/60 steps, 2 s/step, 0:01:00 left")
