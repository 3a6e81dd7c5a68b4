"""Finds another truncation or noise under which annotated pictures fit the renders better than with a run's.

Pure, except for the function that measures. It knows render settings, and neither pictures nor generators.

Pictures saved as JPEG differ from the right render by what the JPEG lost. If psi is wrong too, the squares of
the two differences add up. A latent moves with psi in a straight line. So near the right psi the square of
the figure is a parabola of psi, and its lowest point is the right psi, whatever the JPEG lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.rendering.renderer import RenderSettings

CLEARLY = 0.7  # another render fits clearly better if it differs by less than this part
HALF = 0.5  # the part for no noise: to pictures of random noise it is nearer by 0.7 than constant noise
SURE = 2.0  # grey levels; nothing that differs by less is looked into
STEPS = tuple(round(0.1 * step, 1) for step in range(3, 11))  # of psi
ON_STEP = 0.025  # psi; a lowest point within this of a step is the step


@dataclass(frozen=True)
class OtherSettings:
    """Settings under which the pictures fit better.

    flags: what asks for them. figure: by how many grey levels the pictures would differ. near: the psi at
    which they fit best if that is none that was tried, else None. refused: whether they fit so much better
    that the run's are wrong; else it is worth a remark.
    """

    flags: str
    figure: float
    near: float | None
    refused: bool

    @property
    def advice(self) -> str:
        """Half a sentence that tells what to do."""
        if self.near is not None:
            return (
                f"they fit best near psi {self.near:.2f} (with {self.flags} they would differ by "
                f"{self.figure:.1f}): pass the --truncation that they were made with"
            )
        return f"with {self.flags} they would differ by {self.figure:.1f}: pass that"


@dataclass(frozen=True)
class Variant:
    """Other settings and the flags that ask for them. family: the truncated layers, None for other noise."""

    flags: str
    settings: RenderSettings
    family: int | None


def better_settings(
    measure: Callable[[RenderSettings], Sequence[float]],
    own: Sequence[float],
    now: RenderSettings,
    variants: Sequence[Variant],
    limit: float,
) -> OtherSettings | None:
    """The variant that fits best, if it fits better than ``now``; None if none does.

    ``measure``: settings -> the figure of each picture, in grey levels; ``own``: the same of ``now``;
    ``limit``: what a picture may differ by.
    """
    figures = {variant: list(measure(variant.settings)) for variant in variants}
    if not figures:
        return None
    best = min(figures, key=lambda variant: np.mean(figures[variant]))
    figure, before = float(np.mean(figures[best])), float(np.mean(own))
    part = HALF if best.family is None and best.settings.noise == "zero" else CLEARLY
    better = all(other < each for other, each in zip(figures[best], own, strict=True))
    refused = better and (figure < min(part * before, limit) or figure <= SURE < before)
    if not refused and np.square(before) - np.square(figure) < np.square(SURE):
        return None
    near = None if best.family is None else _lowest(best, figures, now, before)
    return OtherSettings(best.flags, figure, near, refused)


def variants_of(now: RenderSettings, space: str, layer_counts: Sequence[int]) -> list[Variant]:
    """Other noise, and other truncations where the latents are Z: psi in steps, of ``layer_counts`` layers,
    the last of which is all.
    """
    variants = [
        Variant(f"--noise {mode}", replace(now, noise=mode), None)
        for mode in ("const", "zero")
        if mode != now.noise
    ]
    if space != "z":
        return variants
    every = layer_counts[-1]
    for psi, layers in [(psi, layers) for psi in STEPS[:-1] for layers in dict.fromkeys(layer_counts)] + [
        (1.0, every)
    ]:
        if (psi, layers) != (now.truncation, now.truncation_layers) and not psi == now.truncation == 1.0:
            flags = f"--truncation {psi}" + (f" --truncation-layers {layers}" if psi != 1.0 else "")
            variants.append(Variant(flags, replace(now, truncation=psi, truncation_layers=layers), layers))
    return variants


def _lowest(
    best: Variant, figures: Mapping[Variant, Sequence[float]], now: RenderSettings, before: float
) -> float | None:
    """The psi of the lowest point of the parabola through the squares at three steps around ``best``; None
    if that is the step, or cannot be told.
    """
    psi = best.settings.truncation
    found = {now.truncation: before} if now.truncation_layers == best.family or psi == 1.0 else {}
    for variant, values in figures.items():
        at = variant.settings.truncation
        if variant.family is not None and (variant.family == best.family or at == 1.0):
            found[at] = float(np.mean(values))
    near = sorted(found, key=lambda at: abs(at - psi))[:3]
    if len(near) < 3:
        return None
    a, b, _ = np.polyfit(near, [np.square(found[at]) for at in near], 2)
    lowest = np.clip(-b / (2 * a), psi - 0.1, min(psi + 0.1, 1.0)) if a > 0 else psi
    return None if abs(lowest - psi) <= ON_STEP else float(lowest)
