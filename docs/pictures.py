"""Makes the pictures of docs/tour.md: runs its commands on the embedded demo, draws what they made.

    python docs/pictures.py FOLDER      # where the commands run; the pictures go to docs/tour/

What FOLDER holds already is gone on with, so a second call only draws. The commands are read from the page,
so that pictures and page cannot differ. It draws from the files alone, as any reader of the page could.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import fstore

DOCS = Path(__file__).resolve().parent
SCALE = 2  # screen pixels of one of the demo's 64 x 64
GAP = 4
FINER = 32  # pixels of a layer's side


def commands() -> list[str]:
    """The lines of the tour's code blocks that begin with ``dgan``."""
    text = (DOCS / "tour.md").read_text(encoding="utf-8")
    return re.findall(r"^    (dgan [^#\n]*)", text, re.MULTILINE)


def run_commands(folder: Path) -> None:
    """Run them in ``folder``. Only sampling is not repeated: it refuses to draw where images are."""
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands():
        if command.startswith("dgan sample") and (folder / "faces").exists():
            continue
        words = command.split()[1:]
        subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=folder, check=True)


def grid(rows: list[list[np.ndarray]]) -> Image.Image:
    """Tiles of (H, W, 3) uint8, enlarged, with a white gap between them."""
    height, width = (SCALE * side for side in rows[0][0].shape[:2])
    columns = len(rows[0])
    size = (columns * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            enlarged = Image.fromarray(tile).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (x * (width + GAP), y * (height + GAP)))
    return sheet


def colored(labels: np.ndarray, colors: list[str]) -> np.ndarray:
    """(H, W) class ids in their colours, (H, W, 3) uint8."""
    table = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors], np.uint8)
    return table[labels]


def draw_features(path: Path) -> Image.Image:
    """Pictures, masks, and the first three principal components of the finer layers as red, green and blue.

    The coarser layers say little but where in the image a pixel is.
    """
    store = fstore.open(path)
    images, colors = list(range(0, len(store), 2)), [info.color for info in store.meta.classes]
    finer = next(layer.offset for layer in store.meta.layers if layer.resolution[0] >= FINER)
    features = np.asarray(store.features[images, :, :, finer:], np.float32)  # [n, H, W, c]
    flat = features.reshape(-1, features.shape[-1])
    flat = (flat - flat.mean(0)) / (flat.std(0) + 1e-6)
    _, axes = np.linalg.eigh(flat.T @ flat)
    parts = flat @ axes[:, -3:]  # [n H W, 3]
    low, high = np.percentile(parts, (2, 98), axis=0)
    parts = np.uint8(255 * np.clip((parts - low) / (high - low), 0, 1)).reshape(*features.shape[:3], 3)
    masks = store.masks[images].compute()
    return grid(
        [list(store.images[images].compute()), [colored(mask, colors) for mask in masks], list(parts)]
    )


def draw_training(folder: Path, path: Path) -> None:
    """The mean loss of each epoch, and the mIoU on the held-out images."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    epochs = json.loads((folder / "interpreter.json").read_text())["epochs"]
    numbers = [epoch["epoch"] + 1 for epoch in epochs]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    left.plot(numbers, [epoch["loss"] for epoch in epochs], "o-", color="#3b4fa0")
    left.set(title="loss", xlabel="epoch", xticks=numbers)
    held = [epoch for epoch in epochs if not epoch["final"]]
    right.plot(
        [epoch["epoch"] + 1 for epoch in held], [epoch["miou"] for epoch in held], "o-", color="#d6404f"
    )
    right.set(title="mIoU on held-out images", xlabel="epoch", xticks=numbers)
    right.set_ylim(0.8, 1)
    for axes in (left, right):
        axes.axvspan(len(held) + 0.5, len(numbers) + 0.5, color="#f5d14a", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def draw_dataset(path: Path) -> Image.Image:
    """The four least and the four most uncertain images: picture, labels, divergence."""
    store = fstore.open(path)
    order = np.argsort(store.uncertainty)
    chosen = [*order[:4], *order[-4:]]
    arrays = (store.images, store.labels, store.divergence)
    images, labels, divergence = (np.stack([array[int(i)].compute() for i in chosen]) for array in arrays)
    colors = [info.color for info in store.meta.classes]
    bright = np.uint8(255 * np.sqrt(np.clip(divergence.astype(np.float32) / np.log(2), 0, 1)))
    return grid(
        [
            list(images),
            [colored(label, colors) for label in labels],
            [np.repeat(one[..., None], 3, axis=2) for one in bright],
        ]
    )


def draw_export(folder: Path) -> Image.Image:
    """Files of the export: pictures, and their labels laid over them."""
    names = [json.loads(line) for line in (folder / "train" / "metadata.jsonl").read_text().splitlines()[:8]]
    pictures, laid = [], []
    for entry in names:
        picture = Image.open(folder / "train" / entry["file_name"]).convert("RGB")
        labels = Image.open(folder / "train" / entry["label_file_name"]).convert("RGB")
        pictures.append(np.asarray(picture))
        laid.append(np.asarray(Image.blend(picture, labels, 0.6)))
    return grid([pictures, laid])


def draw_predictions(images: Path, labels: Path, predicted: Path) -> Image.Image:
    """The first eight photographs, their exact masks, and what a segmenter has made of them."""
    return grid([_first_pictures(each) for each in (images, labels, predicted)])


def draw_translation(before: Path, after: Path, target: Path) -> Image.Image:
    """Eight images of a dataset, the same ones translated, and what they shall look like."""
    stores = [fstore.open(path) for path in (before, after)]
    places = np.flatnonzero(stores[0].kept)
    rows = [list(store.images[places[:8].tolist()].compute()) for store in stores]
    return grid([*rows, _first_pictures(target)])


def _first_pictures(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))[:8]]


def main() -> None:
    folder, out = Path(sys.argv[1]), DOCS / "tour"
    run_commands(folder)
    out.mkdir(exist_ok=True)
    sheet = Image.open(folder / "faces" / "contact_sheet.png").convert("RGB")
    pictures = {
        "sample.png": sheet,
        "extract.png": draw_features(folder / "features.zarr"),
        "synthesize.png": draw_dataset(folder / "dataset.zarr"),
        "export.png": draw_export(folder / "dataset"),
        "predict.png": draw_predictions(
            folder / "portraits" / "images", folder / "portraits" / "labels", folder / "predicted"
        ),
        "translate.png": draw_translation(
            folder / "dataset.zarr", folder / "translated.zarr", folder / "dusk" / "images"
        ),
    }
    for name, picture in pictures.items():
        picture.quantize(256, dither=Image.Dither.NONE).save(out / name, optimize=True)
    draw_training(folder / "interpreter", out / "train.png")


if __name__ == "__main__":
    main()
