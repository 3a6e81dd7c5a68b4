"""``dgan demo --photographs``: fresh pictures of the demo's renderer with exact masks, as files.

The demo's generator only imitates the renderer, so these stand for the photographs of a real domain. The
folder has the layout of ``dgan export --format png``, which ``--annotations`` reads with the classes' names:

    OUT/
      photographs.json       the mark: how many, style and seed; a folder without it is never written into
      images/000000.png      pictures
      labels/000000.png      their masks
      classes.toml           names and colours
      metadata.jsonl         a line a picture; written last

The same number and seed are the same scene in every style.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fstore.meta import ClassInfo
from pipeline import embedded
from pipeline.errors import UsageError, count
from pipeline.exports.content import Item
from pipeline.exports.formats.png import open_exporter
from pipeline.exports.formats.protocol import ExportInfo, Record
from pipeline.exports.plan import Part
from pipeline.exports.sink import Sink
from pipeline.interpreter.folder import replace_file
from pipeline.machine.progress import progress

MARK, METADATA = "photographs.json", "metadata.jsonl"
SHAPE = (64, 64)
_PICTURE = re.compile(r"[0-9]{6,}\.png")


def write_photographs(out: Path, num: int, style: str, seed: int) -> str:
    """Write ``num`` pictures and masks into ``out``, and return a line on them.

    Those of an earlier run are replaced. Raises UsageError where ``out`` holds anything else.
    """
    _prepare_folder(out, {"photographs": num, "style": style, "seed": seed})
    exporter, sink = open_exporter(_info(num, out)), Sink(out)
    exporter.write_last(sink)  # the list of classes
    with progress("photographs", num, "pictures") as bar:
        records: list[Record] = []
        for first in range(0, num, embedded.RENDER_BATCH):
            places = range(first, min(first + embedded.RENDER_BATCH, num))
            part = Part(first // embedded.RENDER_BATCH, None, 0, 1, places)
            records += exporter.write_part(part, _items(places, style, seed), sink)
            bar.advance(len(places))
    exporter.write_whole(None, records, sink)
    return f"{out}: {count(num, 'picture')} of style {style} in images/, their exact masks in labels/"


def _items(places: range, style: str, seed: int) -> Iterator[Item]:
    images, masks = embedded.photographs(embedded.photograph_latents(places, seed), style)
    for number, image, mask in zip(places, images, masks, strict=True):
        yield Item(number, image, mask, None, None, None)


def _info(num: int, out: Path) -> ExportInfo:
    from pipeline.embedded.face import CLASSES

    classes = [ClassInfo(label, name, color) for label, (name, color) in enumerate(CLASSES)]
    return ExportInfo(SHAPE, classes, None, None, False, "png", 95, {None: num}, out, {})


def _prepare_folder(out: Path, settings: dict[str, object]) -> None:
    """Mark the folder, and delete the pictures of an earlier run: other settings may have fewer."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file, expected a folder for photographs; pass another --out")
    found = sorted(entry.name for entry in out.iterdir()) if out.exists() else []
    if found and MARK not in found:
        raise UsageError(
            f"{out}: holds {found[0]!r} and no earlier photographs of the demo; pass an empty or new folder "
            "with --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / METADATA).unlink(missing_ok=True)  # what says that the folder is whole goes first
    replace_file(out / MARK, partial(Path.write_text, data=json.dumps(settings) + "\n"))
    for folder in (out / "images", out / "labels"):
        for path in folder.iterdir() if folder.is_dir() else ():
            if _PICTURE.fullmatch(path.name):
                path.unlink()
