"""The settings of each stage: frozen dataclasses, each field with its default and the rule its values obey.

Knows names, defaults and ranges. Does not know what the settings do or where their values come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.rules import (
    ANY_SEED,
    BOOLEAN,
    CACHE,
    COLOR,
    CROP_ROWS,
    HIDDEN,
    KEEP,
    NAME,
    PATH,
    POSITIVE,
    RENDER_BATCH,
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


@dataclass(frozen=True)
class LatentsConfig:
    file: Path | None = key(None, PATH, flag="--latents")
    space: str | None = key(
        None, choice(*LATENT_SPACES), flag="--latent-space"
    )  # None: from the array's shape


@dataclass(frozen=True)
class ClassConfig:
    """One ``[[annotations.classes]]`` table; its position in the list is the label."""

    name: str = key("", NAME)
    color: str | None = key(None, COLOR)


@dataclass(frozen=True)
class AnnotationsConfig:
    folder: Path | None = key(None, PATH, flag="--annotations")
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
    store: str = key("features.zarr", STORE)
    render_batch: int = key(1, POSITIVE)


@dataclass(frozen=True)
class TrainConfig:
    members: int = key(10, POSITIVE)
    steps: int | None = key(None, POSITIVE)
    batch_size: int = key(64, integer(2))  # a batch norm needs two samples
    balance: float = key(
        1.0, number("a number from 0 (balanced) to 1 (natural)", lambda alpha: 0 <= alpha <= 1)
    )
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

    ``source`` says where the settings come from, for people. ``demo``: checkpoint, latents and annotations
    that are not set come from `pipeline.demo`.
    """

    generator: GeneratorConfig = GeneratorConfig()
    latents: LatentsConfig = LatentsConfig()
    annotations: AnnotationsConfig = AnnotationsConfig()
    features: FeaturesConfig = FeaturesConfig()
    train: TrainConfig = TrainConfig()
    synthesize: SynthesizeConfig = SynthesizeConfig()
    demo: bool = key(False, BOOLEAN)
    source: str = field(default="defaults", compare=False)


SECTIONS: dict[str, type] = {
    "generator": GeneratorConfig,
    "latents": LatentsConfig,
    "annotations": AnnotationsConfig,
    "features": FeaturesConfig,
    "train": TrainConfig,
    "synthesize": SynthesizeConfig,
}
