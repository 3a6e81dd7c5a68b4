"""Annotated images that are exported and annotated with again: a feature store, and one of its export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.commands import done
from support.tiny import RESOLUTION, write_inputs

import fstore

NAMES = ("background", "door", "glass", "wheel", "roof")  # the last has no pixel
COLORS = ("#ffffff", "#ff0000", "#0000ff", "#000000", "#c0ffee")
IGNORE = 255
ANNOTATED = (0, 2, 3)  # of four latents


def annotate(folder: Path) -> Path:
    """Inputs in the folder, and ``features.zarr`` of masks with ignored pixels for three of four latents."""
    write_inputs(folder)
    (folder / "masks" / "image_mask1.npy").unlink()
    for number in ANNOTATED:
        path = folder / "masks" / f"image_mask{number}.npy"
        mask = np.load(path)
        mask[number : number + 3, 5:9] = IGNORE
        np.save(path, mask)
    tables = [
        f'[[annotations.classes]]\nname = "{name}"\ncolor = "{color}"\n'
        for name, color in zip(NAMES, COLORS, strict=True)
    ]
    (folder / "dgan.toml").write_text("\n".join(tables))
    config = ("--config", folder / "dgan.toml", "--ignore", IGNORE)
    extract(folder, folder / "masks", folder / "features.zarr", *config)
    return folder


def extract(folder: Path, annotations: Path, store: Path, *more: object) -> fstore.FeatureStore:
    """A feature store of the folder's latents with these annotations."""
    done(
        *("extract-features", "--checkpoint", folder / "checkpoint.pt", "--latents", folder / "latents.npy"),
        *("--annotations", annotations, "--store", store, "--annotated-only", "--layout", "pyramid"),
        *("--min-pixels", 0, *more),
    )
    found = fstore.open(store)
    assert isinstance(found, fstore.FeatureStore)
    return found


def assert_same_annotations(found: fstore.FeatureStore, original: fstore.FeatureStore) -> None:
    """Masks, classes with colours, the ignored label and the images' numbers are equal."""
    assert found.masks.shape == (len(ANNOTATED), RESOLUTION, RESOLUTION)
    np.testing.assert_array_equal(found.masks.compute(), original.masks.compute())
    assert found.meta.classes == original.meta.classes
    assert found.meta.ignore == original.meta.ignore
    np.testing.assert_array_equal(found.latents.compute(), original.latents.compute())
    assert found.meta.inputs.get("image_numbers") == original.meta.inputs.get("image_numbers")
