"""The folder that ``dgan sample`` writes and an annotator works in: its files, and what they say.

    annotate/
        images/image_{i}.png    to annotate
        masks/                  empty: for the annotations, numbered like the images
        classes.toml            to fill in
        contact_sheet.png       all images, small
        latents.npy             (N, D) float32 of Z
        average_latent.npy      (D,) or (L, D) float32 of W
        sample.json             how the images were chosen and rendered
        dgan.toml               written last: makes ``dgan extract-features`` find all of it
        .dgan-sample.partial/   only while a run works in a folder that is there, or after one was killed

It knows these files and what a new run may do to those that are there; it renders and chooses nothing, and
`pipeline.stages.sample.placing` moves the files into their places.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fstore.compare import differences
from pipeline.errors import UsageError
from pipeline.rendering.renderer import RenderSettings
from pipeline.settings.absolute_paths import absolute, paths_of, with_paths
from pipeline.settings.file_names import SYSTEM_NAMES
from pipeline.settings.files import to_toml
from pipeline.settings.schema import ClassConfig, Config, LatentsConfig
from pipeline.settings.values import is_url

IMAGES, MASKS, CLASSES, SHEET = "images", "masks", "classes.toml", "contact_sheet.png"
LATENTS, AVERAGE_LATENT, RECORD, CONFIG = "latents.npy", "average_latent.npy", "sample.json", "dgan.toml"
PARTIAL = ".dgan-sample.partial"
FIRST = "first"  # in the partial folder, with the bytes of classes.toml: there was no project before
PICTURE = re.compile(r"image_[0-9]+\.png")
MAX_RECORD_BYTES = 2**26
RECORD_VERSION = 2

_CONFIG_HEADER = """\
# Written by `dgan sample`. Annotate what is in images/ and save it in masks/ under the same numbers: that of
# image_7.png as image_mask7.png or .npy, or LabelMe's as image_7.json. What you leave out is left out.
# Name the classes in classes.toml. Keypoints, as COCO's .json or an array (N, K, 2 or 3) in .npy, go there
# too, with task = "keypoints" below. Then, in this folder, or anywhere with --config and this file:
#
#     dgan extract-features
#     dgan train
#     dgan synthesize

"""
_CLASSES_HEADER = """\
# The classes of your annotation: the first is number 0 in the masks, and what lies outside every shape; the
# second is number 1, and so on. A colour is optional. While the first is alone here, it is as if there were
# no such file: classes have the names that the annotations give them, or class_1, class_2, ...

"""
_EXAMPLE = """
# [[classes]]
# name = "hair"
# color = "#7a4a1e"
"""


def shown(out: Path) -> str:
    """The project's folder for a message: ``.`` and ``..`` are shown as the names of these folders."""
    return str(out) if out.name not in ("", "..") else Path(os.path.realpath(out)).name or str(out)


@dataclass(frozen=True)
class Project:
    """What a project that is there says of itself."""

    latents: tuple[tuple[int, int], ...]
    """(seed, number) of each image's latent; see ``pipeline.stages.sample.choice.latent_values``."""
    rendering: Mapping[str, Any]
    """What else the pictures follow from."""
    num_annotations: int
    """Files in its ``masks``."""


def project_config(config: Config, settings: RenderSettings, out: Path) -> Config:
    """The configuration of a new project in ``out``.

    What the commands will write lies in the project, whatever ``config`` says. Other paths are relative to
    it where they lie beside or below it, so that they can move together; else they are absolute. All settings
    that a picture depends on are written out.
    """
    project, dataset = Config(), config.synthesize.store
    own = set(paths_of(project))

    def seen_from_there(place: Any) -> Any:
        return place if place in own or is_url(str(place)) else type(place)(_path_from(out, Path(place)))

    rows = None if settings.crop_rows == (0, settings.grid[0]) else settings.crop_rows
    moved = with_paths(config, seen_from_there)
    return replace(
        moved,
        generator=replace(
            moved.generator,
            average_latent=Path(AVERAGE_LATENT),
            truncation_layers=settings.truncation_layers,
        ),
        latents=LatentsConfig(file=Path(LATENTS), space="z", image_zero="latent", annotated_only=True),
        annotations=replace(
            moved.annotations,
            folder=Path(MASKS),
            images=Path(IMAGES),
            classes_file=Path(CLASSES),
            classes=(),
            num_classes=None,
            label_map=None,
        ),
        features=replace(
            moved.features, resolution=settings.grid[0], crop_rows=rows, store=project.features.store
        ),
        train=replace(moved.train, out=project.train.out),
        calibrate=replace(moved.calibrate, out=project.calibrate.out),
        synthesize=replace(
            moved.synthesize,
            store=project.synthesize.store,
            interpreter=project.synthesize.interpreter,
            calibration=project.synthesize.calibration,
        ),
        segment=replace(
            moved.segment,
            data=project.segment.data if config.segment.data == dataset else moved.segment.data,
            out=project.segment.out,
        ),
        segment_test=replace(moved.segment_test, out=project.segment_test.out),
        translate=replace(
            moved.translate,
            source=project.translate.source if config.translate.source == dataset else moved.translate.source,
            out=project.translate.out,
        ),
    )


def config_text(config: Config) -> str:
    """``dgan.toml``."""
    return _CONFIG_HEADER + to_toml(config)


def classes_text(classes: Sequence[ClassConfig]) -> str:
    """``classes.toml``: the classes that are known already, or the background and an example."""
    if not classes:
        return _CLASSES_HEADER + _class_table("background", "#000000") + _EXAMPLE
    return _CLASSES_HEADER + "\n".join(_class_table(entry.name, entry.color) for entry in classes)


def read_project(out: Path) -> Project | None:
    """The project in ``out``, None where there is no folder or one with nothing in it that counts.

    Raises UsageError for anything else, and for a record that is damaged.
    """
    if not os.path.lexists(out):
        return None
    if not out.is_dir():
        raise UsageError(
            f"{shown(out)}: is a file; expected a folder for the images to annotate, choose another --out"
        )
    if _is_vacant(out):
        return None
    path = out / RECORD
    if not path.is_file():
        raise UsageError(
            f"{shown(out)}: is a folder with other files in it, and no {RECORD} of `dgan sample`; choose "
            "another --out"
        )
    masks = out / MASKS
    num = sum(1 for entry in masks.rglob("*") if entry.is_file()) if masks.is_dir() else 0
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["version"] != RECORD_VERSION:
            raise ValueError(f"version {record['version']!r}, expected {RECORD_VERSION}")
        pairs = [(seed, number) for seed, number in record["latents"]]
        rendering = record["rendering"]
        integers = all(isinstance(n, int) and 0 <= n < 2**63 for pair in pairs for n in pair)
        if not integers or not isinstance(rendering, dict):
            raise TypeError("another form")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(repr(error).split())[:80]
        raise UsageError(f"{path}: is no record of `dgan sample` ({reason}); choose another --out") from None
    return Project(tuple(pairs), rendering, num)


def _is_vacant(out: Path) -> bool:
    """Whether a folder holds no file that counts: none at all, or those of a first run that was killed while
    it moved them there.
    """
    found = {name: set[str]() for name in (IMAGES, MASKS)}
    files = {entry.name for entry in out.iterdir()} - SYSTEM_NAMES - {PARTIAL}
    for name in files & set(found):
        if not (out / name).is_dir():
            return False
        found[name] = {entry.name for entry in (out / name).iterdir()} - SYSTEM_NAMES
    files -= set(found)
    if not (out / PARTIAL / FIRST).exists():
        return not files and not any(found.values())
    moved = {LATENTS, AVERAGE_LATENT, SHEET, RECORD, CLASSES}
    return files <= moved and all(map(PICTURE.fullmatch, found[IMAGES])) and not found[MASKS]


def check_replaceable(
    out: Path, project: Project, latents: Sequence[tuple[int, int]], rendering: Mapping[str, Any]
) -> None:
    """Refuse new pictures under the numbers of annotated ones. Raises UsageError naming what would change."""
    if not project.num_annotations:
        return
    changed = [
        f"{key}, from {was!r} to {now!r}" for key, was, now in differences(project.rendering, rendering)
    ]
    if tuple(latents[: len(project.latents)]) != project.latents:
        changed.append("which latents these are")
    if changed:
        raise UsageError(
            f"{out / MASKS}: holds {project.num_annotations} files that belong to the present images, and "
            f"this run would change {changed[0]}; choose another --out, --add images, or move them away"
        )


def _path_from(out: Path, path: Path) -> Path:
    """``path`` as ``dgan.toml`` names it: a relative one counts from the folder, not from a link to it."""
    folder = Path(os.path.realpath(out))
    place = Path(os.path.realpath(path.parent), path.name)  # a link to the file itself stays
    if path.name in ("", ".."):
        place = Path(os.path.realpath(path))
    if place.is_relative_to(folder.parent):
        return Path(os.path.relpath(place, folder))
    return Path(absolute(path))


def _class_table(name: str, color: str | None) -> str:
    lines = ["[[classes]]", f"name = {json.dumps(name, ensure_ascii=False)}"]
    return "\n".join([*lines, f'color = "{color}"'] if color else lines) + "\n"
