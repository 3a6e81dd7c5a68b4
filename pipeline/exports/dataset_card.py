"""The dataset card of a Hugging Face dataset: ``README.md`` with YAML before the text.

The YAML says which files are which split, and what the columns are, so that ``load_dataset`` of the folder
and the Hub need nothing else. It knows no files but this text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import count
from pipeline.exports.formats.protocol import ExportInfo
from pipeline.machine.provenance import translator_words
from pipeline.settings.json_values import json_text

_INDENT = "  "


@dataclass(frozen=True)
class SplitSize:
    """A split's name, its images, and the bytes of its columns."""

    name: str
    num_images: int
    num_bytes: int


def dataset_card(
    info: ExportInfo, features: Mapping[str, Mapping[str, Any]], splits: Sequence[SplitSize]
) -> str:
    """The whole file. ``features``: the columns, as ``datasets`` describes them in a schema."""
    lines = ["---", *_yaml(_front_matter(info, features, splits)), "---", "", *_text(info, splits)]
    return "\n".join(lines) + "\n"


def _front_matter(
    info: ExportInfo, features: Mapping[str, Mapping[str, Any]], splits: Sequence[SplitSize]
) -> dict[str, Any]:
    task = "image-segmentation" if info.keypoint_names is None else "keypoint-detection"
    return {
        "task_categories": [task],
        "tags": ["synthetic"],
        "dataset_info": {
            "features": [{"name": name, **_feature(entry)} for name, entry in features.items()],
            "splits": [
                {"name": split.name, "num_bytes": split.num_bytes, "num_examples": split.num_images}
                for split in splits
            ],
            "dataset_size": sum(split.num_bytes for split in splits),
        },
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split.name, "path": f"data/{split.name}-*.parquet"} for split in splits
                ],
            }
        ],
    }


def _feature(feature: Mapping[str, Any]) -> dict[str, Any]:
    """A column's type in the words of the card, which are others than those in a schema."""
    kind = feature["_type"]
    if kind == "Image":
        return {"dtype": "image"}
    if kind == "Value":
        return {"dtype": feature["dtype"]}
    if kind == "ClassLabel":
        names = {str(label): name for label, name in enumerate(feature["names"])}
        return {"dtype": {"class_label": {"names": names}}}
    inner = _feature(feature["feature"])
    plain = isinstance(inner.get("dtype"), str)
    return {"sequence": inner["dtype"] if plain else inner}


def _text(info: ExportInfo, splits: Sequence[SplitSize]) -> Iterator[str]:
    height, width = info.shape
    subject = "their keypoints" if info.keypoint_names is not None else "a class for each pixel"
    sizes = ", ".join(f"{split.name} {split.num_images:,}" for split in splits)
    yield f"# {_cell(info.source['store'])}"
    yield ""
    yield f"Generated images of {width} x {height} pixels with {subject}: {sizes}. Written by `dgan export`."
    if "translator" in info.source:
        words = _cell(translator_words(info.source["translator"]))
        yield f"The images were translated after they were generated ({words}); what they show stayed."
    yield ""
    yield from ("```python", "from datasets import load_dataset", "")
    yield f'images = load_dataset("path/of/this/folder", split="{splits[0].name}")'
    yield from ("```", "")
    if info.keypoint_names is None:
        yield from _classes(info)
    else:
        names = ", ".join(_cell(name) for name in info.keypoint_names)
        points = count(len(info.keypoint_names), "point")
        yield f"`keypoints` has x, y and confidence of {points}: {names}. They are in pixels, and the centre "
        yield "of the first pixel is (0.5, 0.5)."
    yield from ("", "## Origin", "", "```json")
    yield json_text(info.source, 2).removesuffix("\n")
    yield "```"


def _classes(info: ExportInfo) -> Iterator[str]:
    yield "`label` is a picture of class ids:"
    yield ""
    yield from ("| id | class | colour |", "|--:|---|---|")
    for entry in info.classes:
        yield f"| {entry.id} | {_cell(entry.name)} | `{entry.color}` |"
    if info.ignore is not None:
        yield f"| {info.ignore} | none: these pixels belong to no class | |"


def _cell(text: str) -> str:
    """A name in a table of Markdown, where it must not begin a cell, a line or markup."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|~$&" else letter for letter in printable)


def _yaml(value: Mapping[str, Any] | Sequence[Any], depth: int = 0) -> Iterator[str]:
    """Lines of block YAML. A mapping in a list begins on the line of its dash."""
    indent = _INDENT * depth
    if isinstance(value, Mapping):
        for key, entry in value.items():
            name = json.dumps(key) if key.isdigit() else key
            if isinstance(entry, (Mapping, list)):
                yield f"{indent}{name}:"
                yield from _yaml(entry, depth + 1)
            else:
                yield f"{indent}{name}: {_scalar(entry)}"
        return
    for entry in value:
        if isinstance(entry, Mapping):
            first, *rest = _yaml(entry, depth + 1)
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(entry)}"


def _scalar(value: object) -> str:
    """A number, or a text in double quotes with JSON's escapes, of which YAML knows all but one: the pairs
    that stand for letters above U+FFFF.
    """
    if not isinstance(value, str):
        return json.dumps(value)
    letters = [f"\\U{ord(c):08x}" if c > "\uffff" or c == "\x7f" else json.dumps(c)[1:-1] for c in value]
    return f'"{"".join(letters)}"'
