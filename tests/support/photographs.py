"""Photographs with annotations of known labels, in every format that is read, under names of any kind."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset
import zarr
from PIL import Image
from pycocotools import mask as coco_mask

from fstore.meta import ClassInfo

NAMES = ("background", "door", "glass", "wheel")
COLORS = ("#000000", "#ff0000", "#00ff00", "#0000ff")
CLASSES = tuple(ClassInfo(i, name, color) for i, (name, color) in enumerate(zip(NAMES, COLORS, strict=True)))
PICTURES = ("img_a.jpg", "COCO_val2014_000000123.jpg", "ADE_val_00000001.png", "cat 7 - left.webp")
SIZE = (24, 32)
Labels = Mapping[str, np.ndarray]
"""A picture's name -> its labels."""


def stem(name: str) -> str:
    """A name without its suffix."""
    return name.rpartition(".")[0]


def random_labels(names: Sequence[str] = PICTURES, size: tuple[int, int] = SIZE, seed: int = 0) -> Labels:
    """Labels in blocks of 4 pixels, all classes in each."""
    rng = np.random.default_rng(seed)
    blocks = {name: rng.permuted(np.arange(size[0] * size[1] // 16) % 4) for name in names}
    return {
        name: np.uint8(block.reshape(size[0] // 4, size[1] // 4)).repeat(4, 0).repeat(4, 1)
        for name, block in blocks.items()
    }


def write_pictures(folder: Path, names: Sequence[str] = PICTURES, size: tuple[int, int] = SIZE) -> Path:
    """Pictures of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / name)
    return folder


def png(labels: np.ndarray) -> bytes:
    """A grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, format="PNG")
    return buffer.getvalue()


def save_grey(folder: Path, labels: Labels, suffix: str = "") -> Path:
    for name, one in labels.items():
        (folder / f"{stem(name)}{suffix}.png").write_bytes(png(one))
    return folder


def save_palette(folder: Path, labels: Labels) -> Path:
    for name, one in labels.items():
        image = Image.frombytes("P", one.shape[::-1], one.tobytes())
        image.putpalette(bytes.fromhex("".join(color[1:] for color in COLORS)))
        image.save(folder / f"{stem(name)}.png")
    return folder


def save_colors(folder: Path, labels: Labels) -> Path:
    table = np.array([list(bytes.fromhex(color[1:])) for color in COLORS], np.uint8)
    for name, one in labels.items():
        Image.fromarray(table[one]).save(folder / f"{stem(name)}_mask.png")
    return folder


def save_arrays(folder: Path, labels: Labels) -> Path:
    for name, one in labels.items():
        np.save(folder / f"{stem(name)}.npy", one)
    return folder


def save_binary(folder: Path, labels: Labels) -> Path:
    for name, one in labels.items():
        for label in range(1, 4):
            Image.fromarray(np.uint8(255 * (one == label))).save(folder / f"{stem(name)}_{NAMES[label]}.png")
    return folder


def save_class_folders(folder: Path, labels: Labels) -> Path:
    for name, one in labels.items():
        for label in range(1, 4):
            inner = folder / NAMES[label]
            inner.mkdir(exist_ok=True)
            Image.fromarray(np.uint8(255 * (one == label))).save(inner / f"{stem(name)}.png")
    return folder


def save_voc(folder: Path, labels: Labels) -> Path:
    inner = folder / "SegmentationClass"
    inner.mkdir()
    save_colors(inner, labels)
    rows = [
        f"{name}:{','.join(str(b) for b in bytes.fromhex(color[1:]))}::"
        for name, color in zip(NAMES, COLORS, strict=True)
    ]
    (folder / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *rows]))
    return folder


def save_labelme(folder: Path, labels: Labels) -> Path:
    for name, one in labels.items():
        shapes = [
            {
                "label": NAMES[one[y, x]],
                "shape_type": "polygon",
                "points": [[x, y], [x + 4, y], [x + 4, y + 4], [x, y + 4]],
            }
            for y in range(0, one.shape[0], 4)
            for x in range(0, one.shape[1], 4)
        ]
        document = {"shapes": shapes, "imageHeight": one.shape[0], "imageWidth": one.shape[1]}
        (folder / f"{stem(name)}.json").write_text(json.dumps(document | {"imagePath": f"../{name}"}))
    return folder


def save_coco(folder: Path, labels: Labels) -> Path:
    annotations = []
    for i, one in enumerate(labels.values()):
        for label in range(1, 4):
            code = coco_mask.encode(np.asfortranarray(one == label).astype(np.uint8))
            shape = {"size": code["size"], "counts": code["counts"].decode()}
            number = len(annotations) + 1
            annotations.append({"id": number, "image_id": i + 1, "category_id": label, "segmentation": shape})
    images = [
        {"id": i + 1, "file_name": f"val/{name}", "height": one.shape[0], "width": one.shape[1]}
        for i, (name, one) in enumerate(labels.items())
    ]
    categories = [{"id": label, "name": NAMES[label]} for label in range(1, 4)]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    return path


def save_parquet(folder: Path, labels: Labels) -> Path:
    rows = [{"label": {"bytes": png(one), "path": f"{stem(name)}.png"}} for name, one in labels.items()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "part-0.parquet")
    return folder


def save_ome_zarr(folder: Path, labels: Labels) -> Path:
    for name, one in labels.items():
        multiscales = {"version": "0.5", "multiscales": [{"datasets": [{"path": "0"}]}]}
        group = zarr.open_group(folder / f"{stem(name)}.ome.zarr", mode="w", zarr_format=3)
        group.attrs["ome"] = multiscales
        inner = group.create_group("labels")
        inner.attrs["ome"] = {"version": "0.5", "labels": ["segmentation"]}
        label = inner.create_group("segmentation")
        label.attrs["ome"] = multiscales
        label.create_array("0", data=one)
    return folder


def save_shards(folder: Path, labels: Labels) -> Path:
    with webdataset.TarWriter(str(folder / "000000.tar")) as writer:
        for name, one in labels.items():
            writer.write({"__key__": stem(name), "seg.png": png(one)})
    return folder


def save_export(folder: Path, labels: Labels) -> Path:
    """As ``dgan export --format png``, but for the names."""
    (folder / "labels").mkdir()
    save_palette(folder / "labels", labels)
    (folder / "metadata.jsonl").write_text("")
    tables = [
        f'[[classes]]\nname = "{name}"\ncolor = "{color}"\n'
        for name, color in zip(NAMES, COLORS, strict=True)
    ]
    (folder / "classes.toml").write_text("\n".join(tables))
    return folder


FORMATS: tuple[Callable[[Path, Labels], Path], ...] = (
    *(save_grey, save_palette, save_colors, save_arrays, save_binary, save_class_folders, save_voc),
    *(save_labelme, save_coco, save_parquet, save_ome_zarr, save_shards, save_export),
)
