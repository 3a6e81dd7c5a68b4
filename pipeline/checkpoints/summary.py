"""What `dgan inspect-checkpoint` prints: what a generator's file is, and the feature layers that it offers.

Pure: it formats what was loaded. It reads no file.
"""

from __future__ import annotations

import numpy as np

from pipeline.checkpoints.read import LoadedGenerator
from pipeline.errors import count
from pipeline.models.generator import Generator


def summary_lines(loaded: LoadedGenerator) -> list[str]:
    """One line a fact, then a line a feature layer: number and name as ``--layers`` takes them, its size."""
    generator = loaded.generator
    size = f"{generator.resolution} x {generator.resolution} pixels"
    facts = {
        "file": str(loaded.path),
        "format": loaded.format,
        "architecture": generator.architecture,
        "resolution": size,
        "latent size": f"{generator.z_size} in Z, {generator.latent_size} in W",
        "W+ rows": _rows_text(generator),
        "classes": _classes_text(generator.class_labels),
        "image": _image_text(generator),
        "average latent": _average_text(loaded.average_latent),
        "constant noise": _noise_text(generator),
        "sha256": loaded.sha256,
        "feature width": f"{sum(layer.channels for layer in generator.layers)} channels in "
        f"{count(len(generator.layers), 'layer')}",
    }
    width = max(map(len, facts)) + 2
    lines = [f"{name + ':':<{width}}{value}" for name, value in facts.items()]
    longest = max(len(layer.name) for layer in generator.layers)
    for number, layer in enumerate(generator.layers):
        height, breadth = layer.resolution
        sides = f"{height} x {breadth}"
        lines.append(f"  {number:>2}  {layer.name:<{longest}}  {sides:>11}  {layer.channels:>4} channels")
    return lines


def _image_text(generator: Generator) -> str:
    return "RGB" if generator.image_channels == 3 else "grey, repeated to RGB; features are as they are"


def _rows_text(generator: Generator) -> str:
    if generator.num_w_layers == generator.min_w_layers:
        return str(generator.num_w_layers)
    return f"{generator.num_w_layers}, of which the first {generator.min_w_layers} are read"


def _classes_text(num: int) -> str:
    return f"{num}, choose one with --class-label 0 to {num - 1}" if num else "none (not conditional)"


def _average_text(average: np.ndarray | None) -> str:
    if average is None:
        return "not in the file; the mean of 8,000 samples is used unless --average-latent names one"
    where = "in the file" if average.ndim == 1 else f"in the file, {len(average)} rows that differ"
    return f"{where}, norm {float(np.linalg.norm(average.astype(np.float64))):.3f}"


def _noise_text(generator: Generator) -> str:
    if not generator.noise_shapes:
        return "none, the generator takes no noise"
    return "in the file" if generator.stored_noise is not None else "not in the file; seeded by --noise-seed"
