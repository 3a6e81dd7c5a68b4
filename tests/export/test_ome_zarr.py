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
from PIL import Image as Picture
from support.commands import dgan, done
from support.export_stores import CLASSES, arrays, dataset_store, feature_store
from support.stores import tree_bytes

import fstore
from fstore import format as fmt
from pipeline.export.formats import ome_zarr

LABELS = "labels/segmentation"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset_store(tmp_path_factory.mktemp("store") / "d.zarr", ignore=255)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset whose images have two levels, and its export."""
    folder = tmp_path_factory.mktemp("large")
    store = dataset_store(folder / "d.zarr", 2, (128, 512), ignore=7)
    done("export", store, folder / "out", "--format", "ome-zarr", "--all")
    return store, folder / "out"


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


def check_equal(out: Path, store: Path, chosen: list[int]) -> None:
    held = arrays(store)
    assert sorted(path.name for path in out.glob("0*")) == [f"{number:06d}.ome.zarr" for number in chosen]
    for number in chosen:
        image, labels = check_image(out / f"{number:06d}.ome.zarr")
        np.testing.assert_array_equal(image.transpose(1, 2, 0), held["images"][number])
        np.testing.assert_array_equal(labels, held["labels" if "labels" in held else "masks"][number])


def test_every_image_is_valid_and_equals_the_store(store: Path, tmp_path: Path) -> None:
    done("export", store, tmp_path / "out", "--format", "ome-zarr")
    check_equal(tmp_path / "out", store, [0, 2, 4, 6, 8])


def test_splits_are_folders(store: Path, tmp_path: Path) -> None:
    done("export", store, tmp_path / "out", "--format", "ome-zarr", "--split", "train=0.8,val=0.2")
    found = {
        name: [int(path.name[:6]) for path in sorted((tmp_path / "out" / name).iterdir())]
        for name in ("train", "val")
    }
    assert [len(numbers) for numbers in found.values()] == [4, 1]
    for name, numbers in found.items():
        check_equal(tmp_path / "out" / name, store, numbers)


def test_large_images_have_smaller_levels_of_both(large: tuple[Path, Path]) -> None:
    store, out = large
    check_equal(out, store, [0, 1])
    held, group = arrays(store), zarr.open_group(out / "000001.ome.zarr", mode="r")
    assert group["1"].shape == (3, 64, 256)
    reduced = np.array(Picture.fromarray(held["images"][1]).reduce(2))
    np.testing.assert_array_equal(group["1"][:].transpose(1, 2, 0), reduced)
    np.testing.assert_array_equal(group[f"{LABELS}/1"][:], held["labels"][1][::2, ::2])


def test_another_zarr_library_reads_the_arrays(large: tuple[Path, Path]) -> None:
    store, out = large
    for name, array in (("0", "images"), (f"{LABELS}/0", "labels")):
        place = {"driver": "file", "path": f"{out}/000001.ome.zarr/{name}"}
        read = tensorstore.open({"driver": "zarr3", "kvstore": place}).result().read().result()
        expected = arrays(store)[array][1]
        np.testing.assert_array_equal(np.moveaxis(read, 0, -1) if read.ndim == 3 else read, expected)


def test_the_label_image_tells_names_and_colours(store: Path, tmp_path: Path) -> None:
    done("export", store, tmp_path / "out", "--format", "ome-zarr", "--limit", "1")
    label = ome(tmp_path / "out" / "000000.ome.zarr" / LABELS)["image-label"]
    assert label["properties"] == [
        *({"label-value": entry.id, "name": entry.name} for entry in CLASSES),
        {"label-value": 255, "name": "__ignore__"},
    ]
    colors = {entry["label-value"]: entry["rgba"] for entry in label["colors"]}
    for entry in CLASSES:
        assert bytes(colors[entry.id][:3]).hex() == entry.color[1:]
    assert colors[255][3] == 0


def test_each_image_tells_where_it_comes_from(store: Path, tmp_path: Path) -> None:
    done("export", store, tmp_path / "out", "--format", "ome-zarr", "--limit", "2")
    found = zarr.open_group(tmp_path / "out" / "000002.ome.zarr", mode="r").attrs["dgan"]
    assert (found["number"], found["kept"]) == (2, True)
    assert found["uncertainty"] == arrays(store)["uncertainty"][2]
    assert found["source"]["id"] == fstore.open(store).id


def test_annotated_images_of_a_feature_store(tmp_path: Path) -> None:
    store = feature_store(tmp_path / "f.zarr")
    done("export", store, tmp_path / "out", "--format", "ome-zarr")
    check_equal(tmp_path / "out", store, [0, 1, 2])


def test_labels_of_two_bytes(tmp_path: Path) -> None:
    many = tuple(fmt.ClassInfo(i, f"class {i}", f"#{i:06x}") for i in range(300))
    store = dataset_store(tmp_path / "d.zarr", 300, (4, 5), classes=many)
    done("export", store, tmp_path / "out", "--format", "ome-zarr")
    _, labels = check_image(tmp_path / "out" / "000298.ome.zarr")
    np.testing.assert_array_equal(labels, arrays(store)["labels"][298])
    assert labels.max() > 255


def test_two_exports_are_equal(store: Path, tmp_path: Path) -> None:
    for name, threads in (("a", 1), ("b", 4)):
        done("export", store, tmp_path / name, "--format", "ome-zarr", "--threads", threads)
    one, other = tree_bytes(tmp_path / "a"), tree_bytes(tmp_path / "b")
    assert {n: b for n, b in one.items() if n[0] != "."} == {n: b for n, b in other.items() if n[0] != "."}


def test_keypoints_are_refused_in_one_line(tmp_path: Path) -> None:
    store = dataset_store(tmp_path / "d.zarr", 2, with_keypoints=True)
    result = dgan("export", store, tmp_path / "out", "--format", "ome-zarr", "--all")
    assert result.exit_code == 2
    assert "d.zarr: holds keypoints, and OME-Zarr 0.5" in result.output.splitlines()[-1]
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
