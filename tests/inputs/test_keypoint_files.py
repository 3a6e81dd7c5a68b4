"""Keypoint files: what is read from each format, how it comes to the grid, one line for whatever is wrong."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats.keypoint_files import KeypointSource, open_keypoints
from pipeline.inputs.annotations.keypoints import load_keypoints

NAMES = ["nose", "left_eye"]


def coco(**changes: Any) -> dict[str, Any]:
    """Two images of 40 x 20 (rows x columns), numbers 1 and 0, as CVAT exports them."""
    document: dict[str, Any] = {
        "images": [
            {"id": 7, "file_name": "task/img_1.png", "height": 40, "width": 20},
            {"id": 8, "file_name": "task/img_0.png", "height": 40, "width": 20},
            {"id": 9, "file_name": "task/img_2.png", "height": 40, "width": 20},  # nothing annotated
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "keypoints": [10, 20, 2, 0, 0, 0]},
            {"id": 2, "image_id": 8, "category_id": 3, "keypoints": [5.5, 8.25, 1, 19, 39, 2]},
            {"id": 3, "image_id": 9, "category_id": 4, "bbox": [0, 0, 5, 5]},
        ],
        "categories": [{"id": 3, "name": "face", "keypoints": NAMES}, {"id": 4, "name": "car"}],
    }
    return {**document, **changes}


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_coco_keypoints_are_read_by_the_images_numbers(tmp_path: Path) -> None:
    source = open_keypoints(write(tmp_path / "person_keypoints.json", coco()))
    assert source.numbers == (0, 1)
    assert source.names == ("nose", "left_eye")
    np.testing.assert_array_equal(source.points[0], [[5.5, 8.25, 1], [19, 39, 1]])  # hidden is labelled
    np.testing.assert_array_equal(source.points[1], [[10, 20, 1], [0, 0, 0]])
    np.testing.assert_array_equal(source.sizes, [[40, 20], [40, 20]])


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_are_read_with_and_without_visibility(tmp_path: Path, suffix: str) -> None:
    array = np.array([[[1.5, 2, 1], [3, 4, 0]], [[5, 6, 2], [np.nan, 8, 1]]])
    for name, values, labelled in (("a", array, [[1, 0], [1, 0]]), ("b", array[..., :2], [[1, 1], [1, 0]])):
        path = tmp_path / f"{name}.{suffix}"
        np.save(path, values) if suffix == "npy" else np.savez(path, values)
        source = open_keypoints(path)
        assert source.numbers == (0, 1) and source.sizes is None
        assert source.names == ("keypoint_0", "keypoint_1")
        np.testing.assert_array_equal(source.points[..., 2], labelled)
        np.testing.assert_array_equal(source.points[0, 0], [1.5, 2, 1])


def test_an_archive_says_names_and_size(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "keypoints.npz", keypoints=np.full((3, 2, 2), 9), names=NAMES, image_size=[40, 20], other=1
    )
    source = open_keypoints(tmp_path)
    assert source.names == tuple(NAMES)
    np.testing.assert_array_equal(source.sizes, [[40, 20]] * 3)


def test_a_folder_with_one_keypoint_file_stands_for_it(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", np.ones((1, 1, 2)))
    (tmp_path / "image_0.png").write_bytes(b"")
    assert open_keypoints(tmp_path).path.name == "points.npy"
    write(tmp_path / "more.json", coco())
    with pytest.raises(UsageError, match=r"2 files that may be keypoints \(more.json, points.npy\)"):
        open_keypoints(tmp_path)
    write(tmp_path / "keypoints.json", coco())
    assert open_keypoints(tmp_path).path.name == "keypoints.json"


def test_a_coco_archive_has_its_keypoints_in_annotations(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / ".hidden.json").write_text("{}")
    write(tmp_path / "annotations" / "person_keypoints_default.json", coco())
    assert open_keypoints(tmp_path).path.parent.name == "annotations"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((128, 128), [[16, 16 - 8]]),  # the whole image, twice the grid: halved, rows cut off
        ((96, 128), [[16, 16]]),  # the cropped image's aspect, 48 x 64: halved
        (None, [[32, 32 - 8]]),  # pixels of the grid
    ],
)
def test_points_come_to_the_cropped_grid(
    tmp_path: Path, size: tuple[int, int] | None, expected: list[list[float]]
) -> None:
    extra = {} if size is None else {"image_size": size}
    np.savez(tmp_path / "k.npz", keypoints=np.full((1, 1, 2), 32), **extra)
    found = load_keypoints(open_keypoints(tmp_path), [0], grid=(64, 64), crop_rows=(8, 56))
    np.testing.assert_allclose(found.points[0, :, :2], expected)
    assert found.masks.shape == (1, 48, 64)
    assert found.masks[0, int(expected[0][1]), int(expected[0][0])] == 1


def test_points_that_the_crop_cuts_off_are_not_labelled(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.array([[[10.0, 4], [10, 20]]]))
    found = load_keypoints(open_keypoints(tmp_path), [0], grid=(64, 64), crop_rows=(8, 56), sigma=2.0)
    np.testing.assert_array_equal(found.points[0], [[0, 0, 0], [10, 12, 1]])
    assert set(np.unique(found.masks)) == {0, 2}
    assert found.class_names == ("background", "keypoint_0", "keypoint_1")
    assert found.sigma == 2.0


def test_pictures_beside_an_array_say_what_it_counts(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.full((2, 1, 2), 200.0))
    source = open_keypoints(tmp_path)
    with pytest.raises(UsageError, match=r"within the image of 64 x 64.*image_size"):
        load_keypoints(source, [0, 1], grid=(64, 64))
    found = load_keypoints(source, [0, 1], grid=(64, 64), sizes={0: (256, 256), 1: (512, 512)})
    np.testing.assert_allclose(found.points[..., 0], [[50], [25]])


def test_pictures_of_the_images_asked_for_are_enough_and_of_some_of_them_too_few(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.full((3, 1, 2), 32.0))
    source = open_keypoints(tmp_path)
    sizes = {1: (128, 128), 2: (128, 128)}  # image 0 is left out, as --image-zero skip does
    found = load_keypoints(source, [1, 2], grid=(64, 64), sizes=sizes)
    np.testing.assert_allclose(found.points[..., :2], 16)
    with pytest.raises(UsageError, match=r"k\.npy: .* 1 of 3 images have no picture.* is image 0") as caught:
        load_keypoints(source, [0, 1, 2], grid=(64, 64), sizes=sizes)
    assert "image_size" in str(caught.value) and "\n" not in str(caught.value)
    none = load_keypoints(source, [0], grid=(64, 64), sizes=sizes)  # of none of the images asked for
    np.testing.assert_allclose(none.points[..., :2], 32)
    np.savez(tmp_path / "k.npz", keypoints=np.full((3, 1, 2), 32.0), image_size=[64, 64])
    told = load_keypoints(open_keypoints(tmp_path / "k.npz"), [0, 1], grid=(64, 64), sizes=sizes)
    np.testing.assert_allclose(told.points[..., :2], 32)  # what the file says counts


@pytest.mark.parametrize(
    ("num_points", "dtype", "num"),
    [(2, np.uint8, 100), (256, np.uint16, 15), pytest.param(256, np.uint16, 40, marks=pytest.mark.slow)],
)
def test_region_masks_take_their_final_bytes_alone(num_points: int, dtype: type, num: int) -> None:
    points = np.full((num, num_points, 3), 20.0)
    points[..., 2] = 1
    names = tuple(map(str, range(num_points)))
    source = KeypointSource(Path("k.npz"), tuple(range(num)), points, None, names)
    tracemalloc.start()
    found = load_keypoints(source, range(num), grid=(128, 128))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.masks.dtype == dtype
    one_image = 128 * 128 * (8 + found.masks.itemsize)  # while it is drawn
    assert peak < found.masks.nbytes + 6 * points.nbytes + 2 * one_image


def test_the_images_asked_for_come_in_their_order(tmp_path: Path) -> None:
    source = open_keypoints(write(tmp_path / "k.json", coco()))
    found = load_keypoints(source, [1, 0], grid=(40, 20))
    np.testing.assert_array_equal(found.points[:, 0, :2], [[10, 20], [5.5, 8.25]])
    with pytest.raises(UsageError, match="1 of 2 images have no keypoints, the first is image 2"):
        load_keypoints(source, [1, 2], grid=(40, 20))


def array(values: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        np.save(folder / "k.npy", np.asarray(values), allow_pickle=True)
        return folder / "k.npy"

    return save


def archive(**values: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        np.savez(folder / "k.npz", **values)
        return folder / "k.npz"

    return save


def document(**changes: Any) -> Callable[[Path], Path]:
    return lambda folder: write(folder / "k.json", coco(**changes))


def with_keypoints(values: Any) -> Callable[[Path], Path]:
    entry = {"id": 1, "image_id": 7, "category_id": 3, "keypoints": values}
    return document(annotations=[entry])


POINTS = np.ones((1, 2, 2))
INSTANCES = coco()["annotations"]
IMAGES = coco()["images"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (array(np.ones((3, 2))), r"shape \(3, 2\)"),  # one image's points without the images' axis
        (array(np.ones((1, 2, 4))), r"shape \(1, 2, 4\)"),
        (array(np.ones((0, 2, 2))), r"shape \(0, 2, 2\)"),
        (array([[["1", "2"]]]), "dtype <U1"),
        (array(np.array([[[None, 1]]])), "Python objects"),
        (array([[[np.inf, 1]]]), "infinite"),
        (array(np.ones((1, 5000, 2))), "at most 4096"),
        (archive(a=POINTS, b=POINTS), "not clear"),
        (archive(keypoints=POINTS, names=["a"]), "'names' has 1 entries; expected 2"),
        (archive(keypoints=POINTS, names=["a", "a"]), "another's"),
        (archive(keypoints=POINTS, names=[1, 2]), "one text a keypoint"),
        (archive(keypoints=POINTS, image_size=[64]), "'image_size'"),
        (archive(keypoints=POINTS, image_size=[0, 64]), "'image_size'"),
        (lambda folder: write(folder / "k.json", [1]), "a list of 1 entries without images"),
        (document(images=None), "images is None"),
        (document(annotations=[1]), "annotations is a list"),
        (document(annotations=INSTANCES[2:]), "no annotation has 'keypoints'"),
        (document(annotations=[INSTANCES[0], INSTANCES[0]]), "image 1 has more than one instance"),
        (document(annotations=[{**INSTANCES[0], "image_id": 99}]), "image_id is 99"),
        (document(annotations=[{**INSTANCES[0], "image_id": [1]}]), "image_id is a list"),
        (document(annotations=[{**INSTANCES[0], "image_id": "7"}]), "image_id is '7'; expected an integer"),
        (document(annotations=[INSTANCES[0], {**INSTANCES[1], "category_id": 4}]), "of 2 categories"),
        (document(images=[*IMAGES, {**IMAGES[0], "id": 99}]), "are one picture; keep one"),
        (document(images=[*IMAGES, {**IMAGES[0], "file_name": "5.png"}]), "its id, 7, is that of"),
        (document(categories=[]), "category_id is 3, which the file's categories lack"),
        (document(categories=[{"id": 3}, {"id": 4}]), "the points' names"),
        (document(categories=[{"id": 3, "keypoints": ["a", 5]}, {"id": 4}]), "name is empty"),
        (
            document(images=[{"id": 7, "file_name": "a.png", "height": 4, "width": 4}]),
            "'a.png' has no number",
        ),
        (document(images=[{"id": 7, "file_name": "1.png"}], annotations=INSTANCES[:1]), "image 1: height"),
        (with_keypoints([1, 2, 2]), "expected a list of 6 numbers"),
        (with_keypoints("123456"), "expected a list of 6 numbers"),
        (with_keypoints([1, 2, 2, "a", 2, 2]), "no number of pixels"),
        (with_keypoints([1, 2, 2, float("inf"), 2, 2]), "no number of pixels"),
        (with_keypoints([1, 2, 2, 10**400, 2, 2]), "no number of pixels"),
        (lambda folder: folder / "none.npy", "does not exist"),
        (lambda folder: folder, "0 files that may be keypoints"),
        (lambda folder: write(folder / "k.txt", 1), "is no keypoint file"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_naming_it(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_keypoints(make(tmp_path))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[[0.2, 0.4], [0.5, 0.9]]], "between 0 and 1"),  # shares of the sides
        ([[[10, 70]]], "within the image of 64 x 64"),
        ([[[-5, 7]]], "within the image of 64 x 64"),
        ([[[np.nan, 7]]], "no keypoint is labelled"),
    ],
)
def test_coordinates_that_cannot_be_are_refused(tmp_path: Path, values: Any, message: str) -> None:
    np.save(tmp_path / "k.npy", np.array(values, float))
    with pytest.raises(UsageError, match=message):
        load_keypoints(open_keypoints(tmp_path), [0], grid=(64, 64))


def test_an_image_of_another_aspect_is_refused(tmp_path: Path) -> None:
    source = open_keypoints(write(tmp_path / "k.json", coco()))
    with pytest.raises(UsageError, match=r"image 0 is 40 x 20 .*the grid, 64 x 64"):
        load_keypoints(source, [0, 1], grid=(64, 64))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused_or_read_and_never_crash(tmp_path: Path, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(["npy", "npz", "json"]))
    path = tmp_path / f"k.{suffix}"
    if suffix == "npy":
        np.save(path, np.full((2, 2, 3), 5.0))
    elif suffix == "npz":
        np.savez(path, keypoints=np.full((2, 2, 3), 5.0), names=NAMES, image_size=[40, 20])
    else:
        write(path, coco())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        source = open_keypoints(path)
        load_keypoints(source, source.numbers, grid=(40, 20))
    except UsageError as error:
        assert "\n" not in str(error)
