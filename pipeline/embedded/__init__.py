"""The embedded demo: a small StyleGAN1 trained on procedural faces, with an exact mask for any latent.

Heavy imports wait until a function is called. It knows the generator's file and the renderer, and nothing of
the stages.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.machine.random_streams import Purpose, counter_based
from pipeline.settings.options import PLAIN

if TYPE_CHECKING:
    import torch

RENDER_BATCH = 64


def checkpoint_path() -> Path:
    """The demo generator's checkpoint."""
    return Path(__file__).parent / "stylegan1_demo_64.for_g_all.pt"


def class_names() -> tuple[str, ...]:
    """Names of the demo's classes; the position is the label."""
    from pipeline.embedded.face import CLASSES

    return tuple(name for name, _ in CLASSES)


def annotated_latents(num: int = 16, seed: int = 0) -> np.ndarray:
    """The latents that the demo annotates, (num, 64) float32 Z; latent i follows from (seed, i) alone."""
    return _normal(Purpose.DEMO_LATENTS, range(num), seed)


def photograph_latents(numbers: Iterable[int], seed: int = 0) -> np.ndarray:
    """The latents of the demo's photographs with these numbers, (n, 64) float32 Z; that of i follows from
    (seed, i) alone, and is none that the demo annotates.
    """
    return _normal(Purpose.DEMO_PHOTOGRAPHS, numbers, seed)


def photographs(latents: np.ndarray, style: str = PLAIN) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 64, 64, 3) uint8 that the renderer draws of Z latents (N, 64), and their exact masks
    (N, 64, 64) uint8.

    ``style`` is one of `pipeline.settings.options.STYLES`; the masks are the same in all of them.
    """
    drawn = [_draw(part, style) for part in _batches(latents)]
    images, masks = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
    return images, masks


def exact_masks(latents: np.ndarray) -> np.ndarray:
    """(N, 64, 64) uint8 labels that the renderer gives Z latents (N, 64)."""
    return photographs(latents)[1]


def exact_images(latents: np.ndarray) -> np.ndarray:
    """(N, 64, 64, 3) uint8 images that the renderer gives Z latents (N, 64): the generator's targets."""
    return photographs(latents)[0]


def exact_keypoints(latents: np.ndarray) -> np.ndarray:
    """(N, K, 2) float32 (x, y) in pixels of the 64 x 64 image; pixel (row, column) has its centre at (column,
    row) + 0.5.

    Their names are `pipeline.embedded.face.KEYPOINTS`.
    """
    from pipeline.embedded.face import keypoints

    return keypoints(_tensor(latents)).numpy()


def write_inputs(folder: str | Path, num: int = 16, seed: int = 0) -> None:
    """Write an annotator's work: ``latents.npy`` (num, 64), ``masks/image_mask{i}.npy`` (64, 64) uint8."""
    folder = Path(folder)
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    latents = annotated_latents(num, seed)
    np.save(folder / "latents.npy", latents)
    for index, mask in enumerate(exact_masks(latents)):
        np.save(folder / "masks" / f"image_mask{index}.npy", mask)


def keypoint_names() -> tuple[str, ...]:
    """Names of the demo's keypoints."""
    from pipeline.embedded.face import KEYPOINTS

    return KEYPOINTS


def write_keypoints(folder: str | Path, num: int = 16, seed: int = 0) -> Path:
    """Write ``keypoints.npz``, the exact keypoints of the annotated latents; returns the file."""
    path = Path(folder) / "keypoints.npz"
    points = exact_keypoints(annotated_latents(num, seed))
    np.savez(path, keypoints=points, names=np.array(keypoint_names()), image_size=np.array([64, 64]))
    return path


def _normal(purpose: Purpose, numbers: Iterable[int], seed: int) -> np.ndarray:
    from pipeline.embedded.face import LATENT_SIZE

    rows = [counter_based(purpose, seed, number).standard_normal(LATENT_SIZE) for number in numbers]
    return np.array(rows, dtype=np.float32).reshape(len(rows), LATENT_SIZE)


def _tensor(latents: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(latents, dtype=np.float32))


def _batches(latents: np.ndarray) -> list[np.ndarray]:
    """Pieces of at most RENDER_BATCH latents, at least one piece."""
    return np.array_split(latents, range(RENDER_BATCH, len(latents), RENDER_BATCH))


def _draw(latents: np.ndarray, style: str) -> tuple[np.ndarray, np.ndarray]:
    from pipeline.embedded.styles import draw

    images, masks = draw(_tensor(latents), style)
    pixels = (images.permute(0, 2, 3, 1) * 127.5 + 127.5).clamp(0, 255).byte()  # [N, 64, 64, 3]
    return pixels.numpy(), masks.numpy()
