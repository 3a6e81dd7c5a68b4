"""Members as the releases save them: read, matched to a checkpoint, labelling as an nn.Sequential does."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny import CHANNELS, RESOLUTION, write_checkpoint, write_inputs
from support.variants import variants
from torch import nn

import fstore
from pipeline.checkpoints.read import load_generator
from pipeline.cli import main
from pipeline.errors import UsageError
from pipeline.interpreter.released import is_released, read_members
from pipeline.models.generator import truncate
from pipeline.settings.files import load_config

NUM_OUTPUTS = 5


def classifier(seed: int = 0, channels: int = CHANNELS, num_outputs: int = NUM_OUTPUTS) -> nn.Sequential:
    """One member as the release builds it, with running statistics that matter, in evaluation mode."""
    torch.manual_seed(seed)
    wide, narrow = (128, 32) if num_outputs < 32 else (256, 128)
    member = nn.Sequential(
        *(nn.Linear(channels, wide), nn.ReLU(), nn.BatchNorm1d(wide)),
        *(nn.Linear(wide, narrow), nn.ReLU(), nn.BatchNorm1d(narrow), nn.Linear(narrow, num_outputs)),
    )
    nn.init.normal_(member[0].weight)  # so that labels vary over an image
    for norm in (member[2], member[5]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return member.eval()


class Classifier(nn.Module):
    """What gives the released files their names: ``module.layers.0.weight`` and so on."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers


def saved_state(layers: nn.Sequential, parallel: bool = True) -> dict[str, Any]:
    module: nn.Module = Classifier(layers)
    module = nn.DataParallel(module) if parallel else module
    return {"model_state_dict": module.state_dict()}


def write_members(
    folder: Path, members: list[nn.Sequential], name: str = "model_{}.pth", **options: Any
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, member in enumerate(members):
        torch.save(saved_state(member), folder / name.format(i), **options)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """checkpoint.pt, exp.toml and the three members of released/, in the current folder."""
    write_checkpoint(tmp_path / "checkpoint.pt")
    write_members(tmp_path / "released", [classifier(0), classifier(1), classifier(2)])
    classes = "".join(f'[[annotations.classes]]\nname = "part {i}"\n' for i in range(NUM_OUTPUTS))
    (tmp_path / "exp.toml").write_text(
        '[generator]\ncheckpoint = "checkpoint.pt"\nnoise = "zero"\ntruncation = 0.6\ntruncation_layers = 3\n'
        "[features]\nresolution = 32\ncrop_rows = [4, 28]\n[train]\nmembers = 3\n"
        '[synthesize]\ninterpreter = "released"\nnum = 3\nprecision = "float32"\n' + classes
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def synthesize(*more: str, config: str = "exp.toml") -> Result:
    return CliRunner().invoke(main, ["synthesize", "--config", config, *more])


def done(*more: str, **options: Any) -> Result:
    result = synthesize(*more, **options)
    assert result.exit_code == 0, result.output
    return result


def refused(*more: str, **options: Any) -> str:
    result = synthesize(*more, **options)
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: ") and "Traceback" not in result.output
    return line


def dataset() -> fstore.Dataset:
    store = fstore.open("dataset.zarr")
    assert isinstance(store, fstore.Dataset)
    return store


def brute_force_labels(latents: np.ndarray, members: list[nn.Sequential]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 24, 32): features resized by torch and concatenated, every member over every pixel, votes. These
    too, by label: (N, K, K).
    """
    loaded = load_generator("checkpoint.pt")
    generator = loaded.generator
    average = generator.mapping(average_samples(generator.latent_size)).mean(0)
    noise = [torch.zeros(1, 1, *shape) for shape in generator.noise_shapes]
    labels, by_label = [], np.zeros((len(latents), NUM_OUTPUTS, NUM_OUTPUTS), int)
    for image, latent in enumerate(torch.from_numpy(latents)):
        w_plus = generator.mapping(latent[None])[:, None].expand(-1, generator.num_w_layers, -1)
        maps = generator.synthesis(truncate(w_plus, average, 0.6, 3), noise).features
        size = (RESOLUTION, RESOLUTION)
        resized = [F.interpolate(part, size, mode="bilinear", align_corners=False) for part in maps]
        pixels = torch.cat(resized, 1)[0, :, 4:28].flatten(1).T  # [24 * 32, C]
        votes = torch.stack([member(pixels).argmax(1) for member in members])
        counts = torch.stack([(votes == k).sum(0) for k in range(NUM_OUTPUTS)])  # ties go to the lowest
        labels.append(counts.argmax(0).view(24, RESOLUTION).numpy())
        for vote in votes.numpy():
            np.add.at(by_label[image], (labels[-1].ravel(), vote), 1)
    return np.stack(labels), by_label


def average_samples(latent_size: int) -> torch.Tensor:
    from pipeline.rendering.latents import average_latent_samples

    return torch.from_numpy(average_latent_samples(latent_size))


def test_labels_are_those_of_the_members_run_pixel_by_pixel(folder: Path) -> None:
    done()
    store = dataset()
    members = [classifier(i) for i in range(3)]
    with torch.inference_mode():
        expected, votes = brute_force_labels(store.latents.compute(), members)
    found = store.labels.compute()
    assert found.shape == expected.shape == (3, 24, RESOLUTION)
    assert len(np.unique(expected)) > 1
    assert (found == expected).mean() > 0.999  # of 2304 pixels two may lie on a boundary
    assert np.abs(store.member_votes.compute().astype(int) - votes).sum() <= 0.004 * votes.sum()
    assert fstore.verify_store("dataset.zarr").ok


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
@pytest.mark.parametrize("parallel", [True, False], ids=["module.", "plain"])
def test_every_container_and_prefix_gives_the_same_tensors(
    tmp_path: Path, options: dict[str, Any], parallel: bool
) -> None:
    torch.save(saved_state(classifier(), parallel), tmp_path / "model_0.pth", **options)
    ensemble = read_members(tmp_path).ensemble
    pixels = torch.randn(7, CHANNELS)
    with torch.inference_mode():
        torch.testing.assert_close(ensemble.forward_shared(pixels)[0], classifier()(pixels))
    assert not ensemble.training


def test_a_bare_state_dict_other_floats_and_no_counters_are_fine(tmp_path: Path) -> None:
    state = {name: value.double() for name, value in Classifier(classifier()).state_dict().items()}
    state = {name: value for name, value in state.items() if "num_batches" not in name}  # torch before 1.0
    torch.save(state, tmp_path / "model_0.pth")
    weights = read_members(tmp_path).ensemble.weight1
    assert weights.dtype == torch.float32
    assert torch.equal(weights[0], classifier()[0].weight)


def test_editgans_names_and_other_files_in_the_folder(tmp_path: Path) -> None:
    write_members(tmp_path, [classifier(i) for i in range(11)], "car_model_{}.pth")
    for other in ("car_model_iter5000_number_0.pth", "model_20parts_iter5000_number_0.pth", "train_data.jpg"):
        (tmp_path / other).write_bytes(b"x")
    ensemble = read_members(tmp_path).ensemble
    for i in (2, 10):  # by number, not by name
        assert torch.equal(ensemble.weight1[i], classifier(i)[0].weight)


def test_files_that_macos_leaves_beside_members_are_none(tmp_path: Path) -> None:
    (tmp_path / "._model_0.pth").write_bytes(b"\0\5\x16\7")
    assert not is_released(tmp_path)
    write_members(tmp_path, [classifier(0), classifier(1)], "model_{}.pth")
    assert is_released(tmp_path) and read_members(tmp_path).ensemble.num_members == 2


def test_a_folder_of_this_program_is_not_a_releases(tmp_path: Path) -> None:
    assert not is_released(tmp_path) and not is_released(tmp_path / "none")
    write_members(tmp_path, [classifier()])
    assert is_released(tmp_path)
    (tmp_path / "interpreter.json").write_text("{}")
    assert not is_released(tmp_path)


# --- outputs and classes ---


@pytest.mark.parametrize(
    ("num_outputs", "names", "note"),
    [
        (5, ["part 0", "part 1", "part 2", "part 3", "part 4"], None),
        (3, ["part 0", "part 1", "part 2"], "3 outputs"),  # the masks lacked the last two labels
        (7, [*(f"part {i}" for i in range(5)), "class_5", "class_6"], "named class_5"),  # they had more
    ],
)
def test_names_are_cut_or_made_up_to_fit_the_outputs(
    folder: Path, num_outputs: int, names: list[str], note: str | None
) -> None:
    write_members(folder / "released", [classifier(i, num_outputs=num_outputs) for i in range(3)])
    result = done()
    classes = dataset().meta.classes
    assert [entry.name for entry in classes] == names
    assert len({entry.color for entry in classes}) == num_outputs
    said = [line for line in result.stderr.splitlines() if "outputs" in line]
    assert len(said) == (0 if note is None else 1)
    assert note is None or note in said[0]


def test_without_names_an_experiments_number_of_classes_is_compared(folder: Path) -> None:
    keys = {"dim": [24, RESOLUTION, CHANNELS], "number_class": 4, "stylegan_checkpoint": "checkpoint.pt"}
    (folder / "exp.json").write_text(json.dumps({**keys, "exp_dir": "released", "model_num": 10}))
    result = done("--num", "1", config="exp.json")
    assert "5 outputs" in result.stderr and "exp.json has 4 classes" in result.stderr
    assert "holds 3 members, exp.json has 10; all that are there are used" in result.stderr
    assert [entry.name for entry in dataset().meta.classes] == [
        "background",
        *(f"class_{i}" for i in range(1, 5)),
    ]


# --- what the dataset says, and going on ---


def test_the_record_is_the_configurations_and_the_checkpoints(folder: Path) -> None:
    done()
    meta = dataset().meta
    assert meta.shape == (24, RESOLUTION)
    record = meta.generator
    assert (record["truncation"], record["truncation_layers"], record["noise"]) == (0.6, 3, "zero")
    assert record["sha256"] == load_generator("checkpoint.pt").sha256
    assert meta.interpreter["members"] == 3
    assert meta.interpreter["sha256"] == read_members(folder / "released").sha256


def test_a_rerun_goes_on_and_other_members_are_refused(folder: Path) -> None:
    done("--num", "2")
    labels = dataset().labels.compute()
    done("--num", "4")
    assert np.array_equal(dataset().labels.compute()[:2], labels)
    write_members(folder / "released", [classifier(0), classifier(2)])
    assert "interpreter.sha256" in refused("--num", "5")


@pytest.mark.parametrize(
    ("line", "key"),
    [  # none of these is in the members' files, so their hash does not tell
        ('upsample = "nearest"', "interpreter.upsample"),
        pytest.param("crop_rows = [8, 32]", "interpreter.crop_rows", marks=pytest.mark.slow),
        pytest.param("resolution = 64", "shape", marks=pytest.mark.slow),
    ],
)
def test_a_dataset_is_not_continued_with_another_reading_of_the_features(
    folder: Path, line: str, key: str
) -> None:
    done("--num", "1")
    name = line.partition(" =")[0]
    lines = (folder / "exp.toml").read_text().splitlines()
    kept = [text for text in lines if not text.startswith(name)]
    kept.insert(kept.index("[features]") + 1, line)
    (folder / "exp.toml").write_text("\n".join(kept))
    assert key in refused("--num", "2")


def test_the_configurations_average_latent_comes_first(folder: Path) -> None:
    done("--num", "1")
    computed = dataset().images.compute()
    np.save(folder / "average.npy", np.full((1, 16), 3.0, np.float32))
    config = (
        (folder / "exp.toml")
        .read_text()
        .replace("[generator]", '[generator]\naverage_latent = "average.npy"')
    )
    (folder / "exp.toml").write_text(config)
    done("--num", "1", "--overwrite")
    assert not np.array_equal(dataset().images.compute(), computed)


def test_layers_of_the_configuration_are_what_members_take(folder: Path) -> None:
    text = (folder / "exp.toml").read_text().replace("[features]", '[features]\nlayers = "2:"')
    (folder / "exp.toml").write_text(text)
    width = sum(layer.channels for layer in load_generator("checkpoint.pt").generator.layers[2:])
    write_members(folder / "released", [classifier(i, channels=width) for i in range(3)])
    done("--num", "1")


def test_a_dry_run_tells_the_notes(folder: Path) -> None:
    result = done("--dry-run")
    assert "a release's members" in result.stdout
    assert not (folder / "dataset.zarr").exists()


@pytest.mark.parametrize("more", variants(["--overwrite"], []))
def test_training_does_not_write_into_a_releases_folder(folder: Path, more: list[str]) -> None:
    write_inputs(folder / "in")
    flags = ["--latents", "in/latents.npy", "--annotations", "in/masks", "--config", "exp.toml"]
    (folder / "exp.toml").write_text((folder / "exp.toml").read_text().split("[[annotations")[0])
    assert CliRunner().invoke(main, ["extract-features", *flags]).exit_code == 0
    before = {path.name: path.read_bytes() for path in (folder / "released").iterdir()}
    result = CliRunner().invoke(main, ["train", "--steps", "2", "--out", "released", *more])
    assert result.exit_code == 2
    assert "released: holds members of a release (model_0.pth ...)" in result.stderr
    assert {path.name: path.read_bytes() for path in (folder / "released").iterdir()} == before


# --- what cannot be used ---


def save(content: Any, name: str = "model_1.pth") -> Callable[[Path], object]:
    return lambda folder: torch.save(content() if callable(content) else content, folder / name)


def changed(name: str, change: Callable[[torch.Tensor], Any]) -> Callable[[Path], object]:
    """Member 1 with one tensor changed."""

    def write(folder: Path) -> None:
        content = saved_state(classifier(1))
        state = dict(content["model_state_dict"])
        state[f"module.{name}"] = change(state[f"module.{name}"].clone())
        torch.save({"model_state_dict": state}, folder / "model_1.pth")

    return write


def without(name: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        content = saved_state(classifier(1))
        del content["model_state_dict"][f"module.{name}"]
        torch.save(content, folder / "model_1.pth")

    return write


class Executed:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("executed").write_text, ("x",))


def pack(path: Path) -> None:
    """Compress a member of nothing but zeros, as torch never does."""
    state = {name: torch.zeros_like(value) for name, value in classifier().state_dict().items()}
    torch.save({"model_state_dict": state, "more": torch.zeros(100_000)}, path)
    with zipfile.ZipFile(path) as plain:
        contents = {entry.filename: plain.read(entry) for entry in plain.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in contents.items():
            packed.writestr(name, content)


def poison(folder: Path) -> None:
    with (folder / "model_1.pth").open("wb") as file:
        pickle.dump({"model_state_dict": Executed()}, file)


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (lambda f: (f / "model_1.pth").rename(f / "model_3.pth"), ["model_3.pth but no model_1.pth"]),
        (lambda f: (f / "model_0.pth").unlink(), ["no model_0.pth"]),
        (lambda f: (f / "model_99999.pth").touch(), ["model_99999.pth but no model_3.pth"]),
        (lambda f: (f / "car_model_1.pth").touch(), ["car_model_1.pth and model_1.pth are both member 1"]),
        (lambda f: (f / "model_1.pth").write_bytes(b""), ["model_1.pth", "truncated, damaged"]),
        (lambda f: pack(f / "model_1.pth"), ["model_1.pth: the entries of the zip are larger than the file"]),
        (lambda f: (f / "model_1.pth").write_bytes((f / "model_1.pth").read_bytes()[:900]), ["model_1.pth"]),
        (
            lambda f: ((f / "model_1.pth").unlink(), (f / "model_1.pth").mkdir()),
            ["model_1.pth", "no PyTorch"],
        ),
        (poison, ["model_1.pth", "other than plain tensors"]),
        (save([1]), ["found a list", "model_state_dict"]),
        (save({"model_state_dict": 3}), ["found a int"]),
        (save({"epoch": 3}), ["'epoch' is no plain tensor"]),
        (save({}), ["layers.0.weight is missing"]),
        (save({"layers.0.weight": torch.zeros(4)}), ["layers.0.weight is (4,)", "matrix"]),
        (save({"layers.0.weight": torch.zeros(1).expand(10**6, 10**6)}), ["more than a file of"]),
        (save(lambda: saved_state(classifier(num_outputs=6))), ["layers.6.weight is (6, 32)", "(5, 32)"]),
        (save(lambda: saved_state(classifier(num_outputs=40))), ["layers.0.weight is (256,"]),
        (without("layers.5.running_var"), ["model_1.pth: layers.5.running_var is missing"]),
        (changed("layers.2.bias", lambda t: t[:5]), ["layers.2.bias is torch.float32 (5,)", "(128,)"]),
        (changed("layers.3.bias", lambda t: t.long()), ["layers.3.bias is torch.int64"]),
        (changed("layers.0.weight", lambda t: t.to_sparse()), ["layers.0.weight' is no plain tensor"]),
        (changed("layers.0.weight", lambda t: t / 0), ["layers.0.weight has NaN"]),
        (changed("layers.2.running_var", lambda t: -t), ["layers.2.running_var has negative"]),
        (changed("layers.6.weight", lambda t: t[:, :9]), ["layers.6.weight is"]),
        (
            save(lambda: {**saved_state(classifier())["model_state_dict"], "layers.8.bias": torch.zeros(1)}),
            ["8.bias"],
        ),
    ],
)
def test_members_that_cannot_be_used_get_one_line(
    folder: Path, damage: Callable[[Path], object], parts: list[str]
) -> None:
    damage(folder / "released")
    line = refused()
    for part in parts:
        assert part in line
    assert not (folder / "dataset.zarr").exists() and not (folder / "executed").exists()


def test_members_of_another_width_are_told_both_widths(folder: Path) -> None:
    write_members(folder / "released", [classifier(i, channels=CHANNELS + 1) for i in range(3)])
    assert f"take {CHANNELS + 1} features a pixel, checkpoint.pt has {CHANNELS} in 8 layers" in refused()


def test_without_a_checkpoint_the_way_out_is_named(folder: Path) -> None:
    (folder / "exp.toml").write_text('[synthesize]\ninterpreter = "released"\n')
    assert "pass --checkpoint FILE" in refused()


def test_the_checkpoint_flag_alone_is_enough(folder: Path) -> None:
    (folder / "exp.toml").unlink()
    flags = ["--interpreter", "released", "--checkpoint", "checkpoint.pt", "--num", "1"]
    result = CliRunner().invoke(main, ["synthesize", *flags])
    assert result.exit_code == 0, result.output
    assert dataset().meta.shape == (RESOLUTION, RESOLUTION)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), legacy=st.booleans())
def test_damaged_bytes_give_members_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, legacy: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "model_0.pth"
    torch.save(saved_state(classifier(channels=3)), path, _use_new_zipfile_serialization=not legacy)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content), 6000) - 1))  # the pickle lies at the front
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    path.write_bytes(bytes(content[:cut]))
    try:
        read_members(folder)
    except UsageError as error:
        assert "\n" not in str(error) and "model_0.pth" in str(error)


def test_configurations_that_name_a_release_load(folder: Path) -> None:
    assert load_config("exp.toml").synthesize.interpreter == Path("released")
