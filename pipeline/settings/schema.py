"""The settings of each stage: frozen dataclasses, each field with its default and the rule its values obey.

Knows names, defaults and ranges. Does not know what the settings do or where their values come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.settings.values import (
    ANY_SEED,
    BOOLEAN,
    CACHE,
    COLOR,
    CROP_ROWS,
    HIDDEN,
    KEEP,
    LAYERS,
    NAME,
    PATH,
    POSITIVE,
    RENDER_BATCH,
    SEEDS,
    STORE,
    TILE,
    Rule,
    choice,
    integer,
    number,
)

NOISE_MODES = ("const", "zero", "random")
LATENT_SPACES = ("z", "w", "w+")
LAYOUTS = ("dense", "pyramid")
SCORES = ("top10", "mean", "sum")
SMALL_CLASSES = ("background", "ignore")
PRECISIONS = ("auto", "float32", "bfloat16")
UPSAMPLE_MODES = ("bilinear", "nearest")
IMAGE_ZERO = ("auto", "latent", "mean", "skip")
ANNOTATION_FORMATS = ("auto", "masks", "color", "binary", "labelme", "coco")
OVERLAPS = ("later", "earlier")
TASKS = ("segmentation", "keypoints")


def key(default: Any, rule: Rule, flag: str | None = None) -> Any:
    """A dataclass field that holds a TOML key; ``flag`` where the command line calls it something else."""
    return field(default=default, metadata={"rule": rule, "flag": flag})


@dataclass(frozen=True)
class GeneratorConfig:
    checkpoint: Path | None = key(None, PATH)
    average_latent: Path | None = key(None, PATH)
    truncation: float = key(0.7, number("a finite number", lambda _: True))
    truncation_layers: int | None = key(None, integer(0))  # None: the generator's own default
    noise: str = key("const", choice(*NOISE_MODES))
    noise_seed: int = key(0, ANY_SEED)
    class_label: int | None = key(None, integer(0))  # of a conditional generator, which needs one
    key: str | None = key(None, NAME)  # which of several generators in the checkpoint; None: the averaged one


@dataclass(frozen=True)
class LatentsConfig:
    file: Path | None = key(None, PATH, flag="--latents")
    space: str | None = key(
        None, choice(*LATENT_SPACES), flag="--latent-space"
    )  # None: from the array's shape
    seeds: str | None = key(None, SEEDS)  # instead of a file: "0-15", "3,7,20-29"
    image_zero: str = key("auto", choice(*IMAGE_ZERO))  # which latent image 0 is; see pipeline.inputs.pairing
    annotated_only: bool = key(False, BOOLEAN)  # leave out latents without an annotation
    max_images: int | None = key(None, POSITIVE)  # use the first so many latents


@dataclass(frozen=True)
class ClassConfig:
    """One ``[[annotations.classes]]`` table; its position in the list is the label."""

    name: str = key("", NAME)
    color: str | None = key(None, COLOR)


@dataclass(frozen=True)
class AnnotationsConfig:
    folder: Path | None = key(None, PATH, flag="--annotations")  # or a COCO file
    format: str = key("auto", choice(*ANNOTATION_FORMATS), flag="--annotation-format")
    label_map: Path | None = key(None, PATH)
    classes_file: Path | None = key(None, PATH)  # a TOML file with the [[classes]] tables
    overlap: str = key("later", choice(*OVERLAPS))  # of two shapes on one pixel, which wins
    images: Path | None = key(None, PATH)  # the annotated pictures; None: looked for beside the masks
    check: bool = key(True, BOOLEAN)  # compare them with what the generator renders
    task: str = key("segmentation", choice(*TASKS))
    sigma: float | None = key(None, number("a number > 0", lambda sigma: sigma > 0))  # of keypoints, pixels
    min_pixels: int = key(30, integer(0))  # the released rule, counted at the feature resolution
    small_classes: str = key("background", choice(*SMALL_CLASSES))
    ignore: int | None = key(None, integer(0, 65535))
    num_classes: int | None = key(None, integer(1, 65536))
    classes: tuple[ClassConfig, ...] = key((), Rule("tables [[annotations.classes]]", lambda value: value))


@dataclass(frozen=True)
class FeaturesConfig:
    resolution: int | None = key(None, POSITIVE)  # pixels a side, before the crop; None: the generator's
    crop_rows: tuple[int, int] | None = key(None, CROP_ROWS)  # [a, b) of the grid's rows; None: all
    layout: str = key("dense", choice(*LAYOUTS))
    layers: str | None = key(None, LAYERS)  # names, numbers, slices: "b8_out,3,4:-2"; None: all
    upsample: str = key("bilinear", choice(*UPSAMPLE_MODES))
    channels: int | None = key(None, POSITIVE)  # what all layers have together, to be checked; None: not
    store: str = key("features.zarr", STORE)
    render_batch: int = key(1, POSITIVE)


@dataclass(frozen=True)
class TrainConfig:
    members: int = key(10, POSITIVE)
    steps: int | None = key(None, POSITIVE)
    batch_size: int = key(64, integer(2))  # a batch norm needs two samples
    balance: float | None = key(
        None, number("a number from 0 (balanced) to 1 (natural)", lambda alpha: 0 <= alpha <= 1)
    )  # None: 1, and 0.5 of keypoints, which cover few pixels
    seed: int = key(0, ANY_SEED)
    out: Path = key(Path("interpreter"), PATH)
    learning_rate: float = key(1e-3, number("a number > 0", lambda rate: rate > 0))
    hidden: tuple[int, int] | None = key(None, HIDDEN)  # None: 128/32 under 32 classes, else 256/128
    held_out: float = key(0.125, number("a number with 0 <= held_out < 1", lambda part: 0 <= part < 1))
    patience: int = key(3, POSITIVE)  # epochs without a better validation mIoU
    max_epochs: int = key(30, POSITIVE)
    final_epochs: int = key(3, integer(0))  # then over all images; 0 keeps the best epoch's weights
    falling: float = key(
        0.3, number("a number from 0 to 1", lambda part: 0 <= part <= 1)
    )  # last part of a run of given ``steps``, in which the learning rate falls linearly to zero
    epoch_pixels: int | None = key(None, POSITIVE)
    validation_pixels: int = key(20000, POSITIVE)
    buffer_mb: int | None = key(None, POSITIVE)  # shuffle buffer, in MiB; None: 512, or what a budget leaves
    precision: str = key("auto", choice(*PRECISIONS))  # of the first layer's products
    cache: str | None = key(None, CACHE)  # a size, or "none"; None: by itself
    sigma: float | None = key(None, number("a number > 0", lambda sigma: sigma > 0))  # None: the store's


@dataclass(frozen=True)
class SynthesizeConfig:
    num: int = key(1000, POSITIVE)
    keep: str = key("0.9", KEEP)  # decimal text; see parse_keep
    seed: int = key(0, ANY_SEED)
    score: str = key("top10", choice(*SCORES))
    store: str = key("dataset.zarr", STORE)
    interpreter: Path = key(Path("interpreter"), PATH)
    render_batch: int = key(2, RENDER_BATCH)  # at 1024 px each image of a batch takes 0.6 GiB
    precision: str = key("auto", choice(*PRECISIONS))  # of the labelling's large products
    tile: int | None = key(None, TILE)  # grid rows labelled at once; None: by memory


@dataclass(frozen=True)
class Config:
    """All settings of a run. `load_config` and `with_overrides` check the values; the constructors do not.

    ``source`` says where the settings come from, for people, and ``notes`` what they should know of it, in
    one line each. ``demo``: checkpoint, latents and annotations that are not set come from
    `pipeline.embedded`.
    """

    generator: GeneratorConfig = GeneratorConfig()
    latents: LatentsConfig = LatentsConfig()
    annotations: AnnotationsConfig = AnnotationsConfig()
    features: FeaturesConfig = FeaturesConfig()
    train: TrainConfig = TrainConfig()
    synthesize: SynthesizeConfig = SynthesizeConfig()
    demo: bool = key(False, BOOLEAN)
    source: str = field(default="defaults", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)


SECTIONS: dict[str, type] = {
    "generator": GeneratorConfig,
    "latents": LatentsConfig,
    "annotations": AnnotationsConfig,
    "features": FeaturesConfig,
    "train": TrainConfig,
    "synthesize": SynthesizeConfig,
}
