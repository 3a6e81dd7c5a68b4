"""Extraction at the true sizes, as a child process, and a check of its pixels against brute force.

What ``benchmarks.extraction`` measures, and the other programs make their stores with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import generators
from benchmarks.measure import DGAN, ChildRun, run_child

CHECKPOINT = "generator.for_g_all.pt"
LAYOUTS = ("dense", "pyramid")


@dataclass(frozen=True)
class Case:
    """A generator and the resolution at which its features are taken."""

    name: str
    widths: list[int]
    latent_size: int
    resolution: int
    crop_rows: str | None = None

    @property
    def side(self) -> int:
        """Of the generator's image, in pixels."""
        return 2 ** (len(self.widths) + 1)


def official_case(kind: str) -> Case:
    """The released experiments: faces and cats whole, cars with their 384 middle rows."""
    side = generators.KINDS[kind]
    crop = "64:448" if kind == "car" else None
    return Case(kind, generators.official_widths(side), generators.LATENT_SIZE, min(side, 512), crop)


QUICK = Case("small", [16, 16, 16, 8, 8], 16, 32)


def make_inputs(case: Case, folder: Path, num_images: int) -> None:
    """Checkpoint, latents and masks, under the names that ``extract`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    generators.make_checkpoint(folder / CHECKPOINT, case.widths, case.latent_size)
    generators.make_inputs(folder, case.side, num_images=num_images, latent_size=case.latent_size)


def extract(case: Case, folder: Path, layout: str, *options: str) -> ChildRun:
    """Extract the folder's inputs into ``<layout>.zarr``, with further ``options`` of the command."""
    command = [
        *DGAN,
        "extract-features",
        *("--checkpoint", CHECKPOINT, "--latents", "latents.npy", "--annotations", "masks"),
        *("--resolution", str(case.resolution), "--layout", layout, "--store", f"{layout}.zarr"),
        *(() if "--device" in options else ("--device", "cpu")),
        "--overwrite",
        *options,
    ]
    crop = ["--crop-rows", case.crop_rows] if case.crop_rows else []
    return run_child([*command, *crop], folder)


def check(folder: Path, num_pixels: int, device: str = "cpu") -> tuple[bool, float]:
    """Whether the layouts agree bit for bit, and the worst error against brute force.

    The error is in units of the float16 spacing, of which one rounding is 0.5.
    """
    import fstore

    dense, pyramid = (fstore.open(folder / f"{layout}.zarr") for layout in LAYOUTS)
    random = np.random.default_rng(0)
    index = [random.integers(0, size, num_pixels) for size in dense.shape[1:3]]  # type: ignore[union-attr]
    image = np.zeros(num_pixels, int)
    found = dense.pixels(image, *index)  # type: ignore[union-attr]
    same = np.array_equal(found.view(np.uint16), pyramid.pixels(image, *index).view(np.uint16))  # type: ignore[union-attr]
    expected = brute_force_pixels(folder, *index, device)
    return same, float(rounding_errors(found, expected).max())


def rounding_errors(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|float16 - float32| over the float16 spacing, with ulps of the largest float32 operand let pass."""
    size = np.maximum(np.abs(expected), np.abs(found.astype(np.float32)))
    spacing = np.spacing(size.astype(np.float16)).astype(np.float32)
    slack = 4 * np.spacing(np.abs(expected).max(initial=0))
    return np.maximum(np.abs(found.astype(np.float32) - expected) - slack, 0) / spacing


def brute_force_pixels(folder: Path, rows: np.ndarray, columns: np.ndarray, device: str) -> np.ndarray:
    """(n, C) float32: image 0 rendered again on the device, every map resized whole by ``F.interpolate``,
    pixels picked.
    """
    import torch
    from torch.nn.functional import interpolate

    import fstore
    from pipeline.checkpoints.read import load_generator
    from pipeline.machine.device import select_device
    from pipeline.rendering.renderer import Renderer, RenderSettings

    store = fstore.open(folder / "dense.zarr")
    settings = RenderSettings.from_record(store.meta.generator, store.meta.grid, store.meta.crop_rows)  # type: ignore[union-attr]
    generator = load_generator(folder / CHECKPOINT).generator
    renderer = Renderer(generator, settings, store.average_latent, select_device(device))  # type: ignore[union-attr, arg-type]
    features = renderer.render(np.load(folder / "latents.npy")[:1], "z", [0]).features
    grid, parts = settings.grid, []
    for values in features:
        if values.shape[2] > grid[0]:
            values = interpolate(values, size=grid, mode="bilinear", align_corners=False)
        whole = interpolate(values.half().float(), size=grid, mode="bilinear", align_corners=False)[
            0
        ]  # [c, Hg, Wg]
        parts.append(whole[:, rows + settings.crop_rows[0], columns].T)  # [n, c]
    return torch.cat(parts, 1).cpu().numpy()


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below it."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
