"""``dgan export --format ome-zarr``: OME-Zarr 0.5 by its models and by its text, and equal to the store."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr
from ome_zarr_models.v05 import Image, ImageLabel
from PIL import Image as PillowImage
from support.commands import dgan, done
from support.exports import (
    IGNORE,
    NUMBERS,
    classes_of,
    kept,
    labels,
    make_dataset,
    picture,
    uncertainty,
)
from support.stores import tree_bytes

import fstore
from pipeline.exports.formats import ome_zarr

LABELS = "labels/segmentation"
LARGE = (128, 512)
KEPT = np.flatnonzero(kept(10, "0.5")).tolist()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("store") / "d.zarr", num_images=10, keep="0.5")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of images of two levels."""
    folder = tmp_path_factory.mktemp("large")
    store = make_dataset(folder / "d.zarr", num_images=2, shape=LARGE, ignore=7, keep=None)
    done("export", store, folder / "out", "--format", "ome-zarr", "--all")
    return folder / "out"


def ome(path: Path) -> dict[str, Any]:
    """What ``zarr.json`` says under ``ome``."""
    found: dict[str, Any] = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    return found


def check_multiscale(group: Path, metadata: dict[str, Any], axes: list[str]) -> list[zarr.Array[Any]]:
    """Section "multiscales" where it says MUST. Gives the levels."""
    (multiscale,) = metadata["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == axes
    levels = [zarr.open_array(group / entry["path"], mode="r") for entry in multiscale["datasets"]]
    first = levels[0]
    for entry, level in zip(multiscale["datasets"], levels, strict=True):
        assert level.metadata.zarr_format == 3
        assert list(level.metadata.dimension_names) == axes
        scale, *shift = entry["coordinateTransformations"]
        ratio = [a / b for a, b in zip(first.shape, level.shape, strict=True)]
        assert scale == {"type": "scale", "scale": ratio}
        # the corner of the first pixel lies where the first level's does
        if shift:
            (shift,) = shift
            corner = [s - r / 2 for s, r in zip(shift["translation"], ratio, strict=True)]
            assert shift["type"] == "translation" and corner == [-0.5] * len(axes)
        else:
            assert level is first
    sizes = [level.size for level in levels]
    assert sizes == sorted(set(sizes), reverse=True)
    return levels


def check_image(group: Path) -> tuple[np.ndarray, np.ndarray]:
    """Every MUST of the specification for one image. Gives image (3, H, W) and labels (H, W)."""
    model = Image.from_zarr(zarr.open_group(group, mode="r"))
    assert model.labels is not None and model.labels.label_paths == ["segmentation"]
    ImageLabel.from_zarr(zarr.open_group(group / LABELS, mode="r"))
    image, label = ome(group), ome(group / LABELS)
    assert {image["version"], label["version"], ome(group / "labels")["version"]} == {"0.5"}
    for channel in image["omero"]["channels"]:
        assert re.fullmatch("[0-9A-F]{6}", channel["color"])
        assert {"min", "max", "start", "end"} <= set(channel["window"])
    assert (group / LABELS / label["image-label"]["source"]["image"]).resolve() == group.resolve()
    images = check_multiscale(group, image, ["c", "y", "x"])
    labels = check_multiscale(group / LABELS, label, ["y", "x"])
    assert len(images) == len(labels)
    for one, other in zip(images, labels, strict=True):
        assert one.shape == (len(image["omero"]["channels"]), *other.shape)
        assert other.dtype in (np.uint8, np.uint16)
    return images[0][:], labels[0][:]


def check_equal(out: Path, numbers: list[int], **made: Any) -> None:
    """The folder has these images, and each is what ``make_dataset`` has made with the options ``made``."""
    assert sorted(path.name for path in out.glob("0*")) == [f"{number:06d}.ome.zarr" for number in numbers]
    for number in numbers:
        image, found = check_image(out / f"{number:06d}.ome.zarr")
        shape = {key: value for key, value in made.items() if key == "shape"}
        np.testing.assert_array_equal(image.transpose(1, 2, 0), picture(number, **shape))
        np.testing.assert_array_equal(found, labels(number, **made))
        assert found.dtype == labels(number, **made).dtype


def test_every_image_is_valid_and_equals_the_store(store: Path, tmp_path: Path) -> None:
    done("export", store, tmp_path / "out", "--format", "ome-zarr")
    check_equal(tmp_path / "out", KEPT)


def test_splits_are_folders(store: Path, tmp_path: Path) -> None:
    done("export", store, tmp_path / "out", "--format", "ome-zarr", "--split", "train=0.8,val=0.2")
    found = {
        name: [int(path.name[:6]) for path in sorted((tmp_path / "out" / name).iterdir())]
        for name in ("train", "val")
    }
    assert [len(numbers) for numbers in found.values()] == [4, 1]
    assert sorted(number for numbers in found.values() for number in numbers) == KEPT
    for name, numbers in found.items():
        check_equal(tmp_path / "out" / name, numbers)


def test_large_images_have_smaller_levels_of_both(large: Path) -> None:
    check_equal(large, [0, 1], ignore=7, shape=LARGE)
    group = zarr.open_group(large / "000001.ome.zarr", mode="r")
    assert group["1"].shape == (3, 64, 256)
    reduced = np.array(PillowImage.fromarray(picture(1, LARGE)).reduce(2))
    np.testing.assert_array_equal(np.asarray(group["1"][:]).transpose(1, 2, 0), reduced)
    np.testing.assert_array_equal(group[f"{LABELS}/1"][:], labels(1, ignore=7, shape=LARGE)[::2, ::2])


def test_another_zarr_library_reads_the_arrays(large: Path) -> None:
    def read(name: str) -> np.ndarray:
        place = {"driver": "file", "path": f"{large}/000001.ome.zarr/{name}"}
        return np.array(tensorstore.open({"driver": "zarr3", "kvstore": place}).result().read().result())

    np.testing.assert_array_equal(read("0"), picture(1, LARGE).transpose(2, 0, 1))
    np.testing.assert_array_equal(read(f"{LABELS}/0"), labels(1, ignore=7, shape=LARGE))


def test_the_label_image_tells_names_and_colours(store: Path, tmp_path: Path) -> None:
    done("export", store, tmp_path / "out", "--format", "ome-zarr", "--limit", "1")
    label = ome(tmp_path / "out" / f"{KEPT[0]:06d}.ome.zarr" / LABELS)["image-label"]
    assert label["properties"] == [
        *({"label-value": entry.id, "name": entry.name} for entry in classes_of(5)),
        {"label-value": IGNORE, "name": "__ignore__"},
    ]
    colors = {entry["label-value"]: entry["rgba"] for entry in label["colors"]}
    for entry in classes_of(5):
        assert bytes(colors[entry.id][:3]).hex() == entry.color[1:]
    assert colors[IGNORE][3] == 0


def test_each_image_tells_where_it_comes_from(store: Path, tmp_path: Path) -> None:
    done("export", store, tmp_path / "out", "--format", "ome-zarr", "--all", "--limit", "3")
    for number in range(3):
        found = zarr.open_group(tmp_path / "out" / f"{number:06d}.ome.zarr", mode="r").attrs["dgan"]
        assert (found["number"], found["kept"]) == (number, number in KEPT)
        assert found["uncertainty"] == uncertainty(10)[number]
        assert found["source"]["id"] == fstore.open(store).id


def test_annotated_images_of_a_feature_store_have_their_numbers(features: Path, tmp_path: Path) -> None:
    done("export", features, tmp_path / "out", "--format", "ome-zarr")
    check_equal(tmp_path / "out", list(NUMBERS))


def test_labels_of_two_bytes(many_classes: Path, tmp_path: Path) -> None:
    done("export", many_classes, tmp_path / "out", "--format", "ome-zarr", "--limit", "2")
    assert labels(1, 300, 65535).max() == 65535
    check_equal(tmp_path / "out", [0, 1], num_classes=300, ignore=65535)


def test_two_exports_are_equal(store: Path, tmp_path: Path) -> None:
    for name, threads in (("a", 1), ("b", 4)):
        done("export", store, tmp_path / name, "--format", "ome-zarr", "--threads", threads)
    one, other = tree_bytes(tmp_path / "a"), tree_bytes(tmp_path / "b")
    assert {n: b for n, b in one.items() if n[0] != "."} == {n: b for n, b in other.items() if n[0] != "."}


def test_keypoints_are_refused_in_one_line(keypoint_dataset: Path, tmp_path: Path) -> None:
    result = dgan("export", keypoint_dataset, tmp_path / "out", "--format", "ome-zarr")
    assert result.exit_code == 2
    assert "keypoints.zarr: holds keypoints, and OME-Zarr 0.5" in result.output.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shape", "factors"),
    [
        ((256, 256), (1,)),  # small
        ((512, 512), (1, 2, 4, 8)),
        ((384, 512), (1, 2, 4)),  # a car's: 48 rows would be too few
        ((1024, 1024), (1, 2, 4, 8, 16)),
        ((514, 514), (1, 2)),  # 257 is odd
        ((100, 600), (1,)),
    ],
)
def test_levels_are_halved_down_to_64_pixels(shape: tuple[int, int], factors: tuple[int, ...]) -> None:
    assert ome_zarr.level_factors(shape) == factors
