"""OME-Zarr, Parquet and tar shards as annotations: what is read, and what is refused in one line."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from PIL import Image
from support.annotations import load_masks, refusal_of

from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats import parquet

GRID = (8, 12)
NAMES = ("background", "eye", "ear")
LABELS = "labels/segmentation"


def mask_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 3, GRID).astype(np.uint8)


def image_group(
    folder: Path, number: int, values: np.ndarray | None = None, names: dict[int, str] | None = None
) -> Path:
    """An image group with labels, without the image itself, which nobody reads."""
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [{"datasets": [{"path": "0"}]}]}
    group = zarr.create_group(folder / f"{number:06d}.ome.zarr", attributes={"ome": ome})
    group.create_group("labels", attributes={"ome": {"version": "0.5", "labels": ["segmentation"]}})
    properties = [{"label-value": value, "name": name} for value, name in (names or {}).items()]
    described = {**ome, "image-label": {"properties": properties}}
    label = group.create_group(LABELS, attributes={"ome": described})
    label.create_array("0", data=mask_of(number) if values is None else values, chunks="auto")
    return folder / f"{number:06d}.ome.zarr"


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_labels_without_names_are_numbers(tmp_path: Path) -> None:
    image_group(tmp_path, 3)
    image_group(tmp_path, 11)
    read = load_masks(tmp_path, grid=GRID)
    np.testing.assert_array_equal(read.masks, [mask_of(3), mask_of(11)])
    assert (read.names, read.num_classes) == (None, 3)


def test_values_without_a_name_for_the_background_have_one(tmp_path: Path) -> None:
    image_group(tmp_path, 0, names={1: "eye", 2: "ear", 200: "__ignore__"})
    read = load_masks(tmp_path, grid=GRID)
    assert read.names == NAMES


def test_axes_of_length_one_do_not_matter_and_missing_chunks_are_background(tmp_path: Path) -> None:
    values = np.zeros((1, 1, *GRID), np.int16)
    place = image_group(tmp_path, 0, values, dict(enumerate(NAMES))) / LABELS / "0"
    assert not (place / "c").exists()  # zarr leaves chunks of zeros out
    np.testing.assert_array_equal(load_masks(tmp_path, grid=GRID).masks, values[0])


def test_an_image_group_without_labels_is_no_annotation(tmp_path: Path) -> None:
    image_group(tmp_path, 0)
    zarr.create_group(tmp_path / "1.ome.zarr", attributes={"ome": {"version": "0.5", "multiscales": [{}]}})
    read = load_masks(tmp_path, grid=GRID)
    assert len(read.masks) == 1


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (f"{LABELS}/0", lambda d: d.update(shape=[99999, 99999]), "expected at most 67108864 pixels"),
        (f"{LABELS}/0", lambda d: d.update(shape=[3, 8, 12]), "its shape is [3, 8, 12]"),
        (f"{LABELS}/0", lambda d: d.update(shape="8"), "its shape is '8'"),
        (
            f"{LABELS}/0",
            lambda d: d["chunk_grid"]["configuration"].update(chunk_shape=[10**6, 10**6]),
            "its chunks are [1000000, 1000000]",
        ),
        (f"{LABELS}/0", lambda d: d.update(chunk_grid=None), "its chunks are None"),
        (f"{LABELS}/0", lambda d: d.update(data_type="float32"), "its data_type is 'float32'"),
        (
            f"{LABELS}/0",
            lambda d: d["codecs"].append({"name": "numcodecs.pickle"}),
            "codec 'numcodecs.pickle'",
        ),
        (
            f"{LABELS}/0",
            lambda d: d.update(
                codecs=[{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "evil"}]}}]
            ),
            "codec 'evil'",
        ),
        (f"{LABELS}/0", lambda d: d.update(codecs=[{"name": "gzip"}]), "cannot be read as a Zarr array"),
        (
            LABELS,
            lambda d: d["attributes"]["ome"]["multiscales"][0]["datasets"][0].update(path="../../0"),
            "names no array of labels",
        ),
        (LABELS, lambda d: d["attributes"]["ome"].update(multiscales=[]), "names no array of labels"),
        ("labels", lambda d: d["attributes"]["ome"].update(labels=["../.."]), "labels is ['../..']"),
        ("labels", lambda d: d["attributes"]["ome"].update(labels=["a", "b"]), "has the label images a, b"),
    ],
)
def test_ome_zarr_that_is_wrong_ends_in_one_line(
    tmp_path: Path, file: str, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    group = image_group(tmp_path, 0)
    edit(group / file / "zarr.json", change)
    message = refusal_of(tmp_path, grid=GRID)
    assert said in message and "000000.ome.zarr" in message


def test_a_damaged_chunk_and_damaged_metadata_end_in_one_line(tmp_path: Path) -> None:
    group = image_group(tmp_path, 0)
    chunk = group / LABELS / "0" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:10])
    assert "cannot be read as a Zarr array" in refusal_of(tmp_path, grid=GRID)
    (group / "zarr.json").write_text("{")
    assert "zarr.json: cannot be read as JSON" in refusal_of(tmp_path, grid=GRID)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_chunk_that_never_ends_is_refused(tmp_path: Path, kind: str) -> None:
    chunk = image_group(tmp_path, 0) / LABELS / "0" / "c" / "0" / "0"
    chunk.unlink()
    if kind == "pipe":
        os.mkfifo(chunk)
    else:
        chunk.symlink_to("/dev/zero")
    assert refusal_of(tmp_path, grid=GRID).startswith(f"{chunk}: is no folder and no plain file")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({0: "background", 7: "eye"}, "have the labels 0, 7; expected 0 to 1"),
        ({0: "background", 1: "Eye", 2: "eye"}, "2 classes are called 'eye'"),
        ({0: "background", 1: "eye"}, "label 2"),  # and the masks hold 2
        ({0: ""}, "the class of label 0 is ''"),
    ],
)
def test_classes_that_do_not_number_the_labels_are_refused(
    tmp_path: Path, names: dict[int, str], said: str
) -> None:
    image_group(tmp_path, 0, names=names)
    assert said in refusal_of(tmp_path, grid=GRID)


def test_images_that_name_their_labels_differently_are_refused(tmp_path: Path) -> None:
    image_group(tmp_path, 0, names=dict(enumerate(NAMES)))
    image_group(tmp_path, 1, names={0: "background", 1: "ear", 2: "eye"})
    assert "its classes are not those of 000000.ome.zarr" in refusal_of(tmp_path, grid=GRID)


def test_two_groups_of_one_image_are_refused(tmp_path: Path) -> None:
    image_group(tmp_path, 0).rename(tmp_path / "image_4.zarr")
    image_group(tmp_path, 4)
    assert "000004.ome.zarr is image 4 too" in refusal_of(tmp_path, grid=GRID)


def png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return buffer.getvalue()


def write(path: Path, columns: dict[str, list[Any]], described: object = None) -> Path:
    table = pa.table(columns)
    if described is not None:
        text = described if isinstance(described, str) else json.dumps(described)
        table = table.replace_schema_metadata({"dgan": text})
    pq.write_table(table, path)
    return path


def test_a_number_may_stand_in_the_path_of_a_label(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [{"bytes": png(mask_of(i)), "path": f"image_{i}.png"} for i in (5, 2)]
    write(tmp_path / "data" / "a.parquet", {"label": rows})
    read = load_masks(tmp_path, grid=GRID)
    np.testing.assert_array_equal(read.masks, [mask_of(2), mask_of(5)])


def test_tables_of_something_else_beside_masks_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "scores.parquet", {"score": [0.5]})
    np.save(tmp_path / "0.npy", mask_of(0))
    np.testing.assert_array_equal(load_masks(tmp_path, grid=GRID).masks, [mask_of(0)])


@pytest.mark.parametrize(
    ("columns", "described", "said"),
    [
        ({"label": [b"no picture"], "number": [0]}, None, "the label of image 0: cannot be read as PNG"),
        ({"label": ["text"], "number": [0]}, None, "the label of image 0 is no picture"),
        ({"label": [None], "number": [0]}, None, "the label of image 0 is no picture"),
        ({"label": [png(mask_of(0))], "number": ["x"]}, None, "has the number 'x'"),
        ({"label": [png(mask_of(0))], "number": [-1]}, None, "has the number -1"),
        ({"label": [png(mask_of(0))]}, None, "has the number None"),
        ({"label": [png(mask_of(0))] * 2, "number": [3, 3]}, None, "image 3 is in a.parquet already"),
        ({"label": [png(mask_of(0))], "number": [0]}, "{", "dgan has no list of classes"),
        ({"label": [png(mask_of(0))], "number": [0]}, {"classes": [1]}, "dgan has no list of classes"),
        (
            {"label": [png(mask_of(0))], "number": [0]},
            {"classes": [{"label": "0", "name": "eye"}]},
            "a class has the label '0'",
        ),
        (
            {"label": [png(np.zeros((*GRID, 3), np.uint8) + np.arange(3, dtype=np.uint8))], "number": [0]},
            None,
            "the label of image 0: the PNG's mode is RGB, colours",
        ),
    ],
)
def test_parquet_that_is_wrong_ends_in_one_line(
    tmp_path: Path, columns: dict[str, list[Any]], described: object, said: str
) -> None:
    path = write(tmp_path / "a.parquet", columns, described)
    message = refusal_of(tmp_path, grid=GRID)
    assert message.startswith(str(path)) and said in message


def test_files_of_other_classes_keypoints_and_cut_files_are_refused(tmp_path: Path) -> None:
    described = {"classes": [{"label": 0, "name": "background"}]}
    first = write(tmp_path / "a.parquet", {"label": [png(mask_of(0))], "number": [0]}, described)
    write(tmp_path / "b.parquet", {"label": [png(mask_of(1))], "number": [1]})
    assert "b.parquet: its classes are not those of a.parquet" in refusal_of(tmp_path, grid=GRID)
    write(tmp_path / "b.parquet", {"keypoints": [[[1.0, 2.0, 1.0]]], "number": [1]}, described)
    assert "keypoints are read from COCO files" in refusal_of(tmp_path, grid=GRID)
    (tmp_path / "b.parquet").write_bytes(first.read_bytes()[:-50])
    assert "b.parquet: cannot be read as Parquet" in refusal_of(tmp_path, grid=GRID)


def test_a_row_group_that_would_not_fit_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.parquet", {"label": [png(mask_of(0))], "number": [0]})
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 10)
    assert "write smaller row groups" in refusal_of(tmp_path, grid=GRID)


def test_equal_labels_of_many_rows_are_one_in_memory(tmp_path: Path) -> None:
    """A file of some kilobytes could fill the memory otherwise."""
    label = png(mask_of(0)) + bytes(10**5)
    for columns in (pa.array([label] * 500), pa.array([{"bytes": label, "path": "0.png"}] * 500)):
        table = pa.table({"label": columns, "number": range(500)})
        pq.write_table(table, tmp_path / "a.parquet", compression="zstd", store_schema=False)
        assert (tmp_path / "a.parquet").stat().st_size < 10**5
        source = parquet.open_parquet(tmp_path)
        before = pa.total_allocated_bytes()
        source.read(499)
        assert pa.total_allocated_bytes() - before < 10**6


def test_a_row_group_of_too_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", {"label": [png(mask_of(0))] * 3, "number": [0, 1, 2]})
    monkeypatch.setattr(parquet, "MAX_GROUP_ROWS", 2)
    assert "row group 0 has 3 rows; expected at most 2" in refusal_of(tmp_path, grid=GRID)


@pytest.mark.parametrize("name", ["label", "number"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    columns = [pa.array([png(mask_of(0))]), pa.array([0]), pa.array([0])]
    pq.write_table(pa.Table.from_arrays(columns, ["label", "number", name]), tmp_path / "a.parquet")
    assert f"a.parquet: has two columns '{name}'" in refusal_of(tmp_path, grid=GRID)


def test_any_damaged_byte_of_a_footer_ends_in_one_line_if_at_all(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"label": [png(mask_of(i)) for i in range(3)], "number": [0, 1, 2]})
    whole = path.read_bytes()
    for place in range(len(whole) // 2, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(UsageError):
            load_masks(tmp_path, grid=GRID)


def test_without_pyarrow_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.parquet", {"label": [png(mask_of(0))], "number": [0]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install pyarrow" in refusal_of(tmp_path, grid=GRID)


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            shard.addfile(header, io.BytesIO(content))
    return path


def test_shards_may_have_folders_and_other_members(tmp_path: Path) -> None:
    members = {"a/image_7.jpg": b"", "a/image_7.seg.png": png(mask_of(7)), "a/image_7.json": b"{}"}
    write_tar(tmp_path / "0.tar", {**members, "readme.txt": b"", "2.SEG.PNG": png(mask_of(2))})
    write_tar(tmp_path / "other.tar", {"1.txt": b"1"})
    np.testing.assert_array_equal(load_masks(tmp_path, grid=GRID).masks, [mask_of(2), mask_of(7)])


def test_shards_of_something_else_beside_masks_are_left_alone(tmp_path: Path) -> None:
    write_tar(tmp_path / "backup.tar", {"1.png": png(mask_of(1))})
    np.save(tmp_path / "0.npy", mask_of(0))
    np.testing.assert_array_equal(load_masks(tmp_path, grid=GRID).masks, [mask_of(0)])


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"0.seg.png": b"no picture"}, "0.tar: 0.seg.png: cannot be read as PNG"),
        ({"eye.seg.png": png(mask_of(0))}, "'eye.seg.png': its name has no number"),
        ({"0.seg.png": b"", "a/0.seg.png": b""}, "are both masks of image 0"),
        ({"0\n.seg.png": b""}, "expected a plain file"),
    ],
)
def test_shards_that_are_wrong_end_in_one_line(tmp_path: Path, members: dict[str, bytes], said: str) -> None:
    write_tar(tmp_path / "0.tar", members)
    assert said in refusal_of(tmp_path, grid=GRID)


@pytest.mark.parametrize(
    "num_bytes",
    [
        0,
        100,  # in the first header
        700,  # in the first mask
        1024,  # between the members
        1300,  # in the second header
        2048,  # before the end
    ],
)
def test_a_shard_that_is_cut_off_is_refused(tmp_path: Path, num_bytes: int) -> None:
    path = write_tar(tmp_path / "0.tar", {"0.seg.png": png(mask_of(0)), "1.seg.png": png(mask_of(1))})
    path.write_bytes(path.read_bytes()[:num_bytes])
    assert "0.tar: cannot be read as a tar, or is truncated" in refusal_of(tmp_path, grid=GRID)


def test_a_member_that_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as shard:
        link = tarfile.TarInfo("0.seg.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        shard.addfile(link)
    assert "no annotations are found" in refusal_of(tmp_path, grid=GRID)


@pytest.mark.parametrize("size", ["-5", "999999999999"])
def test_a_size_that_a_longer_header_makes_up_is_refused(tmp_path: Path, size: str) -> None:
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.PAX_FORMAT) as shard:
        member = tarfile.TarInfo("0.seg.png")
        member.pax_headers = {"size": size}
        shard.addfile(member)
    assert "0.tar: '0.seg.png' has " in refusal_of(tmp_path, grid=GRID)


@pytest.mark.parametrize("name", ["0.tar", "0.parquet", "data/0.parquet"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / name)
    assert "is a pipe; expected a file" in refusal_of(tmp_path, grid=GRID)


@pytest.mark.parametrize("name", [f"{LABELS}/zarr.json", f"{LABELS}/0/zarr.json"])
def test_metadata_that_never_ends_is_refused(tmp_path: Path, name: str) -> None:
    path = image_group(tmp_path, 0) / name
    path.unlink()
    path.symlink_to("/dev/zero")
    assert refusal_of(tmp_path, grid=GRID).startswith(f"{path}: is no plain file")


def test_an_annotation_of_json_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    assert "a.json: is a pipe; expected a file" in refusal_of(tmp_path, grid=GRID)
