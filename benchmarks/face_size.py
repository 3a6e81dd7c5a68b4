"""One image of a true-size generator through ``dgan extract-features``: time, memory, bytes, and a check.

    python -m benchmarks.face_size

Both layouts. The commands run as children, so that what is measured is what a user gets. Exit code 1 if a
peak passes the limit, the layouts disagree in one bit, or a pixel differs from a brute-force resize by more
than one float16 rounding.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import generators
from benchmarks.measure import (
    DGAN,
    ChildRun,
    imports_peak_bytes,
    machine,
    print_table,
    run_child,
    working_folder,
)

PEAK_LIMIT = 3e9
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


def extract(case: Case, folder: Path, layout: str, num_images: int) -> ChildRun:
    """Extract ``num_images`` into ``<layout>.zarr``; checkpoint, latents and masks lie in the folder."""
    command = [
        *DGAN,
        "extract-features",
        *("--checkpoint", "generator.for_g_all.pt", "--latents", "latents.npy", "--annotations", "masks"),
        *("--resolution", str(case.resolution), "--layout", layout, "--store", f"{layout}.zarr"),
        *("--device", "cpu", "--overwrite"),
    ]
    crop = ["--crop-rows", case.crop_rows] if case.crop_rows else []
    return run_child([*command, *crop], folder)


def check(folder: Path, num_pixels: int) -> tuple[bool, float]:
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
    expected = brute_force_pixels(folder, *index)
    return same, float(rounding_errors(found, expected).max())


def rounding_errors(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|float16 - float32| over the float16 spacing, with ulps of the largest float32 operand let pass."""
    size = np.maximum(np.abs(expected), np.abs(found.astype(np.float32)))
    spacing = np.spacing(size.astype(np.float16)).astype(np.float32)
    slack = 4 * np.spacing(np.abs(expected).max(initial=0))
    return np.maximum(np.abs(found.astype(np.float32) - expected) - slack, 0) / spacing


def brute_force_pixels(folder: Path, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n, C) float32: image 0 rendered again, every map resized whole by ``F.interpolate``, pixels picked."""
    import torch
    from torch.nn.functional import interpolate

    import fstore
    from pipeline.checkpoints import load_generator
    from pipeline.rendering import Renderer, RenderSettings

    store = fstore.open(folder / "dense.zarr")
    settings = RenderSettings.from_record(store.meta.generator, store.meta.grid, store.meta.crop_rows)  # type: ignore[union-attr]
    generator = load_generator(folder / "generator.for_g_all.pt").generator
    renderer = Renderer(generator, settings, store.average_latent, torch.device("cpu"))  # type: ignore[union-attr, arg-type]
    features = renderer.render(np.load(folder / "latents.npy")[:1], "z", [0]).features
    grid, parts = settings.grid, []
    for values in features:
        if values.shape[2] > grid[0]:
            values = interpolate(values, size=grid, mode="bilinear", align_corners=False)
        whole = interpolate(values.half().float(), size=grid, mode="bilinear", align_corners=False)[
            0
        ]  # [c, Hg, Wg]
        parts.append(whole[:, rows + settings.crop_rows[0], columns].T)  # [n, c]
    return torch.cat(parts, 1).numpy()


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below it."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def measure(case: Case, folder: Path, num_images: int, repeats: int, num_pixels: int) -> bool:
    """Print the table. Returns whether all that was promised held."""
    generators.make_checkpoint(folder / "generator.for_g_all.pt", case.widths, case.latent_size)
    generators.make_inputs(folder, case.side, num_images=num_images, latent_size=case.latent_size)
    floor = imports_peak_bytes()
    rows, worst_peak = [], 0
    for layout in LAYOUTS:
        runs = [extract(case, folder, layout, num_images) for _ in range(repeats)]
        seconds = sorted(run.seconds for run in runs)
        peak = max(run.peak_bytes for run in runs)
        worst_peak = max(worst_peak, peak)
        rows.append(
            [
                layout,
                f"{seconds[len(seconds) // 2]:.1f}",
                f"{seconds[0]:.1f} to {seconds[-1]:.1f}",
                f"{peak / 1e9:.2f}",
                f"{(peak - floor) / 1e9:.2f}",
                f"{folder_bytes(folder / f'{layout}.zarr') / 1e6:,.1f}",
            ]
        )
    same, error = check(folder, num_pixels)
    width = generators.feature_width(case.widths)
    crop = f", rows {case.crop_rows}" if case.crop_rows else ""
    grid = f"{case.resolution} x {case.resolution} x {width}{crop}"
    title = f"extract-features, {case.name}: {case.side} px, images: {num_images}, features: {grid}"
    print_table(title, ["layout", "median s", "range s", "peak GB", "above imports GB", "MB on disk"], rows)
    print(f"dense and pyramid agree bit for bit at {num_pixels} pixels: {same}")
    print(f"worst distance to a brute-force resize: {error:.4f} of the float16 spacing (one rounding is 0.5)")
    print(f"largest peak {worst_peak / 1e9:.2f} GB, limit {PEAK_LIMIT / 1e9:.0f} GB")
    return same and error <= 0.5 and worst_peak < PEAK_LIMIT


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Extract one image of a true-size generator; measure and check."
    )
    parser.add_argument("--kind", choices=generators.KINDS, default="face")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=400, help="pixels to check")
    parser.add_argument("--folder", type=Path, help="work here, and keep the stores")
    parser.add_argument("--quick", action="store_true", help="a toy generator, one run")
    options = parser.parse_args(arguments)
    case = QUICK if options.quick else official_case(options.kind)
    print(machine())
    with working_folder(options.folder) as folder:
        held = measure(case, folder, options.images, 1 if options.quick else options.repeats, options.pixels)
    if not held:
        sys.exit("a promise was broken: see above")


if __name__ == "__main__":
    main()
