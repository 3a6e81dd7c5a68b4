"""Extraction at the true sizes, as a child process.

What ``benchmarks.extraction`` measures, and the other programs make their stores with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below it."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
