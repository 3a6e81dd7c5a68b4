"""How often the checks of annotations are right on the demo's exact masks, and how long they take.

    python -m benchmarks.annotation_checks

*False alarms* are images with exact masks in which a boundary slip is found. *Hits* are masks in which one is
found after they were moved by some pixels, in four directions, or after one class (hair, mouth) has grown by
as many. Pictures are those of the demo's renderer at several sizes, the same ones blurred and with noise, and
those of the demo's generator, whose edges are not exactly where the masks have them. A swapped mask is laid
over the picture of the next image. The time is that of the whole review, beside `dgan extract-features` of
the demo, which ends with it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.measure import machine, print_table
from pipeline import embedded
from pipeline.embedded.renderer import LABELS, render
from pipeline.quality import boundary_slips as slips
from pipeline.quality.annotation_checks import mask_findings
from pipeline.quality.swapped_masks import MIN_TIMES, Outlines, boundary, edges, fit

RATIOS = (3.0, 4.0, 5.0, 6.0)
SHIFTS = (2, 3, 4, 5)
NOISE_LEVELS = 10  # of 255, the standard deviation
GROWN = ("hair", "mouth")
Images = tuple[np.ndarray, np.ndarray]
"""Pictures (N, H, W, 3) uint8 and exact masks (N, H, W)."""


def rendered(num: int, side: int) -> Images:
    """The demo's faces at any size."""
    pictures, masks = render(torch.from_numpy(embedded.annotated_latents(num)), side)
    pixels = (pictures.permute(0, 2, 3, 1) * 127.5 + 127.5).clamp(0, 255).byte()
    return pixels.numpy(), masks.numpy()


def soft(images: Images, sigma: float) -> Images:
    """The same pictures blurred by a Gaussian of ``sigma`` pixels, with noise."""
    reach = torch.arange(-6, 7)
    kernel = torch.exp(-(reach**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum())[None, None]  # [1, 1, 13]
    values = (
        torch.from_numpy(images[0]).float().permute(0, 3, 1, 2).flatten(0, 1)[:, None]
    )  # [N * 3, 1, H, W]
    values = F.conv2d(F.pad(values, (6, 6, 0, 0), mode="replicate"), kernel[:, :, None])
    values = F.conv2d(F.pad(values, (0, 0, 6, 6), mode="replicate"), kernel[..., None])
    blurred = values.reshape(len(images[0]), 3, *images[0].shape[1:3]).permute(0, 2, 3, 1).numpy()
    noise = np.random.default_rng(0).normal(0, NOISE_LEVELS, blurred.shape)
    return np.clip(blurred + noise, 0, 255).astype(np.uint8), images[1]


def generated(num: int, folder: Path) -> tuple[Images, float, float]:
    """What the demo's generator renders, seconds of the whole extraction, and of the review in it."""
    import fstore
    import pipeline
    from pipeline.quality.annotation_review import review_annotations

    embedded.write_inputs(folder, num)
    begin = time.perf_counter()
    store = pipeline.extract_features(
        checkpoint=embedded.checkpoint_path(),
        latents=folder / "latents.npy",
        annotations=folder / "masks",
        store=str(folder / "features.zarr"),
        layout="pyramid",
    )
    middle = time.perf_counter()
    assert isinstance(store, fstore.FeatureStore)
    review_annotations(store)
    end = time.perf_counter()
    images = store.images.compute(scheduler="sync"), store.masks.compute(scheduler="sync")
    return images, middle - begin, end - middle


def moved(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    height, width = mask.shape
    taken = np.clip(np.arange(height) - rows, 0, height - 1)
    return mask[taken][:, np.clip(np.arange(width) - columns, 0, width - 1)]


def grown(mask: np.ndarray, label: int, pixels: int) -> np.ndarray:
    """The mask after one class has grown by a disc of ``pixels``."""
    inside = mask == label
    reach = range(-pixels, pixels + 1)
    discs = [moved(inside, y, x) for y in reach for x in reach if y * y + x * x <= pixels**2]
    return np.where(np.any(discs, axis=0), label, mask).astype(mask.dtype)


def shifted_masks(mask: np.ndarray, pixels: int) -> Iterator[np.ndarray]:
    for rows, columns in ((0, pixels), (0, -pixels), (pixels, 0), (-pixels, 0)):
        yield moved(mask, rows, columns)


def grown_masks(mask: np.ndarray, pixels: int) -> Iterator[np.ndarray]:
    for name in GROWN:
        yield grown(mask, LABELS[name], pixels)


def hit_rate(images: Images, change: Callable[[np.ndarray, int], Iterator[np.ndarray]], pixels: int) -> float:
    """The share of changed masks in which a slip is found."""
    found = [
        bool(slips.boundary_slips(changed, picture))
        for picture, mask in zip(*images, strict=True)
        for changed in change(mask, pixels)
    ]
    return float(np.mean(found))


def slip_rows(sets: dict[str, Images]) -> list[list[object]]:
    """A row for each set of pictures and each ratio: false alarms, then hits by pixels."""
    rows: list[list[object]] = []
    chosen = slips.MIN_RATIO
    for name, images in sets.items():
        for ratio in RATIOS:
            slips.MIN_RATIO = ratio
            alarms = [bool(slips.boundary_slips(m, p)) for p, m in zip(*images, strict=True)]
            hits = [
                f"{hit_rate(images, shifted_masks, s):.2f} / {hit_rate(images, grown_masks, s):.2f}"
                for s in SHIFTS
            ]
            rows.append([name, f"{ratio:g}", f"{sum(alarms)} of {len(alarms)}", *hits])
    slips.MIN_RATIO = chosen
    return rows


def swap_row(name: str, images: Images) -> list[object]:
    """How much better a mask fits another picture: at most of exact masks, at least of swapped ones."""
    pictures, masks = images
    lines = np.stack([boundary(mask).ravel() for mask in masks])
    strengths = np.stack([edges(picture).ravel() for picture in pictures])

    def ratios(fits: np.ndarray) -> np.ndarray:
        others = fits.copy()
        np.fill_diagonal(others, -1)
        found: np.ndarray = others.max(axis=1) / fits.diagonal()
        return found

    fits = fit(lines, strengths)
    exact, swapped = ratios(fits), ratios(np.roll(fits, 1, axis=0))
    outlines = Outlines()
    for place, picture in enumerate(pictures):
        outlines.add(place, masks[place - 1], picture)
    right = sum(other == (mask - 1) % len(masks) for mask, other in outlines.swapped())
    return [name, f"{exact.max():.2f}", f"{swapped.min():.2f}", f"{right} of {len(masks)}"]


def region_row(name: str, images: Images) -> list[object]:
    """Findings in exact masks, by kind."""
    found = [f.kind for p, m in zip(*images, strict=True) for f in mask_findings(0, m, p)]
    return [name, len(images[0]), found.count("hole"), found.count("speck"), found.count("single")]


def seconds_each(images: Images, repeats: int) -> float:
    """Median seconds of all checks of one image."""
    taken = []
    for _ in range(repeats):
        for picture, mask in zip(*images, strict=True):
            begin = time.perf_counter()
            mask_findings(0, mask, picture)
            taken.append(time.perf_counter() - begin)
    return median(taken)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few images of one size")
    parser.add_argument("--images", type=int, default=40)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    num, sides = (4, (64,)) if options.quick else (options.images, (64, 128, 256))
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        from_generator, whole, review = generated(min(num, 16), Path(folder))
    sets = {f"renderer, {side} px": rendered(num, side) for side in sides}
    sets["generator, 64 px"] = from_generator
    last = f"renderer, {sides[-1]} px"
    softer = {f"{last}, blur {sigma} px, noise": soft(sets[last], sigma) for sigma in (1, 2)}
    columns = ["pictures", "ratio", "false alarms", *(f"hits at {s} px" for s in SHIFTS)]
    print_table("Boundary slips: moved masks / one class grown", columns, slip_rows({**sets, **softer}))
    names = ["pictures", "exact, at most", "swapped, at least", f"found at {MIN_TIMES:g}"]
    print_table("Swapped masks: fit elsewhere / own fit", names, [swap_row(*each) for each in sets.items()])
    counted = ["pictures", "exact masks", "holes", "specks", "of a single class"]
    print_table("Holes and specks in exact masks", counted, [region_row(*each) for each in sets.items()])
    large = 64 if options.quick else 512
    each = seconds_each(rendered(2, large), 1 if options.quick else 5)
    rows: list[list[object]] = [
        [f"40 masks of {large} px", f"{40 * each:.2f} s", "-", "-"],
        ["the demo's store", f"{review:.2f} s", f"{whole:.2f} s", f"{100 * review / whole:.1f}%"],
    ]
    print_table("Time", ["what", "checks", "dgan extract-features", "share"], rows)


if __name__ == "__main__":
    main()
