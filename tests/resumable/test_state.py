"""The state of a training: its bytes, and what is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import UsageError
from pipeline.resumable.state import load_state, remove_state, save_state


@dataclass(frozen=True)
class Steps:
    step: int = 0


def learnt() -> dict[str, Any]:
    """What two optimisers have: a tuple that both share, and a name that the progress has too."""
    betas = (0.5, 0.999)
    moments = {"step": torch.ones(()), "exp_avg": torch.arange(3.0)}
    return {name: {"state": {0: dict(moments)}, "groups": [{"betas": betas}]} for name in ("one", "other")}


def test_a_state_that_was_read_is_written_again_in_the_same_bytes(tmp_path: Path) -> None:
    """Though the names in it are other objects than those of the program, which pickles tell apart."""
    save_state(tmp_path, Steps(3), learnt())
    before = (tmp_path / "training_state.pt").read_bytes()
    found = load_state(tmp_path, Steps, 2**20)
    assert found is not None and found[0] == Steps(3)
    save_state(tmp_path, *found)
    assert (tmp_path / "training_state.pt").read_bytes() == before
    save_state(tmp_path, Steps(4), found[1])
    assert (tmp_path / "training_state.pt").read_bytes() != before


def test_what_is_read_is_what_was_saved(tmp_path: Path) -> None:
    save_state(tmp_path, Steps(3), learnt())
    content = torch.load(tmp_path / "training_state.pt", weights_only=True)
    assert content["progress"] == {"step": 3}
    assert content["learnt"]["one"]["groups"] == [{"betas": (0.5, 0.999)}]
    assert torch.equal(content["learnt"]["other"]["state"][0]["exp_avg"], torch.arange(3.0))


def test_of_no_state_there_is_nothing(tmp_path: Path) -> None:
    assert load_state(tmp_path, Steps, 2**20) is None


def test_a_state_of_another_progress_is_one_line(tmp_path: Path) -> None:
    torch.save({"progress": {"lines": 3}, "learnt": {}}, tmp_path / "training_state.pt")
    with pytest.raises(UsageError, match=r"training_state\.pt: is damaged .*lines.*--overwrite") as refused:
        load_state(tmp_path, Steps, 2**20)
    assert "\n" not in str(refused.value)


def test_what_a_kill_left_of_a_state_is_removed_with_it(tmp_path: Path) -> None:
    save_state(tmp_path, Steps(3), {})
    (tmp_path / "training_state.pt.partial").write_bytes(b"half")
    remove_state(tmp_path)
    assert list(tmp_path.iterdir()) == []
