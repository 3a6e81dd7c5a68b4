"""The folder of predictions: the names of its files, and which of them are whole and of one segmenter.

    predictions.json     by which segmenter and epoch, and of which images; written first
    classes.toml         the classes in the order of their labels, as ``--annotations`` reads it
    cat.png              (h, w) labels of cat.jpg, of its size; text chunks say by what, and of which file
    keypoints.json       of keypoints, in place of the two before: COCO's JSON
    keypoints.jsonl      until that is whole: a line for each picture that is done

Each file is written under a temporary name and renamed. It knows files. It does not know networks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fstore.compare import differences
from fstore.meta import ClassInfo
from pipeline.errors import UsageError, few, short
from pipeline.exports.class_lists import classes_toml
from pipeline.exports.coco_tables import keypoint_category, keypoint_entry
from pipeline.exports.encoding import encode_labels, label_palette
from pipeline.interpreter.folder import PARTIAL, check_place, check_writable, replace_file
from pipeline.machine.json_lines import JsonLines
from pipeline.machine.provenance import created_record
from pipeline.settings.json_values import json_text, parse_object

DESCRIPTION, CLASSES = "predictions.json", "classes.toml"
KEYPOINTS, KEYPOINT_LINES = "keypoints.json", "keypoints.jsonl"
KIND = "predictions"
_TEXT, _PICTURE = "dgan", "picture"
_OTHER_KEYS = ("created", "version", "kind", "images", "segmenter.folder")  # that change no label
_PLAIN = (DESCRIPTION, CLASSES, KEYPOINTS, KEYPOINT_LINES)


class PredictionFolder:
    """The folder of a run. A class, because it keeps what its labels are made by.

    made_by: JSON values that decide every label; ``images`` and ``segmenter.folder`` in them are for people.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        self.path = path
        self._made_by = dict(made_by)
        decisive = {key: value for key, value in made_by.items() if key not in _OTHER_KEYS}
        decisive["segmenter"] = {key: value for key, value in made_by["segmenter"].items() if key != "folder"}
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
        self._mark = hashlib.sha256(text.encode()).hexdigest()

    def check(self, pictures: Sequence[Path], *, overwrite: bool) -> None:
        """Refuse a place that cannot be written, one with files of others, and predictions that were made
        otherwise, unless they are to be replaced. Raises UsageError, one line.
        """
        check_place(self.path)
        check_writable(self.path)
        if not self.path.is_dir():
            return
        if self.path.samefile(pictures[0].parent):
            raise UsageError(f"{self.path}: is the folder of the pictures; name another --out")
        if overwrite:
            return
        found = self._description()
        changed = [] if found is None else differences(found, self._made_by, _OTHER_KEYS)
        for key, before, now in changed:
            raise UsageError(
                f"{self.path}: holds predictions with {key} = {short(before)}, this run has {short(now)}; "
                "name another --out, or pass --overwrite to replace them"
            )
        names = {label_name(path) for path in pictures} | (set() if found is not None else set(_PLAIN))
        strangers = [name for name in sorted(names) if self._is_strange(self.path / name)]
        if strangers:
            raise UsageError(
                f"{self.path}: holds files that are no predictions of this segmenter ({few(strangers)}); "
                "name another --out, or pass --overwrite to replace them"
            )

    def begin(self, classes: Sequence[ClassInfo], *, overwrite: bool) -> None:
        """Make the folder, or go on with it. ``classes``: of labels; none of keypoints. ``overwrite``: what
        others have predicted there is deleted.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        found = self._description() if overwrite else None
        if overwrite and (found is None or differences(found, self._made_by, _OTHER_KEYS)):
            self._remove()
        document = {"version": 1, "kind": KIND, "created": created_record(), **self._made_by}
        self._write(DESCRIPTION, json_text(document, 2))
        if classes:
            self._write(CLASSES, classes_toml(classes, None))

    def has(self, picture: Path) -> bool:
        """Whether the labels of a picture are there, made as now, and of the same file."""
        found = _texts(self.path / label_name(picture))
        return (found.get(_TEXT), found.get(_PICTURE)) == (self._mark, json.dumps(picture_record(picture)))

    def write_labels(self, picture: Path, labels: NDArray[np.integer], classes: Sequence[ClassInfo]) -> None:
        """Write the labels (h, w) of a picture, uint8 or uint16."""
        texts = {_TEXT: self._mark, _PICTURE: json.dumps(picture_record(picture))}
        content = encode_labels(labels, label_palette(classes, None), texts)
        replace_file(self.path / label_name(picture), partial(Path.write_bytes, data=content))

    def point_lines(self) -> JsonLines:
        """The lines of pictures whose keypoints are done."""
        return JsonLines(self.path / KEYPOINT_LINES)

    def has_points(self, pictures: Sequence[Path]) -> bool:
        """Whether the keypoints of these pictures are there, and of no others."""
        try:
            document = parse_object((self.path / KEYPOINTS).read_bytes())
        except (OSError, ValueError):
            return False
        images = document.get("images")
        if document.get(_TEXT) != self._mark or not isinstance(images, list):
            return False
        found = [image.get(_PICTURE) for image in images if isinstance(image, dict)]
        return found == [picture_record(path) for path in pictures]

    def write_points(self, rows: Iterable[Mapping[str, Any]], keypoints: Sequence[str]) -> None:
        """Write COCO's file of the rows ``{"picture", "size", "points"}``, and delete the lines."""
        images, annotations = [], []
        for number, row in enumerate(rows, start=1):
            height, width = row["size"]
            name, record = row[_PICTURE][0], row[_PICTURE]
            images.append(
                {"id": number, "file_name": name, "width": width, "height": height, _PICTURE: record}
            )
            annotations.append({"id": number, "image_id": number, **keypoint_entry(row["points"])})
        document = {
            _TEXT: self._mark,
            "images": images,
            "categories": [keypoint_category(keypoints)],
            "annotations": annotations,
        }
        self._write(KEYPOINTS, json_text(document))
        self.remove_point_lines()

    def remove_point_lines(self) -> None:
        """Delete the lines, which a kill may have left beside the whole file."""
        (self.path / KEYPOINT_LINES).unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        replace_file(self.path / name, partial(Path.write_text, data=text, encoding="utf-8"))

    def _description(self) -> dict[str, Any] | None:
        """What the description says; None where there is none of ours."""
        try:
            found = parse_object((self.path / DESCRIPTION).read_bytes())
        except (OSError, ValueError):
            return None
        return found if found.get("kind") == KIND else None

    def _is_strange(self, path: Path) -> bool:
        if path.name in _PLAIN:
            return path.exists()
        return path.exists() and _texts(path).get(_TEXT) != self._mark

    def _remove(self) -> None:
        """Delete predictions, the description last: until then ``overwrite`` is needed again."""
        for path in sorted(self.path.glob("*.png")):
            if _TEXT in _texts(path):
                path.unlink()
        for name in reversed(_PLAIN):
            for suffix in (PARTIAL, ""):
                (self.path / (name + suffix)).unlink(missing_ok=True)


def label_name(picture: Path) -> str:
    """The name of the labels of a picture."""
    return f"{picture.stem}.png"


def picture_record(path: Path) -> list[Any]:
    """What tells a picture from another one that takes its place: name, bytes, and time of its file."""
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def _texts(path: Path) -> dict[str, Any]:
    """The text chunks of a PNG, by its header; none of any other file."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return {str(key): value for key, value in image.info.items()}
    except Exception:  # Pillow raises many kinds for what is no picture or is damaged
        return {}


def check_names(pictures: Sequence[Path]) -> None:
    """Refuse pictures whose labels would have one name. Raises UsageError."""
    seen: dict[str, Path] = {}
    for path in pictures:
        name = label_name(path)
        if name in seen:
            raise UsageError(
                f"{path}: the labels of {seen[name].name} would be {name} too; rename one of the pictures"
            )
        seen[name] = path
