"""Released JSON experiments: what each key means here, where their paths lead, and one line for a mistake."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from support.places import REPOSITORY
from support.tiny import CHANNELS, RESOLUTION, write_inputs

import fstore
from pipeline.cli import main
from pipeline.errors import UsageError
from pipeline.inputs.generator import render_settings
from pipeline.settings.files import load_config
from pipeline.settings.released_experiments import parse_experiment
from pipeline.settings.schema import Config

FACES = "karras2019stylegan-celebahq-1024x1024.for_g_all.pt"


def datasetgan(**changes: Any) -> dict[str, Any]:
    """The keys of DatasetGAN's experiments with the values of its faces; None leaves a key out."""
    release = "./dataset_release"
    keys = {
        "exp_dir": "model_dir/face_34",
        "batch_size": 64,
        "category": "face",
        "debug": False,
        "dim": [512, 512, 5088],
        "deeplab_res": 512,
        "number_class": 34,
        "testing_data_number_class": 34,
        "max_training": 16,
        "stylegan_ver": "1",
        "annotation_data_from_w": False,
        "annotation_mask_path": f"{release}/annotation/training_data/face_processed",
        "testing_path": f"{release}/annotation/testing_data/face_34_class",
        "average_latent": f"{release}/training_latent/face_34/avg_latent_stylegan1.npy",
        "annotation_image_latent_path": f"{release}/training_latent/face_34/latent_stylegan1.npy",
        "stylegan_checkpoint": f"{release}/stylegan_pretrain/{FACES}",
        "model_num": 10,
        "upsample_mode": "bilinear",
    }
    return {key: value for key, value in {**keys, **changes}.items() if value is not None}


def editgan(**changes: Any) -> dict[str, Any]:
    """EditGAN's interpreter experiment: W+ embeddings, no average latent, 512 px StyleGAN2."""
    keys = datasetgan(
        exp_dir="model_interpreter/car",
        category="car",
        dim=[384, 512, 6016],
        number_class=32,
        max_training=32,
        stylegan_ver="2",
        annotation_data_from_w=True,
        testing_path="",
        stylegan_checkpoint="./checkpoint/stylegan2-car-config-f.pt",
    )
    for key in ("average_latent", "annotation_image_latent_path", "deeplab_res"):
        del keys[key]
    return {
        **keys,
        "optimized_latent_path": {"train": "./checkpoint/training_embedding/", "test": ""},
        **changes,
    }


def editgan_tool(**changes: Any) -> dict[str, Any]:
    keys = {
        "category": "car",
        "im_size": [384, 512],
        "num_class": 32,
        "n_latent": 16,
        "avg_latent": "",
        "stylegan_checkpoint": "./checkpoint/stylegan2-car-config-f.pt",
        "encoder_checkpoint": "./checkpoint/encoder.pth",
        "classfier_checkpoint": "./checkpoint/datasetgan_pretrain/classifier",
        "root_path": "./static/",
        "num_classifier": 10,
        "use_w": False,
        "truncation": False,
        "stylegan_ver": "2",
        "dim": 6016,
        "loss_dict": {"p_loss": 10},
        "use_noise": False,
    }
    return {**keys, **changes}


def write(folder: Path, document: Any, name: str = "exp.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def parse(document: Any) -> Config:
    text = document if isinstance(document, str) else json.dumps(document)
    return parse_experiment(text, Path("/release/experiments/exp.json"))


def message_of(document: Any) -> str:
    with pytest.raises(UsageError) as caught:
        parse(document)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("/release/experiments/exp.json: ")
    return message


# --- what keys mean ---


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("face_34", datasetgan()),
        (
            "car_20",
            datasetgan(
                dim=[384, 512, 5056],
                number_class=20,
                stylegan_checkpoint="./dataset_release/stylegan_pretrain/"
                "karras2019stylegan-cars-512x384.for_g_all.pt",
            ),
        ),
        (
            "cat_16",
            datasetgan(
                dim=[256, 256, 4992],
                number_class=16,
                max_training=30,
                average_latent="./dataset_release/training_latent/cat_16/avg_latent_cat.npy",
                stylegan_checkpoint="./dataset_release/stylegan_pretrain/"
                "karras2019stylegan-cats-256x256.for_g_all.pt",
            ),
        ),
        (
            "editgan_car_32",
            editgan(
                stylegan_checkpoint="./checkpoint/stylegan_pretrain/stylegan2_networks_stylegan2-car-config-f.pt",
                optimized_latent_path={"train": "./checkpoint/encoder_pretrain/training_embedding/"},
            ),
        ),
    ],
)
def test_an_experiment_says_what_its_twin_in_toml_says(name: str, document: dict[str, Any]) -> None:
    found, twin = parse(document), load_config(REPOSITORY / "configs" / f"{name}.toml")
    assert found.features == twin.features
    assert found.annotations.num_classes == len(twin.annotations.classes)
    assert found.annotations.min_pixels == twin.annotations.min_pixels
    assert (found.latents.space, found.latents.max_images) == (twin.latents.space, twin.latents.max_images)
    assert (found.train.members, found.train.batch_size) == (twin.train.members, twin.train.batch_size)
    assert found.generator.truncation == twin.generator.truncation
    assert found.generator.truncation_layers is None  # the generator's own default is the released value
    for section, key in (("generator", "checkpoint"), ("generator", "average_latent"), ("latents", "file")):
        left, right = getattr(getattr(found, section), key), getattr(getattr(twin, section), key)
        assert (left and left.name) == (right and right.name)


@pytest.mark.parametrize(
    ("dim", "resolution", "crop_rows"),
    [
        ([512, 512, 5088], 512, None),  # faces: the square itself
        ([384, 512, 5056], 512, (64, 448)),  # cars: the rows that the release cuts by their category's name
        ([256, 256, 4992], 256, None),  # cats and bedrooms
        ([192, 256, 10], 256, (32, 224)),  # of one's own: the rows in the middle
    ],
)
def test_dim_is_a_square_and_the_middle_of_its_rows(
    dim: list[int], resolution: int, crop_rows: tuple[int, int] | None
) -> None:
    features = parse(datasetgan(dim=dim)).features
    assert (features.resolution, features.crop_rows, features.channels) == (resolution, crop_rows, dim[2])
    tool = parse(editgan_tool(im_size=dim[:2], dim=dim[2])).features
    assert tool == features


@pytest.mark.parametrize(("from_w", "space"), [(False, "z"), (True, "w+"), (None, None)])
def test_latents_of_w_are_w_plus_as_the_release_feeds_them(from_w: bool | None, space: str | None) -> None:
    assert parse(datasetgan(annotation_data_from_w=from_w)).latents.space == space


def test_embeddings_of_editgan_are_w_plus_in_a_folder() -> None:
    latents = parse(editgan(annotation_data_from_w=False)).latents
    assert (latents.file, latents.space) == (
        Path("/release/experiments/checkpoint/training_embedding"),
        "w+",
    )
    assert parse(editgan(optimized_latent_path="a.npy")).latents.file == Path("/release/experiments/a.npy")


def test_the_classifiers_of_the_tool_are_the_interpreter() -> None:
    config = parse(editgan_tool())
    assert config.synthesize.interpreter == config.train.out
    assert config.synthesize.interpreter == Path("checkpoint/datasetgan_pretrain/classifier")
    assert (config.train.members, config.annotations.num_classes) == (10, 32)
    encoder = parse(editgan_tool(classfier_checkpoint="", exp_dir="model_encoder/car"))
    assert encoder.synthesize.interpreter == Config().synthesize.interpreter  # exp_dir is the encoder's
    assert "exp_dir" in encoder.notes[0]


def test_a_nearest_experiment_is_nearest() -> None:
    assert parse(datasetgan(upsample_mode="nearest")).features.upsample == "nearest"


@pytest.mark.parametrize("blank", ["", "  ", "FILL_THIS", "fill_this"])
def test_blanks_and_placeholders_are_as_good_as_no_key(blank: str) -> None:
    config = parse(datasetgan(stylegan_checkpoint=blank, average_latent=blank, exp_dir=blank))
    assert config.generator.checkpoint is None and config.generator.average_latent is None
    assert config.train.out == Config().train.out
    filled = [note for note in config.notes if "FILL_THIS" in note]
    assert len(filled) == (1 if blank.strip() else 0)
    assert not filled or "exp_dir, average_latent, stylegan_checkpoint" in filled[0]


def test_keys_without_a_meaning_and_unknown_keys_are_listed_once_each() -> None:
    config = parse(datasetgan(colour="red", extra=[1]))
    assert config.notes[:-1] == (
        "/release/experiments/exp.json: these keys mean nothing here: category, debug",
        "/release/experiments/exp.json: these keys are not known and not used: 'colour', 'extra'",
    )
    assert parse({"dim": [8, 8, 3]}).notes[:-1] == ()


def test_the_testing_path_is_what_a_segmenter_is_tested_on() -> None:
    config = parse(datasetgan(deeplab_res=256, testing_data_number_class=12))
    folder = Path("/release/experiments/dataset_release/annotation/testing_data/face_34_class")
    tested = config.segment_test
    assert (tested.images, tested.annotations) == (folder, None)  # each picture lies beside its labels
    assert (tested.num_classes, tested.resolution, config.segment.resolution) == (12, 256, 256)
    assert parse(editgan()).segment_test == replace(Config().segment_test, num_classes=34)
    for wrong in ("large", 0, 16385):
        assert "deeplab_res" in message_of(datasetgan(deeplab_res=wrong))


def test_where_results_go_and_in_which_layout_is_said(tmp_path: Path) -> None:
    where = "--layout, --store and --out change that"
    assert parse({"dim": [8, 8, 3], "exp_dir": "/x/model"}).notes[-1] == (
        "/release/experiments/exp.json: features become a pyramid in features.zarr, the interpreter goes to "
        f"/x/model; {where}"
    )
    assert f"interpreter goes to interpreter; {where}" in parse({"dim": [8, 8, 3]}).notes[-1]


# --- where paths lead ---


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("experiments", "experiments/data/a.npy"),  # beside the file
        (".", "data/a.npy"),  # above it, as in the release
        ("elsewhere", "data/a.npy"),  # the working folder
        (None, "experiments/data/a.npy"),  # nowhere: as if beside the file
    ],
)
def test_paths_are_looked_for_beside_the_file_above_it_and_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str | None, expected: str
) -> None:
    path = write(tmp_path / "experiments", {"average_latent": "./data/a.npy"})
    if where is not None:
        (tmp_path / where / "data").mkdir(parents=True)
        (tmp_path / where / "data" / "a.npy").touch()
    monkeypatch.chdir(tmp_path / where if where == "elsewhere" else tmp_path)
    found = load_config(path).generator.average_latent
    assert found == (Path(expected) if where == "elsewhere" else tmp_path / expected)


def test_the_nearest_of_several_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (tmp_path / "experiments", tmp_path):
        (folder / "a.npy").parent.mkdir(exist_ok=True)
        (folder / "a.npy").touch()
    path = write(tmp_path / "experiments", {"average_latent": "a.npy"})
    monkeypatch.chdir(tmp_path)
    assert load_config(path).generator.average_latent == tmp_path / "experiments" / "a.npy"


def test_absolute_paths_and_those_of_the_file_in_the_working_folder_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "a.npy").touch()
    write(tmp_path / "experiments", {"average_latent": "a.npy", "stylegan_checkpoint": "/nowhere/g.pt"})
    monkeypatch.chdir(tmp_path / "experiments")
    generator = load_config("exp.json").generator
    assert (generator.average_latent, generator.checkpoint) == (Path("../a.npy"), Path("/nowhere/g.pt"))


def test_what_is_written_goes_to_the_working_folder_unless_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "experiments", datasetgan())
    monkeypatch.chdir(tmp_path)
    config = load_config(path)
    assert config.train.out == config.synthesize.interpreter == Path("model_dir/face_34")
    assert (config.features.store, config.synthesize.store) == ("features.zarr", "dataset.zarr")
    (tmp_path / "experiments" / "model_dir" / "face_34").mkdir(parents=True)
    assert load_config(path).train.out == tmp_path / "experiments" / "model_dir" / "face_34"


# --- mistakes ---


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        ("{", ["not valid JSON", "line 1"]),
        ("[" * 100_000, ["not valid JSON"]),  # deeper than the parser goes
        ("[1]", ["[1]", "JSON object"]),
        ("{}", ["no key", "stylegan_checkpoint"]),
        ({"name": "a package", "version": "1"}, ["no key of a DatasetGAN or EditGAN experiment"]),
        ('{"batch_size": 1' + "0" * 5000 + "}", ["not valid JSON"]),  # a number that int() refuses
        (" " * 2**20 + "{}", ["characters"]),
        (datasetgan(dim=[512, 512]), ["dim is [512, 512]", "[rows, columns, channels]"]),
        (datasetgan(dim=[512, 512, 0]), ["dim is", ">= 1"]),
        (datasetgan(dim=[512.0, 512, 3]), ["dim is [512.0"]),
        (datasetgan(dim="512"), ["dim is '512'"]),
        (datasetgan(dim=True), ["dim is True"]),
        (datasetgan(dim=[512, 384, 5056]), ["dim has 512 rows and 384 columns"]),
        (editgan_tool(im_size=[512, 384]), ["im_size has 512 rows"]),
        (editgan_tool(im_size=512), ["im_size is 512", "[rows, columns]"]),
        (datasetgan(number_class=0), ["number_class is 0", "from 1 to 65536"]),
        (datasetgan(number_class="34"), ["number_class is '34'"]),
        (datasetgan(batch_size=1), ["batch_size is 1", "integer >= 2"]),
        (datasetgan(model_num=True), ["model_num is True"]),
        (datasetgan(max_training=-1), ["max_training is -1"]),
        (datasetgan(annotation_data_from_w="false"), ["annotation_data_from_w is 'false'", "true or false"]),
        (datasetgan(upsample_mode="bicubic"), ["upsample_mode is 'bicubic'", '"nearest"']),
        (datasetgan(stylegan_ver="3"), ["stylegan_ver is '3'", '"1" or "2"']),
        (datasetgan(stylegan_checkpoint=3), ["stylegan_checkpoint is 3", "a path"]),
        (datasetgan(exp_dir=["a"]), ["exp_dir is ['a']", "a path"]),
        (datasetgan(average_latent="a\0b"), ["average_latent is"]),
        (editgan(optimized_latent_path={"train": 3}), ["optimized_latent_path.train is 3", "a path"]),
        (editgan(optimized_latent_path=[]), ["optimized_latent_path is []", "a path"]),
    ],
)
def test_a_mistake_is_named_in_one_line(document: Any, parts: list[str]) -> None:
    message = message_of(document)
    for part in parts:
        assert part in message


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted({*datasetgan(), *editgan(), *editgan_tool()})), values))
def test_any_values_give_a_configuration_or_one_line(document: dict[str, Any]) -> None:
    try:
        config = parse(json.dumps(document))
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert all("\n" not in note for note in config.notes)


@given(st.text(max_size=40))
def test_any_text_gives_one_line(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "exp.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        load_config(tmp_path / "exp.json")


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff" + json.dumps(datasetgan()))
    assert load_config(path).train.members == 10


# --- the commands ---


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder laid out as the release's: experiments/ beside the data, run from above."""
    write_inputs(tmp_path / "dataset_release", height=24)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tiny(**changes: Any) -> dict[str, Any]:
    keys = datasetgan(
        exp_dir="model_dir/tiny",
        batch_size=16,
        dim=[24, RESOLUTION, CHANNELS],
        number_class=4,
        max_training=3,
        annotation_mask_path="./dataset_release/masks",
        average_latent="",
        annotation_image_latent_path="./dataset_release/latents.npy",
        stylegan_checkpoint="./dataset_release/checkpoint.pt",
        model_num=2,
    )
    return {**keys, **changes}


def dgan(*words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", "experiments/tiny.json"])


@pytest.mark.slow
def test_the_three_commands_run_on_an_experiment_as_it_is(release: Path) -> None:
    write(release / "experiments", tiny(), "tiny.json")
    extracted = dgan("extract-features")
    assert extracted.exit_code == 0, extracted.output
    assert extracted.stderr.count("these keys mean nothing here: category, debug") == 1
    store = fstore.open("features.zarr")
    assert isinstance(store, fstore.FeatureStore)
    assert store.features.shape == (3, 24, RESOLUTION, CHANNELS)  # max_training of the four
    assert store.meta.crop_rows == (4, 28) and len(store.meta.classes) == 4
    latents = np.load("dataset_release/latents.npy")[:3]
    assert np.array_equal(store.latents.compute(), latents.astype(np.float32))
    assert extracted.stderr.count("features become a pyramid in features.zarr") == 1
    trained = dgan("train", "--steps", "5")
    assert trained.exit_code == 0, trained.output
    assert (release / "model_dir" / "tiny" / "interpreter.json").is_file()
    made = dgan("synthesize", "--num", "2")
    assert made.exit_code == 0, made.output
    assert len(fstore.open("dataset.zarr")) == 2
    for later in (trained, made):  # what the file does not mean was said when the features were extracted
        assert "mean nothing here" not in later.stderr and "pyramid" not in later.stderr


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"dim": [24, RESOLUTION, 5088]}, f"has {CHANNELS} feature channels in 8 layers"),
        ({"stylegan_checkpoint": "FILL_THIS"}, "no checkpoint is given; pass --checkpoint"),
        ({"annotation_image_latent_path": ""}, "no latents are given"),
        ({"annotation_mask_path": ""}, "no annotations are given"),
        ({"annotation_data_from_w": True}, "latents have shape (4, 16)"),
        ({"number_class": 3}, "label 3"),
    ],
)
def test_what_an_experiment_lacks_is_said_when_it_is_needed(
    release: Path, changes: dict[str, Any], part: str
) -> None:
    write(release / "experiments", tiny(**changes), "tiny.json")
    result = dgan("extract-features")
    assert result.exit_code == 2
    assert part in result.stderr.splitlines()[-1]
    assert not (release / "features.zarr").exists()


def test_channels_are_not_held_against_a_selection_of_layers(release: Path) -> None:
    from pipeline.checkpoints.read import load_generator
    from pipeline.rendering.layer_selection import with_layers
    from pipeline.settings.files import with_overrides

    config = load_config(write(release / "experiments", tiny(), "tiny.json"))
    config = with_overrides(config, "features", layers="2:")
    loaded = with_layers(load_generator(config.generator.checkpoint), config.features.layers)
    assert render_settings(config, loaded).crop_rows == (4, 28)


@pytest.mark.parametrize(
    "value", ["9" * 400, "9" * 5000, "1e999", "NaN", "-1", '"\\u0000"', '"s3://k:secret@x"', "[[]]"]
)
def test_an_odd_value_of_any_key_is_taken_or_named_in_one_line(value: str) -> None:
    for key in datasetgan():
        text = json.dumps({"dim": [8, 8, 3], key: "HERE"}).replace('"HERE"', value)
        try:
            parse_experiment(text, Path("exp.json"))
        except UsageError as error:
            assert str(error).startswith("exp.json: ") and "\n" not in str(error)
            assert "secret" not in str(error)
