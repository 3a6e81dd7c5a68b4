"""Photographs with keypoints: which points are of which picture, in its pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.photographs import write_pictures

from pipeline.errors import UsageError
from pipeline.inputs.photograph_keypoints import PhotographKeypoints, open_photograph_keypoints

KEYPOINTS = ("left", "right")
POINTS = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]], np.float64)
SIZE = (24, 32)


def opened(images: Path, annotations: Path | None) -> PhotographKeypoints:
    return open_photograph_keypoints(images, annotations, names=KEYPOINTS)


def save_coco(path: Path, names: tuple[str, ...], scale: int = 1) -> Path:
    height, width = SIZE[0] * scale, SIZE[1] * scale
    images = [
        {"id": 7 + i, "file_name": f"val/{name}", "height": height, "width": width}
        for i, name in enumerate(names)
    ]
    annotations = [
        {
            "id": i,
            "image_id": 7 + i,
            "category_id": 1,
            "keypoints": np.pad(scale * points, ((0, 0), (0, 1)), constant_values=2).ravel().tolist(),
        }
        for i, points in enumerate(POINTS[: len(names)])
    ]
    categories = [{"id": 1, "name": "face", "keypoints": list(KEYPOINTS)}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.mark.parametrize("scale", [1, 2])
def test_entries_of_a_coco_file_belong_to_the_picture_of_their_name(tmp_path: Path, scale: int) -> None:
    images = write_pictures(tmp_path / "photos", ("b.jpg", "a.jpg", "more.png"))
    found = opened(images, save_coco(tmp_path / "points.json", ("b.jpg", "a.jpg", "gone.jpg"), scale))
    assert [path.name for path in found.paths] == ["a.jpg", "b.jpg"]
    assert np.array_equal(found.points[..., :2], POINTS[[1, 0]])
    assert found.sizes.tolist() == [[24, 32], [24, 32]]
    assert ["more.png" in note for note in found.notes] == [True, False]


@pytest.mark.parametrize(
    ("names", "order", "paired_by"),
    [
        (("face_0.jpg", "face_1.jpg", "face_2.jpg"), (0, 1, 2), "number"),
        (("img2.jpg", "img0.jpg", "img1.jpg"), (0, 1, 2), "number"),
        (("a.jpg", "b.jpg", "c.jpg"), (0, 1, 2), "order"),
        (("face_1.jpg", "face_2.jpg", "face_3.jpg"), (0, 1, 2), "order"),
        (("face_2.jpg", "face_1.jpg"), (1, 2), "number"),
    ],
)
def test_rows_of_an_array_belong_to_numbers_or_to_the_order(
    tmp_path: Path, names: tuple[str, ...], order: tuple[int, ...], paired_by: str
) -> None:
    images = write_pictures(tmp_path / "photos", names)
    np.save(images / "keypoints.npy", POINTS)
    found = opened(images, None)
    assert found.record["paired_by"] == paired_by
    assert np.array_equal(found.points[..., :2], POINTS[list(order)])


@pytest.mark.parametrize(
    ("names", "points", "said"),
    [
        (("a.jpg", "b.jpg"), POINTS, "has 3 rows, and .* 2 pictures"),
        (("a.jpg", "b.jpg", "c.jpg"), POINTS * 4, "expected within the image"),
        (("a.jpg", "b.jpg", "c.jpg"), POINTS / 100, "between 0 and 1"),
        (("a.jpg", "b.jpg", "c.jpg"), POINTS[:, :1], "annotates the keypoints keypoint_0"),
        (("a.jpg", "b.jpg", "c.jpg"), np.full((3, 2, 2), np.nan), "no keypoint is labelled"),
    ],
)
def test_points_that_do_not_fit_end_in_one_line(
    tmp_path: Path, names: tuple[str, ...], points: np.ndarray, said: str
) -> None:
    images = write_pictures(tmp_path / "photos", names)
    np.save(tmp_path / "points.npy", points)
    with pytest.raises(UsageError, match=said) as caught:
        opened(images, tmp_path / "points.npy")
    assert "\n" not in str(caught.value)


def test_points_of_an_image_of_another_shape_are_refused(tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg",), (20, 20))
    with pytest.raises(UsageError, match=r"is 24 x 32 .* 20 x 20"):
        opened(images, save_coco(tmp_path / "points.json", ("a.jpg",)))
