"""The commands as a user types them: what they leave on disk, exit codes, one clear line for bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from support.commands import dgan, done
from support.stores import tree_bytes
from support.tiny import CHANNELS, LATENT_SIZE, input_flags, write_checkpoint

import fstore

TRAIN = ["--members", "3", "--steps", "20", "--batch-size", "16"]


def refused(*words: str | Path, code: int = 2) -> str:
    """The one line that a command was refused with."""
    result = dgan(*words)
    assert result.exit_code == code, result.output
    remarks = ("using ", "no annotated pictures are found")
    lines = [line for line in result.stderr.splitlines() if line and not line.startswith(remarks)]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0]


def extract(*more: str | Path) -> list[str | Path]:
    return ["extract-features", *input_flags(Path("in")), *more]


def test_the_three_commands_leave_the_three_results(folder: Path) -> None:
    done(*extract())
    done("train", "--store", "features.zarr", *TRAIN)
    done("synthesize", "--keep", "0.9", "--num", "11", "--checkpoint", "in/checkpoint.pt")
    features = zarr.open_group("features.zarr", mode="r")["features"]
    assert features.shape == (4, 32, 32, CHANNELS)
    assert features.dtype == np.float16
    assert sorted(p.name for p in Path("interpreter").iterdir()) == [
        "interpreter.json",
        "interpreter.safetensors",
    ]
    dataset = fstore.open("dataset.zarr")
    assert dataset.kept.sum() == 10  # ceil(0.9 * 11)
    assert dataset.labels.shape == (11, 32, 32)
    assert float(dataset.divergence.max().compute()) <= np.log(3)
    assert fstore.verify_store("dataset.zarr").ok


def test_an_attribute_says_what_made_a_store(folder: Path) -> None:
    done(*extract("--noise", "zero", "--truncation", "0.5", "--crop-rows", "4:28", "--resolution", "32"))
    attribute = zarr.open_group("features.zarr", mode="r").attrs["fstore"]
    assert attribute["crop_rows"] == [4, 28]
    assert attribute["channels"] == CHANNELS
    assert attribute["generator"]["noise"] == "zero"
    assert attribute["generator"]["truncation"] == 0.5
    assert attribute["generator"]["latent_space"] == "z"
    assert len(attribute["generator"]["sha256"]) == 64


@pytest.mark.slow
def test_dense_and_pyramid_agree_through_the_command_line(folder: Path) -> None:
    for layout in ("dense", "pyramid"):
        done(
            *extract(
                "--layout", layout, "--store", f"{layout}.zarr", "--resolution", "40", "--crop-rows", "3:37"
            )
        )
    dense, pyramid = fstore.open("dense.zarr"), fstore.open("pyramid.zarr")
    assert np.array_equal(
        dense.features.compute().view(np.uint16), pyramid.features.compute().view(np.uint16)
    )
    assert np.array_equal(dense.images.compute(), pyramid.images.compute())


def test_a_rerun_does_nothing_and_overwrite_begins_anew(trained: Path) -> None:
    first = tree_bytes(Path("features.zarr"))
    done(*extract())
    assert tree_bytes(Path("features.zarr")) == first
    assert "truncation = 0.7, this run has 0.5" in refused(*extract("--truncation", "0.5"))
    done(*extract("--truncation", "0.5", "--overwrite"))
    assert len(fstore.open("features.zarr")) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("tasks_of_16")
def test_a_larger_num_continues_a_dataset_as_if_asked_for_at_once(trained: Path) -> None:
    both = ["synthesize", "--checkpoint", "in/checkpoint.pt", "--keep", "0.5"]
    done(*both, "--num", "17", "--store", "grown.zarr")
    done(*both, "--num", "19", "--store", "grown.zarr")
    done(*both, "--num", "19", "--store", "whole.zarr")
    grown, whole = tree_bytes(Path("grown.zarr")), tree_bytes(Path("whole.zarr"))
    assert grown.pop("zarr.json") != b""
    whole.pop("zarr.json")
    assert grown == whole
    assert "holds 19 images, this run asks for 12" in refused(*both, "--num", "12", "--store", "grown.zarr")


def test_filter_changes_kept_and_nothing_else(trained: Path) -> None:
    done("synthesize", "--checkpoint", "in/checkpoint.pt", "--num", "20")
    before = tree_bytes(Path("dataset.zarr"))
    done("filter", "dataset.zarr", "--keep", "0.07")
    after = tree_bytes(Path("dataset.zarr"))
    assert {name for name in after if after[name] != before[name]} == {"zarr.json", "kept/c/0"}
    dataset = fstore.open("dataset.zarr")
    assert dataset.kept.sum() == 2  # ceil(1.4)
    assert dataset.uncertainty[dataset.kept].max() <= dataset.uncertainty[~dataset.kept].min()
    assert dataset.meta.keep == "0.07"
    assert len(dataset.latents) == 20


def test_another_checkpoint_is_refused_unless_forced(trained: Path) -> None:
    write_checkpoint(Path("other.pt"), seed=1)
    assert "sha256 is" in refused("synthesize", "--num", "2", "--checkpoint", "other.pt")
    assert "--checkpoint" in refused("synthesize", "--num", "2")
    done("synthesize", "--num", "2", "--checkpoint", "other.pt", "--force")


def test_dry_run_tells_the_cost_and_writes_nothing(folder: Path, built: Path) -> None:
    text = done(*extract("--dry-run")).stdout
    for word in ("images", "features", "on disk", "disk free", "host memory", "time"):
        assert word in text
    assert sorted(p.name for p in Path().iterdir()) == ["in"]
    shutil.copytree(built / "features.zarr", "features.zarr")
    done("train", "--dry-run", *TRAIN)
    assert not Path("interpreter").exists()
    shutil.copytree(built / "interpreter", "interpreter")
    assert "disk free" in done("synthesize", "--checkpoint", "in/checkpoint.pt", "--dry-run").stdout
    assert not Path("dataset.zarr").exists()


def test_a_disk_that_cannot_hold_the_result_is_refused_before_the_start(
    folder: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fstore.location import Location

    shutil.copytree(built / "features.zarr", "ready.zarr")
    shutil.copytree(built / "interpreter", "interpreter")
    monkeypatch.setattr(Location, "free_bytes", lambda self: 1000)
    line = refused(*extract(), code=1)
    assert "1 kB free" in line
    assert "--layout pyramid would need about" in line
    assert not Path("features.zarr").exists()
    assert "1 kB free" in refused("synthesize", "--checkpoint", "in/checkpoint.pt", "--num", "64", code=1)
    assert "1 kB free" in refused("train", "--store", "ready.zarr", *TRAIN, "--out", "second", code=1)


def test_an_overflow_names_the_layer_and_leaves_nothing_committed(folder: Path) -> None:
    state = torch.load("in/checkpoint.pt", weights_only=True)
    state["g_synthesis.blocks.8x8.epi2.style_mod.lin.bias"] += 1e6
    torch.save(state, "in/checkpoint.pt")
    assert "layer 'b8_out': feature value" in refused(*extract(), code=1)
    assert len(fstore.open("features.zarr")) == 0


def replace_latents(values: np.ndarray) -> Callable[[], None]:
    return lambda: np.save("in/latents.npy", values)


def replace_mask(values: np.ndarray, name: str = "image_mask2.npy") -> Callable[[], None]:
    return lambda: np.save(f"in/masks/{name}", values)


GOOD = np.zeros((4, LATENT_SIZE), np.float32)
MASK = np.zeros((32, 32), np.uint8)

BAD_INPUT = [
    pytest.param(
        lambda: Path("in/checkpoint.pt").unlink(),
        [],
        "in/checkpoint.pt: no such file",
        id="checkpoint-missing",
    ),
    pytest.param(
        lambda: cut(Path("in/checkpoint.pt")),
        [],
        "in/checkpoint.pt: cannot be read (its zip archive is truncated",
        id="checkpoint-truncated",
    ),
    pytest.param(replace_latents(np.zeros((4, 9))), [], "in/latents.npy", id="latents-of-another-size"),
    pytest.param(replace_latents(np.full_like(GOOD, np.nan)), [], "row 0", id="latents-nan"),
    pytest.param(replace_latents(GOOD[:2]), [], "image_mask3.npy", id="mask-surplus"),
    pytest.param(lambda: Path("in/masks/image_mask1.npy").unlink(), [], "1", id="mask-missing"),
    pytest.param(lambda: shift_masks(), [], "numbered from 2 to 5", id="masks-numbered-from-2"),
    pytest.param(
        replace_mask(np.zeros((32, 20), np.uint8)), [], "image_mask2.npy", id="mask-of-another-aspect"
    ),
    pytest.param(replace_mask(MASK + 9), ["--num-classes", "4"], "label 9", id="mask-out-of-range"),
    pytest.param(replace_mask(MASK.astype(np.int16) - 1), [], "label -1", id="mask-negative"),
    pytest.param(lambda: cut(Path("in/masks/image_mask2.npy")), [], "image_mask2.npy", id="mask-truncated"),
    pytest.param(lambda: None, ["--crop-rows", "9:99"], "99", id="crop-outside-the-grid"),
    pytest.param(lambda: None, ["--layout", "sparse"], "dense", id="unknown-layout"),
    pytest.param(lambda: None, ["--device", "cuda:7"], "cuda:7", id="device-that-is-not-there"),
    pytest.param(lambda: None, ["--truncation-layers", "40"], "40", id="more-truncation-layers-than-layers"),
    pytest.param(
        lambda: Path("a.toml").write_text("[generator]\nchekpoint='x'"),
        ["--config", "a.toml"],
        "'checkpoint'",
        id="unknown-key",
    ),
    pytest.param(lambda: None, ["--config", "none.toml"], "none.toml", id="config-missing"),
    pytest.param(
        lambda: None, ["--store", "in"], "not a store of this program", id="store-is-another-folder"
    ),
]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shift_masks() -> None:
    for image in reversed(range(4)):
        Path(f"in/masks/image_mask{image}.npy").rename(f"in/masks/image_mask{image + 2}.npy")


@pytest.mark.parametrize(("spoil", "flags", "says"), BAD_INPUT)
def test_bad_input_gets_one_clear_line_and_leaves_nothing(
    folder: Path, spoil, flags: list[str], says: str
) -> None:
    spoil()
    assert says in refused(*extract(*flags))
    assert not Path("features.zarr").exists()


def test_masks_that_carry_255_without_ignore_are_asked_about(folder: Path) -> None:
    mask = np.load("in/masks/image_mask2.npy")
    mask[:4] = 255
    np.save("in/masks/image_mask2.npy", mask)
    assert "--ignore 255" in refused(*extract())
    done(*extract("--ignore", "255"))
    store = fstore.open("features.zarr")
    assert store.meta.ignore == 255
    assert len(store.meta.classes) == 4
    assert int(store.class_counts.sum()) == 4 * 32 * 32 - 4 * 32


def test_other_commands_refuse_what_they_cannot_use(folder: Path) -> None:
    assert "no such store" in refused("train", "--store", "none.zarr")
    assert "no such store" in refused("info", "none.zarr")
    assert "does not exist" in refused("synthesize")
    done(*extract())
    assert "kind 'features'" in refused("filter", "features.zarr", "--keep", "0.5")
    assert "--keep" in refused("filter", "features.zarr", "--keep", "1.5")
    done("train", *TRAIN)
    weights = Path("interpreter/interpreter.safetensors")
    cut(weights)
    assert str(weights) in refused("synthesize", "--checkpoint", "in/checkpoint.pt")


def test_verify_exits_1_on_corruption(trained: Path) -> None:
    assert "4 of 4 images committed, all whole" in done("verify", "features.zarr").stdout
    cut(Path("features.zarr/features/c/2/0/0/0"))
    result = dgan("verify", "features.zarr")
    assert result.exit_code == 1
    assert "image 2" in result.stderr


def test_debug_shows_the_traceback(folder: Path) -> None:
    for words in (["--debug", *extract("--layout", "x")], [*extract("--layout", "x"), "--debug"]):
        result = dgan(*words)
        assert result.exception is not None
        assert not isinstance(result.exception, SystemExit)


def test_palette_colours_and_w_plus_latents_reach_the_store(folder: Path) -> None:
    from PIL import Image

    for image in range(4):
        mask = np.load(f"in/masks/image_mask{image}.npy")
        Path(f"in/masks/image_mask{image}.npy").unlink()
        picture = Image.frombytes("P", (32, 32), mask.tobytes())
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
        picture.save(f"in/masks/{image}.png")
    np.save("in/latents.npy", np.random.default_rng(0).standard_normal((4, 10, LATENT_SIZE)))
    done(*extract())
    store = fstore.open("features.zarr")
    assert [c.color for c in store.meta.classes] == ["#000000", "#ff0000", "#00ff00", "#0000ff"]
    assert store.meta.generator["latent_space"] == "w+"
    assert store.latents.shape == (4, 10, LATENT_SIZE)


def test_help_answers_without_heavy_imports() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from pipeline.cli import main;"
        "CliRunner().invoke(main, ['--help']); CliRunner().invoke(main, ['train', '--help']);"
        "print([m for m in ('torch', 'zarr', 'dask', 'numpy', 'rich') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    assert out.stdout.strip() == "[]"


def test_a_config_file_in_the_folder_makes_the_commands_short(folder: Path) -> None:
    Path("dgan.toml").write_text(
        '[generator]\ncheckpoint = "in/checkpoint.pt"\n[latents]\nfile = "in/latents.npy"\n'
        '[annotations]\nfolder = "in/masks"\n'
        '[train]\nmembers = 2\nsteps = 10\nbatch_size = 16\n[synthesize]\nnum = 3\nkeep = "0.5"\n'
    )
    assert "dgan.toml" in done("extract-features").stderr
    done("train")
    done("synthesize")
    assert fstore.open("dataset.zarr").kept.sum() == 2
    assert json.loads(Path("interpreter/interpreter.json").read_text())["members"] == 2


@pytest.fixture
def dataset(trained: Path) -> Path:
    """A finished dataset of 20 images, half of them kept."""
    done("synthesize", "--checkpoint", "in/checkpoint.pt", "--num", "20", "--keep", "0.5")
    return Path("dataset.zarr")


def test_verify_finds_a_filter_that_is_missing_damaged_or_wrong(dataset: Path) -> None:
    kept = dataset / "kept" / "c" / "0"
    whole = kept.read_bytes()
    for spoil, says in (
        (kept.unlink, "missing or empty"),
        (lambda: kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1])), "damaged"),
        (
            lambda: zarr.open_group(dataset)["kept"].__setitem__(slice(None), np.arange(20) < 3),
            "keeps 3 of 20 images, expected 10",
        ),
    ):
        kept.write_bytes(whole)
        spoil()
        result = dgan("verify", dataset)
        assert result.exit_code == 1
        assert says in result.stderr
        assert "Traceback" not in result.output
    kept.unlink()
    assert "unreadable" in done("info", dataset).stdout
    done("filter", dataset, "--keep", "0.5")
    assert kept.read_bytes() == whole


def test_a_lengthening_cut_off_says_how_to_go_on(dataset: Path) -> None:
    group = zarr.open_group(dataset, mode="r+")
    for name in ("images", "labels", "kept"):
        array = group[name]
        array.resize((25, *array.shape[1:]))
    synthesize = ["synthesize", "--checkpoint", "in/checkpoint.pt", "--keep", "0.5"]
    assert "holds 25 images, this run asks for 20" in refused(*synthesize, "--num", "20")
    assert "larger --num was cut off" in dgan("verify", dataset).stderr
    assert "larger --num was cut off" in refused("filter", dataset, "--keep", "0.5")
    done(*synthesize, "--num", "25")
    assert fstore.verify_store(dataset).ok


def test_overwrite_counts_the_room_that_it_frees(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fstore.location import Location

    used = Location.parse("features.zarr").used_bytes()
    monkeypatch.setattr(Location, "free_bytes", lambda self: int(used * 0.9))
    assert "free" in refused(*extract("--store", "second.zarr"), code=1)
    done(*extract("--overwrite"))


def test_a_renamed_checkpoint_is_the_same_checkpoint(trained: Path) -> None:
    Path("in/checkpoint.pt").rename("in/renamed.pt")
    words = [str(w).replace("checkpoint.pt", "renamed.pt") for w in extract()]
    done(*words)
    done(*words, "--overwrite")
    assert "nothing to do" in done("train", *TRAIN).stdout
    done("synthesize", "--checkpoint", "in/renamed.pt", "--num", "3")


def test_the_demo_never_empties_a_folder_that_is_not_its_own(folder: Path) -> None:
    Path("mine").mkdir()
    done(*extract("--store", "mine/features.zarr"))
    assert "no earlier demo" in refused("demo", "--out", "mine")
    assert len(fstore.open("mine/features.zarr")) == 4


def test_forcing_a_checkpoint_of_another_latent_size_is_refused_before_the_store(trained: Path) -> None:
    from support.tiny import WIDTHS

    from pipeline.models.stylegan1 import StyleGAN1

    torch.save(StyleGAN1(WIDTHS, 24).state_dict(), "other.pt")
    assert "average latent" in refused("synthesize", "--num", "2", "--checkpoint", "other.pt", "--force")
    assert not Path("dataset.zarr").exists()


def test_without_a_config_a_users_store_is_trained_with_the_defaults() -> None:
    from pipeline.settings.files import load_demo_config
    from pipeline.settings.schema import SynthesizeConfig, TrainConfig

    config = load_demo_config()
    assert config.train == TrainConfig()  # hidden widths, above all, must follow from the number of classes
    assert config.synthesize == SynthesizeConfig()
