"""An image that the ensemble gave no finite output for is stored as NaN, and is never kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from support.stores import make_meta

import fstore
from fstore import format as fmt
from fstore.errors import StoreError
from fstore.filter_rule import num_kept

LABELS = fmt.DatasetMeta((6, 5), make_meta().classes, 4)
POINTS = fmt.DatasetMeta((6, 5), make_meta().classes, 4, keypoints=fmt.KeypointInfo(("a", "b"), 1.5))
NUM = 8


def parts_of(meta: fmt.DatasetMeta) -> dict[str, np.ndarray]:
    parts = {s.name: np.zeros(s.shape, s.dtype) for s in fmt.dataset_arrays(meta, NUM)}
    parts["uncertainty"][:] = np.arange(NUM)
    return parts


def write(path: Path, meta: fmt.DatasetMeta, parts: dict[str, np.ndarray]) -> None:
    writer = fstore.create_dataset(path, meta, num_images=NUM, overwrite=path.exists())
    try:
        writer.write_task(0, parts)
    finally:
        writer.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_stored_as_nan_and_verified(tmp_path: Path, value: float) -> None:
    path, parts = tmp_path / "d.zarr", parts_of(POINTS)
    for name in ("divergence", "heatmaps", "keypoints"):
        parts[name][3].flat[2] = value
    parts["uncertainty"][3] = value
    write(path, POINTS, parts)
    assert fstore.verify_store(path).ok
    dataset = fstore.open(path)
    assert np.isnan(dataset.uncertainty).tolist() == [i == 3 for i in range(NUM)]
    assert np.argwhere(~np.isfinite(dataset.divergence.compute())).tolist() == [[3, 0, 2]]
    assert np.isnan(dataset.divergence[3, 0, 2].compute())


@pytest.mark.parametrize("name", ["divergence", "heatmaps", "keypoints"])
def test_a_finite_score_of_such_an_image_is_refused_and_found(tmp_path: Path, name: str) -> None:
    path, parts = tmp_path / "d.zarr", parts_of(POINTS)
    parts[name][2].flat[1] = np.inf
    says = f"array 'uncertainty', image 2: is finite, and its {name} not; expected NaN"
    with pytest.raises(StoreError, match=says):
        write(path, POINTS, parts)
    parts["uncertainty"][2] = np.nan
    write(path, POINTS, parts)
    zarr.open_group(path)["uncertainty"][2] = np.float32(1)
    assert [line for line in fstore.verify_store(path).problems if says in line]


@pytest.mark.parametrize("name", ["divergence", "uncertainty"])
def test_an_infinite_value_on_disk_is_found(tmp_path: Path, name: str) -> None:
    write(tmp_path / "d.zarr", LABELS, parts_of(LABELS))
    array = zarr.open_group(tmp_path / "d.zarr")[name]
    array[5] = np.full(array.shape[1:], np.inf, array.dtype)
    assert (
        f"array '{name}', image 5: has a value that is infinite"
        in (fstore.verify_store(tmp_path / "d.zarr").problems[0])
    )


def test_latents_stay_finite(tmp_path: Path) -> None:
    parts = parts_of(LABELS)
    parts["latents"][4, 1] = np.nan
    with pytest.raises(StoreError, match="array 'latents', image 4: has a value that is not finite"):
        write(tmp_path / "d.zarr", LABELS, parts)


def filtered(
    path: Path, uncertainty: np.ndarray, kept: list[int], keep: str, threshold: float | None
) -> None:
    parts = parts_of(LABELS)
    parts["uncertainty"] = uncertainty.astype(np.float32)
    write(path, LABELS, parts)
    fstore.set_kept(path, np.isin(np.arange(NUM), kept), keep, threshold)


SCORES = np.array([5, np.nan, 3, np.nan, 1, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    ("kept", "keep", "threshold"),
    [([4], "0.1", 1.0), ([2, 4], "0.25", 3.0), ([0, 2, 4], "0.3", 5.0), ([0, 2, 4], "1", 5.0)],
)
def test_a_filter_keeps_no_more_than_the_finite_ones(
    tmp_path: Path, kept, keep: str, threshold: float
) -> None:
    filtered(tmp_path / "d.zarr", SCORES, kept, keep, threshold)
    assert fstore.verify_store(tmp_path / "d.zarr").ok
    assert np.flatnonzero(fstore.open(tmp_path / "d.zarr").kept).tolist() == kept


def test_none_is_kept_where_none_is_finite(tmp_path: Path) -> None:
    filtered(tmp_path / "d.zarr", np.full(NUM, np.nan), [], "0.9", None)
    assert fstore.verify_store(tmp_path / "d.zarr").ok
    assert fstore.open(tmp_path / "d.zarr").meta.threshold is None
    assert "0 of 8 (keep 0.9, threshold none)" in repr(fstore.open(tmp_path / "d.zarr"))


@pytest.mark.parametrize(
    ("kept", "keep", "says"),
    [
        ([1, 4], "0.25", "keeps an image whose uncertainty is not finite"),
        ([4], "0.25", "keeps 1 images, expected 2"),
        ([0, 2, 4], "0.25", "keeps 3 images, expected 2"),
        ([2, 4], "a quarter", "keep is 'a quarter': expected decimal text"),
    ],
)
def test_another_filter_is_refused(tmp_path: Path, kept: list[int], keep: str, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        filtered(tmp_path / "d.zarr", SCORES, kept, keep, 3.0)
    assert fstore.open(tmp_path / "d.zarr").meta.keep is None


def test_a_kept_image_without_a_score_is_found(tmp_path: Path) -> None:
    filtered(tmp_path / "d.zarr", SCORES, [2, 4], "0.25", 3.0)
    kept = zarr.open_group(tmp_path / "d.zarr")["kept"]
    kept[1], kept[2] = True, False
    problems = fstore.verify_store(tmp_path / "d.zarr").problems
    assert any(
        "array 'kept', image 1: is kept, and its uncertainty is not finite" in line for line in problems
    )


@given(st.lists(st.floats(), min_size=1, max_size=50), st.integers(1, 1000))
def test_the_number_kept_is_that_of_the_exact_fraction_or_of_the_finite(
    scores: list[float], per_mille: int
) -> None:
    keep = f"{per_mille // 1000}.{per_mille % 1000:03d}"
    wanted = -(-per_mille * len(scores) // 1000)  # in integers: it rounds up
    expected = min(wanted, sum(abs(score) < float("inf") for score in scores))
    assert num_kept(keep, np.array(scores)) == expected
