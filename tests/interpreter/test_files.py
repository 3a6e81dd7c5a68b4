"""The interpreter's folder: what is written, in which order, and how every fault in it is named."""

from __future__ import annotations

import errno
import hashlib
import json
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.interpreters import INFO, TRAINED, ensemble, saved

from pipeline.errors import UsageError
from pipeline.interpreter import folder as folder_module
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.files import check_same_settings, load_info, load_interpreter
from pipeline.interpreter.folder import check_place, folder_state, remove_interpreter
from pipeline.interpreter.pairing import load_paired
from pipeline.interpreter.training_state import TrainingState, load_state, save_state
from pipeline.settings.schema import Config, SynthesizeConfig


def rewrite_description(folder: Path, **changes: object) -> None:
    path = folder / "interpreter.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("average", [None, np.arange(5, dtype=np.float32), np.ones((3, 5), dtype=np.float32)])
def test_what_is_saved_is_loaded(tmp_path: Path, average: np.ndarray | None) -> None:
    loaded = load_interpreter(saved(tmp_path / "new" / "interpreter", average))
    assert loaded.info == TRAINED
    assert not loaded.ensemble.training
    for name, tensor in ensemble().state_dict().items():
        assert torch.equal(loaded.ensemble.state_dict()[name], tensor)
    if average is None:
        assert loaded.average_latent is None
    else:
        np.testing.assert_array_equal(loaded.average_latent, average)
        assert loaded.average_latent.dtype == np.float32
    weights = tmp_path / "new" / "interpreter" / "interpreter.safetensors"
    assert loaded.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_the_folder_holds_two_files_with_documented_names(tmp_path: Path) -> None:
    folder = tmp_path / "interpreter"
    save_state(folder, TrainingState(TRAINED, {"a": torch.ones(2)}))
    saved(folder, np.zeros(3))
    assert sorted(p.name for p in folder.iterdir()) == ["interpreter.json", "interpreter.safetensors"]
    names = set(load_file(folder / "interpreter.safetensors"))
    assert {"0.layers.0.weight", "1.layers.5.running_var", "1.layers.6.bias", "average_latent"} <= names
    document = json.loads((folder / "interpreter.json").read_text())
    assert document["classes"][1] == {"id": 1, "name": "skin", "color": "#aabbcc"}
    assert document["generator"]["sha256"] == "ab" * 32
    assert document["epochs"][1] == {"epoch": 1, "steps": 20, "loss": 0.6, "miou": 0.4, "final": False}


@pytest.mark.parametrize(
    "save", [saved, lambda f: save_state(f, TrainingState(TRAINED, {"a": torch.ones(2**15)}))]
)
def test_what_the_system_refuses_to_write_is_an_error_of_the_system(
    tmp_path: Path, save: Callable[[Path], object]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python begins; else the signal ends it
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            save(tmp_path / "interpreter")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert Path(caught.value.filename).parent == tmp_path / "interpreter"
    assert not list((tmp_path / "interpreter").iterdir())


def test_saving_the_same_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a"), saved(tmp_path / "b")
    for name in ("interpreter.json", "interpreter.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_description_is_written_after_the_weights_and_each_by_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, str]] = []
    replace_file = folder_module.os.replace

    def record(source: Path, target: Path) -> None:
        order.append((source.name, target.name))
        replace_file(source, target)

    monkeypatch.setattr(folder_module.os, "replace", record)
    saved(tmp_path)
    following, description = "interpreter.next.safetensors", "interpreter.json"
    assert order == [
        *((f"{name}.partial", name) for name in (following, description)),
        (following, "interpreter.safetensors"),
    ]


def test_a_training_state_round_trips(tmp_path: Path) -> None:
    tensors = {"model.weight1": torch.randn(2, 3), "adam.step": torch.tensor(7.0)}
    save_state(tmp_path, TrainingState(TRAINED, tensors))
    assert folder_state(tmp_path) == "unfinished"
    assert load_info(tmp_path) == TRAINED
    state = load_state(tmp_path)
    assert state.info == TRAINED
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in tensors.items())


def test_parts_of_files_that_an_older_version_left_are_deleted(tmp_path: Path) -> None:
    def leave() -> None:
        for name in (".tmpPrHxXy", ".tmpletters", ".hidden"):
            (tmp_path / name).write_bytes(b"a part")

    leave()
    assert folder_state(tmp_path) == "absent"
    saved(tmp_path)
    kept = [".hidden", ".tmpletters"]
    assert sorted(path.name for path in tmp_path.glob(".*")) == kept
    leave()
    remove_interpreter(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_folder_states(tmp_path: Path) -> None:
    assert folder_state(tmp_path / "none") == "absent"
    assert folder_state(tmp_path) == "absent"
    (tmp_path / "training_state.safetensors.partial").touch()  # killed in the first epoch's save
    assert folder_state(tmp_path) == "absent"
    (tmp_path / "thesis.tex").touch()
    assert folder_state(tmp_path) == "foreign"
    assert folder_state(tmp_path / "thesis.tex") == "foreign"
    saved(tmp_path)
    assert folder_state(tmp_path) == "finished"
    remove_interpreter(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_missing_foreign_and_unfinished_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_interpreter(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no interpreter"):
        load_interpreter(tmp_path)
    save_state(tmp_path, TrainingState(TRAINED, {"a": torch.ones(2)}))
    with pytest.raises(UsageError, match=r"unfinished; run the same `dgan train` again"):
        load_interpreter(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    with pytest.raises(UsageError, match="is no interpreter folder"):
        load_interpreter(tmp_path / "other")


def test_a_flipped_bit_in_the_weights_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path) / "interpreter.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"interpreter\.safetensors: is damaged \(its sha256 begins"):
        load_interpreter(tmp_path)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    (saved(tmp_path) / "interpreter.safetensors").unlink()
    with pytest.raises(UsageError, match=r"interpreter\.safetensors: is damaged \(No such file"):
        load_interpreter(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1, "kind": "other"}', '{"version": 1, "kind": "interpreter"}', "\x00"],
)
def test_a_damaged_description_is_named(tmp_path: Path, text: str) -> None:
    (saved(tmp_path) / "interpreter.json").write_text(text)
    with pytest.raises(UsageError, match=r"interpreter\.json: is damaged"):
        load_interpreter(tmp_path)


def test_a_newer_version_is_refused_even_with_unknown_keys(tmp_path: Path) -> None:
    rewrite_description(saved(tmp_path), version=2, unheard_of=1)
    with pytest.raises(UsageError, match=r"format version 2 is newer than 1.*upgrade"):
        load_interpreter(tmp_path)


def test_weights_that_do_not_fit_the_description_are_refused(tmp_path: Path) -> None:
    rewrite_description(saved(tmp_path), widths=[5, 3])
    with pytest.raises(UsageError, match=r"\(2, 6, \(5, 4\), 3\).* says \(2, 6, \(5, 3\), 3\)"):
        load_interpreter(tmp_path)


def test_weights_without_a_member_are_refused(tmp_path: Path) -> None:
    weights = saved(tmp_path) / "interpreter.safetensors"
    tensors = load_file(weights)
    del tensors["1.layers.3.bias"]
    save_file(tensors, weights)
    rewrite_description(tmp_path, sha256=hashlib.sha256(weights.read_bytes()).hexdigest())
    with pytest.raises(UsageError, match=r"1\.layers\.3\.bias is missing"):
        load_interpreter(tmp_path)


@pytest.mark.parametrize("keep_bytes", [0, 5, 200])
def test_a_truncated_training_state_is_named(tmp_path: Path, keep_bytes: int) -> None:
    save_state(tmp_path, TrainingState(TRAINED, {"a": torch.ones(99)}))
    path = tmp_path / "training_state.safetensors"
    path.write_bytes(path.read_bytes()[:keep_bytes])
    with pytest.raises(UsageError, match=r"training_state\.safetensors: is damaged.*--overwrite"):
        load_state(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (replace(INFO, members=3), r"with members = 2, this run has 3; use"),
        (replace(INFO, training={**INFO.training, "seed": 1}), r"with training\.seed = 0, this run has 1"),
        (
            replace(INFO, generator={**INFO.generator, "sha256": "cd"}),
            r"generator\.sha256 = abab.*, .* has cd",
        ),
        (replace(INFO, ignore=None), r"with ignore = 255, this run has None"),
        (replace(INFO, members=3, widths=(5, 5), channels=8), r"has 3 \(and in widths, channels\); use"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, changed: InterpreterInfo, message: str) -> None:
    check_same_settings(tmp_path, TRAINED, INFO)
    with pytest.raises(UsageError, match=message) as error:
        check_same_settings(tmp_path, TRAINED, changed)
    assert "\n" not in str(error.value)


def test_a_memory_budget_is_no_other_setting(tmp_path: Path) -> None:
    check_same_settings(tmp_path, TRAINED, replace(INFO, training={**INFO.training, "buffer_mb": 64}))


@pytest.mark.parametrize("name", ["interpreter.json", "interpreter.safetensors"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    saved(tmp_path)
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UsageError, match=rf"{name}: cannot be read \(Permission denied\)") as error:
        load_interpreter(tmp_path)
    assert "damaged" not in str(error.value)


def test_a_flipped_bit_in_the_training_state_is_found(tmp_path: Path) -> None:
    save_state(tmp_path, TrainingState(TRAINED, {"a": torch.ones(99)}))
    path = tmp_path / "training_state.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"training_state\.safetensors: is damaged \(its sha256"):
        load_state(tmp_path)


def test_two_thin_matrices_take_no_memory_for_a_square_one(tmp_path: Path) -> None:
    weights = saved(tmp_path) / "interpreter.safetensors"
    side = 10**6  # a square matrix of it would take 4 TB
    save_file({"0.layers.0.weight": torch.zeros(side, 1), "0.layers.6.weight": torch.zeros(1, side)}, weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    rewrite_description(tmp_path, sha256=digest, members=1, seeds=[0], widths=[side, side])
    with pytest.raises(UsageError, match=r"0\.layers\.0\.bias is missing"):
        load_interpreter(tmp_path)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://bucket/interpreter", r"^s3:/bucket/interpreter: is a URL \(s3://\)"),
        ("file:///x", r"is a URL \(file://\)"),
        ("dangling", "dangling: is a link to nowhere, which does not exist; mend the link"),
        ("dangling/below", "dangling: is a link to nowhere"),
        ("file.txt", r"file\.txt: is a file, expected a folder"),
        ("file.txt/below", r"file\.txt: is a file, expected a folder"),
    ],
)
def test_what_can_be_no_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dangling").symlink_to("nowhere")
    Path("file.txt").touch()
    with pytest.raises(UsageError, match=message):
        check_place(Path(place))
    with pytest.raises(UsageError, match=message):
        load_interpreter(place)


@pytest.mark.parametrize("place", [".", "new/folder", "linked/below", "c:"])
def test_a_folder_of_any_usual_kind_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("real").mkdir()
    Path("linked").symlink_to("real")
    check_place(Path(place))


def test_nothing_half_written_stays_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(folder_module, "force_to_disk", full)
    with pytest.raises(OSError, match="No space"):
        saved(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_description_that_does_not_say_how_to_render_is_named(tmp_path: Path) -> None:
    config = Config(synthesize=SynthesizeConfig(interpreter=saved(tmp_path)))
    with pytest.raises(UsageError, match=r"interpreter\.json: the record of the generator lacks"):
        load_paired(config)


def test_an_interpreter_at_a_url_is_refused_as_such() -> None:
    with pytest.raises(UsageError, match=r"is a URL \(s3://\)"):
        load_paired(Config(synthesize=SynthesizeConfig(interpreter=Path("s3://bucket/interpreter"))))
