"""Reads what ``dgan extract-features`` needs in addition to the checkpoint: latents and annotations, in
pairs.

It knows where a configuration says that inputs are. It does not know stores, features or how pictures are
compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.checkpoints.read import LoadedGenerator
from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats.keypoint_files import open_keypoints
from pipeline.inputs.annotations.keypoints import KeypointAnnotations, load_keypoints
from pipeline.inputs.annotations.load import Annotations, load_annotations, open_annotations
from pipeline.inputs.latent_files import load_latents, seed_latents
from pipeline.inputs.pairing import Pairing, in_order, pair
from pipeline.inputs.pictures.find import Pictures, find_pictures, picture_size
from pipeline.rendering.latents import LatentSet, array_sha256
from pipeline.rendering.renderer import Renderer, RenderSettings
from pipeline.settings.schema import FOR_KEYPOINTS, KEYPOINTS, AnnotationsConfig, Config
from pipeline.settings.values import parse_seeds


@dataclass(frozen=True)
class ExtractInputs:
    """N latents and their N annotations, in the order in which the store holds them.

    latents.numbers: the numbers of the annotated images. record: what the store says of the inputs.
    pictures: image number -> the picture that was annotated, where one was found and is to be compared.
    notes: lines for people.
    """

    latents: LatentSet
    annotations: Annotations
    record: Mapping[str, Any]
    pictures: Mapping[int, Path]
    notes: tuple[str, ...]
    keypoints: KeypointAnnotations | None = None
    """Where keypoints are the task; ``annotations`` are then the masks made of them."""
    picture_note: str | None = None
    """A line on pictures that were not found or not taken, where they are to be compared."""
    exact: bool = True
    """Whether the latents are as they were read; else they were mapped here, which rounds."""


def read_inputs(
    config: Config,
    loaded: LoadedGenerator,
    settings: RenderSettings,
    average: np.ndarray,
    first: Sequence[int] = (),
) -> ExtractInputs:
    """Read latents and annotations as ``config`` names them, or the demo's where it names neither.

    ``average`` is the average latent, (D,) or (L, D), which image 0 may be. ``first``: numbers of the images
    of a store that is gone on with, which come first, in this order. Raises UsageError, one line, for
    whatever does not fit.
    """
    if not _is_demo(config):
        return _read(config, loaded, settings, average, first)
    from pipeline import embedded

    with tempfile.TemporaryDirectory() as folder:
        embedded.write_inputs(folder)
        latents = replace(config.latents, file=Path(folder) / "latents.npy")
        check = config.annotations.check and config.annotations.images is not None  # the demo has none
        annotations = replace(config.annotations, folder=Path(folder) / "masks", check=check)
        if annotations.task == KEYPOINTS:
            annotations = replace(annotations, folder=embedded.write_keypoints(folder))
        config = replace(config, latents=latents, annotations=annotations)
        return _read(config, loaded, settings, average, first)


def _is_demo(config: Config) -> bool:
    named = (config.latents.file, config.latents.seeds, config.annotations.folder)
    return config.demo and all(each is None for each in named)


def _read(
    config: Config,
    loaded: LoadedGenerator,
    settings: RenderSettings,
    average: np.ndarray,
    first: Sequence[int],
) -> ExtractInputs:
    latents = _latents(config, loaded)
    if config.annotations.folder is None:
        raise UsageError(
            "no annotations are given; pass --annotations DIR, or set [annotations] folder in the "
            "configuration"
        )
    if config.annotations.task == KEYPOINTS:
        return _read_keypoints(config, loaded, settings, average, latents, first)
    if config.annotations.sigma is not None:
        raise UsageError(
            f"--sigma is {config.annotations.sigma:g} and the task is segmentation; it is of keypoints' heat "
            "maps: leave it out, or pass --task keypoints"
        )
    source = open_annotations(config.annotations)
    pairing = _pair(
        config, source.numbers, latents, source.location, source.files, source.hint, source.unread
    )
    pairing = in_order(pairing, first)
    annotations = load_annotations(
        source,
        pairing.annotations,
        grid=settings.grid,
        crop_rows=settings.crop_rows,
        config=config.annotations,
    )
    record = {**_latents_record(latents, pairing), "masks_sha256": array_sha256(annotations.masks)}
    pictures = Pictures({}, None)
    if config.annotations.check:
        taken = [Path(name).name for name in source.files.values()]
        pictures = _pictures(config, source.location, pairing, latents, taken)
    return ExtractInputs(
        _paired(latents, pairing, loaded, settings, average),
        annotations,
        record,
        pictures.paths,
        tuple(note for note in (*annotations.notes, pairing.note) if note),
        picture_note=pictures.note,
        exact=None not in pairing.latents,
    )


def _read_keypoints(
    config: Config,
    loaded: LoadedGenerator,
    settings: RenderSettings,
    average: np.ndarray,
    latents: LatentSet,
    first: Sequence[int],
) -> ExtractInputs:
    """The same for keypoints.

    A file that does not say in which pixels it counts means those of the pictures that lie beside it. Where
    there are none, it means those of the grid.
    """
    assert config.annotations.folder is not None
    _refuse_of_masks(config.annotations)
    source = open_keypoints(config.annotations.folder)
    pairing = in_order(_pair(config, source.numbers, latents, source.path), first)
    pictures = _pictures(config, source.path, pairing, latents)
    keypoints = load_keypoints(
        source,
        pairing.annotations,
        grid=settings.grid,
        crop_rows=settings.crop_rows,
        sigma=config.annotations.sigma,
        sizes={number: picture_size(path) for number, path in pictures.paths.items()},
    )
    record = {
        **_latents_record(latents, pairing),
        "masks_sha256": array_sha256(keypoints.masks),
        "keypoints_sha256": array_sha256(keypoints.points),
    }
    names, check = keypoints.class_names, config.annotations.check
    return ExtractInputs(
        _paired(latents, pairing, loaded, settings, average),
        Annotations(keypoints.masks, len(names), None, None, names),
        record,
        pictures.paths if check else {},
        (pairing.note,) if pairing.note else (),
        keypoints,
        pictures.note if check else None,
        exact=None not in pairing.latents,
    )


def _refuse_of_masks(annotations: AnnotationsConfig) -> None:
    """Refuse settings of masks that somebody has made for this run.

    Some settings of masks may stand in a configuration for both tasks, and are not refused: what becomes of
    small classes, and the classes with their number.
    """
    set_ones = {
        "--annotation-format": None if annotations.format in FOR_KEYPOINTS else annotations.format,
        "--label-map": annotations.label_map,
        "--ignore": annotations.ignore,
        "--num-classes": annotations.num_classes,
    }
    if annotations.num_classes == len(annotations.classes):
        del set_ones["--num-classes"]
    for flag, value in set_ones.items():
        if value is not None:
            raise UsageError(
                f"{flag} is {value} and the task is keypoints; it is of masks: leave it out, or pass --task "
                "segmentation"
            )


def _pair(
    config: Config,
    numbers: Sequence[int],
    latents: LatentSet,
    location: Path,
    names: Mapping[int, str] | None = None,
    hint: str | None = None,
    unread: Collection[int] = (),
) -> Pairing:
    return pair(
        numbers,
        latents.numbers,
        image_zero=config.latents.image_zero,
        annotated_only=config.latents.annotated_only,
        max_images=config.latents.max_images,
        location=str(location),
        names=names,
        hint=hint,
        unread=unread,
    )


def _pictures(
    config: Config, location: Path, pairing: Pairing, latents: LatentSet, taken: Sequence[str] = ()
) -> Pictures:
    """The pictures of the annotated images.

    Where latents are paired with annotations by position, a picture may have the number of either.
    """
    by_latent: dict[int, int] = {}
    if pairing.reading == "latent":
        pairs = zip(pairing.annotations, pairing.latents, strict=True)
        by_latent = {latents.numbers[row]: number for number, row in pairs if row is not None}
    moved = any(latent != number for latent, number in by_latent.items())
    return find_pictures(
        config.annotations.images, location, pairing.annotations, taken, by_latent if moved else None
    )


def _latents(config: Config, loaded: LoadedGenerator) -> LatentSet:
    latents, generator = config.latents, loaded.generator
    if latents.file is not None and latents.seeds is not None:
        raise UsageError(
            f"both latents ({latents.file}) and seeds ({latents.seeds}) are given; expected one of --latents "
            "and --seeds"
        )
    if latents.seeds is not None:
        if latents.space not in (None, "z"):
            raise UsageError(f"--latent-space is {latents.space}; expected z, or nothing, with --seeds")
        return seed_latents(parse_seeds(latents.seeds), generator.z_size)
    if latents.file is None:
        raise UsageError(
            "no latents are given; pass --latents FILE.npy or --seeds 0-15, or set [latents] file in the "
            "configuration"
        )
    return load_latents(
        latents.file,
        latents.space,
        latent_size=generator.latent_size,
        min_w_layers=generator.min_w_layers,
        z_size=generator.z_size,
    )


def _latents_record(latents: LatentSet, pairing: Pairing) -> dict[str, Any]:
    """What a store records of its latents: their hash, how image 0 was read, and the images' numbers.

    The hash is of the latents as they were read, because mapped ones differ by a rounding between machines.
    The other two are left out where they are the usual: every annotation has its latent, and the images have
    the numbers 0 to N - 1.
    """
    rows = [row for row in pairing.latents if row is not None]
    record: dict[str, Any] = {"latents_sha256": array_sha256(latents.values[rows])}
    if pairing.reading != "latent":
        record["image_zero"] = pairing.reading
    if pairing.annotations != tuple(range(len(pairing.annotations))):
        record["image_numbers"] = list(pairing.annotations)
    return record


def _paired(
    latents: LatentSet,
    pairing: Pairing,
    loaded: LoadedGenerator,
    settings: RenderSettings,
    average: np.ndarray,
) -> LatentSet:
    """The latent of each annotation. If one is the average latent, all are mapped to W+ and truncated."""
    rows = [row for row in pairing.latents if row is not None]
    if len(rows) == len(pairing.latents):
        return LatentSet(latents.values[rows], latents.space, pairing.annotations)
    renderer = Renderer(loaded.generator, settings, average, torch.device("cpu"))
    layers = loaded.generator.num_w_layers
    mean = np.broadcast_to(average, (layers, average.shape[-1])) if average.ndim == 1 else average
    if len(mean) < loaded.generator.min_w_layers:
        raise UsageError(
            f"the average latent has {len(mean)} layers and is image 0 (--image-zero mean); the checkpoint "
            f"needs at least {loaded.generator.min_w_layers}"
        )
    with torch.inference_mode():  # one at a time: the values depend on no other latent
        mapped = [renderer.w_plus(latents.values[row : row + 1], latents.space)[0].numpy() for row in rows]
    layers = min(len(mean), *(len(each) for each in mapped)) if mapped else len(mean)
    values = iter(mapped)
    all_rows = [mean[:layers] if row is None else next(values)[:layers] for row in pairing.latents]
    return LatentSet(np.stack(all_rows).astype(np.float32), "w+", pairing.annotations)  # [N, L, D]
