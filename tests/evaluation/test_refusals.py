"""What does not belong together is refused in one line, before anything is measured or written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.commands import dgan, done
from support.stores import fill, make_meta
from support.training import CLASSES, write_store

import fstore
import pipeline
from fstore import format as fmt
from pipeline.evaluation import run
from pipeline.evaluation.table import table_of
from pipeline.interpreter.files import load_interpreter


def refusal(
    judged: Path, tmp_path: Path, store: object, *more: object, interpreter: Path | None = None
) -> str:
    out = tmp_path / "evaluation.json"
    words = ["evaluate", interpreter or judged / "interpreter", "--store", store, "--out", out]
    result = dgan(*words, *more)
    assert result.exit_code == 2, result.output
    assert not out.exists() and not out.with_suffix(".svg").exists()
    (line,) = result.stderr.splitlines()
    return line


def empty_store(judged: Path, path: Path, **changes: object) -> Path:
    """A store as those of ``judged``, with one image, of another attribute."""
    meta = replace(fstore.open(judged / "dense.zarr").meta, created={}, **changes)
    writer = fstore.create(path, meta, num_images=1, latent_shape=(4,))
    maps = [torch.zeros(layer.channels, *layer.resolution) for layer in meta.layers]
    shape = (meta.height, meta.width)
    points = None if meta.keypoints is None else np.ones((len(meta.keypoints.names), 3), np.float32)
    more = {} if points is None else {"keypoints": points}
    writer.write_image(
        0, maps, np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8), np.zeros(4, np.float32), **more
    )
    return path


OTHER_NAMES = tuple(replace(entry, name=f"{entry.name}s") for entry in CLASSES)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"generator": {"sha256": "cd" * 32}}, "its generator's sha256 is cdcdcdcdcdcd..."),
        ({"generator": {"sha256": "ab" * 32, "key": "g"}}, "its generator's key is 'g'"),
        ({"upsample": "nearest"}, "on a grid of 32 x 40, resized nearest; the interpreter"),
        ({"classes": OTHER_NAMES}, "label 0 is 'skys' here and 'sky' there"),
        ({"classes": CLASSES[:2]}, "its classes are 2, those of the interpreter"),
        (
            {"keypoints": fmt.KeypointInfo(("a", "b"), 1.0)},
            "holds keypoints, the interpreter",
        ),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_a_store_that_the_interpreter_does_not_fit_is_refused(
    judged: Path, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    store = empty_store(judged, tmp_path / "other.zarr", **changes)
    line = refusal(judged, tmp_path, store)
    assert says in line and line.startswith(f"Error: {store}: ")


def test_a_store_that_does_not_say_its_generator_is_taken(judged: Path, tmp_path: Path) -> None:
    store = empty_store(judged, tmp_path / "other.zarr", generator={})
    done("evaluate", judged / "interpreter", "--store", store, "--out", tmp_path / "e.json")


def test_other_layers_are_refused(judged: Path, tmp_path: Path) -> None:
    fill(tmp_path / "other.zarr", replace(make_meta(), generator={}), num_images=1)
    assert "4 layers with 18 channels" in refusal(judged, tmp_path, tmp_path / "other.zarr")


def test_a_layer_of_another_name_is_named(judged: Path, tmp_path: Path) -> None:
    coarse, fine = fstore.open(judged / "dense.zarr").meta.layers
    store = empty_store(judged, tmp_path / "other.zarr", layers=(coarse, replace(fine, name="finer")))
    says = "(layer 1 is 'finer' of 32 x 40 with 4 channels here and 'fine' of 32 x 40 with 4 channels there)"
    assert says in refusal(judged, tmp_path, store)


def test_annotations_beside_a_feature_store_are_refused(judged: Path, tmp_path: Path) -> None:
    line = refusal(judged, tmp_path, judged / "dense.zarr", "--annotations", tmp_path)
    assert line.endswith("leave it out, or pass a dataset")
    line = refusal(judged, tmp_path, judged / "dense.zarr", "--label-map", tmp_path / "map.toml")
    assert line.startswith("Error: --label-map is ")


def test_what_is_not_there_is_named(judged: Path, tmp_path: Path) -> None:
    assert "none.zarr" in refusal(judged, tmp_path, tmp_path / "none.zarr")
    line = refusal(judged, tmp_path, judged / "dense.zarr", interpreter=tmp_path / "none")
    assert line.startswith(f"Error: {tmp_path / 'none'}: does not exist")


def test_a_store_without_an_image_is_refused(judged: Path, tmp_path: Path) -> None:
    write_store(tmp_path / "empty.zarr", num_written=0)
    assert "holds no image yet" in refusal(judged, tmp_path, tmp_path / "empty.zarr")


def test_a_release_s_members_label_a_store_of_their_width(judged: Path, tmp_path: Path) -> None:
    members = tmp_path / "members"
    members.mkdir()
    exported = load_interpreter(judged / "interpreter").ensemble.export_members()
    for member in range(3):
        state = {
            f"module.{name.partition('.')[2]}": tensor
            for name, tensor in exported.items()
            if name.startswith(f"{member}.")
        }
        torch.save({"model_state_dict": state}, members / f"model_{member}.pth")
    outs = [tmp_path / "own.json", tmp_path / "released.json"]
    for interpreter, out in zip((judged / "interpreter", members), outs, strict=True):
        result = done("evaluate", interpreter, "--store", judged / "dense.zarr", "--out", out)
    assert "a release's members do not say" in result.stderr
    own, released = (json.loads(out.read_text()) for out in outs)
    assert own["confusion"] == released["confusion"]
    fill(tmp_path / "other.zarr", make_meta(), num_images=1)
    line = refusal(judged, tmp_path, tmp_path / "other.zarr", interpreter=members)
    assert "has 18 features a pixel and 4 classes" in line and "take 7 and give 3" in line


# --- the files ---


@pytest.mark.parametrize("name", ["notes.json", "notes.svg"])
def test_a_file_of_another_kind_is_not_replaced(judged: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[1]")
    words = ["evaluate", judged / "interpreter", "--store", judged / "dense.zarr"]
    result = dgan(*words, "--out", tmp_path / "notes.json")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {tmp_path / name}: is no file of `dgan evaluate`")
    assert (tmp_path / name).read_text() == "[1]"


def test_an_out_that_is_the_picture_or_a_folder_is_refused(judged: Path, tmp_path: Path) -> None:
    words = ["evaluate", judged / "interpreter", "--store", judged / "dense.zarr", "--out"]
    assert "expected a name such as evaluation.json" in dgan(*words, tmp_path / "e.svg").stderr
    for place in (tmp_path, "."):
        assert f"{place}: is a folder, expected a file" in dgan(*words, place).stderr


def test_earlier_figures_are_replaced(judged: Path, tmp_path: Path) -> None:
    for layout in ("dense", "pyramid"):
        words = ["--store", judged / f"{layout}.zarr", "--out", tmp_path / "e.json"]
        done("evaluate", judged / "interpreter", *words)
    assert json.loads((tmp_path / "e.json").read_text())["store"]["location"].endswith("pyramid.zarr")


def test_nothing_is_written_where_the_store_was_replaced_meanwhile(
    judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, measure = write_store(tmp_path / "held_out.zarr", num_images=1), run.measure_labels

    def measured(*arguments: object) -> object:
        found = measure(*arguments)  # type: ignore[arg-type]
        write_store(store, num_images=1, overwrite=True)
        return found

    monkeypatch.setattr(run, "measure_labels", measured)
    with pytest.raises(pipeline.RunError, match="is no longer the store that was opened"):
        pipeline.evaluate(judged / "interpreter", store=store, out=tmp_path / "e.json", say=None)
    assert not (tmp_path / "e.json").exists()


def test_a_name_of_another_program_does_not_break_the_table() -> None:
    figures = {
        "task": "keypoints", "image_size": [1, 1], "annotations": None, "images": 1, "filter": None,
        "interpreter": {"folder": "i"}, "store": {"location": "s"}, "pck": {"10": 1.0},
        "mean_distance_pixels": 0.0, "labelled": 1,
        "keypoints": [{"name": "s\x1b\nk", "pck": {"10": 1.0}, "mean_distance_pixels": 0.0, "labelled": 1}],
    }  # fmt: skip
    assert table_of(figures)[3].startswith("s\ufffd\ufffdk ")
