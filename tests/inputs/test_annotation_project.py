"""The texts of an annotator's folder: they say what was meant when they are read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rendering.renderer import RenderSettings
from pipeline.settings.absolute_paths import with_absolute_paths
from pipeline.settings.classes import configured_classes, read_classes_file
from pipeline.settings.files import Config, load_config
from pipeline.settings.schema import AnnotationsConfig, ClassConfig, GeneratorConfig
from pipeline.stages.sample.project import classes_text, config_text, project_config, read_project

names = st.text(min_size=1, max_size=12).filter(lambda name: bool(name.strip()) and name.isprintable())
colors = st.none() | st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)
lists = st.lists(
    st.builds(ClassConfig, names, colors),
    min_size=1,
    max_size=5,
    unique_by=lambda entry: entry.name.casefold(),
)


@given(lists)
def test_classes_are_read_back_whatever_their_names(
    tmp_path_factory: pytest.TempPathFactory, classes
) -> None:
    path = tmp_path_factory.mktemp("c") / "classes.toml"
    path.write_text(classes_text(classes), encoding="utf-8")
    assert read_classes_file(path) == tuple(classes)


def test_a_file_of_classes_that_was_not_filled_in_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text(classes_text([]))
    assert read_classes_file(path) == (ClassConfig("background", "#000000"),)
    assert configured_classes(AnnotationsConfig(classes_file=path))[0] == ()


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [
        ("g.pt", "../g.pt"),  # beside the folder: both may move
        ("new/g.pt", "g.pt"),  # inside it
        ("models/g.pt", "../models/g.pt"),
        ("../g.pt", None),  # elsewhere: named in full
        (None, ""),
    ],
)
def test_a_configuration_is_read_back_with_its_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str | None, expected: str | None
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    out = Path("new")
    given = Config(generator=GeneratorConfig(checkpoint=checkpoint and Path(checkpoint)))  # type: ignore[arg-type]
    settings = RenderSettings(0.5, 8, "const", 3, (64, 64), (8, 56))
    config = project_config(given, settings, out)
    if expected is None:
        assert config.generator.checkpoint == Path(os.path.abspath("../g.pt"))
    else:
        assert config.generator.checkpoint == (Path(expected) if expected else None)
    out.mkdir()
    (out / "dgan.toml").write_text(config_text(config))
    read = load_config(out / "dgan.toml")
    assert read.features.resolution == 64 and read.features.crop_rows == (8, 56)
    assert read.generator.truncation_layers == 8
    paths = (
        read.latents.file,
        read.annotations.folder,
        read.annotations.images,
        read.annotations.classes_file,
    )
    assert paths == tuple(out / name for name in ("latents.npy", "masks", "images", "classes.toml"))
    assert (read.features.store, read.train.out) == ("new/features.zarr", out / "interpreter")


def test_paths_are_found_from_the_folder_and_from_a_link_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("big/ann", "other"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("big/ann")
    for place in ("g.pt", "big/g.pt", "big/ann/g.pt", "other/g.pt"):
        Path(place).touch()
    for name in ("g.pt", "big/g.pt", "link/../g.pt", "link/g.pt", "other/g.pt", "other/../g.pt"):
        config = Config(generator=GeneratorConfig(checkpoint=Path(name)))
        settings = RenderSettings(0.5, 8, "const", 3, (64, 64), (8, 56))
        for out in ("link", "big/ann", "link/../ann"):
            text = config_text(project_config(config, settings, Path(out)))
            Path("big/ann/dgan.toml").write_text(text)
            for folder in ("link", "big/ann", tmp_path / "link"):
                found = load_config(Path(folder, "dgan.toml"))
                for read in (found, with_absolute_paths(found)):  # as it is sent to workers
                    checkpoint = read.generator.checkpoint
                    assert checkpoint is not None and checkpoint.samefile(name), (name, out, checkpoint)


def test_places_of_another_configuration_are_inputs_and_what_is_written_lies_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("old/dgan.toml").write_text(
        '[calibrate]\nout = "calibration.json"\n[synthesize]\nstore = "d.zarr"\ncalibration = "c.json"\n'
        '[export]\nlabel_map = "map.toml"\n[segment]\ndata = "d.zarr"\nout = "s"\nreal_images = "photos"\n'
        '[segment_test]\nout = "t.json"\n[translate]\nsource = "s3://bucket/d.zarr"\nout = "tr"\n'
    )
    settings = RenderSettings(0.5, 8, "const", 3, (64, 64), (8, 56))
    config = project_config(load_config("old/dgan.toml"), settings, Path("new"))
    Path("new/dgan.toml").write_text(config_text(config))
    read = load_config("new/dgan.toml")
    written = (read.calibrate.out, read.synthesize.calibration, read.segment.data, read.synthesize.store)
    assert [str(place) for place in written] == [
        f"new/{name}" for name in ("calibration.json", "calibration.json", "dataset.zarr", "dataset.zarr")
    ]
    assert read.segment.out == Path("new/segmenter") and read.segment_test == Config().segment_test
    assert read.translate.out == Path("new/translator") and read.translate.source == "s3://bucket/d.zarr"
    assert read.export.label_map == Path("new/../old/map.toml")
    assert read.segment.real_images == Path("new/../old/photos")


def test_no_folder_and_an_empty_one_hold_no_project(tmp_path: Path) -> None:
    assert read_project(tmp_path / "none") is None
    assert read_project(tmp_path) is None
