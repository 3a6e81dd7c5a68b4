"""The settings of each stage: frozen dataclasses, each field with its default, its rule and its help.

A field also says which commands take it as a flag, so that a new setting is one line here. This module does
not know what the settings do or where their values come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from fstore.meta import LARGEST_LABEL, LAYOUTS, SCORES, UPSAMPLE_MODES
from pipeline.settings.values import (
    ANY_SEED,
    BOOLEAN,
    CACHE,
    COLOR,
    CROP_ROWS,
    HIDDEN,
    IMAGE_SIDE,
    KEEP,
    LAYERS,
    NAME,
    OUTPUT_STRIDE,
    PAIRS,
    PATH,
    POSITIVE,
    RENDER_BATCH,
    SEEDS,
    SPLIT,
    STORE,
    SUBSPACE,
    TILE,
    Keep,
    Rule,
    Split,
    choice,
    integer,
    number,
)

NOISE_MODES = ("const", "zero", "random")
LATENT_SPACES = ("z", "w", "w+")
SMALL_CLASSES = ("background", "ignore")
PRECISIONS = ("auto", "float32", "bfloat16")
IMAGE_ZERO = ("auto", "latent", "mean", "skip")
ANNOTATION_FORMATS = (
    "auto",
    "masks",
    "color",
    "binary",
    "voc",
    "labelme",
    "coco",
    "parquet",
    "ome-zarr",
    "webdataset",
)
FOR_KEYPOINTS = ("auto", "coco")
"""Of these the ones that may be set where keypoints are annotated."""
OVERLAPS = ("later", "earlier")
TASKS = SEGMENTATION, KEYPOINTS = ("segmentation", "keypoints")
EXPORT_FORMATS = ("png", "voc", "coco", "webdataset", "parquet", "ome-zarr", "released")
IMAGE_ENCODINGS = ("auto", "png", "jpeg")
BACKBONES = ("resnet50", "resnet101", "mobilenet_v3")
MIXES = REAL, SYNTHETIC, BOTH = ("real", "synthetic", "both")
TRANSLATOR_UPSAMPLING = ("bilinear", "transposed")

EXTRACT, TRAIN, SYNTHESIZE, SAMPLE = "extract-features", "train", "synthesize", "sample"
INSPECT, EXPORT = "inspect-checkpoint", "export"
EVALUATE, CALIBRATE, FILTER = "evaluate", "calibrate", "filter"
SEGMENT_TRAIN, SEGMENT_TEST, SEGMENT_PREDICT = "segment train", "segment test", "segment predict"
TRANSLATE_TRAIN, TRANSLATE_APPLY = "translate train", "translate apply"

KEEP_HELP = "Fraction of least uncertain images to keep; auto: what a calibration recommends."
SCORE_HELP = (
    "How an image's uncertainty is made of its pixels': mean of the highest 10%, mean or sum of all, mean of "
    "the classes' means, mean of the highest 10% away from boundaries."
)

POSITIVE_NUMBER = number("a number > 0", lambda value: value > 0)
PART = number("a number from 0 to 1", lambda part: 0 <= part <= 1)
SHARE = number("a number > 0, at most 1", lambda part: 0 < part <= 1)
WEIGHT = number("a number >= 0", lambda value: value >= 0)


@dataclass(frozen=True)
class Setting:
    """What the metadata of a field says of the TOML key that the field holds.

    ``help`` is the line of the flag in ``--help``, and ``unset`` says there what None stands for. ``flags``
    is the name of the flag: "" for ``--its-name``, and for a boolean ``--its-name/--no-its-name``. The
    commands ``also`` have the flag, in addition to the commands of the whole section. A key ``in_file`` is no
    flag.
    """

    rule: Rule
    help: str
    unset: str = ""
    flags: str = ""
    also: tuple[str, ...] = ()
    in_file: bool = False


def setting(default: Any, rule: Rule, help: str, **more: Any) -> Any:
    """A dataclass field that holds a TOML key; ``more`` are further fields of `Setting`."""
    return field(default=default, metadata={"setting": Setting(rule, help, **more)})


in_file = partial(setting, in_file=True)


@dataclass(frozen=True)
class GeneratorConfig:
    checkpoint: Path | None = setting(
        None, PATH, "The generator's file; `dgan inspect-checkpoint` shows what it holds.", also=(SYNTHESIZE,)
    )
    key: str | None = setting(
        None,
        NAME,
        "Which of several generators in the checkpoint.",
        unset="the averaged one",
        also=(SYNTHESIZE, INSPECT),
    )
    class_label: int | None = setting(
        None,
        integer(0),
        "Class of a conditional generator.",
        unset="none; synthesize: the interpreter's",
        also=(SYNTHESIZE,),
    )
    average_latent: Path | None = setting(
        None, PATH, "A .npy, .npz or .pt file.", unset="the checkpoint's, else the mean of 8,000 samples"
    )
    truncation: float = setting(
        0.7, number("a finite number", lambda _: True), "Truncation psi of Z latents; 1 is none."
    )
    truncation_layers: int | None = setting(
        None,
        integer(0),
        "How many of the first W+ rows are truncated.",
        unset="StyleGAN1 8, but 7 at 256 px; StyleGAN2 all",
    )
    noise: str = setting(
        "const",
        choice(*NOISE_MODES),
        "Noise inputs of the generator; const is one map a layer, for all images.",
    )
    noise_seed: int = setting(0, ANY_SEED, "Seed of the noise inputs.")


@dataclass(frozen=True)
class LatentsConfig:
    file: Path | None = setting(
        None,
        PATH,
        "(N, D) of Z or W, (N, L, D) of W+, or a dict of pictures' names: .npy, .npz, .pt, or a folder.",
        flags="--latents",
    )
    space: str | None = setting(
        None,
        choice(*LATENT_SPACES),
        "What the latents are.",
        unset="by the shape: Z, or W+ of three axes",
        flags="--latent-space",
    )
    seeds: str | None = setting(
        None, SEEDS, "Instead of --latents: Z of RandomState(seed), as 0-15 or 3,7,20-29."
    )
    image_zero: str = setting(
        "auto",
        choice(*IMAGE_ZERO),
        "Which latent image 0 is; mean is the average latent, which is not in the file.",
    )
    annotated_only: bool = setting(
        False, BOOLEAN, "Leave out latents that have no annotation.", flags="--annotated-only/--all-latents"
    )
    max_images: int | None = in_file(None, POSITIVE, "Use the first so many latents.", unset="all")


@dataclass(frozen=True)
class ClassConfig:
    """One ``[[annotations.classes]]`` table; its position in the list is the label."""

    name: str = in_file("", NAME, "What the class is called.")
    color: str | None = in_file(None, COLOR, 'Its colour, "#rrggbb".', unset="of the default palette")


@dataclass(frozen=True)
class AnnotationsConfig:
    folder: Path | None = setting(
        None,
        PATH,
        "Folder of masks (.npy, .png), PNGs a class, LabelMe, Parquet, OME-Zarr or tar files; a COCO .json; "
        "keypoints (.npy, .npz).",
        flags="--annotations",
    )
    format: str = setting(
        "auto",
        choice(*ANNOTATION_FORMATS),
        "Format of the annotations; auto tells it from the files.",
        flags="--annotation-format",
    )
    label_map: Path | None = setting(None, PATH, "TOML file: rename, merge and drop classes.")
    classes_file: Path | None = in_file(None, PATH, "A TOML file with the [[classes]] tables.")
    overlap: str = setting("later", choice(*OVERLAPS), "Which of two shapes on the same pixel wins.")
    images: Path | None = setting(
        None,
        PATH,
        "The annotated pictures, to compare with what is rendered.",
        unset="beside the masks",
    )
    check: bool = setting(True, BOOLEAN, "Compare the annotated pictures with what is rendered.")
    task: str = setting(SEGMENTATION, choice(*TASKS), "What is annotated.", also=(SAMPLE,))
    sigma: float | None = setting(
        None, POSITIVE_NUMBER, "Width of keypoints' heat maps, in pixels.", unset="resolution / 64"
    )
    num_classes: int | None = setting(
        None, integer(1, LARGEST_LABEL + 1), "Number of classes.", unset="the largest label + 1"
    )
    ignore: int | None = setting(
        None,
        integer(0, LARGEST_LABEL),
        "Label of pixels that are of no class and count nowhere.",
        unset="none",
    )
    min_pixels: int = setting(
        30, integer(0), "A class with fewer pixels in an image is dropped there."
    )  # the released rule, counted at the feature resolution
    small_classes: str = setting("background", choice(*SMALL_CLASSES), "What the dropped pixels become.")
    classes: tuple[ClassConfig, ...] = in_file(
        (), Rule("tables [[annotations.classes]]", lambda value: value), "Names and colours."
    )


@dataclass(frozen=True)
class FeaturesConfig:
    resolution: int | None = setting(
        None,
        POSITIVE,
        "Side of the feature grid in pixels, before the crop.",
        unset="the generator's, at most 512",
        also=(SAMPLE,),
    )
    crop_rows: tuple[int, int] | None = setting(
        None, CROP_ROWS, "Keep rows A to B - 1 of the grid, as 64:448 for cars.", unset="all", also=(SAMPLE,)
    )
    layout: str = setting(
        "dense",
        choice(*LAYOUTS),
        "A pyramid holds each layer at its own size: the same bits in 32 times fewer raw bytes of a 1024 px "
        "StyleGAN1.",
    )
    layers: str | None = setting(
        None, LAYERS, "Feature layers by name, number or slice, as b8_out,3,4:-2.", unset="all"
    )
    upsample: str = setting("bilinear", choice(*UPSAMPLE_MODES), "How feature maps are resized to the image.")
    channels: int | None = in_file(None, POSITIVE, "What all layers have together, to be checked.")
    store: str = setting(
        "features.zarr", STORE, "Feature store: a folder, or a URL.", also=(TRAIN, CALIBRATE, SAMPLE)
    )
    render_batch: int = setting(1, POSITIVE, "Images in one forward pass.", also=(SAMPLE,))


@dataclass(frozen=True)
class TrainConfig:
    members: int = setting(10, POSITIVE, "Classifiers in the ensemble.", also=(CALIBRATE,))
    steps: int | None = setting(
        None,
        POSITIVE,
        "Optimisation steps.",
        unset="until validation stops improving",
        also=(CALIBRATE,),
    )
    batch_size: int = setting(
        64, integer(2), "Pixels in a step, for each member.", also=(CALIBRATE,)
    )  # a batch norm needs two samples
    balance: float | None = setting(
        None,
        number("a number from 0 (balanced) to 1 (natural)", lambda alpha: 0 <= alpha <= 1),
        "How often classes are drawn: 1 as they occur, 0 all alike.",
        unset="1, of keypoints 0.5",  # they cover few pixels
        also=(CALIBRATE,),
    )
    seed: int = setting(0, ANY_SEED, "Seed of weights and batches.", also=(CALIBRATE,))
    learning_rate: float = in_file(1e-3, POSITIVE_NUMBER, "Of Adam.")
    hidden: tuple[int, int] | None = in_file(
        None, HIDDEN, "Widths of the two hidden layers.", unset="128/32 under 32 classes, else 256/128"
    )
    held_out: float = in_file(
        0.125,
        number("a number with 0 <= held_out < 1", lambda part: 0 <= part < 1),
        "Share of images that validate.",
    )
    patience: int = in_file(3, POSITIVE, "Epochs without a better validation mIoU.")
    max_epochs: int = in_file(30, POSITIVE, "Most epochs before the final ones.")
    final_epochs: int = in_file(
        3, integer(0), "Epochs over all images at the end; 0 keeps the best epoch's weights."
    )
    falling: float = in_file(
        0.3, PART, "Last part of a run of given steps, in which the learning rate falls linearly to zero."
    )
    epoch_pixels: int | None = in_file(None, POSITIVE, "Pixels that an epoch draws.", unset="by the store")
    validation_pixels: int = in_file(20000, POSITIVE, "Held-out pixels that are read.")
    buffer_mb: int | None = in_file(
        None, POSITIVE, "Shuffle buffer, in MiB.", unset="512, or what a budget leaves"
    )
    precision: str = setting(
        "auto", choice(*PRECISIONS), "Precision of the first layer's products.", also=(CALIBRATE,)
    )
    cache: str | None = setting(
        None,
        CACHE,
        "Hold a pyramid store in memory if it fits this size; none: never.",
        unset="by the free memory",
        also=(CALIBRATE,),
    )
    subspace: str = setting(
        "auto",
        SUBSPACE,
        "Learn on the principal axes that hold this part of the features' energy; auto: 0.999 where it can.",
        also=(CALIBRATE,),
    )
    sigma: float | None = setting(
        None, POSITIVE_NUMBER, "Width of keypoints' heat maps, in pixels.", unset="the store's"
    )
    out: Path = setting(Path("interpreter"), PATH, "Folder of the interpreter.")


@dataclass(frozen=True)
class CalibrateConfig:
    folds: int = setting(
        5, integer(2), "Parts of the annotated images; each is labelled by a training on the others."
    )
    out: Path = setting(Path("calibration.json"), PATH, "File of the result.")


@dataclass(frozen=True)
class SynthesizeConfig:
    interpreter: Path = setting(Path("interpreter"), PATH, "Folder that train wrote, or of released members.")
    num: int = setting(1000, POSITIVE, "Images in all; a larger number continues a dataset.")
    keep: Keep = setting(Keep.parse("0.9"), KEEP, KEEP_HELP)
    keep_per_class: bool = setting(
        False, BOOLEAN, "Keep that fraction of the images of every class too.", also=(FILTER,)
    )
    calibration: Path = setting(
        Path("calibration.json"),
        PATH,
        "File that says what `auto` keeps; `dgan calibrate` writes it.",
        also=(FILTER,),
    )
    seed: int = setting(0, ANY_SEED, "Seed of the latents.")
    score: str = setting(
        "top10",
        choice(*SCORES),
        SCORE_HELP,
    )
    store: str = setting("dataset.zarr", STORE, "Dataset store: a folder, or a URL.")
    render_batch: int = setting(
        2, RENDER_BATCH, "Images in one forward pass; a divisor of 64."
    )  # at 1024 px each image of a batch takes 0.6 GiB
    precision: str = setting("auto", choice(*PRECISIONS), "Precision of the labelling's large products.")
    tile: int | None = setting(
        None, TILE, "Grid rows labelled at once, a multiple of 8.", unset="by the memory"
    )


@dataclass(frozen=True)
class ExportConfig:
    format: str | None = setting(
        None, choice(*EXPORT_FORMATS), "What to write; needed, here or in a dgan.toml."
    )
    split: Split | None = setting(
        None, SPLIT, "Parts with their shares, such as train=0.9,val=0.1.", unset="one part without a name"
    )
    seed: int = setting(0, ANY_SEED, "Seed of the split.")
    all: bool = setting(
        False, BOOLEAN, "Export images that the filter has dropped too.", flags="--all/--kept-only"
    )
    limit: int | None = setting(None, POSITIVE, "Export the first so many images.", unset="all")
    label_map: Path | None = setting(None, PATH, "TOML file: rename, merge and drop classes.")
    image_encoding: str = setting(
        "auto",
        choice(*IMAGE_ENCODINGS),
        "How images are stored; auto is jpeg for voc, and png, without loss, for the others.",
    )
    jpeg_quality: int = setting(95, integer(1, 100), "Quality of images that are stored as JPEG.")


@dataclass(frozen=True)
class SegmentConfig:
    data: str = setting("dataset.zarr", STORE, "Dataset to learn from; or a feature store: its annotations.")
    num_synthetic: int | None = setting(
        None, POSITIVE, "Learn from the first so many of its images.", unset="all that are kept"
    )
    released_filter: bool = setting(
        False, BOOLEAN, "Choose images as the released code does, which drops the 30 most certain ones too."
    )
    real_images: Path | None = setting(
        None, PATH, "Folder of annotated photographs to learn from: real, synthetic and both are compared."
    )
    real_annotations: Path | None = setting(None, PATH, "Their annotations, in any format.")
    real_annotation_format: str = setting(
        "auto",
        choice(*ANNOTATION_FORMATS),
        "Format of the photographs' annotations; auto tells it from the files.",
    )
    num_real: int | None = setting(
        None,
        POSITIVE,
        "Learn from the first so many photographs.",
        unset="all but the fifth that is tested on",
    )
    only: str | None = setting(
        None, choice(*MIXES), "With --real-images: train one segmenter.", unset="one of each, and a table"
    )
    label_map: Path | None = setting(None, PATH, "TOML file: rename, merge and drop classes.")
    architecture: str = setting(
        "deeplabv3", NAME, "deeplabv3, or smp:NAME of segmentation-models-pytorch, such as smp:Unet."
    )
    backbone: str = setting("resnet101", NAME, "resnet101, resnet50 or mobilenet_v3; of smp any encoder.")
    output_stride: int | None = setting(
        None,
        OUTPUT_STRIDE,
        "Pixels of the image for each position of the last feature map.",
        unset="8; mobilenet_v3 16",
    )
    pretrained: Path | None = setting(
        None, PATH, "Weights to begin with: torchvision's, or of a released or own segmenter.", unset="random"
    )
    resolution: int | None = setting(
        None, IMAGE_SIDE, "Side that images are resized to, square.", unset="the images' own size"
    )
    epochs: int = setting(20, POSITIVE, "Passes over the images.")
    batch_size: int = setting(8, integer(2), "Images in a step.")  # a batch norm needs two
    seed: int = setting(0, ANY_SEED, "Seed of weights, order and augmentation.")
    precision: str = setting("auto", choice(*PRECISIONS), "Precision of the convolutions.")
    flip: bool = setting(False, BOOLEAN, "Mirror half of the images, and swap left and right classes.")
    crop: float | None = setting(
        None,
        SHARE,
        "Smallest side of a random crop, as a part of the image's.",
        unset="no crop",
    )
    color: float | None = setting(
        None,
        SHARE,
        "Largest change of brightness, contrast and saturation, as a part.",
        unset="none",
    )
    left_right: tuple[tuple[str, str], ...] | None = in_file(
        None,
        PAIRS,
        "Pairs of names that a mirrored image swaps.",
        unset="names that differ in left and right",
    )
    learning_rate: float = in_file(1e-3, POSITIVE_NUMBER, "Of Adam.")
    out: Path = setting(Path("segmenter"), PATH, "Folder of the segmenter.")


@dataclass(frozen=True)
class SegmentTestConfig:
    images: Path | None = setting(None, PATH, "Folder of annotated photographs.")
    annotations: Path | None = setting(
        None, PATH, "Their annotations, in any format.", unset="beside the images"
    )
    annotation_format: str = setting(
        "auto", choice(*ANNOTATION_FORMATS), "Format of the annotations; auto tells it from the files."
    )
    label_map: Path | None = setting(None, PATH, "TOML file: rename, merge and drop classes.")
    num_classes: int | None = in_file(
        None, integer(1, LARGEST_LABEL + 1), "Number of classes of the annotations, to be checked."
    )
    cross_validate: int | None = setting(
        None,
        integer(0),
        "Parts of the images: each chooses an epoch, which the others score. 0: score the last epoch.",
        unset="5; 0 of fewer than 5 images",
    )
    resolution: int | None = setting(
        None, IMAGE_SIDE, "Side that images are resized to.", unset="that of the training"
    )
    out: Path = setting(Path("scores.json"), PATH, "File of the scores; pictures stand beside it.")


@dataclass(frozen=True)
class TranslateConfig:
    source: str = setting("dataset.zarr", STORE, "Images to carry over: a store, or a folder of pictures.")
    target: str | None = setting(
        None, STORE, "Images that they shall look like: a folder of pictures, or a store."
    )
    paired: bool = setting(
        False, BOOLEAN, "The images of both sides show the same, one by one.", flags="--paired/--unpaired"
    )
    adversary: bool = setting(True, BOOLEAN, "Learn from discriminators too.")
    upsample: str = setting(
        "bilinear", choice(*TRANSLATOR_UPSAMPLING), "How the generators come back to the image's size."
    )
    epochs: int = setting(50, POSITIVE, "Passes over the images of the larger side.")
    batch_size: int = setting(16, POSITIVE, "Images of each side in a step.")
    resolution: int | None = setting(
        None, POSITIVE, "Side of the square that is learnt on.", unset="the source's, at most 256"
    )
    source_crop: float = setting(
        0.95, SHARE, "Side of the smallest random crop, as a part of the shorter side; 1: no crop."
    )
    target_crop: float = setting(0.55, SHARE, "The same of the target's images.")
    held_out: float = setting(
        0.1,
        number("a number with 0 <= held_out < 1", lambda part: 0 <= part < 1),
        "Share of each side's images that validate.",
    )
    width: int = setting(64, POSITIVE, "Channels of the networks' first layer.")
    seed: int = setting(0, ANY_SEED, "Seed of weights, order and crops.")
    precision: str = setting("auto", choice(*PRECISIONS), "Precision of the convolutions.")
    identity_weight: float = in_file(5.0, WEIGHT, "Of the L1 identity loss.")
    cycle_weight: float = in_file(10.0, WEIGHT, "Of the L1 cycle loss.")
    adversary_weight: float = in_file(1.0, WEIGHT, "Of the adversarial loss.")
    learning_rate: float = in_file(2e-4, POSITIVE_NUMBER, "Of Adam, whose beta1 is 0.5.")
    out: Path = setting(Path("translator"), PATH, "Folder of the translator.")


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
    calibrate: CalibrateConfig = CalibrateConfig()
    synthesize: SynthesizeConfig = SynthesizeConfig()
    export: ExportConfig = ExportConfig()
    segment: SegmentConfig = SegmentConfig()
    segment_test: SegmentTestConfig = SegmentTestConfig()
    translate: TranslateConfig = TranslateConfig()
    demo: bool = in_file(False, BOOLEAN, "Use the embedded generator, latents and masks.")
    source: str = field(default="defaults", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)


SECTIONS: dict[str, type] = {
    "generator": GeneratorConfig,
    "latents": LatentsConfig,
    "annotations": AnnotationsConfig,
    "features": FeaturesConfig,
    "train": TrainConfig,
    "calibrate": CalibrateConfig,
    "synthesize": SynthesizeConfig,
    "export": ExportConfig,
    "segment": SegmentConfig,
    "segment_test": SegmentTestConfig,
    "translate": TranslateConfig,
}
_COMMANDS = {  # that have a section's keys as flags
    "generator": (EXTRACT, SAMPLE),
    "latents": (EXTRACT,),
    "annotations": (EXTRACT,),
    "features": (EXTRACT,),
    "train": (TRAIN,),
    "calibrate": (CALIBRATE,),
    "synthesize": (SYNTHESIZE,),
    "export": (EXPORT,),
    "segment": (SEGMENT_TRAIN,),
    "segment_test": (SEGMENT_TEST,),
    "translate": (TRANSLATE_TRAIN,),
}


def declaration(item: Field[Any]) -> Setting:
    """What a field says of its key."""
    declared: Setting = item.metadata["setting"]
    return declared


def flags_of(item: Field[Any]) -> str:
    """The flag of a key, or ``--yes/--no`` of a boolean."""
    declared, name = declaration(item), item.name.replace("_", "-")
    return declared.flags or (f"--{name}/--no-{name}" if declared.rule is BOOLEAN else f"--{name}")


def keyword_of(item: Field[Any]) -> str:
    """What a function of Python calls a key: the flag's name, of a boolean that of ``--yes``."""
    return flags_of(item).partition("/")[0].removeprefix("--").replace("-", "_")


def flag_settings(command: str) -> Iterator[tuple[str, Field[Any]]]:
    """(section, field) of every key that is a flag of the command, in the order of the declarations."""
    for section, kind in SECTIONS.items():
        for item in fields(kind):
            declared = declaration(item)
            if not declared.in_file and command in (*_COMMANDS[section], *declared.also):
                yield section, item
