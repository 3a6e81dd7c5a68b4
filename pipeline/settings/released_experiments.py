"""Reads the JSON experiments of the DatasetGAN and EditGAN releases as configurations of this program.

It knows what each of their keys means here, and which mean nothing. It does not know what the settings do,
and opens no file: of a path it asks only whether it is there.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fstore.meta import LARGEST_LABEL, UPSAMPLE_MODES
from pipeline.errors import UsageError, short
from pipeline.settings.schema import SECTIONS, Config
from pipeline.settings.values import BOOLEAN, IMAGE_SIDE, PATH, POSITIVE, Rule, choice, integer

PLACEHOLDER = "FILL_THIS"  # what the released template says in place of a path
MAX_BYTES = 2**20  # of a file; the released ones have less than 1 kB

_VERSION = Rule('"1" or "2"', lambda value: choice("1", "2").parse(str(value)))
_CLASSES = integer(1, LARGEST_LABEL + 1)

# A key that stands for one setting: where it goes, and what it accepts.
_SETTINGS: dict[str, tuple[str, str, Rule]] = {
    "stylegan_checkpoint": ("generator", "checkpoint", PATH),
    "average_latent": ("generator", "average_latent", PATH),
    "avg_latent": ("generator", "average_latent", PATH),
    "annotation_image_latent_path": ("latents", "file", PATH),
    "max_training": ("latents", "max_images", POSITIVE),
    "annotation_mask_path": ("annotations", "folder", PATH),
    "number_class": ("annotations", "num_classes", _CLASSES),
    "num_class": ("annotations", "num_classes", _CLASSES),
    "upsample_mode": ("features", "upsample", choice(*UPSAMPLE_MODES)),
    "batch_size": ("train", "batch_size", integer(2)),
    "model_num": ("train", "members", POSITIVE),
    "num_classifier": ("train", "members", POSITIVE),
}
# Keys that take more than a look-up; `_parse` has a line for each.
_OTHERS = (
    *("dim", "im_size", "annotation_data_from_w", "optimized_latent_path", "stylegan_ver"),
    *("exp_dir", "classfier_checkpoint", "deeplab_res", "testing_data_number_class", "testing_path"),
)
# What belongs to EditGAN's encoder and its tool, or says what the files say already.
_MEANINGLESS = (
    *("category", "debug"),
    *("n_latent", "lr", "bs", "sample_bs", "max_label", "training_data_path", "label_data_path"),
    *("testing_data_path", "sampling_training", "use_w", "same_view_code", "truncation", "normalize"),
    *("train_real_start_epochs", "loss_dict", "encoder_checkpoint", "root_path", "classifier_iter"),
    *("datasetgan_testimage_embedding_path", "steps", "embedding_steps", "rgb_loss_weight", "use_noise"),
)


@dataclass(frozen=True)
class _File:
    """A JSON object with what its messages and paths need: where it came from, and its folder."""

    keys: dict[str, Any]
    source: str
    folder: Path

    def get(self, key: str, rule: Rule) -> Any:
        """The value as ``rule`` keeps it, None where it is not given. Raises UsageError naming the key."""
        return self.checked(key, self.keys.get(key), rule)

    def checked(self, label: str, value: Any, rule: Rule) -> Any:
        """``get`` of a value that stands deeper than a key."""
        if value is None or (rule is PATH and _is_blank(value)):
            return None
        return rule.check(f"{self.source}: {label}", value)


def parse_experiment(text: str, location: Path) -> Config:
    """The configuration that the JSON experiment ``text``, read from ``location``, describes.

    =============================  ====================================================================
    ``dim`` [H, W, C]              ``resolution`` W, ``crop_rows`` the middle H rows, ``channels`` C
    ``im_size`` [H, W], ``dim`` C  the same, in two keys
    ``annotation_data_from_w``     latents are W+ (true: the release renders them without mapping) or Z
    ``optimized_latent_path``      ``train`` is the latents, a file or a folder, in W+
    ``exp_dir``                    the interpreter's folder, in which members of the release may lie
    ``classfier_checkpoint``       the same, and then ``exp_dir`` is another network's
    ``testing_path``               photographs and ``.npy`` labels that a segmenter is tested on
    ``testing_data_number_class``  how many classes those labels have, which is checked then
    ``deeplab_res``                the side that a segmenter's images are resized to
    =============================  ====================================================================

    ``number_class`` counts the labels, background too. An empty text, or ``FILL_THIS``, is as good as no key.
    Stores keep their default names, in the working folder; features are a pyramid, as a note says. Noise is
    constant, while the release draws it anew at every pass. Truncation is that of the release: 0.7, on the
    default number of layers of the generator.

    A relative path is looked for beside the file, in the folder above (the released files lie in
    ``experiments/``, and their paths begin above it) and in the working folder; the first that exists is
    taken. A path that is nowhere is taken relative to the file; ``exp_dir`` is taken relative to the working
    folder, because it is written to. ``notes`` of the result list the keys that mean nothing here, and those
    that are not known. Raises UsageError, one line, that names file and key.
    """
    file = _File(_object(text, str(location)), str(location), location.parent)
    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for key, (section, name, rule) in _SETTINGS.items():
        value = file.get(key, rule)
        if value is not None:
            sections[section][name] = _found(value, file.folder) if rule is PATH else value
    sections["features"].update(_features(file))
    sections["latents"].update(_latents(file))
    sections["train"].update(_folder(file, "out"))
    sections["synthesize"].update(_folder(file, "interpreter"))
    for name, values in _segmenter(file).items():
        sections[name].update(values)
    file.get("stylegan_ver", _VERSION)  # the checkpoint itself says what it is
    config = Config(source=file.source)
    changed = {name: replace(getattr(config, name), **values) for name, values in sections.items()}
    config = replace(config, **changed)
    return replace(config, notes=(*_notes(file), _destination(config)))


def _object(text: str, source: str) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise UsageError(
            f"{source}: has {len(text):,} characters; expected an experiment, under {MAX_BYTES:,}"
        )
    try:
        document = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source}: not valid JSON: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{source}: holds {short(document)}; expected a JSON object of an experiment's keys")
    if not document.keys() & {*_SETTINGS, *_OTHERS}:
        raise UsageError(
            f"{source}: has no key of a DatasetGAN or EditGAN experiment, such as stylegan_checkpoint; "
            "expected one of those files, or a configuration in TOML"
        )
    return document


def _features(file: _File) -> dict[str, Any]:
    """``resolution``, ``crop_rows`` and ``channels``, from ``dim`` or from ``im_size`` and ``dim``."""
    whole = Rule("[rows, columns, channels], each an integer >= 1", lambda value: _integers(value, 3))
    sides = Rule("[rows, columns], each an integer >= 1", lambda value: _integers(value, 2))
    values: dict[str, Any] = {"layout": "pyramid"}
    if isinstance(file.keys.get("dim"), int):
        size, values["channels"] = file.get("im_size", sides), file.get("dim", POSITIVE)
    elif file.keys.get("dim") is not None:
        *size, values["channels"] = file.get("dim", whole)
    else:
        size = file.get("im_size", sides)
    if size is None:
        return values
    rows, columns = size
    if rows > columns:
        key = "im_size" if isinstance(file.keys.get("dim"), int) or "dim" not in file.keys else "dim"
        raise UsageError(
            f"{file.source}: {key} has {rows} rows and {columns} columns; expected no more rows than "
            "columns, because rows are cropped from a square"
        )
    first = (columns - rows) // 2
    crop = {} if rows == columns else {"crop_rows": (first, first + rows)}
    return {**values, "resolution": columns, **crop}


def _latents(file: _File) -> dict[str, Any]:
    """``space``, and ``file`` where the latents are EditGAN's embeddings."""
    values: dict[str, Any] = {}
    from_w = file.get("annotation_data_from_w", BOOLEAN)
    if from_w is not None:
        values["space"] = "w+" if from_w else "z"
    optimized = file.keys.get("optimized_latent_path")
    if isinstance(optimized, dict):
        train = file.checked("optimized_latent_path.train", optimized.get("train"), PATH)
    else:
        train = file.get("optimized_latent_path", PATH)
    if train is not None:
        values |= {"file": _found(train, file.folder), "space": "w+"}
    return values


def _folder(file: _File, name: str) -> dict[str, Path]:
    """The interpreter's folder as the setting ``name``, empty where the file has none."""
    key = "classfier_checkpoint" if "classfier_checkpoint" in file.keys else "exp_dir"
    path = file.get(key, PATH)
    return {} if path is None else {name: _found(path, file.folder, otherwise=path)}


def _segmenter(file: _File) -> dict[str, dict[str, Any]]:
    """Section -> settings of the segmenter that learns from the dataset, and of its test."""
    size, path = file.get("deeplab_res", IMAGE_SIDE), file.get("testing_path", PATH)
    num_classes = file.get("testing_data_number_class", _CLASSES)
    tested: dict[str, Any] = {"num_classes": num_classes} if num_classes is not None else {}
    if path is not None:
        tested["images"] = _found(path, file.folder)  # with the annotations beside them
    resized = {} if size is None else {"resolution": size}
    return {"segment": resized, "segment_test": tested | resized}


def _found(path: Path, folder: Path, otherwise: Path | None = None) -> Path:
    """Where ``path`` is: beside the file, above, in the working folder; if nowhere, ``otherwise``."""
    if path.is_absolute():
        return path
    above = Path(os.path.normpath(folder / os.pardir))
    for candidate in (folder / path, above / path, path):
        if os.path.exists(candidate):
            return candidate
    return otherwise or folder / path


def _destination(config: Config) -> str:
    """Where results go and in which layout: what an experiment of the releases does not say."""
    return (
        f"{config.source}: features become a pyramid in {config.features.store}, the interpreter goes to "
        f"{config.train.out}; --layout, --store and --out change that"
    )


def _notes(file: _File) -> tuple[str, ...]:
    known = {*_SETTINGS, *_OTHERS}
    meaningless = [key for key in file.keys if key in _MEANINGLESS]
    if "exp_dir" in file.keys and "classfier_checkpoint" in file.keys:
        meaningless.append("exp_dir")
    unknown = [short(key) for key in file.keys if key not in known and key not in _MEANINGLESS]
    unset = [key for key, value in file.keys.items() if key in known and _is_placeholder(value)]
    lines = []
    if meaningless:
        lines.append(f"{file.source}: these keys mean nothing here: {', '.join(meaningless)}")
    if unknown:
        lines.append(f"{file.source}: these keys are not known and not used: {', '.join(unknown)}")
    if unset:
        lines.append(f"{file.source}: {', '.join(unset)} is {PLACEHOLDER}, taken as not given")
    return tuple(lines)


def _integers(value: Any, count: int) -> list[int]:
    if not isinstance(value, list) or len(value) != count:
        raise ValueError
    return [POSITIVE.parse(part) for part in value]


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and (not value.strip() or _is_placeholder(value))


def _is_placeholder(value: Any) -> bool:
    return isinstance(value, str) and value.strip().upper() == PLACEHOLDER
