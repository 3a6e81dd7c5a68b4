"""The demo's faces with parts that few of them have, whose masks are exact: for `benchmarks.next_images`.

Every face of the embedded demo shows all 11 classes. Here four of them are split by the latent: the hair of a
face with fair hair is a class of its own, and so are blue eyes, green clothes and a white collar. A face has
the rare kind where the latent's entry (pixel-normalised, about standard normal) is beyond 1.5, which one in
14 has; latents with an entry from 1.0 to 1.5 are left out everywhere, so that what is drawn leaves no doubt.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from pipeline.embedded import class_names, exact_masks
from pipeline.embedded.face import LATENT_SIZE, Face

GAP = (1.0, 1.5)
RARE = (
    ("fair hair", "hair", "hair", 1),
    ("blue eyes", "eyes", "iris", -1),
    ("green clothes", "clothes", "clothes", 1),
    ("white collar", "collar", "collar", -1),
)
"""(rare class, class that it is split from, parameter of the face, its sign)."""
_PARAMETERS = [field.name for field in fields(Face)]


def names(with_rare: bool) -> tuple[str, ...]:
    """The classes; the position is the label, the rare ones are the last."""
    return (*class_names(), *(name for name, *_ in RARE)) if with_rare else class_names()


def strengths(latents: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 4) float64: how far each Z latent (n, 64) lies in the direction of each rare class."""
    values = latents.astype(np.float64)
    values /= np.sqrt(np.square(values).mean(axis=1, keepdims=True) + 1e-8)
    return np.stack([sign * values[:, _PARAMETERS.index(entry)] for *_, entry, sign in RARE], axis=1)


def draw(seed: int, num: int, with_rare: bool) -> NDArray[np.float32]:
    """(num, 64) float32 Z of a seed; with rare parts without the latents that lie in the gap."""
    stream = np.random.default_rng(seed)
    kept: list[NDArray[np.float32]] = []
    while len(kept) < num:
        latents = stream.standard_normal((num, LATENT_SIZE)).astype(np.float32)
        amount = strengths(latents)
        doubtful = ((amount > GAP[0]) & (amount <= GAP[1])).any(axis=1) & with_rare
        kept.extend(latents[~doubtful])
    return np.stack(kept[:num])


def masks(latents: NDArray[np.float32], with_rare: bool) -> NDArray[np.uint8]:
    """(n, 64, 64) uint8 exact labels of Z latents (n, 64)."""
    labels = exact_masks(latents)
    if with_rare:
        has = strengths(latents) > GAP[1]  # [n, 4]
        for position, (_, common, *_) in enumerate(RARE):
            is_rare = (labels == class_names().index(common)) & has[:, position, None, None]
            labels[is_rare] = len(class_names()) + position
    return labels
