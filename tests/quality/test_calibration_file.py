"""The file of a calibration: read as it was written, and refused in one line where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.quality.calibration_file import parse_calibration, read_calibration
from pipeline.quality.calibration_record import (
    Bin,
    Calibration,
    ClassLoss,
    CurvePoint,
    ImageFigures,
    Recommendation,
    ScoreFigures,
    curve_shares,
)
from pipeline.settings.values import Keep


def figures(keep: str, *, usable: bool = True) -> ScoreFigures:
    return ScoreFigures(
        usable=usable,
        spearman=0.5,
        spearman_quality=None,
        mean_gain=0.75,
        recommended_keep=Keep.parse(keep),
        reason="a reason",
        curve=tuple(CurvePoint(share, 2, 0.875, 0.125) for share in curve_shares(2)),
        bins=(Bin(2, 0.25, 0.125),),
        lost=(ClassLoss("face", 2, 0), ClassLoss("nose", 2, 1)),
    )


def example(task: str = "segmentation") -> Calibration:
    return Calibration(
        created={"program": "dgan 0", "time": "2026-01-01T00:00:00Z"},
        task=task,
        store={"location": "f.zarr", "id": "abc", "num_images": 4, "class_counts_sha256": "00"},
        generator={"sha256": "11"},
        classes=("face", "nose"),
        training={"members": 2},
        folds=2,
        rule="the rule",
        scores={"top10": figures("0.85"), "mean": figures("1"), "tried": figures("0.5", usable=False)},
        images=tuple(
            ImageFigures(2 * fold, fold, 0.25, 0.5, {"top10": 0.125, "mean": None, "tried": 0.5})
            for fold in range(2)
        ),
        recommended=Recommendation("top10", Keep.parse("0.85"), "a reason"),
    )


@pytest.mark.parametrize("task", ["segmentation", "keypoints"])
def test_a_calibration_is_read_as_it_was_written(tmp_path: Path, task: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(example(task).to_text(), encoding="utf-8")
    found = read_calibration(path)
    assert found == example(task)
    assert found.recommended_keep("top10").text == "0.85" and found.recommended_keep("mean").text == "1"


def test_a_score_that_is_not_in_it_or_none_of_a_dataset_is_refused() -> None:
    for score in ("sum", "tried"):
        with pytest.raises(UsageError, match=f"{score}.*top10, mean; run"):
            example().recommended_keep(score)


DELETED = object()


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("version",), 99, "newer than 1"),
        (("version",), "1", "version is '1'"),
        (("kind",), "interpreter", "kind"),
        (("task",), "dance", "task"),
        (("measure",), "pck10", "measure"),  # that of keypoints
        (("scores",), [], "scores"),
        (("scores", "top10", "recommended_keep"), "1e-999999999", "recommended_keep is"),
        (("scores", "top10", "recommended_keep"), "auto", "recommended_keep is"),
        (("scores", "top10", "recommended_keep"), 0.85, "recommended_keep"),  # digits count: it is text
        (("scores", "top10", "recommended_keep"), "0.8", "does not fit"),
        (("scores", "tried", "usable"), True, "no score of a dataset"),
        (("scores", "top10", "curve", 0, "keep"), "2", "keep is"),
        (("scores", "top10", "curve", 0, "miou"), True, "miou"),
        (("scores", "top10", "bins", 0), {}, "missing"),
        (("scores", "top10", "extra"), 1, "no key"),
        (("recommended", "score"), "sum", "does not fit"),
        (("recommended", "score"), "tried", "score"),
        (("images", 0, "fold"), 2, "fold"),
        (("images", 0, "uncertainty"), {"\ud800": 1}, "uncertainty"),
        (("store", "id"), DELETED, "store.id"),
        (("folds",), 10**400, "folds"),
        (("scores", "top10", "curve", 8), DELETED, r"scores\.top10\.curve has other shares"),
        (("scores", "tried", "curve"), [], r"scores\.tried\.curve has other shares"),
        (("scores", "mean", "lost", 1), {"class": "nose", "images": 0, "dropped": 1}, "drops more"),
        (("scores", "mean", "lost", 1), DELETED, "does not fit classes"),
        (("scores", "mean", "lost", 1, "class"), "mouth", "does not fit classes"),
        (("scores", "mean", "lost", 1, "images"), 3, "has 3 images, and images has 2"),
        (("scores", "mean", "curve", 0, "images"), 3, "has 3 images, and images has 2"),
        (("scores", "mean", "bins", 0, "images"), 3, "has 3 images, and images has 2"),
        (("images",), [], "images has 0: expected 2 or more"),
        (("images", 0), DELETED, "images has 1: expected 2 or more"),
        (("images", 0, "index"), 2, "images has an index twice"),
        (("store", "num_images"), 1, "images has 2: expected 2 or more, of the store's 1"),
        (("images", 1, "uncertainty", "tried"), DELETED, "uncertainty does not fit scores"),
        (("scores", "top10", "usable"), False, "recommended does not fit"),
    ],
)
def test_a_damaged_or_hostile_document_is_refused_in_one_line(
    tmp_path: Path, place: tuple[Any, ...], value: Any, words: str
) -> None:
    document = example().to_json()
    at: Any = document
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    if value is DELETED:
        del at[place[-1]]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UsageError, match=words) as raised:
        read_calibration(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"\xff", b"{" * 5000, b'{"version": NaN}', b'{"version": 1e999}', b"null"],
)
def test_what_is_no_json_object_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no calibration, or is damaged") as raised:
        read_calibration(path)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_calibration(tmp_path / "nothing.json")
    with pytest.raises(UsageError, match="no plain file"):
        read_calibration(tmp_path)


def test_a_document_that_was_parsed_gives_the_same_document() -> None:
    document = json.loads(example().to_text())
    assert parse_calibration(document, "x").to_json() == document
