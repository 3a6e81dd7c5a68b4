"""The configuration: defaults, TOML, flags laid over it, and one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.places import REPOSITORY

import pipeline
from pipeline.errors import UsageError
from pipeline.settings import files as config_module
from pipeline.settings.files import (
    DEMO_SOURCE,
    load_config,
    to_toml,
    with_overrides,
)
from pipeline.settings.schema import SECTIONS, ClassConfig, Config, declaration
from pipeline.settings.values import AUTO_KEEP


def write(folder: Path, text: str, name: str = "exp.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def message_of(call: Any, *arguments: Any, **flags: Any) -> str:
    with pytest.raises(UsageError) as caught:
        call(*arguments, **flags)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- where it comes from ---


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    assert load_config(path) == Config()
    assert load_config(path).source == str(path)


def test_every_documented_key_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [generator]
        checkpoint = "face.pt"
        average_latent = "/abs/avg.npy"
        truncation = 1
        truncation_layers = 7
        noise = "zero"
        noise_seed = 5
        [latents]
        file = "latents.npy"
        space = "w+"
        [annotations]
        folder = "masks"
        min_pixels = 0
        small_classes = "ignore"
        ignore = 255
        num_classes = 2
        [[annotations.classes]]
        name = "background"
        [[annotations.classes]]
        name = "skin"
        color = "#AAbbcc"
        [features]
        resolution = 512
        crop_rows = [64, 448]
        layout = "pyramid"
        store = "s3://bucket/features.zarr"
        [train]
        hidden = [256, 128]
        out = "out"
        steps = 10
        [synthesize]
        keep = 0.07
        score = "mean"
        store = "dataset.zarr"
        render_batch = 32
        """,
    )
    config = load_config(path)
    assert config.generator.checkpoint == tmp_path / "face.pt"
    assert config.generator.average_latent == Path("/abs/avg.npy")
    assert config.generator.truncation == 1.0 and isinstance(config.generator.truncation, float)
    assert (config.latents.file, config.latents.space) == (tmp_path / "latents.npy", "w+")
    assert config.annotations.classes == (ClassConfig("background"), ClassConfig("skin", "#aabbcc"))
    assert config.features.crop_rows == (64, 448)
    assert config.features.store == "s3://bucket/features.zarr"
    assert (config.train.hidden, config.train.out, config.train.steps) == ((256, 128), tmp_path / "out", 10)
    assert (config.synthesize.keep.text, config.synthesize.store) == ("0.07", str(tmp_path / "dataset.zarr"))


def test_the_file_in_the_current_folder_comes_before_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config_module, "demo_text", lambda: '[train]\nout = "here"\n')
    demo = load_config()
    assert demo.demo and demo.source == "embedded demo configuration"
    assert demo.train.out == Path("here")  # not inside the installed package
    write(tmp_path, "[train]\nmembers = 3\n", "dgan.toml")
    assert (load_config().train.members, load_config().source, load_config().demo) == (3, "dgan.toml", False)
    other = write(tmp_path, "[train]\nmembers = 4\n")
    assert load_config(other).train.members == 4


def test_the_embedded_demo_configuration_loads_from_the_checkout() -> None:
    demo = config_module._parse_toml(config_module.demo_text(), DEMO_SOURCE, None)
    assert demo.demo
    assert demo.synthesize.store == "dataset.zarr" and demo.features.store == "features.zarr"


def test_the_embedded_demo_configuration_is_that_of_the_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    write(tmp_path / "configs", "# installed\n", "demo.toml")
    monkeypatch.setattr(pipeline, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "pipeline.configs", raising=False)
    assert config_module.demo_text() == "# installed\n"
    sys.modules.pop("pipeline.configs", None)


def test_a_missing_demo_configuration_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "__file__", str(tmp_path / "pipeline" / "settings" / "files.py"))
    monkeypatch.setitem(sys.modules, "pipeline.configs", None)  # as if not installed
    assert "demo.toml" in message_of(config_module.demo_text)


def test_importing_the_configuration_loads_no_heavy_library() -> None:
    code = (
        "import sys, pipeline.settings.files; print({'numpy', 'torch', 'zarr', 'click'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


# --- mistakes ---


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[generater]\n", ["generater", "'generator'"]),
        ("[train]\nmember = 3\n", ["[train]", "'member'", "'members'"]),
        ("trian = 3\n", ["'trian'", "'train'"]),
        ("train = 3\n", ["[train] is 3", "table"]),
        ("[train]\nmembers = 0\n", ["[train] members is 0", "integer >= 1"]),
        ("[train]\nmembers = true\n", ["members is True", "integer"]),
        ("[train]\nmembers = 3.0\n", ["members is 3.0", "integer"]),
        ("[train]\nmembers = '3'\n", ["members is '3'", "integer"]),
        ("[train]\nhidden = [128]\n", ["hidden is [128]", "two widths"]),
        ("[train]\nhidden = [128, 0]\n", ["hidden is [128, 0]", "two widths"]),
        ("[train]\nbatch_size = 1\n", ["batch_size is 1", "integer >= 2"]),
        ("[train]\nbalance = 1.5\n", ["balance is 1.5", "from 0"]),
        ("[train]\nlearning_rate = 0\n", ["learning_rate is 0", "> 0"]),
        ("[train]\nheld_out = 1.0\n", ["held_out is 1.0", "< 1"]),
        ("[train]\nseed = -1\n", ["seed is -1", "integer >= 0"]),
        ("[generator]\ntruncation = nan\n", ["truncation is nan", "finite"]),
        ("[generator]\ntruncation = inf\n", ["truncation is inf", "finite"]),
        ("[generator]\nnoise = 'loud'\n", ["noise is 'loud'", '"const", "zero", "random"']),
        ("[generator]\ncheckpoint = 3\n", ["checkpoint is 3", "path"]),
        ("[generator]\ncheckpoint = ''\n", ["checkpoint is ''", "path"]),
        ("[latents]\nspace = 'Z'\n", ["space is 'Z'", '"w+"']),
        ("[annotations]\nignore = 65536\n", ["ignore is 65536", "from 0 to 65535"]),
        ("[annotations]\nclasses = ['a']\n", ["no tables [[annotations.classes]]"]),
        ("[annotations]\nclasses = 'a'\n", ["no tables [[annotations.classes]]"]),
        ("[[annotations.classes]]\ncolor = '#000000'\n", ["number 0", 'expected name = "..."']),
        ("[[annotations.classes]]\nname = 'a'\ncolour = 'b'\n", ["'colour'", "'color'"]),
        ("[[annotations.classes]]\nname = 'a'\ncolor = 'red'\n", ["color is 'red'", "#rrggbb"]),
        (
            "[[annotations.classes]]\nname='a'\n[[annotations.classes]]\nname='a'\n",
            ["number 1", "'a'", "number 0"],
        ),
        (
            "[annotations]\nnum_classes = 3\n[[annotations.classes]]\nname='a'\n",
            ["num_classes is 3", "expected 1"],
        ),
        ("[features]\ncrop_rows = [8, 8]\n", ["crop_rows is [8, 8]", "a < b"]),
        ("[features]\ncrop_rows = [-1, 8]\n", ["crop_rows is [-1, 8]", "0 <= a"]),
        ("[features]\ncrop_rows = [8]\n", ["crop_rows is [8]"]),
        ("[features]\ncrop_rows = [0, 65]\nresolution = 64\n", ["crop_rows ends at 65", "64"]),
        ("[features]\nlayout = 'densee'\n", ["layout is 'densee'", '"dense"']),
        ("[synthesize]\nkeep = 0\n", ["keep is 0", "0 < keep <= 1"]),
        ("[synthesize]\nkeep = 1.01\n", ["keep is 1.01", "0 < keep <= 1"]),
        ("[synthesize]\nkeep = '1/2'\n", ["keep is '1/2'", "decimal"]),
        ("[synthesize]\nrender_batch = 3\n", ["render_batch is 3", "divisor of 64"]),
        ("demo = 1\n", ["demo is 1", "true or false"]),
        ("[train\n", ["not valid TOML", "line 1"]),
        ("[train]\nseed = 1\nseed = 2\n", ["not valid TOML"]),
    ],
)
def test_a_mistake_in_the_file_is_named_in_one_line(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = write(tmp_path, text)
    message = message_of(load_config, path)
    for part in [str(path), *parts]:
        assert part in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "none.toml" in message_of(load_config, tmp_path / "none.toml")
    assert str(tmp_path) in message_of(load_config, tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in message_of(load_config, binary)


def test_a_dangling_dgan_toml_is_an_error_rather_than_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dgan.toml").symlink_to(tmp_path / "gone.toml")
    assert "dgan.toml" in message_of(load_config)


# --- flags ---


def test_flags_win_over_the_file_and_none_is_no_flag(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "[features]\nresolution = 64\nstore = 'a.zarr'\n"))
    merged = with_overrides(config, "features", resolution=None, crop_rows="8:56", store="b.zarr")
    assert merged.features == replace(config.features, crop_rows=(8, 56), store="b.zarr")
    assert merged.source == config.source
    assert config.features.crop_rows is None


def test_paths_in_flags_are_those_of_the_current_folder(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "[generator]\ncheckpoint = 'a.pt'\n"))
    merged = with_overrides(config, "generator", checkpoint=Path("b.pt"))
    assert merged.generator.checkpoint == Path("b.pt")


@pytest.mark.parametrize(
    ("section", "flags", "parts"),
    [
        ("features", {"crop_rows": "56:8"}, ["--crop-rows is '56:8'", "A:B"]),
        ("features", {"crop_rows": "8-56"}, ["--crop-rows is '8-56'"]),
        ("features", {"resolution": 32, "crop_rows": "0:64"}, ["crop_rows ends at 64", "32", "flags"]),
        ("generator", {"truncation": float("nan")}, ["--truncation is nan"]),
        ("latents", {"space": "x"}, ["--latent-space is 'x'"]),
        ("latents", {"file": ""}, ["--latents is ''"]),
        ("annotations", {"folder": "a\0b"}, ["--annotations is"]),
        ("annotations", {"min_pixels": -1}, ["--min-pixels is -1"]),
        ("train", {"batch_size": 1}, ["--batch-size is 1"]),
        ("synthesize", {"keep": "0"}, ["--keep is '0'", "0 < keep <= 1"]),
    ],
)
def test_a_bad_flag_is_named_as_the_user_typed_it(
    section: str, flags: dict[str, Any], parts: list[str]
) -> None:
    message = message_of(with_overrides, Config(), section, **flags)
    for part in parts:
        assert part in message


def test_every_default_obeys_its_own_rule() -> None:
    for kind in SECTIONS.values():
        for item in fields(kind):
            if item.default is not None:
                assert declaration(item).rule.parse(item.default) == item.default


# --- round trip ---

words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=8)
absolute = words.map(lambda name: Path("/data") / name.replace("/", "_"))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


overrides: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "generator": {
        "checkpoint": absolute,
        "truncation": st.floats(allow_nan=False, allow_infinity=False),
        "noise": st.sampled_from(["const", "zero", "random"]),
        "noise_seed": st.integers(0, 2**63 - 1),
    },
    "latents": {"file": absolute, "space": st.sampled_from(["z", "w", "w+"])},
    "annotations": {"folder": absolute, "ignore": st.integers(0, 65535)},
    "features": {
        "crop_rows": st.tuples(st.integers(0, 500), st.integers(1, 500)).map(lambda ab: (ab[0], sum(ab))),
        "store": st.just("gs://bucket/a.zarr") | absolute.map(str),
    },
    "train": {
        "hidden": st.tuples(st.integers(1, 512), st.integers(1, 512)),
        "learning_rate": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
        "out": absolute,
    },
    "segment": {
        "left_right": st.lists(words, min_size=2, max_size=6, unique=True).map(
            lambda names: tuple(zip(names[::2], names[1::2], strict=False))
        ),
        "output_stride": st.sampled_from([8, 16, 32]),
        "crop": st.floats(0, 1, exclude_min=True),
    },
    "synthesize": {
        "keep": st.decimals("0.0001", "1").map(str),
        "interpreter": absolute,
        "store": absolute.map(str),
    },
}


@given(
    flags=st.fixed_dictionaries(
        {
            name: st.fixed_dictionaries({k: maybe(v) for k, v in keys.items()})
            for name, keys in overrides.items()
        }
    ),
    classes=st.lists(
        st.builds(ClassConfig, words, maybe(st.just("#0a0b0c"))), max_size=4, unique_by=lambda c: c.name
    ),
    demo=st.booleans(),
)
def test_a_configuration_written_as_toml_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, flags: Any, classes: list[ClassConfig], demo: bool
) -> None:
    config = Config(demo=demo)
    config = replace(config, annotations=replace(config.annotations, classes=tuple(classes)))
    config = with_overrides(config, "train", out=Path("/data/i"))
    config = with_overrides(config, "features", store="/data/f")
    config = with_overrides(config, "calibrate", out="/data/c")
    config = with_overrides(config, "segment", data="/data/d", out="/data/s")
    config = with_overrides(config, "segment_test", out="/data/t")
    config = with_overrides(config, "translate", source="/data/d", out="/data/t")
    config = with_overrides(
        config, "synthesize", store="/data/d", interpreter="/data/i", calibration="/data/c"
    )
    for section, keys in flags.items():
        config = with_overrides(config, section, **keys)
    path = write(tmp_path_factory.mktemp("config"), to_toml(config))
    assert load_config(path) == config


def test_a_path_that_is_no_text_is_refused_before_a_file_holds_it() -> None:
    config = with_overrides(Config(), "generator", checkpoint=b"g\xff.pt".decode("utf-8", "surrogateescape"))
    assert "UTF-8" in message_of(to_toml, config)


def test_keep_is_written_as_a_number() -> None:
    config = with_overrides(Config(), "synthesize", keep="0.85")
    assert "\nkeep = 0.85\n" in to_toml(config)


ODD_TOML = [
    *("9" * 400, "9" * 5000, "0x" + "f" * 5000, "nan", "-inf", "1e999", "1e308", "-1", "true", "1979-05-27"),
    *(
        '""',
        '"\\u0000"',
        '"' + "9" * 400 + '"',
        '"://"',
        '"s3://key:secret@x"',
        "[]",
        "[[1]]",
        "{}",
        "{a = 1}",
    ),
    *("[1e999, 1]", "[" + "9" * 400 + ", 1]", '"' + "x" * 5000 + '"', '"\\u0663"', '"1:' + "9" * 400 + '"'),
]
EVERY_KEY = [(section, item.name) for section, kind in SECTIONS.items() for item in fields(kind)]


@pytest.mark.parametrize(("section", "name"), EVERY_KEY)
def test_an_odd_value_in_a_file_is_taken_or_named_in_one_line(
    section: str, name: str, tmp_path: Path
) -> None:
    for value in ODD_TOML:
        path = write(tmp_path, f"[{section}]\n{name} = {value}\n")
        try:
            load_config(path)
        except UsageError as error:
            message = str(error)
            assert message.startswith(f"{path}: ") and "\n" not in message and "secret" not in message


def test_auto_survives_a_file_and_a_flag(tmp_path: Path) -> None:
    path = tmp_path / "dgan.toml"
    path.write_text('[synthesize]\nkeep = "auto"\nkeep_per_class = true\ncalibration = "c.json"\n')
    config = load_config(path)
    assert config.synthesize.keep == AUTO_KEEP and config.synthesize.keep.is_auto
    assert config.synthesize.keep_per_class and config.synthesize.calibration == tmp_path / "c.json"
    path.write_text(to_toml(config))
    assert load_config(path).synthesize.keep == AUTO_KEEP
    assert with_overrides(config, "synthesize", keep="auto").synthesize.keep == AUTO_KEEP


def test_a_file_as_other_systems_write_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "exp.toml"
    path.write_bytes(b"\xef\xbb\xbf[train]\r\nmembers = 3\r\n")  # a byte order mark, and carriage returns
    assert load_config(path).train.members == 3


@pytest.mark.parametrize("name", ["exp.toml", "exp.json"])
def test_a_file_that_no_person_wrote_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(2**40)
    assert message_of(load_config, path).startswith(f"{path}: is {2**40} bytes; expected a configuration")
