"""The same annotations in every format end as the same masks in the store, through the command line."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
import zarr
from click.testing import CliRunner
from PIL import Image
from pycocotools import mask as coco_mask
from support.tiny import RESOLUTION, input_flags, write_inputs
from support.variants import variants

import fstore
from pipeline.cli import main

NAMES = ("background", "door", "glass", "wheel")
COLORS = ("#000000", "#ff0000", "#00ff00", "#0000ff")
CLASSES = "".join(
    f'[[classes]]\nname = "{name}"\ncolor = "{color}"\n' for name, color in zip(NAMES, COLORS, strict=True)
)
Masks = list[np.ndarray]


def save_palette(folder: Path, masks: Masks) -> Path:
    for i, mask in enumerate(masks):
        image = Image.fromarray(mask).convert("P")
        image.putdata(mask.ravel().tolist())
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
        image.save(folder / f"{i}.png")
    return folder


def save_colors(folder: Path, masks: Masks) -> Path:
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    for i, mask in enumerate(masks):
        Image.fromarray(colors[mask]).save(folder / f"image_mask{i}.png")
    return folder


def save_binary(folder: Path, masks: Masks) -> Path:
    for i, mask in enumerate(masks):
        for label in range(1, 4):
            Image.fromarray(np.uint8(255 * (mask == label))).save(folder / f"{i:05d}_{NAMES[label]}.png")
    return folder


def save_labelme(folder: Path, masks: Masks) -> Path:
    """Each mask's blocks of 8 x 8 pixels as polygons, and the wheels as one mask."""
    for i, mask in enumerate(masks):
        shapes = []
        for top, left in np.ndindex(4, 4):
            x, y = 8 * left, 8 * top
            points = [[x, y], [x + 8, y], [x + 8, y + 8], [x, y + 8]]
            label = NAMES[mask[y, x]]
            shapes.append({"label": label, "shape_type": "polygon", "points": points})
        buffer = io.BytesIO()
        Image.fromarray(np.uint8(mask == 3)).save(buffer, format="PNG")
        text = base64.b64encode(buffer.getvalue()).decode()
        shapes.append({"label": "wheel", "shape_type": "mask", "points": [[0, 0], [31, 31]], "mask": text})
        document = {"shapes": shapes, "imageHeight": 32, "imageWidth": 32, "imagePath": f"image_{i}.png"}
        (folder / f"image_{i}.json").write_text(json.dumps(document))
    return folder


def save_coco(folder: Path, masks: Masks) -> Path:
    annotations = []
    for i, mask in enumerate(masks):
        for label in range(1, 4):
            code = coco_mask.encode(np.asfortranarray(mask == label).astype(np.uint8))
            shape = {"size": code["size"], "counts": code["counts"].decode()}
            annotations.append(
                {"id": len(annotations), "image_id": 10 + i, "category_id": label, "segmentation": shape}
            )
    images = [
        {"id": 10 + i, "file_name": f"0a1b2c3d-image_{i}.png", "height": 32, "width": 32}
        for i in range(len(masks))
    ]
    categories = [{"id": label, "name": NAMES[label]} for label in range(1, 4)]
    path = folder / "result.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def save_ome_zarr(folder: Path, masks: Masks) -> Path:
    """OME-Zarr 0.5 by plain zarr: labels of four bytes, in chunks of 16 x 16 pixels."""
    for i, mask in enumerate(masks):
        ome: dict[str, object] = {"version": "0.5", "multiscales": [{"datasets": [{"path": "s0"}]}]}
        group = zarr.create_group(folder / f"image_{i}.zarr", attributes={"ome": ome})
        group.create_group("labels", attributes={"ome": {"version": "0.5", "labels": ["parts"]}})
        values = [{"label-value": value, "name": name} for value, name in enumerate(NAMES)]
        colors = [
            {"label-value": value, "rgba": [*bytes.fromhex(color[1:]), 255]}
            for value, color in enumerate(COLORS)
        ]
        described = {**ome, "image-label": {"version": "0.5", "properties": values, "colors": colors}}
        label = group.create_group("labels/parts", attributes={"ome": described})
        label.create_array("s0", data=mask.astype(np.uint32), chunks=(16, 16))
    return folder


def save_parquet(folder: Path, masks: Masks) -> Path:
    """Two files of two row groups each, whose masks are bytes and not of ``datasets``."""
    classes = [{"label": value, "name": name, "color": COLORS[value]} for value, name in enumerate(NAMES)]
    metadata = {"dgan": json.dumps({"classes": classes, "ignore": None})}
    schema = pa.schema([("label", pa.binary()), ("number", pa.int32())], metadata)
    for first in (0, 2):
        rows = [{"label": png(masks[number]), "number": number} for number in (first, first + 1)]
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{first}.parquet", row_group_size=1)
    return folder


def save_shards(folder: Path, masks: Masks) -> Path:
    """Two tar shards of WebDataset, with pictures that nobody reads."""
    (folder / "classes.toml").write_text(CLASSES)
    for first in (0, 2):
        with webdataset.TarWriter(str(folder / f"{first:06d}.tar"), mtime=0) as writer:
            for number in (first, first + 1):
                sample = {"png": np.zeros((32, 32, 3), np.uint8), "seg.png": png(masks[number])}
                writer.write({"__key__": f"{number:06d}", "json": {"number": number}, **sample})
    return folder


def png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return buffer.getvalue()


def extract(folder: Path, annotations: Path, *more: str) -> fstore.FeatureStore:
    words = ["extract-features", *input_flags(folder / "in"), "--annotations", str(annotations), *more]
    words += ["--store", str(folder / "s.zarr"), "--layout", "pyramid", "--min-pixels", "0", "--overwrite"]
    words += ["--layers", "0:1"]  # nobody looks at the features: fewer are written sooner
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    store = fstore.open(folder / "s.zarr")
    assert isinstance(store, fstore.FeatureStore)
    return store


NAMING = (save_binary, save_labelme, save_coco, save_ome_zarr, save_parquet, save_shards)
EVERY = (save_palette, save_colors, *NAMING)


@pytest.fixture
def masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Masks:
    write_inputs(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "annotations").mkdir()
    found = [np.load(tmp_path / "in" / "masks" / f"image_mask{i}.npy") for i in range(4)]
    assert found[0].shape == (RESOLUTION, RESOLUTION)
    return found


@pytest.mark.parametrize("save", EVERY)
def test_every_format_gives_the_masks_that_it_was_written_from(
    tmp_path: Path, masks: Masks, save: Callable[[Path, Masks], Path]
) -> None:
    (tmp_path / "classes.toml").write_text(CLASSES)
    Path("dgan.toml").write_text('[annotations]\nclasses_file = "classes.toml"\n')
    store = extract(tmp_path, save(tmp_path / "annotations", masks))
    np.testing.assert_array_equal(store.masks.compute(), masks)
    assert [(entry.name, entry.color) for entry in store.meta.classes] == list(
        zip(NAMES, COLORS, strict=True)
    )


@pytest.mark.parametrize("save", NAMING)
def test_a_format_that_names_its_classes_needs_no_list(
    tmp_path: Path, masks: Masks, save: Callable[[Path, Masks], Path]
) -> None:
    store = extract(tmp_path, save(tmp_path / "annotations", masks))
    np.testing.assert_array_equal(store.masks.compute(), masks)
    assert [entry.name for entry in store.meta.classes] == list(NAMES)


@pytest.mark.parametrize("save", variants(*EVERY, fast=3))
def test_one_label_map_serves_every_format(
    tmp_path: Path, masks: Masks, save: Callable[[Path, Masks], Path]
) -> None:
    (tmp_path / "classes.toml").write_text(CLASSES)
    Path("dgan.toml").write_text('[annotations]\nclasses_file = "classes.toml"\n')
    (tmp_path / "map.toml").write_text(
        'drop = ["glass"]\ndrop_to = "ignore"\n[[classes]]\nname = "background"\n'
        '[[classes]]\nname = "car"\ncolor = "#123456"\nfrom = ["door", "wheel"]\n'
    )
    store = extract(tmp_path, save(tmp_path / "annotations", masks), "--label-map", "map.toml")
    np.testing.assert_array_equal(store.masks.compute(), np.array([0, 1, 255, 1])[np.stack(masks)])
    assert [entry.name for entry in store.meta.classes] == ["background", "car"]
    assert (store.meta.classes[1].color, store.meta.ignore) == ("#123456", 255)


def test_a_label_that_is_no_class_ends_in_one_line(tmp_path: Path, masks: Masks) -> None:
    (tmp_path / "classes.toml").write_text(CLASSES.replace("wheel", "wheels"))
    Path("dgan.toml").write_text('[annotations]\nclasses_file = "classes.toml"\n')
    path = save_coco(tmp_path / "annotations", masks)
    words = ["extract-features", *input_flags(tmp_path / "in"), "--annotations", str(path)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert "3 ('wheel')".replace("'", "") in last.replace("'", "") and "nearest is wheels" in last
    assert "Traceback" not in result.output and not Path("features.zarr").exists()
