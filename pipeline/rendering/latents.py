"""Sets of latents, and drawing latents so that latent i depends on its purpose, the seed and i alone.

It knows Z, W and W+ as shapes. It does not know files (``pipeline.inputs.latent_files``), mapping networks or
truncation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.machine.random_streams import Purpose, counter_based


@dataclass(frozen=True)
class LatentSet:
    """N latents, and the space that they are in.

    values: float32, (N, D) for "z" and "w", (N, L, D) for "w+".
    space: "z", "w" or "w+".
    numbers: the image number of each row, 0 to N - 1 unless their source names others.
    """

    values: NDArray[np.float32]
    space: str
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.values)


def seeded_latents(
    purpose: Purpose, seed: int, indices: Iterable[int], latent_size: int
) -> NDArray[np.float32]:
    """Z latents (n, D) float32, standard normal: row k is latent ``indices[k]`` of this purpose and seed."""
    rows = [counter_based(purpose, seed, int(i)).standard_normal(latent_size) for i in indices]
    return np.array(rows, dtype=np.float32).reshape(len(rows), latent_size)  # [n, D]


def average_latent_samples(latent_size: int, num: int = 8000) -> NDArray[np.float32]:
    """The Z samples (num, D) float32 whose mapped mean stands in for an average latent that was not given.

    They are always the same ones, and no image is made of them.
    """
    normal = counter_based(Purpose.AVERAGE_LATENT, 0, 0).standard_normal((num, latent_size))
    return normal.astype(np.float32)


def array_sha256(array: NDArray[Any]) -> str:
    """Hex digest of an array's dtype, shape and values; memory order and byte order do not matter."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str}{array.shape}".encode())
    digest.update(little.data)  # not its bytes, which would be a copy
    return digest.hexdigest()
