"""The votes of the members and the class areas of a dataset, as the store has them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_datasets import make_classes
from support.stores import store_bytes

import fstore
from fstore import format as fmt
from fstore.class_areas import class_areas
from fstore.errors import CorruptionError, MismatchError, StoreError

NUM, SHAPE, CLASSES, MEMBERS = 18, (6, 5), 4, 3
META = fmt.DatasetMeta(SHAPE, make_classes("abcd"), 4, interpreter={"members": MEMBERS}, member_votes=True)
PLAIN = fmt.DatasetMeta(SHAPE, make_classes("abcd"), 4, interpreter={"members": MEMBERS})
pytestmark = pytest.mark.usefixtures("tasks_of_16")
WITHOUT = "has no array 'member_votes'"


def make_parts(meta: fmt.DatasetMeta, images: Sequence[int]) -> dict[str, np.ndarray]:
    """Labels by majority of random votes, and the rest zeros."""
    parts = {
        spec.name: np.zeros((len(images), *spec.shape[1:]), spec.dtype)
        for spec in fmt.dataset_arrays(meta, 1)
    }
    for place, image in enumerate(images):
        random = np.random.default_rng(image)
        said = random.integers(
            0, CLASSES - image % 2, (MEMBERS, *SHAPE)
        )  # of every other image one is absent
        parts["labels"][place] = np.median(said, axis=0)
        if meta.member_votes:
            for member in said:
                np.add.at(parts["member_votes"][place], (parts["labels"][place], member), 1)
    return parts


def write(path: Path, meta: fmt.DatasetMeta, num: int = NUM, tasks: int = 9) -> fstore.Dataset:
    writer = fstore.create_dataset(path, meta, num_images=num)
    for task in writer.pending_tasks()[:tasks]:
        writer.write_task(task, make_parts(writer.meta, writer.task_images(task)))
    writer.close()
    return opened(path)


def opened(path: Path) -> fstore.Dataset:
    dataset = fstore.open(path)
    assert isinstance(dataset, fstore.Dataset)
    return dataset


def test_the_array_is_lazy_and_what_was_written(tmp_path: Path) -> None:
    dataset = write(tmp_path / "d.zarr", META)
    assert "member_votes" in dataset.array_names()
    assert dataset.member_votes.dtype == np.uint32
    assert dataset.member_votes.chunks[0] == (16, 2)
    expected = make_parts(META, range(NUM))["member_votes"]
    np.testing.assert_array_equal(dataset.member_votes.compute(), expected)
    assert fstore.verify_store(tmp_path / "d.zarr").problems == ()


def test_a_dataset_of_an_older_program_has_none_and_says_so(tmp_path: Path) -> None:
    dataset = write(tmp_path / "d.zarr", PLAIN)
    assert "member_votes" not in dataset.meta.to_attribute()
    assert "member_votes" not in dataset.array_names()
    with pytest.raises(StoreError, match=f"{WITHOUT}.*--overwrite"):
        dataset.member_votes  # noqa: B018
    assert fstore.verify_store(tmp_path / "d.zarr").problems == ()


def test_a_dataset_begun_without_is_gone_on_with_and_lengthened_without(tmp_path: Path) -> None:
    """As a run of today goes on with it: the bytes are those of the older program."""
    write(tmp_path / "old.zarr", PLAIN, num=34)
    path = tmp_path / "d.zarr"
    assert len(write(path, PLAIN, tasks=1)) == 16
    fstore.check_create_dataset(path, META, num_images=34)
    assert len(write(path, META)) == NUM
    dataset = write(path, META, num=34)
    assert len(dataset) == 34 and not dataset.meta.member_votes and not (path / "member_votes").exists()
    assert store_bytes(path) == store_bytes(tmp_path / "old.zarr")


def test_a_dataset_with_them_is_lengthened_with_them(tmp_path: Path) -> None:
    write(tmp_path / "d.zarr", META, num=14)
    dataset = write(tmp_path / "d.zarr", META)
    np.testing.assert_array_equal(
        dataset.member_votes.compute(), make_parts(META, range(NUM))["member_votes"]
    )
    with pytest.raises(MismatchError, match="was begun with member_votes = True"):
        fstore.create_dataset(tmp_path / "d.zarr", PLAIN, num_images=NUM)
    fstore.create_dataset(tmp_path / "d.zarr", PLAIN, num_images=NUM, overwrite=True).close()
    assert not (tmp_path / "d.zarr" / "member_votes").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": make_classes([str(i) for i in range(257)])},
        {"keypoints": fmt.KeypointInfo(("a",), 1.0)},
    ],
    ids=["too many classes", "keypoints"],
)
def test_only_labels_of_few_classes_have_votes(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="expected labels of at most 256 classes"):
        fmt.DatasetMeta(
            **{"shape": SHAPE, "classes": META.classes, "latent_size": 4, **changes}, member_votes=True
        )


@pytest.mark.parametrize("members", [{"members": MEMBERS}, {}], ids=["recorded", "counted"])
def test_verify_names_a_label_with_another_number_of_votes(tmp_path: Path, members: dict[str, int]) -> None:
    meta = fmt.DatasetMeta(SHAPE, META.classes, 4, interpreter=members, member_votes=True)
    writer = fstore.create_dataset(tmp_path / "d.zarr", meta, num_images=3)
    parts = make_parts(meta, range(3))
    votes, pixels = parts["member_votes"], int((parts["labels"][2] == 1).sum())
    votes[2, 1, 0] += 1
    votes[2, 0, 0] -= 1
    votes[1] = votes[1][:, ::-1]  # other votes of as many members: nothing that verify can see
    writer.write_task(0, parts)
    writer.close()
    zero = int((parts["labels"][2] == 0).sum())
    assert fstore.verify_store(tmp_path / "d.zarr").problems == (
        f"{tmp_path}/d.zarr: array 'member_votes', image 2: label 0 has {3 * zero - 1} votes, expected "
        f"{3 * zero}: 3 at each of its {zero} pixels",
    )
    assert pixels
    with pytest.raises(StoreError, match="image 2: is not of whole members"):
        class_areas(opened(tmp_path / "d.zarr"))


def test_verify_misses_the_array_where_the_attribute_has_it(tmp_path: Path) -> None:
    write(tmp_path / "d.zarr", META)
    (tmp_path / "d.zarr" / "member_votes" / "zarr.json").unlink()
    (problem,) = fstore.verify_store(tmp_path / "d.zarr").problems
    assert problem.endswith("array 'member_votes' is missing")
    assert opened(tmp_path / "d.zarr").labels.compute().shape == (NUM, *SHAPE)  # the rest can be read


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("meta", [META, PLAIN], ids=["votes", "labels"])
def test_areas_are_the_pixels_of_every_committed_image(
    tmp_path: Path, meta: fmt.DatasetMeta, num_threads: int
) -> None:
    dataset = write(tmp_path / "d.zarr", meta, num=50, tasks=2)
    labels = make_parts(meta, range(32))["labels"]
    advanced: list[int] = []
    areas = class_areas(dataset, num_threads=num_threads, advance=advanced.append)
    assert areas.tolist() == [[int((image == k).sum()) for k in range(CLASSES)] for image in labels]
    assert advanced == [16, 16]


def test_areas_of_votes_do_not_read_the_labels(tmp_path: Path) -> None:
    dataset = write(tmp_path / "d.zarr", META, num=3)
    shutil.rmtree(tmp_path / "d.zarr" / "labels" / "c")
    assert class_areas(dataset).sum(axis=1).tolist() == [30, 30, 30]


def test_areas_of_damaged_labels_and_of_keypoints_are_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path / "d.zarr", PLAIN, num=3)
    for file in (tmp_path / "d.zarr" / "labels" / "c").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(CorruptionError, match="labels"):
        class_areas(dataset)
    points = fmt.DatasetMeta(SHAPE, META.classes, 4, keypoints=fmt.KeypointInfo(("a",), 1.0))
    fstore.create_dataset(tmp_path / "p.zarr", points, num_images=1).close()
    with pytest.raises(StoreError, match="keypoints"):
        class_areas(opened(tmp_path / "p.zarr"))


def test_no_committed_image_has_no_area(tmp_path: Path) -> None:
    assert class_areas(write(tmp_path / "d.zarr", META, tasks=0)).shape == (0, CLASSES)
