"""Images a second that a DataLoader gives: from a dataset, beside a folder of PNGs of the same images.

    python -m benchmarks.loading

*PNG* is what people write for such a folder: PIL, one file for the image and one for its label. *By index*
is ``fstore.torch_dataset`` with ``shuffle=True``, as the PNGs are read; *stream* is
``fstore.torch_iterable``; *in batches* either gives whole batches, where else ``DataLoader`` makes them of
items. All give the same tensors to a DataLoader. Ways take turns, the workers live on from epoch to epoch,
the files are in the page cache. ``photo``: crops of the photograph that matplotlib
brings, as noisy as photographs are. ``rendered``: the demo's faces, smooth and easily compressed, which
favours PNG. The labels are the demo's masks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import add_to_summary, machine, print_table, seconds_of, working_folder

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

PICTURES = ("photo", "rendered")
BATCH = 32
SHUFFLE_BUFFER = 128


@dataclass(frozen=True)
class Case:
    """What is read: ``num_images`` of ``side`` x ``side``, pictures of one kind."""

    pictures: str
    side: int
    num_images: int


class PngFolder:
    """``images/{i}.png`` and ``labels/{i}.png``, read as torchvision's datasets read such files."""

    def __init__(self, folder: Path, num_images: int) -> None:
        self.folder, self.num_images = folder, num_images

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch
        from PIL import Image

        with Image.open(self.folder / "images" / f"{index}.png") as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)  # [3, H, W]
        with Image.open(self.folder / "labels" / f"{index}.png") as label:
            return pixels, torch.from_numpy(np.array(label)).long()


def rendered(num_images: int, side: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The demo's faces (side, side, 3) uint8 and their masks (side, side) uint8."""
    import torch

    from pipeline.embedded import annotated_latents
    from pipeline.embedded.renderer import render

    for latent in torch.from_numpy(annotated_latents(num_images)):
        image, mask = render(latent[None], side)
        yield (image[0].permute(1, 2, 0) * 127.5 + 127.5).clamp(0, 255).byte().numpy(), mask[0].numpy()


def photographed(num_images: int, side: int) -> Iterator[np.ndarray]:
    """Squares (side, side, 3) uint8 of at least 400 pixels of a photograph, at random, some mirrored."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as file:
        photo = file.convert("RGB")
    random = np.random.default_rng(0)
    for _ in range(num_images):
        size = int(random.integers(400, min(photo.size) + 1))
        left, top = (int(random.integers(0, length - size + 1)) for length in photo.size)
        crop = photo.crop((left, top, left + size, top + size)).resize((side, side), Image.Resampling.LANCZOS)
        yield np.asarray(crop)[:, :: random.choice((-1, 1))]


def make_files(case: Case, folder: Path) -> None:
    """``dataset.zarr`` and ``png/`` of the same images and labels."""
    from PIL import Image

    import fstore
    from fstore import format as fmt
    from pipeline.embedded import class_names

    for name in ("images", "labels"):
        (folder / "png" / name).mkdir(parents=True)
    pairs = list(rendered(case.num_images, case.side))
    labels = np.array([label for _, label in pairs])
    photos = case.pictures == "photo"
    images = np.array(list(photographed(case.num_images, case.side)) if photos else [i for i, _ in pairs])
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / "png" / "images" / f"{index}.png")
        Image.fromarray(label).save(folder / "png" / "labels" / f"{index}.png")
    classes = tuple(fmt.ClassInfo(i, name, "#808080") for i, name in enumerate(class_names()))
    meta = fmt.DatasetMeta((case.side, case.side), classes, latent_size=1)
    writer = fstore.create_dataset(folder / "dataset.zarr", meta, num_images=case.num_images)
    for task in writer.pending_tasks():
        part = slice(writer.task_images(task).start, writer.task_images(task).stop)
        parts = {
            spec.name: np.zeros((len(images[part]), *spec.shape[1:]), spec.dtype)
            for spec in fmt.dataset_arrays(meta, case.num_images)
        }
        writer.write_task(task, {**parts, "images": images[part], "labels": labels[part]})
    writer.close()


def loaders(case: Case, folder: Path, num_workers: int) -> dict[str, DataLoader[Any]]:
    """The same DataLoader for each way."""
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler

    import fstore

    path = folder / "dataset.zarr"
    by_index = fstore.torch_dataset(path, kept_only=False)
    stream = partial(fstore.torch_iterable, path, kept_only=False, shuffle_buffer=SHUFFLE_BUFFER)
    batches = BatchSampler(RandomSampler(by_index), BATCH, drop_last=False)
    ways: dict[str, tuple[Any, dict[str, Any]]] = {
        "PNG": (PngFolder(folder / "png", case.num_images), {"batch_size": BATCH, "shuffle": True}),
        "by index": (by_index, {"batch_size": BATCH, "shuffle": True}),
        "by index, in batches": (by_index, {"batch_size": None, "sampler": batches}),
        "stream": (stream(), {"batch_size": BATCH}),
        "stream, in batches": (stream(batch_size=BATCH), {"batch_size": None}),
    }
    more: dict[str, Any] = {"num_workers": num_workers, "persistent_workers": num_workers > 0}
    return {name: DataLoader(dataset, **how, **more) for name, (dataset, how) in ways.items()}


def an_epoch(loader: DataLoader[Any], num_images: int) -> Callable[[], None]:
    """A pass over all images; that it gives them all is checked."""

    def read() -> None:
        assert sum(len(images) for images, _ in loader) == num_images

    return read


def measure(case: Case, folder: Path, num_workers: int, repeats: int) -> list[list[str]]:
    """A row a way: median and range of the images a second, and the median of the ratios to PNG by turns."""
    epochs = {
        name: an_epoch(loader, case.num_images) for name, loader in loaders(case, folder, num_workers).items()
    }
    for epoch in epochs.values():
        epoch()  # workers start, files come into the page cache
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(repeats):
        for name in list(epochs) if turn % 2 == 0 else reversed(epochs):
            seconds[name].append(seconds_of(epochs[name]))
    rows = []
    for name, spans in seconds.items():
        rates = sorted(case.num_images / s for s in spans)
        ratio = median(p / s for p, s in zip(seconds["PNG"], spans, strict=True))
        what = [f"{case.pictures}, {case.side} px", str(num_workers), name]
        spread = f"{rates[0]:,.0f} to {rates[-1]:,.0f}"
        rows.append([*what, f"{median(rates):,.0f}", spread, f"{ratio:.1f}", kilobytes(folder, name, case)])
    return rows


def kilobytes(folder: Path, way: str, case: Case) -> str:
    """On disk, of an image and its label: two PNGs, or their share of the dataset's two arrays."""
    names = ("images", "labels")
    places = [folder / ("png" if way == "PNG" else "dataset.zarr") / name for name in names]
    files = [file for place in places for file in place.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / case.num_images / 1e3:.0f}"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Images a second of a DataLoader: PNGs beside a dataset.")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="toy images, one run")
    options = parser.parse_args(arguments)
    if options.quick:
        options.images, options.sides, options.workers, options.repeats = 20, [32], [0], 1
    print(machine())
    rows: list[list[str]] = []
    for side in options.sides:
        for pictures in PICTURES:
            case = Case(pictures, side, options.images)
            with working_folder(None) as folder:
                make_files(case, folder)
                for num_workers in options.workers:
                    rows += measure(case, folder, num_workers, options.repeats)
    columns = ["images", "workers", "way", "images/s", "range", "/ PNG", "kB an image"]
    print_table(f"{options.images} images, batches of {BATCH}, warm", columns, rows)
    png, _, by_index = rows[:3]
    what = f"images a second to torch, {png[0]}, {png[1]} workers"
    add_to_summary(what, by_index[3], f"{png[3]} (PNG)", f"{by_index[5]}x")


if __name__ == "__main__":
    main()
