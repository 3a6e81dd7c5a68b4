"""Datasets with every array that a dataset may have, and a translator that nobody has trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from support.small_datasets import make_classes
from torch import Tensor, nn

import fstore
from fstore import format as fmt
from pipeline.models.unet import generator_halvings, initialise
from pipeline.resumable.saved_tensors import save_whole
from pipeline.settings.values import Keep
from pipeline.stages.synthesize.filter_choice import FilterWish
from pipeline.stages.synthesize.filtering import filter_store
from pipeline.translate.description import TranslatorInfo
from pipeline.translate.folder import (
    BACKWARD,
    FORWARD,
    GENERATORS,
    TRANSLATOR,
    Translator,
    build_generator,
    generators_document,
)

MEMBERS = 3
RECORD = {
    "folder": "translator",
    "sha256": "cd" * 32,
    "source": {"name": "dataset.zarr"},
    "target": {"name": "photos"},
    "epochs": 3,
}


class Mixing(nn.Module):
    """Mixes the channels, and each pixel with the one to its right: [N, 3, H, W] -> [N, 3, H, W]."""

    def forward(self, images: Tensor) -> Tensor:
        """Every value is 3/5 of the next channel's and 2/5 of the next pixel's."""
        return 0.6 * images.roll(1, 1) + 0.4 * images.roll(-1, 3)


class Same(nn.Module):
    """Gives what it takes."""

    def forward(self, images: Tensor) -> Tensor:
        """The same."""
        return images


class Failing(Mixing):
    """Gives a NaN for images with a white pixel in their first corner."""

    def forward(self, images: Tensor) -> Tensor:
        """As `Mixing`, with one NaN."""
        found = super().forward(images)
        found[images[:, :, 0, 0].amin(1) == 1, 0, 0, 0] = torch.nan
        return found


def mixed(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to what `Mixing` makes of it, by arithmetic on whole numbers."""
    fifths = 3 * np.roll(image.astype(int), 1, 2) + 2 * np.roll(image.astype(int), -1, 1)
    return ((fifths + 2) // 5).astype(np.uint8)


def untrained(
    network: nn.Module | None = None, *, resolution: int = 6, is_finished: bool = True, sha256: str = ""
) -> Translator:
    """A translator of `Mixing`, or of the network given."""
    record = {**RECORD, **({"sha256": sha256} if sha256 else {})}
    return Translator(Path("translator"), network or Mixing(), resolution, 4, record, is_finished)


def write_translator(folder: Path, *, resolution: int = 16) -> Path:
    """The folder of a small translator with random weights, as training leaves it. Returns ``folder``."""
    folder.mkdir()
    info = TranslatorInfo(
        resolution=resolution,
        width=4,
        halvings=generator_halvings(resolution),
        upsample="bilinear",
        source={"name": "dataset.zarr"},
        target={"name": "photos"},
        paired=False,
        training={"epochs": 3},
        created={},
    )
    TRANSLATOR.write_description(folder, info)
    networks = {FORWARD: build_generator(info), BACKWARD: build_generator(info)}
    for seed, network in enumerate(networks.values()):
        initialise(network, seed)
    weights = {name: network.state_dict() for name, network in networks.items()}
    save_whole(folder / GENERATORS, generators_document(3, weights))
    return folder


def random_parts(meta: fmt.DatasetMeta, images: range, failed: frozenset[int]) -> dict[str, np.ndarray]:
    """The arrays of a task, each image a function of its index; of the images ``failed`` with NaN."""
    (height, width), num_classes = meta.shape, len(meta.classes)
    parts: dict[str, list[np.ndarray]] = {spec.name: [] for spec in fmt.dataset_arrays(meta, 1)}
    for image in images:
        random = np.random.default_rng(image)
        values = {
            "images": random.integers(0, 256, (height, width, 3)),
            "divergence": random.random((height, width)).astype(np.float16),
            "latents": random.standard_normal(meta.latent_size),
            "uncertainty": np.float32(random.random()),
        }
        if meta.keypoints is None:
            labels = random.integers(0, num_classes, (height, width))
            values["labels"] = labels
            pixels = np.bincount(labels.ravel(), minlength=num_classes)
            values["member_votes"] = np.stack(
                [random.multinomial(MEMBERS * n, [1 / num_classes] * num_classes) for n in pixels]
            )
            if meta.ignore is not None and image % 2:
                values["labels"][0, 0] = meta.ignore
                values["member_votes"] = values["member_votes"] * 0
        else:
            num_points = len(meta.keypoints.names)
            values["heatmaps"] = random.random((height, width, num_points)).astype(np.float16)
            values["keypoints"] = random.random((num_points, 3))
        if image in failed:
            values["divergence"][0, 0] = values["uncertainty"] = np.nan
        for name, found in parts.items():
            found.append(np.asarray(values[name]))
    specs = {spec.name: spec for spec in fmt.dataset_arrays(meta, 1)}
    return {name: np.stack(found).astype(specs[name].dtype) for name, found in parts.items()}


def make_source(
    path: Path,
    num: int,
    *,
    shape: tuple[int, int] = (6, 6),
    keypoints: bool = False,
    votes: bool = False,
    ignore: int | None = None,
    failed: frozenset[int] = frozenset(),
    keep: str | None = "0.5",
    by: str | None = None,
    per_class: bool = False,
    tasks: int | None = None,
) -> Path:
    """A dataset, filtered where ``keep`` is given, ``by`` a score; ``tasks`` of it, or all. It goes on with
    a dataset that is there. Returns ``path``.
    """
    points = fmt.KeypointInfo(("left", "right", "nose"), 1.5) if keypoints else None
    meta = fmt.DatasetMeta(
        shape,
        make_classes(["sky", "road", "bird", "tree"]),
        5,
        ignore,
        seed=7,
        interpreter={"folder": "interpreter", "sha256": "12" * 32, "members": MEMBERS},
        generator={"sha256": "ab" * 32, "checkpoint": "g.pt"},
        keypoints=points,
        member_votes=votes,
    )
    writer = fstore.create_dataset(path, meta, num_images=num)
    for task in writer.pending_tasks()[:tasks]:
        writer.write_task(task, random_parts(meta, writer.task_images(task), failed))
    writer.close()
    if keep is not None and tasks is None:
        filter_store(str(path), FilterWish(Keep.parse(keep), by, per_class), lambda line: None)
    return path
