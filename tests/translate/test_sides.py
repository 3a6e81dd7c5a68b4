"""The sides of a translator: which pictures they have, that they are read lazily, and how they are paired."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.annotated_stores import write_annotated
from support.exports import make_dataset

import fstore
from fstore.errors import StoreError
from pipeline.errors import UsageError
from pipeline.translate.pairs import pair_sides
from pipeline.translate.sides import Side, open_side


def write_pictures(folder: Path, names: list[str], size: tuple[int, int] = (6, 9)) -> Path:
    """Pictures of the grey level of their place."""
    folder.mkdir(parents=True)
    for place, name in enumerate(names):
        Image.fromarray(np.full((*size, 3), place, np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "dataset.zarr", num_images=10)


def greys(side: Side, places: list[int]) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in side.read(places)]


def test_a_folder_has_its_pictures_in_the_order_of_their_names(tmp_path: Path) -> None:
    side = open_side(str(write_pictures(tmp_path / "photos", ["b.png", "a.png", "c 12.bmp"])))
    assert side.names == ["a.png", "b.png", "c 12.bmp"]
    assert side.numbers == [None, None, 12] and side.size is None
    assert greys(side, [2, 0, 0]) == [2, 1, 1]
    assert side.record["name"] == "photos" and side.record["num_images"] == 3


def test_only_the_pictures_that_are_asked_for_are_read(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", ["a.png", "b.png"])
    (folder / "b.png").write_bytes(b"no picture")
    side = open_side(str(folder))
    assert greys(side, [0]) == [0]
    with pytest.raises(UsageError, match=r"b\.png: cannot be read as a picture"):
        side.read([1])


def test_a_dataset_has_the_images_that_its_filter_keeps(dataset: Path) -> None:
    store = fstore.open(dataset)
    assert isinstance(store, fstore.Dataset)
    kept = np.flatnonzero(store.kept)
    assert len(kept) == 9
    side = open_side(str(dataset))
    assert side.numbers == kept.tolist() and side.size == (16, 24)
    images = store.images.compute()
    for place in (0, 8):
        assert np.array_equal(side.read([place])[0], images[kept[place]])


def test_a_feature_store_has_its_annotated_images(tmp_path: Path) -> None:
    write_annotated(tmp_path / "features.zarr")
    side = open_side(str(tmp_path / "features.zarr"))
    images = fstore.open(tmp_path / "features.zarr").images.compute()
    assert len(side) == 4 and side.record["kind"] == "features"
    assert all(
        np.array_equal(one, other) for one, other in zip(side.read([3, 1]), images[[3, 1]], strict=True)
    )


def test_a_store_at_a_url_is_read(dataset: Path) -> None:
    assert open_side(f"file://{dataset}").record == open_side(str(dataset)).record


def test_what_is_no_side_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no picture"):
        open_side(str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="absent: no such folder"):
        open_side(str(tmp_path / "absent"))
    (tmp_path / "one.png").touch()
    with pytest.raises(UsageError, match=r"one\.png: is a file; expected a folder of pictures, a dataset or"):
        open_side(str(tmp_path / "one.png"))


def test_a_record_follows_what_is_there_and_not_where_it_lies(tmp_path: Path, dataset: Path) -> None:
    folder = write_pictures(tmp_path / "photos", ["a.png", "b.png"])
    before = open_side(str(folder)).record
    shutil.copytree(folder, tmp_path / "moved")
    assert open_side(str(tmp_path / "moved")).record == {**before, "name": "moved"}
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
    assert open_side(str(folder)).record["files_sha256"] != before["files_sha256"]


def test_a_filter_that_changes_is_noticed(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "dataset.zarr", num_images=10)
    side = open_side(str(data))
    side.check_unchanged()
    scores = fstore.open(data).uncertainty  # type: ignore[union-attr]
    fstore.set_kept(data, scores <= np.sort(scores)[4], "0.5", float(np.sort(scores)[4]))
    with pytest.raises(StoreError, match="filter"):
        side.check_unchanged()


def test_two_folders_are_paired_by_names(tmp_path: Path) -> None:
    source = open_side(str(write_pictures(tmp_path / "a", ["x 1.png", "y 2.png", "only.png"])))
    target = open_side(str(write_pictures(tmp_path / "b", ["x 1.bmp", "z 3.png", "y 2.png"])))
    pairs = pair_sides(source, target)
    assert pairs.how == "name"
    assert list(pairs.source.names) == ["x 1.png", "y 2.png"]
    assert list(pairs.target.names) == ["x 1.bmp", "y 2.png"]
    assert greys(pairs.target, [0, 1]) == [0, 2]
    assert [note.partition(": ")[2] for note in pairs.notes] == [
        "1 picture without a partner left out (only.png)",
        "1 picture without a partner left out (z 3.png)",
    ]


def test_two_folders_without_a_common_name_are_paired_by_numbers(tmp_path: Path) -> None:
    source = open_side(str(write_pictures(tmp_path / "a", ["face_7.png", "face_12.png"])))
    target = open_side(str(write_pictures(tmp_path / "b", ["night012.png", "night007.png"])))
    pairs = pair_sides(source, target)
    assert pairs.how == "number" and pairs.notes == ()
    assert list(zip(pairs.source.names, pairs.target.names, strict=True)) == [
        ("face_12.png", "night012.png"),
        ("face_7.png", "night007.png"),
    ]


def test_a_store_is_paired_with_a_folder_by_the_images_ids(tmp_path: Path, dataset: Path) -> None:
    source = open_side(str(dataset))
    names = [f"night_{number}.png" for number in range(10)]
    pairs = pair_sides(source, open_side(str(write_pictures(tmp_path / "b", names, (32, 48)))))
    assert len(pairs.source) == 9
    assert greys(pairs.target, list(range(9))) == pairs.source.numbers
    assert "1 picture without a partner" in pairs.notes[0]


def test_two_stores_are_paired_by_ids(dataset: Path) -> None:
    pairs = pair_sides(open_side(str(dataset)), open_side(str(dataset)))
    assert pairs.source.numbers == pairs.target.numbers and pairs.notes == ()


@pytest.mark.parametrize(
    ("source", "target", "size", "words"),
    [
        pytest.param(
            ["a.png"], ["b.png"], (6, 9), "no picture of one has a partner in the other, of 1", id="none"
        ),
        pytest.param(
            ["a1.png"], ["b1.png", "c1.png"], (6, 9), "b1.png and c1.png have the same number", id="twins"
        ),
    ],
)
def test_pictures_that_cannot_be_paired_are_refused_in_one_line(
    tmp_path: Path, source: list[str], target: list[str], size: tuple[int, int], words: str
) -> None:
    sides = [
        open_side(str(write_pictures(tmp_path / name, names, size)))
        for name, names in (("s", source), ("t", target))
    ]
    with pytest.raises(UsageError, match=words) as refused:
        pair_sides(*sides)
    assert "\n" not in str(refused.value)


def test_stores_of_two_aspects_are_no_pairs(tmp_path: Path, dataset: Path) -> None:
    other = make_dataset(tmp_path / "square.zarr", num_images=10, shape=(16, 16))
    with pytest.raises(UsageError, match=r"16 x 24 .* 16 x 16; a pair must have one aspect"):
        pair_sides(open_side(str(dataset)), open_side(str(other)))
