"""The page of an interpreter: how its training went, on what, with which settings.

It reads the description alone and no tensors, so that the page of an unfinished training can be made while
that runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fstore.errors import StoreError
from fstore.values import image_numbers
from pipeline.errors import UsageError, count
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.description_file import load_description
from pipeline.interpreter.files import load_info
from pipeline.interpreter.folder import folder_state
from pipeline.interpreter.released import is_released
from pipeline.interpreter.summary import quality_text
from pipeline.reports.built import Built
from pipeline.reports.page import Page, Section
from pipeline.reports.provenance import provenance_section
from pipeline.reports.training_section import training_section


def interpreter_page(folder: Path) -> Built:
    """The page of an interpreter's folder.

    Raises UsageError for a damaged one, and for a release's members, which have no record of their training.
    """
    if is_released(folder):
        raise UsageError(
            f"{folder}: holds a release's members, which have no record of training; `dgan info {folder}` "
            "says what is known of them"
        )
    is_finished = folder_state(folder) == "finished"
    info = load_info(folder)
    sha256 = load_description(folder)[1] if is_finished else None
    notes = [] if is_finished else ["Training is not finished; the same dgan train goes on with it."]
    page = Page(
        kind="interpreter",
        title=folder.absolute().name,
        facts=_facts(info),
        notes=notes,
        sections=[
            training_section(info),
            Section("trained-on", "Trained on", "trained_on.html.j2", _trained_on(folder, info)),
            Section("settings", "Settings", "settings.html.j2", {"rows": _settings(info)}),
            provenance_section(
                {**info.to_json(), **({} if sha256 is None else {"sha256": sha256})},
                left_out=("classes", "layers", "epochs", "training"),
            ),
        ],
        scripts=(),
    )

    def check_unchanged() -> None:
        """An interpreter that was replaced meanwhile is of other settings or another sha256."""
        now = load_description(folder)[1] if folder_state(folder) == "finished" else None
        if now != sha256:
            raise UsageError(f"{folder}: was trained anew meanwhile; run the same command again")

    return Built(page, 0, 0, check_unchanged)


def _facts(info: InterpreterInfo) -> list[tuple[str, str]]:
    learnt = count(info.num_outputs, "class" if info.keypoints is None else "keypoint")
    facts = [
        ("Learnt", learnt),
        ("Members", f"{info.members}, hidden widths {info.widths[0]} and {info.widths[1]}"),
        ("Features", f"{info.channels:,} a pixel, {len(info.layers)} layers"),
    ]
    if info.epochs:
        steps = count(info.epochs[-1].steps, "step")
        facts.append(("Training", f"{count(len(info.epochs), 'epoch')}, {steps}"))
        facts.append(("Best", quality_text(info.epochs[info.best_epoch or 0])))
    return facts


def _trained_on(folder: Path, info: InterpreterInfo) -> Mapping[str, Any]:
    """Images, held-out ones, and what was learnt."""
    points = info.keypoints
    colors = [entry.color for entry in info.classes]
    names = [entry.name for entry in info.classes] if points is None else list(points.names)
    if points is not None:
        colors = colors[1 : len(names) + 1] if len(colors) > len(names) else [""] * len(names)
    return {
        "num_images": info.store.get("num_images"),
        "layout": info.store.get("layout"),
        "held_out": _held_out(folder, info),
        "noun": "Classes" if points is None else "Keypoints",
        "classes": [{"name": name, "color": color} for name, color in zip(names, colors, strict=True)],
        "ignore": info.ignore,
    }


def _held_out(folder: Path, info: InterpreterInfo) -> list[Any]:
    """Numbers of the held-out images, as a feature store's page gives them.

    Raises UsageError where the description has no numbers in their place.
    """
    places, inputs = info.training.get("held_out_images"), info.store.get("inputs")
    recorded = inputs.get("image_numbers") if isinstance(inputs, Mapping) else None
    found = list(places) if isinstance(places, list | tuple) else []
    if recorded is None or not all(isinstance(place, int) and place >= 0 for place in found):
        return found
    try:
        numbers = image_numbers("store.inputs.image_numbers", recorded, max(found, default=-1) + 1)
    except StoreError as error:
        raise UsageError(
            f"{folder}: its description is malformed ({error}); restore it from a copy"
        ) from None
    return [numbers[place] for place in found]


def _settings(info: InterpreterInfo) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in info.training.items() if key != "held_out_images"]
