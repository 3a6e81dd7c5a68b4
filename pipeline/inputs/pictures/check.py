"""Checks that the pictures that were annotated are what the generator renders from the latents of a run.

A mask belongs to the features of its latent only if latent, truncation, noise and order are those with which
the annotator's picture was made. The figure is the root of the mean squared difference, in grey levels of
255. Before that, picture and render are averaged over boxes to a quarter of their size, at most 64 pixels a
side, so that JPEG, resizing and fine noise nearly vanish. These parts of the difference between two latents'
renders were measured, on the demo generator and on random-weight ones of 64 and 128 px (small pictures are
hardest):

    JPEG of quality 75, 50, 30                  0.06-0.12, 0.09-0.16, 0.10-0.21
    truncation 1.0 or 0.5 instead of 0.7        0.15-0.52
    truncation of all instead of 8 layers       0.12-0.24
    zero instead of constant noise              0 (demo), 0.8 (random weights)
    another latent                              1

So no limit separates a wrong truncation from a bad JPEG, but a comparison does: a picture that was saved
badly still fits the right render best. A picture is a mismatch if it is past LIMIT of that difference, or if
another latent, truncation or noise fits it clearly better. Psi is tried in steps of 0.1. On the same
generators, pictures made at 0.8 instead of 0.7 differ by 0.07-0.18. They are refused if nothing was lost; as
JPEG of quality 50 to 75 they are refused or get a remark. This module knows no stores, nor where pictures
are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipeline.errors import UsageError
from pipeline.inputs.pictures.find import picture_size, read_reduced, reduced
from pipeline.inputs.pictures.other_settings import CLEARLY, SURE, OtherSettings, better_settings, variants_of
from pipeline.machine.progress import progress
from pipeline.models.generator import Generator
from pipeline.rendering.latents import LatentSet
from pipeline.rendering.renderer import Renderer, RenderSettings

SIDE = 64  # most pixels a side of what is compared
LIMIT = 0.3  # of the difference between two latents' renders
LEAST_LIMIT = 4.0  # grey levels
USUAL_DIFFERENCE = 50.0  # grey levels between two latents' renders, where there is one picture only
MAX_CANDIDATES = 64  # of more latents only those with a picture are rendered
MAX_COMPARED = 64  # renders that tell how much two latents' differ
NUM_TRIED = 3  # pictures on which other settings are tried
MAX_LINES = 40
AVERAGE = -1  # stands for the average latent among image numbers


@dataclass(frozen=True)
class View:
    """What part of the grid a picture shows, rows [a, b), and the (h, w) at which it is compared."""

    rows: tuple[int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class Fit:
    """How one picture fits its ``own`` latent, and the ``best`` fitting one of all images, in grey levels.

    ``limit`` is how much a picture may differ from the render of its own latent. Where it differs by SURE or
    less, its own latent counts as the best.
    """

    number: int
    own: float
    best: int
    best_figure: float
    limit: float

    @property
    def fits_another(self) -> bool:
        """Whether another image's latent is clearly the picture's."""
        return self.own > SURE and self.best_figure < min(CLEARLY * self.own, self.limit)


@dataclass(frozen=True)
class Comparison:
    """What a check needs at every step: the generator's side, and the annotator's, reduced."""

    generator: Generator
    latents: LatentSet
    average: np.ndarray
    settings: RenderSettings
    device: torch.device
    paths: Mapping[int, Path]
    views: Mapping[int, View]
    pictures: Mapping[int, np.ndarray]


def check_pictures(
    paths: Mapping[int, Path],
    latents: LatentSet,
    generator: Generator,
    settings: RenderSettings,
    average: np.ndarray,
    device: torch.device,
    say: Callable[[str], None],
    num_annotated: int | None = None,
) -> None:
    """Compare each picture (image number -> file) with what the latent of that number renders.

    ``num_annotated``: images whose pictures were looked for; None: all of ``latents``. Says a line when all
    agree, and one for each that does not. Raises UsageError, one line that sums these up with a way out, and
    for a picture that cannot be read.
    """
    views = {number: view_of(picture_size(path), settings, path) for number, path in paths.items()}
    pictures = {number: read_reduced(path, views[number].size) for number, path in paths.items()}
    run = Comparison(generator, latents, average, settings, device, paths, views, pictures)
    renders = _render_candidates(run)
    limit = _limit(run, renders)
    fits = [_fit(number, run, renders, limit) for number in paths]
    wrong = [fit for fit in fits if fit.own > limit or fit.fits_another]
    doubtful = [fit for fit in fits if fit.own > SURE and not fit.fits_another]
    other = _better_settings(run, doubtful, limit) if len(doubtful) > len(fits) // 2 else None
    if not wrong and (other is None or not other.refused):
        say(_agreement(fits, num_annotated or len(latents), other))
        return
    other = other if other is not None and other.refused else None
    lines = [_line(fit, run) for fit in (wrong if other is None else doubtful)]
    for line in lines[:MAX_LINES]:
        say(line)
    cause = _cause(wrong, other)
    raise UsageError(
        f"{len(lines)} of {len(fits)} annotated pictures are not what their latents render; first "
        f"{lines[0]}; {cause}, or pass --no-check to go on all the same"
    )


def _agreement(fits: Sequence[Fit], num: int, other: OtherSettings | None) -> str:
    """What is said of pictures that pass, of ``num`` annotated images."""
    line = f"{len(fits)} of {num} annotated pictures are what the latents render, to "
    line += f"{max(fit.own for fit in fits):.1f} grey levels"
    if other is not None:
        where = "" if other.near is None else f", and least near psi {other.near:.2f}"
        line += f"; with {other.flags} they would differ by {other.figure:.1f}{where}"
    missing = num - len(fits)
    return line + (f"; of the other {missing} no picture is found" if missing else "")


def view_of(size: tuple[int, int], settings: RenderSettings, path: Path) -> View:
    """The view of a picture of ``size`` (h, w): the whole grid or the rows that are kept, by its aspect.

    Raises UsageError, one line, naming the file, for another aspect.
    """
    views = {
        rows: (rows[1] - rows[0], settings.grid[1]) for rows in ((0, settings.grid[0]), settings.crop_rows)
    }
    errors = {rows: abs(np.log(size[0] * w / (size[1] * h))) for rows, (h, w) in views.items()}
    rows = min(errors, key=lambda each: errors[each])
    if errors[rows] > 0.02 and abs(size[0] * views[rows][1] / views[rows][0] - size[1]) > 1:
        shown = " or ".join(f"{h} x {w}" for h, w in dict.fromkeys(views.values()))
        raise UsageError(
            f"{path}: the picture is {size[0]} x {size[1]} (rows x columns); expected the aspect of {shown}; "
            "replace it, or pass --no-check"
        )
    side = max(4, min(SIDE, max(size) // 4, max(views[rows]) // 4))
    scale = side / max(views[rows])
    height, width = (max(1, round(length * scale)) for length in views[rows])
    return View(rows, (height, width))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Root of the mean squared difference of two arrays of grey levels."""
    return float(np.sqrt(np.mean(np.square(a - b))))


def _render_candidates(run: Comparison) -> dict[int, dict[View, np.ndarray]]:
    """Image number -> its latent's render, reduced for each view; the average latent's under AVERAGE."""
    renderer = _renderer(run, run.settings)
    rows = {
        number: row
        for row, number in enumerate(run.latents.numbers)
        if number in run.paths or len(run.latents) <= MAX_CANDIDATES
    }
    with progress("comparing annotated pictures", len(rows), "images") as bar:
        renders = {}
        for number, row in rows.items():
            renders[number] = _reduced_views(run, renderer, row)
            bar.advance(1)
    average = run.average[None]  # [1, D] or [1, L, D]
    if run.average.ndim == 1 or len(run.average) >= run.generator.min_w_layers:
        space = "w" if run.average.ndim == 1 else "w+"
        image = renderer.render(average, space, [0]).images[0]
        renders[AVERAGE] = _views(renderer.picture(image), set(run.views.values()))
    return renders


def _renderer(run: Comparison, settings: RenderSettings) -> Renderer:
    whole = replace(settings, crop_rows=(0, settings.grid[0]))
    return Renderer(run.generator, whole, run.average, run.device)


def _reduced_views(run: Comparison, renderer: Renderer, row: int) -> dict[View, np.ndarray]:
    number = run.latents.numbers[row]
    image = renderer.render(run.latents.values[row : row + 1], run.latents.space, [number]).images[0]
    return _views(renderer.picture(image), set(run.views.values()))


def _views(picture: np.ndarray, views: set[View]) -> dict[View, np.ndarray]:
    return {view: reduced(picture[slice(*view.rows)], view.size) for view in views}


def _limit(run: Comparison, renders: Mapping[int, Mapping[View, np.ndarray]]) -> float:
    """Grey levels from which a picture is none of its latent's."""
    view = next(iter(run.views.values()))
    numbers = list(run.paths)
    places = np.linspace(0, len(numbers) - 1, min(len(numbers), MAX_COMPARED)).round().astype(int)
    shown = [renders[numbers[place]][view] for place in places]
    between = [difference(a, b) for i, a in enumerate(shown) for b in shown[:i]]
    return max(LEAST_LIMIT, LIMIT * float(np.median(between) if between else USUAL_DIFFERENCE))


def _fit(number: int, run: Comparison, renders: Mapping[int, Mapping[View, np.ndarray]], limit: float) -> Fit:
    view, picture = run.views[number], run.pictures[number]
    own = difference(picture, renders[number][view])
    if own <= SURE:
        return Fit(number, own, number, own, limit)
    figures = {other: difference(picture, views[view]) for other, views in renders.items()}
    best = min(figures, key=lambda other: figures[other])
    return Fit(number, own, best, figures[best], limit)


def _better_settings(run: Comparison, doubtful: Sequence[Fit], limit: float) -> OtherSettings | None:
    """The truncation or noise under which the first doubtful pictures fit better, if any."""
    tried = list(doubtful[:NUM_TRIED])
    rows = {number: row for row, number in enumerate(run.latents.numbers)}
    generator = run.generator

    def measure(settings: RenderSettings) -> list[float]:
        renderer = _renderer(run, settings)
        renders = [_reduced_views(run, renderer, rows[fit.number])[run.views[fit.number]] for fit in tried]
        return [
            difference(run.pictures[fit.number], render) for fit, render in zip(tried, renders, strict=True)
        ]

    layer_counts = (generator.default_truncation_layers, generator.num_w_layers)
    variants = variants_of(run.settings, run.latents.space, layer_counts)
    return better_settings(measure, [fit.own for fit in tried], run.settings, variants, limit)


def _line(fit: Fit, run: Comparison) -> str:
    expected = f" (expected < {fit.limit:.0f})" if fit.own > fit.limit else ""
    name = run.paths[fit.number].name
    line = f"{name}: differs by {fit.own:.0f} grey levels{expected} from what its latent renders"
    if not fit.fits_another:
        return line
    best = "the average latent" if fit.best == AVERAGE else f"the latent of image {fit.best}"
    return f"{line}, by {fit.best_figure:.0f} from that of {best}"


def _cause(wrong: Sequence[Fit], other: OtherSettings | None) -> str:
    if other is not None:
        return other.advice
    moved = [fit for fit in wrong if fit.fits_another]
    shifted = [fit for fit in moved if fit.best == (AVERAGE if fit.number == 0 else fit.number - 1)]
    if moved and len(shifted) == len(moved) and len(moved) > 1:
        return (
            "each fits the latent before it, as where image 0 is the average latent and is not in the latent "
            "file: pass --image-zero mean"
        )
    if moved and 2 * len(moved) >= len(wrong):
        return "they fit other latents: check the order of latents and annotations"
    return "check the checkpoint, the latents, --truncation, --noise and --average-latent"
