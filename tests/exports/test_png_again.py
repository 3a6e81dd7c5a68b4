"""What ``--format png`` writes is an annotation again: the same masks, classes, colours and ignored label."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import dgan, done
from support.tiny import RESOLUTION, write_inputs

import fstore
from pipeline.inputs.annotations.load import load_annotations, open_annotations
from pipeline.settings.schema import AnnotationsConfig

NAMES = ("skin", "background", "hair", "eye")  # whose first is not called background


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of inputs ``in``, ``first.zarr`` of their images 2, 5 and 6, and ``out``, exported."""
    folder = tmp_path_factory.mktemp("first")
    write_inputs(folder / "in", num=7)
    for number in (0, 1, 3, 4):
        (folder / "in/masks" / f"image_mask{number}.npy").unlink()
    lists = "".join(f'[[classes]]\nname = "{name}"\n' for name in NAMES)
    (folder / "in/classes.toml").write_text(lists)
    (folder / "dgan.toml").write_text('[annotations]\nclasses_file = "in/classes.toml"\nignore = 3\n')
    extract(folder, folder / "in/masks", "first.zarr", "--config", folder / "dgan.toml")
    done("export", folder / "first.zarr", folder / "out", "--format", "png")
    return folder


def words(folder: Path, annotations: Path, *more: object) -> list[object]:
    (folder / "empty.toml").touch()
    flags = ["--checkpoint", folder / "in/checkpoint.pt", "--latents", folder / "in/latents.npy"]
    flags += ["--annotations", annotations, "--layout", "pyramid", "--annotated-only"]
    return ["extract-features", *flags, *(more or ("--config", folder / "empty.toml"))]


def extract(folder: Path, annotations: Path, store: str, *more: object) -> None:
    done(*words(folder, annotations, *more), "--store", folder / store)


@pytest.mark.parametrize("what", ["out", "out/labels"])
def test_an_exported_feature_store_gives_the_same_store(first: Path, what: str) -> None:
    extract(first, first / what, f"{Path(what).name}.zarr")
    expected, found = fstore.open(first / "first.zarr"), fstore.open(first / f"{Path(what).name}.zarr")
    assert isinstance(expected, fstore.FeatureStore)
    assert isinstance(found, fstore.FeatureStore)
    np.testing.assert_array_equal(found.masks, expected.masks)
    np.testing.assert_array_equal(found.class_counts, expected.class_counts)
    assert found.meta.classes == expected.meta.classes
    assert [entry.name for entry in found.meta.classes] == list(NAMES)
    assert found.meta.ignore == expected.meta.ignore == 3
    assert found.meta.inputs["image_numbers"] == expected.meta.inputs["image_numbers"] == [2, 5, 6]


def test_the_exported_pictures_are_compared_with_what_is_rendered(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first / "out", tmp_path / "out")
    Image.new("RGB", (RESOLUTION, RESOLUTION), "red").save(tmp_path / "out/images/000005.png")
    result = dgan(*words(first, tmp_path / "out"), "--store", tmp_path / "other.zarr")
    assert result.exit_code == 2
    assert "first 000005.png: differs" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "other.zarr").exists()


def loaded(folder: Path, **settings: object) -> tuple[object, ...]:
    config = AnnotationsConfig(folder=folder, min_pixels=0, **settings)  # type: ignore[arg-type]
    source = open_annotations(config)
    found = load_annotations(source, source.numbers, grid=(RESOLUTION, RESOLUTION), config=config)
    return source.numbers, found.masks.tolist(), found.names, found.palette, found.ignore


def test_the_splits_of_an_export_are_read_together_and_one_alone(first: Path, tmp_path: Path) -> None:
    whole = loaded(first / "out")
    done("export", first / "first.zarr", tmp_path / "out", "--format", "png", "--split", "a=0.67,b=0.33")
    assert loaded(tmp_path / "out") == whole
    parts = [loaded(tmp_path / "out" / name) for name in ("a", "b")]
    assert sorted(number for part in parts for number in part[0]) == list(whole[0])  # type: ignore[attr-defined,call-overload]
    assert {part[2:] for part in parts} == {whole[2:]}


def test_configured_classes_win_over_those_of_the_export(first: Path, tmp_path: Path) -> None:
    lists = tmp_path / "other.toml"
    lists.write_text("ignore = 200\n" + "".join(f'[[classes]]\nname = "c{i}"\n' for i in range(5)))
    _, masks, names, _, ignore = loaded(first / "out", classes_file=lists)
    assert masks == loaded(first / "out")[1]
    assert (names, ignore) == (("c0", "c1", "c2", "c3", "c4"), 200)


def test_an_image_in_two_splits_is_refused(first: Path, tmp_path: Path) -> None:
    done("export", first / "first.zarr", tmp_path / "out", "--format", "png", "--split", "a=0.67,b=0.33")
    mask = next((tmp_path / "out/a/labels").iterdir())
    shutil.copy(mask, tmp_path / "out/b/labels")
    result = dgan(*words(first, tmp_path / "out"), "--store", tmp_path / "s.zarr")
    assert result.exit_code == 2
    assert f"{tmp_path / 'out/b/labels' / mask.name}: " in result.stderr
