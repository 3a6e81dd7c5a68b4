"""The folder of a calibration that has not ended: what kills have left there, and what is not ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.calibration.begun import Begun
from pipeline.calibration.predictions import Prediction
from pipeline.errors import UsageError

SETTINGS = {"folds": 2}
LEFT = ".tmpQpo0LR"  # a part of a file of tensors, as an older version left it


def begun_with_what_kills_left(folder: Path) -> Begun:
    """One with the parts of files, of each kind, that a kill may leave, also of an older version."""
    begun = Begun(folder)
    fold = begun.fold_folder(0)
    fold.mkdir(parents=True)
    begun.begin(SETTINGS, anew=False)
    for place in (folder / LEFT, fold / LEFT, folder / "image-1.safetensors.partial"):
        place.write_bytes(b"a part")
    (fold / "training_state.safetensors.partial").write_bytes(b"a part")
    begun.save(0, Prediction(np.ones((2, 3), np.float16), np.ones((2, 3), np.uint16), 0.5))
    return begun


@pytest.mark.parametrize("anew", [False, True])
def test_what_kills_have_left_does_not_stop_a_run(tmp_path: Path, anew: bool) -> None:
    begun = begun_with_what_kills_left(tmp_path / "begun")
    begun.begin(SETTINGS, anew=anew)
    assert begun.settings() == SETTINGS
    assert begun.has(0) != anew
    begun.remove_fold(0)
    assert not begun.fold_folder(0).exists()
    begun.remove()
    assert not begun.folder.exists()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    begun, values = Begun(tmp_path), np.arange(6, dtype=np.float16).reshape(2, 3)
    begun.save(3, Prediction(values, values.astype(np.uint16), 0.25))
    begun.save(4, Prediction(values, keypoints=np.full((2, 3), 0.5, np.float32)))
    labelled, placed = begun.load(3), begun.load(4)
    assert (labelled.entropy, labelled.keypoints) == (0.25, None)
    for found, expected in (
        (labelled.divergence, values),
        (labelled.labels, values.astype(np.uint16)),
        (placed.keypoints, np.full((2, 3), 0.5, np.float32)),
    ):
        assert found is not None and found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("name", ["letters.txt", "fold-0/letters.txt", "fold-0/.tmpletters.txt"])
def test_what_is_not_ours_is_named_before_anything_is_deleted(tmp_path: Path, name: str, anew: bool) -> None:
    begun = begun_with_what_kills_left(tmp_path / "begun")
    stranger = begun.folder / name
    stranger.write_text("mine")
    there = sorted(begun.folder.rglob("*"))
    with pytest.raises(UsageError, match=f"{stranger.parent}: holds '{stranger.name}', .*move it away"):
        begun.begin(SETTINGS, anew=anew)
    assert sorted(begun.folder.rglob("*")) == there


def test_what_comes_into_a_fold_meanwhile_is_named(tmp_path: Path) -> None:
    begun = begun_with_what_kills_left(tmp_path / "begun")
    (begun.fold_folder(0) / "letters.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"fold-0: holds 'letters\.txt'"):
        begun.remove_fold(0)
