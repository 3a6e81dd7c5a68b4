"""An interpreter that is replaced: one of the two can be loaded at any moment, and the old one is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.deaths import dying, survived
from support.interpreters import INFO, TRAINED, ensemble, saved
from support.stores import tree_bytes

from pipeline.errors import UsageError
from pipeline.interpreter.description import has_grown, unexplained_differences
from pipeline.interpreter.files import check_same_settings, finish_saving, load_interpreter, save_interpreter
from pipeline.interpreter.rounds import keep_interpreter, kept_interpreter
from pipeline.interpreter.training_state import TrainingState, save_state

OF_A_STORE = replace(INFO, store={**INFO.store, "id": "a", "inputs": {"masks_sha256": "1"}})
GROWN = replace(
    OF_A_STORE,
    store={**OF_A_STORE.store, "num_images": 8, "inputs": {"masks_sha256": "2", "latents_sha256": "3"}},
    training={**INFO.training, "held_out_images": [1]},
)


def replace_in(folder: Path) -> None:
    """Save another interpreter there: the same weights, and an average latent."""
    save_interpreter(folder, ensemble(), TRAINED, np.ones(4, np.float32))


def test_killed_at_any_change_one_of_the_two_interpreters_can_be_loaded(tmp_path: Path) -> None:
    saved(tmp_path / "old")
    saved(tmp_path / "new", np.ones(4, np.float32))
    hashes = [load_interpreter(tmp_path / name).sha256 for name in ("old", "new")]
    for change in range(1, 99):
        folder = saved(tmp_path / str(change))
        save_state(folder, TrainingState(TRAINED, {}))
        with dying(folder, change):
            replace_in(folder)
        if survived():
            break
        assert load_interpreter(folder).sha256 in hashes, change
        if load_interpreter(folder).sha256 == hashes[1]:
            finish_saving(folder)
        else:
            replace_in(folder)
        assert tree_bytes(folder) == tree_bytes(tmp_path / "new"), change
    assert change > 4


def test_what_is_kept_is_whole_and_kept_once(tmp_path: Path) -> None:
    folder = saved(tmp_path / "interpreter")
    for change in range(1, 99):
        with dying(tmp_path, change):
            keep_interpreter(folder)
        if survived():
            break
        assert not (tmp_path / "interpreter.round-1").exists()
    assert keep_interpreter(folder) == keep_interpreter(folder) == tmp_path / "interpreter.round-1"
    old = load_interpreter(folder).sha256
    replace_in(folder)
    (tmp_path / "interpreter.round-7").mkdir()  # somebody's
    assert keep_interpreter(folder) == tmp_path / "interpreter.round-8"
    assert kept_interpreter(folder, old) == tmp_path / "interpreter.round-1"
    assert load_interpreter(tmp_path / "interpreter.round-1").sha256 == old
    assert kept_interpreter(folder, "0" * 64) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "interpreter", *(f"interpreter.round-{number}" for number in (1, 7, 8)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "grown"),
    [
        (OF_A_STORE, False),  # nothing differs
        (GROWN, True),
        (replace(GROWN, store={**GROWN.store, "id": "b"}), False),  # another store
        (replace(GROWN, members=3), False),
        (replace(GROWN, training={**GROWN.training, "seed": 1}), False),
        (replace(GROWN, classes=GROWN.classes[:2], widths=(9, 9)), True),  # these follow from the classes
        (replace(GROWN, widths=(9, 9)), False),
    ],
)
def test_a_store_that_has_grown_is_told_from_other_settings(asked: object, grown: bool) -> None:
    assert has_grown(OF_A_STORE, asked) == grown


def test_of_a_store_that_has_grown_the_setting_is_named(tmp_path: Path) -> None:
    asked = replace(GROWN, training={**GROWN.training, "seed": 1})
    assert [key for key, *_ in unexplained_differences(OF_A_STORE, asked)] == ["training.seed"]
    with pytest.raises(UsageError, match=r"trained with training.seed = 0, this run has 1; use the same"):
        check_same_settings(tmp_path, OF_A_STORE, asked)
