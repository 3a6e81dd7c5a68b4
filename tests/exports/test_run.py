"""What ``dgan export`` takes from a store, whatever the format, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image
from support.commands import dgan, done
from support.exports import (
    IGNORE,
    NUM_IMAGES,
    export_refusal,
    exported_numbers,
    kept,
    labels,
    make_dataset,
    without_mark,
)
from support.places import REPOSITORY
from support.stores import tree_bytes
from support.variants import variants

PNG = ("--format", "png")
MERGING = (
    'drop = ["part 4"]\ndrop_to = "ignore"\n[[classes]]\nname = "background"\n'
    '[[classes]]\nname = "body"\ncolor = "#102030"\nfrom = ["part 1", "part 3"]\n'
    '[[classes]]\nname = "head"\nfrom = [2]\n'
)


def test_kept_images_alone_are_exported_unless_all_are_asked_for(dataset: Path, tmp_path: Path) -> None:
    result = done("export", dataset, tmp_path / "kept", *PNG)
    assert result.stdout == f"{tmp_path / 'kept'}: 63 images exported as png\n"
    assert result.stderr == ""
    assert exported_numbers(tmp_path / "kept") == np.flatnonzero(kept()).tolist()
    done("export", dataset, tmp_path / "all", *PNG, "--all")
    assert exported_numbers(tmp_path / "all") == list(range(NUM_IMAGES))
    done("export", dataset, tmp_path / "some", *PNG, "--limit", 5)
    assert exported_numbers(tmp_path / "some") == np.flatnonzero(kept())[:5].tolist()
    done("export", dataset, tmp_path / "more", *PNG, "--limit", 1000)
    assert without_mark(tmp_path / "more") == without_mark(tmp_path / "kept")


@pytest.mark.parametrize("format", ["png", "webdataset"])
def test_threads_and_seeds_that_decide_nothing_change_no_byte(
    dataset: Path, tmp_path: Path, format: str
) -> None:
    for name, more in {"1": (), "2": (), "5": ("--seed", 9)}.items():
        done("export", dataset, tmp_path / name, "--format", format, "--threads", name, *more)
    assert without_mark(tmp_path / "1") == without_mark(tmp_path / "2") == without_mark(tmp_path / "5")


def test_a_split_shares_the_kept_images_out(dataset: Path, tmp_path: Path) -> None:
    result = done("export", dataset, tmp_path / "out", *PNG, "--split", "train=0.9,val=0.1")
    assert "63 images (train 57, val 6) exported as png" in result.stdout
    found = [exported_numbers(tmp_path / "out", split) for split in ("train", "val")]
    assert all(some == sorted(some) for some in found)
    assert sorted(found[0] + found[1]) == np.flatnonzero(kept()).tolist()
    done("export", dataset, tmp_path / "other", *PNG, "--split", "train=0.9,val=0.1", "--seed", 1)
    assert exported_numbers(tmp_path / "other", "val") != found[1]


def test_a_label_map_merges_drops_and_renames(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MERGING)
    done("export", dataset, tmp_path / "out", *PNG, "--limit", 3, "--label-map", tmp_path / "map.toml")
    table = np.array([0, 1, 2, 1, IGNORE])
    for number in exported_numbers(tmp_path / "out"):
        with Image.open(tmp_path / f"out/labels/{number:06d}.png") as mask:
            old = labels(number)
            np.testing.assert_array_equal(np.array(mask), np.where(old == IGNORE, IGNORE, table[old % 5]))
    listed = (tmp_path / "out/classes.toml").read_text()
    assert [line for line in listed.splitlines() if line.startswith("name")] == [
        f'name = "{name}"' for name in ("background", "body", "head")
    ]
    assert '"#102030"' in listed


@pytest.mark.parametrize("label", [6, 200])
def test_a_stored_label_that_is_no_class_is_damage(dataset: Path, tmp_path: Path, label: int) -> None:
    store = shutil.copytree(dataset, tmp_path / "d.zarr")
    image = int(np.flatnonzero(kept())[0])
    zarr.open_group(store)["labels"][image, 2, 1] = label
    (tmp_path / "map.toml").write_text(MERGING)
    for out, more in (("as it is", ()), ("mapped", ("--label-map", tmp_path / "map.toml"))):
        result = dgan("export", store, tmp_path / out, *PNG, "--limit", 3, *more)
        assert result.exit_code == 1
        says = f"{store}: array 'labels', image {image}: has label {label}, expected 0 to 4"
        assert says in result.stderr.splitlines()[-1]


def test_a_label_map_that_lacks_a_class_is_refused_and_so_is_one_of_keypoints(
    dataset: Path, keypoint_dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "map.toml").write_text('[[classes]]\nname = "background"\n')
    words = (tmp_path / "out", *PNG, "--label-map", tmp_path / "map.toml")
    assert "part 1, part 2, part 3, part 4; put each" in export_refusal(dataset, *words)
    assert "holds keypoints" in export_refusal(keypoint_dataset, *words)
    assert not (tmp_path / "out").exists()


def test_a_label_map_that_names_a_class_which_the_store_lacks_is_refused(
    dataset: Path, tmp_path: Path
) -> None:
    """With ``rest`` a name that is mistyped would merge its class elsewhere without a word."""
    head = 'rest = "background"\ndrop = [9]\n[[classes]]\nname = "background"\n[[classes]]\nname = "body"\n'
    (tmp_path / "map.toml").write_text(head + 'from = ["part 1", "part2"]\n')
    line = export_refusal(dataset, tmp_path / "out", *PNG, "--label-map", tmp_path / "map.toml")
    assert f"map.toml: 'part2', 9 is no class of {dataset}, which has background, part 1," in line
    assert "the nearest is 'part 2'; mend or remove it" in line


def test_a_store_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    store = make_dataset(tmp_path / "d.zarr", committed=1)
    assert "is not finished, 64 of 70 images are committed; run `dgan synthesize`" in export_refusal(
        store, tmp_path / "out", *PNG
    )
    store = make_dataset(tmp_path / "e.zarr", num_images=3, keep=None)
    assert "no filter is set yet" in export_refusal(store, tmp_path / "out", *PNG)
    assert "or pass --all" in export_refusal(store, tmp_path / "out", *PNG)
    assert not (tmp_path / "out").exists()
    done("export", store, tmp_path / "out", *PNG, "--all")
    assert "kept" not in json.loads((tmp_path / "out/metadata.jsonl").read_text().splitlines()[0])


def test_an_export_of_nothing_and_an_empty_split_are_refused(tmp_path: Path) -> None:
    store = make_dataset(tmp_path / "d.zarr", num_images=3, keep="1")
    words = (store, tmp_path / "out", *PNG)
    assert "val would be empty, of 3 images" in export_refusal(*words, "--split", "train=0.9,val=0.1")
    assert "no format is named; pass --format, one of png" in export_refusal(store, tmp_path / "out")
    assert "no such store" in export_refusal(tmp_path / "none.zarr", tmp_path / "out", *PNG)


def test_a_dry_run_tells_what_would_be_and_writes_nothing(dataset: Path, tmp_path: Path) -> None:
    result = done("export", dataset, tmp_path / "out", *PNG, "--split", "a=0.5,b=0.5", "--dry-run")
    assert not list(tmp_path.iterdir())
    assert "images       a 32, b 31, of 70 images in " in result.stdout
    told = next(line for line in result.stdout.splitlines() if line.startswith("on disk"))
    done("export", dataset, tmp_path / "out", *PNG)
    size = sum(len(content) for content in tree_bytes(tmp_path / "out").values()) / 1000
    assert 0.5 * size < float(told.split()[3]) < 1.5 * size


def test_settings_of_a_file_are_used_and_named(features: Path, tmp_path: Path) -> None:
    (tmp_path / "dgan.toml").write_text('[export]\nformat = "webdataset"\nlimit = 2\n')
    result = done("export", features, tmp_path / "out", "--config", tmp_path / "dgan.toml")
    assert result.stderr == f"using {tmp_path / 'dgan.toml'}\n"
    assert "2 images exported as webdataset" in result.stdout


@pytest.mark.parametrize("store", variants("dataset", "features"))
def test_an_export_imports_neither_torch_nor_dask(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """They take seconds, and an export of some hundred images takes less."""
    words = ["export", str(request.getfixturevalue(store)), str(tmp_path / "out"), *PNG]
    code = "import sys; from pipeline.cli import main; main(sys.argv[1:], standalone_mode=False); "
    code += "print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code, *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert not {"torch", "dask", "datasets", "pandas"} & set(ended.stderr.split())
