"""Whether stores hold what ``docs/format.md``, section 5, promises: a check against exact resizing.

The promise has two steps, because float16 rounding happens twice: the network's float32 map -> the stored
map, and the stored map -> the feature. In each the float16 value found differs from exact bilinear resizing
of what the step began with by at most

    1/2 * spacing(found)  +  4 * 2^-24 * M  for each axis that is resized.

The first term is one rounding to float16: a value of the binade [2^k, 2^(k+1)] is at most half of that
binade's spacing away, and the rounded value's own spacing is that one or, where it was rounded up to
2^(k+1), the next. The second is the float32 arithmetic. Let M be the largest magnitude of the channel, u =
2^-24 one float32 rounding, w < 1 the weight of the upper value, all to first order in u:

    rounding w moves the sum by                       |upper - lower| w u        <= 2 M w u
    rounding 1 - w and both products moves it by      (2 (1 - w) + w) M u         = (2 - w) M u
    rounding the sum moves it by                                                    M u

which is (3 + w) M u < 4 M u an axis; and the second axis takes a weighted mean of the first one's errors,
which is no more than the largest. None of it depends on the processor.

What is resized exactly must not be rounded to float16 afterwards. Two float32 results that are both right
may lie on two sides of a tie of float16; rounded, they are one whole spacing apart. And the second step must
begin with the stored map, not with a float16 map that another routine made, for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.face_size import CHECKPOINT, LAYOUTS

ONE_ROUNDING = 0.5  # of the float16 spacing
FLOAT32_AN_AXIS = 4 * 2.0**-24  # of the channel's largest magnitude
CHANNELS_AT_ONCE = 64  # of 400 pixels, float64 rows of 512: 105 MB


@dataclass(frozen=True)
class Agreement:
    """What ``check`` found. Distances are in units of the float16 spacing, float32 arithmetic let pass."""

    same_bits: bool
    """Whether the two layouts' pixels agree bit for bit."""
    maps: float
    """Of the stored maps, all values, to the network's maps resized exactly."""
    features: float
    """Of the pixels' features to the stored maps resized exactly."""

    def holds(self) -> bool:
        """Whether all of it is as promised."""
        return self.same_bits and max(self.maps, self.features) <= ONE_ROUNDING


def check(folder: Path, num_pixels: int, device: str = "cpu") -> Agreement:
    """Compare image 0 of the folder's two stores with the network rendered again, here, on ``device``.

    It has to be this machine with as many threads: other libraries or instructions move the network's maps.
    """
    import fstore

    dense, pyramid = (fstore.open(folder / f"{layout}.zarr") for layout in LAYOUTS)
    assert isinstance(dense, fstore.FeatureStore) and isinstance(pyramid, fstore.FeatureStore)
    random = np.random.default_rng(0)
    rows, columns = (random.integers(0, size, num_pixels) for size in dense.shape[1:3])
    image = np.zeros(num_pixels, int)
    found = dense.pixels(image, rows, columns)  # [n, C]
    same = np.array_equal(found.view(np.uint16), pyramid.pixels(image, rows, columns).view(np.uint16))
    grid, pixels = dense.meta.grid, (rows + dense.meta.crop_rows[0], columns)
    maps, features = [], []
    native = zip(dense.meta.layers, rendered_again(folder, dense, device), strict=True)
    for (layer, values), stored in zip(native, pyramid.native_maps(0), strict=True):
        stored = stored.permute(2, 0, 1)  # [c, h', w']
        of_layer = found[:, layer.offset : layer.offset + layer.channels]
        maps.append(map_error(stored, values))
        features.append(feature_error(of_layer, stored.to(device), grid, pixels))
    return Agreement(same, max(maps), max(features))


def rendered_again(folder: Path, store, device: str) -> list[Tensor]:  # type: ignore[no-untyped-def]
    """Every layer's map of image 0, [c, h, w] float32 on the device, from the folder's inputs."""
    from pipeline.checkpoints.read import load_generator
    from pipeline.machine.device import select_device
    from pipeline.machine.threads import one_thread
    from pipeline.rendering.renderer import Renderer, RenderSettings

    settings = RenderSettings.from_record(store.meta.generator, store.meta.grid, store.meta.crop_rows)
    generator = load_generator(folder / CHECKPOINT).generator
    renderer = Renderer(generator, settings, store.average_latent, select_device(device))
    with one_thread():  # as extraction renders
        rendered = renderer.render(np.load(folder / "latents.npy")[:1], "z", [0])
    return [values[0] for values in rendered.features]


def map_error(stored: Tensor, values: Tensor) -> float:
    """Worst distance of a stored map [c, h', w'] float16 to the network's [c, h, w] float32."""
    size = (stored.shape[1], stored.shape[2])
    exact = exactly_resized(values, size).cpu().numpy()
    slack = float32_slack(values, size)[:, None, None]
    return float(rounding_errors(stored.cpu().numpy(), exact, slack).max())


def feature_error(
    found: np.ndarray, stored: Tensor, grid: tuple[int, int], pixels: tuple[np.ndarray, np.ndarray]
) -> float:
    """Worst distance of one layer's features (n, c) float16 at ``pixels``, rows and columns of the grid, to
    the stored map [c, h', w'].
    """
    rows = weights(stored.shape[1], grid[0], stored.device)[pixels[0]]  # (n, h)
    columns = weights(stored.shape[2], grid[1], stored.device)[pixels[1]]  # (n, w)
    parts = [((rows @ part.double()) * columns).sum(2).T for part in stored.split(CHANNELS_AT_ONCE)]
    exact = torch.cat(parts, 1).cpu().numpy()  # (n, c)
    return float(rounding_errors(found, exact, float32_slack(stored, grid)).max(initial=0))


def exactly_resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    """[c, h, w] -> [c, *size] float64: brute force, whose own rounding is 2^-29 of float32's."""
    rows = weights(values.shape[1], size[0], values.device)
    columns = weights(values.shape[2], size[1], values.device)
    return rows @ values.double() @ columns.T


def weights(old: int, new: int, device: torch.device) -> Tensor:
    """The matrix (new, old) float64 of resizing one axis: column j is what unit vector j is resized to."""
    units = torch.eye(old, dtype=torch.float64, device=device)[:, None]
    return interpolate(units, size=new, mode="linear", align_corners=False)[:, 0].T


def float32_slack(values: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(c,) float64: what float32 arithmetic may move the channels of ``values`` [c, h, w] by, resized to
    ``size``.
    """
    axes = sum(a != b for a, b in zip(values.shape[1:], size, strict=True))
    return axes * FLOAT32_AN_AXIS * values.abs().amax((1, 2)).double().cpu().numpy()


def rounding_errors(found: np.ndarray, exact: np.ndarray, slack: np.ndarray | float) -> np.ndarray:
    """|float16 - float64| beyond ``slack``, over the float16 spacing: at most ``ONE_ROUNDING`` is right."""
    spacing = np.spacing(np.abs(found)).astype(np.float64)
    return np.maximum(np.abs(found.astype(np.float64) - exact) - slack, 0) / spacing
