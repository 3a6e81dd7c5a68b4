"""A folder with all that documented commands name, at toy size: inputs, stores, other tools' exports.

Its ``dgan.toml`` makes every stage short, so that a documented command runs as it stands.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from support.commands import done
from support.tiny import RESOLUTION, write_checkpoint

CLASSES = ("background", "skin", "hair", "eyes")
COLORS = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))
SETTINGS = """
[generator]
checkpoint = "network-snapshot.pkl"
truncation = 1.0
[annotations]
min_pixels = 0
[train]
members = 2
max_epochs = 1
final_epochs = 1
epoch_pixels = 64
hidden = [8, 6]
validation_pixels = 200
buffer_mb = 8
[synthesize]
num = 8
[segment]
backbone = "mobilenet_v3"
epochs = 1
batch_size = 2
[translate]
width = 2
batch_size = 4
epochs = 1
"""
NUM = 4
Masks = list[np.ndarray]


def make_project(folder: Path) -> Path:
    """A project of ``dgan sample`` with masks, the same masks as other tools export them, and every store."""
    folder.parent.mkdir(exist_ok=True)
    write_checkpoint(folder.parent / "network-snapshot.pkl")
    (folder.parent / "toy.toml").write_text(SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        done("sample", "--config", "toy.toml", "--num", NUM, "--out", folder.name)
        bring_checkpoint(folder)
        masks = [mask_of(image) for image in range(NUM)]
        annotate(folder)
        write_cvat(folder / "cvat", masks)
        write_roboflow(folder / "roboflow", masks)
        write_coco(folder / "coco" / "result.json", masks)
        write_labelme(folder / "labelme", masks)
        write_classes(folder / "parts", masks)
        write_photographs(folder, masks)
        np.save(folder / "keypoints.npy", np.random.default_rng(0).uniform(4, 28, (NUM, 3, 2)))
        patch.chdir(folder)
        done("extract-features")
        done("train")
        done("synthesize")
        shutil.copytree("features.zarr", "held_out.zarr")
    return folder


def bring_checkpoint(folder: Path) -> None:
    """Move the checkpoint into the project, so that copies of the folder are whole."""
    (folder.parent / "network-snapshot.pkl").rename(folder / "network-snapshot.pkl")
    settings = (folder / "dgan.toml").read_text()
    assert '"../network-snapshot.pkl"' in settings
    (folder / "dgan.toml").write_text(settings.replace("../network-snapshot.pkl", "network-snapshot.pkl"))


def annotate(project: Path) -> None:
    """What a person does after ``dgan sample``: the masks of the next few pictures that have none."""
    numbers = sorted(int(path.stem.rpartition("_")[2]) for path in (project / "images").iterdir())
    missing = [i for i in numbers if not (project / "masks" / f"image_mask{i}.npy").exists()]
    for image in missing[:NUM]:
        np.save(project / "masks" / f"image_mask{image}.npy", mask_of(image))


def mask_of(image: int) -> np.ndarray:
    """Blocks of 8 x 8 pixels, of every class some. (32, 32) uint8."""
    coarse = np.random.default_rng(image).integers(0, len(CLASSES), (4, 4)).astype(np.uint8)
    coarse.flat[: len(CLASSES)] = range(len(CLASSES))
    return np.repeat(np.repeat(coarse, RESOLUTION // 4, 0), RESOLUTION // 4, 1)


def write_cvat(folder: Path, masks: Masks) -> None:
    """CVAT's "Segmentation mask 1.1": colours, and their names in ``labelmap.txt``."""
    inner = folder / "SegmentationClass"
    inner.mkdir(parents=True)
    lines = [f"{name}:{','.join(map(str, color))}::\n" for name, color in zip(CLASSES, COLORS, strict=True)]
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "".join(lines))
    for i, mask in enumerate(masks):
        Image.fromarray(np.array(COLORS, np.uint8)[mask]).save(inner / f"image_{i}.png")


def write_roboflow(folder: Path, masks: Masks) -> None:
    """Roboflow's "Semantic Segmentation Masks": index PNGs, and their names in ``_classes.csv``."""
    folder.mkdir()
    with (folder / "_classes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("Pixel Value", " Class"), *enumerate(CLASSES)])
    for i, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / f"image_{i}_png.rf.0a{i}f9_mask.png")


def write_coco(path: Path, masks: Masks) -> None:
    """COCO's JSON, with run lengths by pycocotools."""
    path.parent.mkdir()
    shapes = [(i, label, coco_mask.encode(np.asfortranarray(mask == label).astype(np.uint8)))
              for i, mask in enumerate(masks) for label in range(1, 4)]  # fmt: skip
    annotations = [
        {
            "id": number,
            "image_id": i,
            "category_id": label,
            "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
        }
        for number, (i, label, code) in enumerate(shapes)
    ]
    images = [
        {"id": i, "file_name": f"image_{i}.png", "height": RESOLUTION, "width": RESOLUTION}
        for i in range(NUM)
    ]
    categories = [{"id": label, "name": CLASSES[label]} for label in range(1, 4)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def write_labelme(folder: Path, masks: Masks) -> None:
    """LabelMe's JSON, a file an image: the masks' blocks of 8 x 8 pixels as polygons."""
    folder.mkdir()
    for i, mask in enumerate(masks):
        shapes = []
        for y, x in 8 * np.argwhere(mask[::8, ::8] > 0):
            points = [[int(x), int(y)], [int(x) + 8, int(y)], [int(x) + 8, int(y) + 8], [int(x), int(y) + 8]]
            shapes.append({"label": CLASSES[mask[y, x]], "shape_type": "polygon", "points": points})
        document = {"shapes": shapes, "imageHeight": RESOLUTION, "imageWidth": RESOLUTION}
        (folder / f"image_{i}.json").write_text(json.dumps(document))


def write_photographs(project: Path, masks: Masks) -> None:
    """``photos`` of any names, and ``photo_masks`` of theirs."""
    (project / "photos").mkdir()
    (project / "photo_masks").mkdir()
    for name, mask in zip(("cat.jpg", "dog 2.png", "hen.webp", "ox.jpg"), masks, strict=True):
        Image.fromarray(np.array(COLORS, np.uint8)[mask]).save(project / "photos" / name)
        Image.fromarray(mask).save(project / "photo_masks" / f"{name.partition('.')[0]}_mask.png")


def write_classes(folder: Path, masks: Masks) -> None:
    """One PNG a class, as CelebAMask's: 0 and 255."""
    folder.mkdir()
    for i, mask in enumerate(masks):
        for label in range(1, 4):
            Image.fromarray(np.uint8(255 * (mask == label))).save(folder / f"{i:05d}_{CLASSES[label]}.png")
