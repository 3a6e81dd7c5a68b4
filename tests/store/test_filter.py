"""A filter with a rule of its own: what is written, what is refused, what `verify` finds, and every death."""

from __future__ import annotations

import json
import re
import shutil
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from support.deaths import dying, survived
from support.filters import random_dataset
from support.labelled import KEYPOINTS
from support.stores import make_meta

import fstore
from fstore import format as fmt
from fstore.errors import StoreError
from fstore.filter_rule import kept_per_class
from fstore.image_scores import image_score

PER_CLASS = fmt.FilterRule("top10", per_class=True)
BY_CLASSES = fmt.FilterRule("class-mean")
NUM = 12


def attribute(path: Path) -> dict[str, Any]:
    return json.loads((path / "zarr.json").read_text())["attributes"]["fstore"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without a filter; not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "d.zarr"
    random_dataset(path)
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "d.zarr"))


def scores_of(path: Path, score: str) -> np.ndarray:
    """(N,) float32, by brute force from what is stored."""
    group = zarr.open_group(path, mode="r")
    pairs = zip(group["divergence"][:], group["labels"][:], strict=True)
    return np.array([image_score(divergence, labels, score) for divergence, labels in pairs], np.float32)


def least(scores: np.ndarray, num: int) -> np.ndarray:
    return np.isin(np.arange(len(scores)), sorted(range(len(scores)), key=lambda i: (scores[i], i))[:num])


def by_classes(path: Path, num: int = 6) -> np.ndarray:
    """Set a filter by the score class-mean. Returns the scores."""
    scores = scores_of(path, "class-mean")
    kept = least(scores, num)
    keep = str(num / NUM)
    fstore.set_kept(path, kept, keep, float(scores[kept].max()), rule=BY_CLASSES, scores=scores)
    return scores


def per_class(path: Path) -> np.ndarray:
    """Set a filter that keeps half of all images and of those that show each class. Returns what is kept."""
    kept = least(np.arange(NUM), 6) | np.isin(np.arange(NUM), [9, 10])  # class 2 is in the last three
    uncertainty = fstore.open(path).uncertainty
    fstore.set_kept(path, kept, "0.5", float(uncertainty[kept].max()), rule=PER_CLASS)
    return kept


def ordinary(path: Path) -> None:
    uncertainty = fstore.open(path).uncertainty
    fstore.set_kept(path, np.arange(NUM) < 6, "0.5", float(uncertainty[5]))


# --- what is written ---


def test_a_filter_by_another_score_stores_what_it_went_by(path: Path) -> None:
    scores = by_classes(path)
    dataset = fstore.open(path)
    np.testing.assert_array_equal(dataset.filter_score, scores)
    assert not np.array_equal(dataset.filter_score, dataset.uncertainty)
    np.testing.assert_array_equal(dataset.lazy("filter_score").compute(), scores)
    assert "filter_score" in dataset.array_names() and dataset.meta.score == "top10"
    assert attribute(path)["filter"] == {"score": "class-mean", "per_class": False}
    array = zarr.open_group(path)["filter_score"]
    assert (array.shape, str(array.dtype), array.chunks) == ((NUM,), "float32", (fmt.KEPT_CHUNK,))
    report = fstore.verify_store(path)
    assert report.ok, report.problems


def test_a_filter_per_class_stores_no_score(path: Path) -> None:
    kept = per_class(path)
    dataset = fstore.open(path)
    assert dataset.kept.tolist() == kept.tolist()
    np.testing.assert_array_equal(dataset.filter_score, dataset.uncertainty)
    assert not (path / "filter_score").exists()
    report = fstore.verify_store(path)
    assert report.ok, report.problems


def test_an_ordinary_filter_leaves_no_trace_of_another(path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(path, tmp_path / "copy.zarr")
    by_classes(path)
    per_class(path)
    by_classes(path)
    for each in (path, copy):
        ordinary(each)
        assert "filter" not in attribute(each) and attribute(each)["version"] == 1
    assert files(path) == files(copy)


def files(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


def test_programs_that_know_no_rules_are_kept_out_while_there_is_one(path: Path) -> None:
    assert attribute(path)["version"] == 1
    per_class(path)
    assert attribute(path)["version"] == 3
    ordinary(path)
    assert attribute(path)["version"] == 1


def test_the_filter_of_a_dataset_is_unset_before_it_is_set(path: Path) -> None:
    dataset = fstore.open(path)
    with pytest.raises(StoreError, match="no filter is set yet"):
        _ = dataset.filter_score


def test_the_dataset_shows_its_rule(path: Path) -> None:
    ordinary(path)
    assert "\n  filter" not in repr(fstore.open(path))
    calibration = {"file": "calibration.json", "sha256": "c" * 64, "recommended": "0.5"}
    kept = per_class(path)
    rule = fmt.FilterRule("top10", True, calibration)
    fstore.set_kept(path, kept, "0.5", float(fstore.open(path).uncertainty[kept].max()), rule=rule)
    (line,) = [line for line in repr(fstore.open(path)).splitlines() if line.startswith("  filter ")]
    assert line.split(maxsplit=1)[1] == (
        "by top10, that share of every class too, keep auto (file calibration.json, sha256 cccccccccccc..., "
        "recommended 0.5)"
    )
    assert "by top10, that share" in fstore.open(path)._repr_html_()
    assert fstore.verify_store(path).ok


def test_whoever_reads_for_long_notices_another_rule(path: Path) -> None:
    kept = per_class(path)
    opened, images = fstore.open(path), fstore.torch_dataset(path)
    opened.check_unchanged()
    threshold = float(opened.uncertainty[kept].max())
    rule = fmt.FilterRule("top10", True, {"file": "c.json"})  # equal keep, threshold and images
    fstore.set_kept(path, kept, "0.5", threshold, rule=rule)
    with pytest.raises(StoreError, match="its filter was changed"):
        opened.check_unchanged()
    with pytest.raises(StoreError, match="its filter was changed"):
        images[0]
    assert fstore.torch_dataset(path).ids.tolist() == np.flatnonzero(kept).tolist()


def test_other_readers_open_it(path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    scores = by_classes(path)
    opened = xarray.open_zarr(path, consolidated=False)
    assert opened.filter_score.dims == ("image",)
    np.testing.assert_array_equal(opened.filter_score.values, scores)


# --- lengthening, resuming, beginning anew ---


def test_a_longer_dataset_has_no_filter_and_no_scores_of_one(path: Path) -> None:
    by_classes(path)
    meta = fstore.open(path).meta
    writer = fstore.create_dataset(path, fmt.DatasetMeta(**{**vars(meta), **UNFILTERED}), num_images=NUM + 1)
    writer.close()
    assert not (path / "filter_score").exists()
    assert (attribute(path)["version"], attribute(path)["keep"]) == (1, None)
    opened = fstore.open(path)
    assert (opened.num_images, len(opened), opened.meta.filter) == (NUM + 1, NUM, None)


UNFILTERED = {"keep": None, "threshold": None, "filter": None}


def test_a_run_goes_on_with_a_dataset_whose_filter_has_a_rule(path: Path) -> None:
    by_classes(path)
    meta = fmt.DatasetMeta(**{**vars(fstore.open(path).meta), **UNFILTERED})
    fstore.check_create_dataset(path, meta, num_images=NUM)
    writer = fstore.create_dataset(path, meta, num_images=NUM)
    assert writer.pending_tasks() == []
    writer.close()
    assert fstore.open(path).meta.filter == BY_CLASSES  # until the run sets its own


def test_a_dataset_that_is_begun_anew_has_none(path: Path) -> None:
    by_classes(path)
    meta = fmt.DatasetMeta(**{**vars(fstore.open(path).meta), **UNFILTERED})
    fstore.create_dataset(path, meta, num_images=NUM, overwrite=True).close()
    assert not (path / "filter_score").exists() and "filter" not in attribute(path)


# --- what is refused, and what is found ---


@pytest.mark.parametrize(
    ("rule", "scores", "says"),
    [
        (BY_CLASSES, None, r"goes by class-mean; expected scores \(12,\), found none"),
        (BY_CLASSES, np.zeros(3), r"expected scores \(12,\), found of shape \(3,\)"),
        (BY_CLASSES, np.full(NUM, np.inf), "an infinite value"),
        (BY_CLASSES, np.full(NUM, np.nan), "keeps an image whose uncertainty is not finite"),
        (PER_CLASS, np.zeros(NUM), "goes by top10, which is stored as uncertainty; pass no scores"),
        (None, np.zeros(NUM), "pass no scores"),
    ],
)
def test_scores_that_do_not_fit_the_rule_are_refused(
    path: Path, rule: fmt.FilterRule | None, scores: np.ndarray | None, says: str
) -> None:
    with pytest.raises(StoreError, match=says):
        fstore.set_kept(path, np.arange(NUM) < 6, "0.5", 0.5, rule=rule, scores=scores)
    assert attribute(path)["keep"] is None and not (path / "filter_score").exists()


def test_a_filter_per_class_keeps_at_least_what_an_ordinary_one_does(path: Path) -> None:
    with pytest.raises(StoreError, match="keeps 5 images, expected 6 or more"):
        fstore.set_kept(path, np.arange(NUM) < 5, "0.5", 0.5, rule=PER_CLASS)


@pytest.mark.parametrize(
    ("kept", "threshold", "rule", "says"),
    [
        (
            np.arange(NUM) >= 6,
            1.0,
            None,
            "array 'kept' drops an image that is less uncertain than one it keeps",
        ),
        (np.arange(NUM) >= 6, None, None, r"attribute 'threshold' is None, expected 1.0, the largest kept"),
        (
            np.arange(NUM) < 6,
            1.0,
            None,
            r"attribute 'threshold' is 1.0, expected 0.50\d*, the largest kept unc",
        ),
        (np.arange(NUM) >= 6, 1.0, PER_CLASS, "image 0: is dropped, and the rule per class keeps it"),
        (
            (np.arange(NUM) < 6).astype(int),
            None,
            None,
            r"mask is int64 of shape \(12,\), expected bool of \(12,\)",
        ),
        (np.arange(6), None, None, r"mask is int64 of shape \(6,\), expected bool of \(12,\)"),
        (np.ones(NUM + 1, bool), None, None, r"mask is bool of shape \(13,\), expected bool of \(12,\)"),
        (True, None, None, r"mask is bool of shape \(\), expected bool of \(12,\)"),
    ],
)
def test_a_filter_that_verify_would_find_wrong_is_refused(
    path: Path, kept: Any, threshold: float | None, rule: fmt.FilterRule | None, says: str
) -> None:
    before = files(path)
    with pytest.raises(StoreError, match=says) as refused:
        fstore.set_kept(path, kept, "0.5", threshold, rule=rule)
    assert "\n" not in str(refused.value)
    assert files(path) == before


def test_a_filter_whose_dataset_lost_a_marker_is_refused_for_that(path: Path) -> None:
    (path / "committed" / "c" / "0").unlink()
    with pytest.raises(StoreError, match="0 of 12 images are committed"):
        fstore.set_kept(path, np.arange(NUM) < 6, "0.5", 0.5)


@pytest.mark.parametrize("rule", [PER_CLASS, BY_CLASSES, fmt.FilterRule("interior")])
def test_a_dataset_without_labels_has_no_such_filter(rule: fmt.FilterRule) -> None:
    with pytest.raises(StoreError, match="expected one without labels"):
        fmt.DatasetMeta((6, 5), make_meta().classes, 4, keep="1", keypoints=KEYPOINTS, filter=rule)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"filter": 3}, "filter is 3: expected an object"),
        ({"filter": {}}, "it has no 'score'"),
        ({"filter": {"score": "best", "per_class": True}}, "filter.score is 'best'"),
        ({"filter": {"score": "mean", "per_class": 1}}, "filter.per_class is 1: expected true or false"),
        ({"filter": {"score": "mean", "per_class": True, "calibration": "x"}}, "filter.calibration is 'x'"),
        ({"filter": {"score": "mean", "per_class": True}, "keep": None}, "keep is null: expected both"),
    ],
)
def test_a_malformed_rule_is_one_line(path: Path, changes: dict[str, Any], says: str) -> None:
    per_class(path)
    group = zarr.open_group(path)
    group.attrs["fstore"] = {**attribute(path), **changes}
    with pytest.raises(StoreError, match=rf"attribute 'fstore' is malformed \(.*{says}") as held:
        fstore.open(path)
    assert "\n" not in str(held.value)


def test_scores_that_are_missing_or_damaged_are_one_line(path: Path) -> None:
    by_classes(path)
    (path / "filter_score" / "c" / "0").unlink()
    with pytest.raises(StoreError, match=r"'filter_score', images 0 to 11, chunk .* is missing"):
        _ = fstore.open(path).filter_score
    assert "is missing or empty" in fstore.verify_store(path).problems[0]
    shutil.rmtree(path / "filter_score")
    assert "array 'filter_score' is missing" in fstore.verify_store(path).problems[0]


def test_a_score_that_is_not_what_the_arrays_give_is_found(path: Path) -> None:
    scores = by_classes(path)
    zarr.open_group(path)["filter_score"][3] = scores[3] * np.float32(1.001)
    (line, *_) = fstore.verify_store(path).problems
    assert "array 'filter_score', image 3: is" in line and "its score class-mean" in line


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (11, "image 11: is kept, and the rule per class drops it"),
        (10, "image 10: is dropped, and .* keeps it"),
    ],
)
def test_an_image_that_the_rule_per_class_decides_otherwise_is_found(
    path: Path, image: int, says: str
) -> None:
    kept = per_class(path)
    array = zarr.open_group(path)["kept"]
    array[image] = not kept[image]
    problems = fstore.verify_store(path).problems
    assert any(re.search(says, line) for line in problems)


# --- deaths ---


STRIDE = pytest.mark.parametrize("stride", [8, pytest.param(1, marks=pytest.mark.slow)])


@STRIDE
def test_after_a_death_the_filter_is_the_old_one_the_new_one_or_none(
    path: Path, tmp_path: Path, stride: int
) -> None:
    """Every change to the folder in turn fails (or every eighth), and all later ones: a filter by another
    score, then the ordinary one over it, which deletes the scores.
    """
    steps = [by_classes, ordinary]
    for number, step in enumerate(steps):
        before = attribute(path)
        after_path = shutil.copytree(path, tmp_path / f"after {number}.zarr")
        step(after_path)
        after = attribute(after_path)
        change = 1 - stride
        while True:
            change += stride
            copy = shutil.copytree(path, tmp_path / "copy.zarr")
            with dying(copy, change):
                step(copy)
            ended = survived()
            found = attribute(copy)
            assert found in (before, after) or (found["keep"], "filter" in found) == (None, False)
            if found["keep"] is not None:
                report = fstore.verify_store(copy)
                assert report.ok, (step, change, report.problems)
            step(copy)  # the same again ends it
            assert files(copy) == files(after_path)
            shutil.rmtree(copy)
            if ended:
                break
        assert change > 5
        step(path)


@STRIDE
def test_after_a_death_a_longer_dataset_is_lengthened_by_the_same_call(
    path: Path, tmp_path: Path, stride: int
) -> None:
    by_classes(path)
    meta = fmt.DatasetMeta(**{**vars(fstore.open(path).meta), **UNFILTERED})
    change, ended = 1 - stride, False
    while not ended:
        change += stride
        copy = shutil.copytree(path, tmp_path / "copy.zarr")
        with dying(copy, change):
            fstore.create_dataset(copy, meta, num_images=NUM + 1).close()
        ended = survived()
        fstore.create_dataset(copy, meta, num_images=NUM + 1).close()
        assert not (copy / "filter_score").exists()
        assert len(fstore.open(copy)) == NUM and fstore.open(copy).meta.keep is None
        shutil.rmtree(copy)


# --- the rule ---


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, float("nan")]), min_size=1, max_size=12),
    st.integers(1, 1000),
    st.integers(0, 2**24),
)
def test_the_rule_per_class_is_the_union_of_the_least_uncertain_of_all_and_of_each_class(
    scores: list[float], per_mille: int, seed: int
) -> None:
    keep = f"{per_mille // 1000}.{per_mille % 1000:03d}"
    shown = np.random.default_rng(seed).random((len(scores), 3)) < 0.4
    finite = [i for i, score in enumerate(scores) if score == score]

    def first(images: list[int], num: int) -> set[int]:
        return set(sorted(images, key=lambda i: (scores[i], i))[:num])

    expected = first(finite, ceil(per_mille * len(scores) / 1000))
    for images in shown.T:
        of_class = [i for i in finite if images[i]]
        expected |= first(of_class, -(-per_mille * len(of_class) // 1000))
    assert set(np.flatnonzero(kept_per_class(keep, np.array(scores), shown))) == expected
