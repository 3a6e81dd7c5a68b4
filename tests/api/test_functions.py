"""The stages as functions: they leave, say and refuse what the commands do, and return what comes of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.commands import dgan
from support.places import REPOSITORY
from support.stores import tree_bytes

import fstore
import pipeline
from fstore.writer import FeatureWriter
from pipeline import RunError, UsageError
from pipeline.api import runs

TRAIN = {"members": 3, "steps": 20, "batch_size": 16}


def extract(**more: Any) -> Any:
    return pipeline.extract_features(
        checkpoint="in/checkpoint.pt", latents="in/latents.npy", annotations=Path("in/masks"), **more
    )


def content(store: Path | str) -> dict[str, Any]:
    """The bytes of a store, and its attribute without what names this one store and its time."""
    files: dict[str, Any] = tree_bytes(Path(store))
    attribute = json.loads(files.pop("zarr.json"))["attributes"]["fstore"]
    return {**files, "attribute": {k: v for k, v in attribute.items() if k not in ("id", "created")}}


def test_the_functions_leave_what_the_commands_leave(trained: Path) -> None:
    store = extract(store="mine.zarr")
    assert isinstance(store, fstore.FeatureStore) and len(store) == 4
    assert content("mine.zarr") == content("features.zarr")

    interpreter = pipeline.train(store=store, out="mine", **TRAIN)
    weights = "interpreter.safetensors"
    assert Path("mine", weights).read_bytes() == Path("interpreter", weights).read_bytes()

    wanted = {
        "checkpoint": "in/checkpoint.pt",
        "num": 11,
        "keep": 0.9,
        "store": "mine-dataset.zarr",
        "precision": "float32",
    }
    dataset = pipeline.synthesize(interpreter=interpreter, **wanted)
    assert isinstance(dataset, fstore.Dataset) and dataset.kept.sum() == 10  # ceil(0.9 * 11)
    words = ["--checkpoint", "in/checkpoint.pt", "--num", 11, "--interpreter", "mine"]
    result = dgan("synthesize", *words, "--precision", "float32")
    assert result.exit_code == 0, result.output
    assert content("mine-dataset.zarr") == content("dataset.zarr")

    dataset = pipeline.filter(dataset, keep="0.5")
    assert dataset.kept.sum() == 6


def test_a_trained_interpreter_says_what_it_is(trained: Path) -> None:
    interpreter = pipeline.train(say=None, **TRAIN)
    description = json.loads(Path("interpreter/interpreter.json").read_text())
    best = description["epochs"][description["best_epoch"]]
    assert interpreter.folder == Path("interpreter")
    assert (interpreter.members, interpreter.miou, interpreter.best.steps) == (3, best["miou"], best["steps"])
    assert len(interpreter.epochs) == len(description["epochs"])
    assert interpreter.info.task == "segmentation"
    assert isinstance(interpreter.ensemble, torch.nn.Module) and not interpreter.ensemble.training
    shown = dgan("info", "interpreter").stdout
    assert repr(interpreter).split() == shown.split()


def test_a_sample_gives_its_folder(folder: Path) -> None:
    project = pipeline.sample(checkpoint="in/checkpoint.pt", num=3, out="project")
    assert project == Path("project")
    assert len(list((project / "images").iterdir())) == 3


CALLS: list[tuple[Callable[..., Any], dict[str, Any], list[str]]] = [
    (pipeline.extract_features, {"layout": "heap"}, ["extract-features", "--layout", "heap"]),
    (pipeline.extract_features, {"config": "no.toml"}, ["extract-features", "--config", "no.toml"]),
    (
        pipeline.extract_features,
        {"checkpoint": "no.pt", "latents": "no.npy"},
        ["extract-features", "--checkpoint", "no.pt", "--latents", "no.npy"],
    ),
    (pipeline.train, {"store": "none.zarr"}, ["train", "--store", "none.zarr"]),
    (pipeline.train, {"store": "memory://x"}, ["train", "--store", "memory://x"]),
    (pipeline.train, {"steps": 5}, ["train", "--steps", "5"]),  # the interpreter there has 20
    (pipeline.train, {"task": "keypoints", "overwrite": True}, ["train", "--task=keypoints", "--overwrite"]),
    (pipeline.train, {"out": "in/checkpoint.pt/x"}, ["train", "--out", "in/checkpoint.pt/x"]),
    (pipeline.synthesize, {"device": "cuda:99"}, ["synthesize", "--device", "cuda:99"]),
    (pipeline.synthesize, {"render_batch": 3}, ["synthesize", "--render-batch", "3"]),
    (pipeline.synthesize, {"interpreter": "in"}, ["synthesize", "--interpreter", "in"]),
    (pipeline.sample, {"num": 4, "diverse": True, "pool": 2}, ["sample", "--num=4", "--diverse", "--pool=2"]),
    (pipeline.report, {"path": "none.zarr"}, ["report", "none.zarr"]),
    (pipeline.view, {"store": "none.zarr"}, ["view", "none.zarr"]),
    (pipeline.filter, {"store": "features.zarr", "keep": 1}, ["filter", "features.zarr", "--keep", "1"]),
]


@pytest.mark.parametrize(("function", "given", "words"), CALLS, ids=[" ".join(words) for *_, words in CALLS])
def test_what_a_command_refuses_its_function_refuses_with_the_same_line(
    function: Callable[..., Any], given: dict[str, Any], words: list[str], trained: Path
) -> None:
    result = dgan(*words)
    assert result.exit_code in (1, 2)
    with pytest.raises(UsageError if result.exit_code == 2 else RunError) as caught:
        function(**given)
    assert f"Error: {caught.value}" == result.stderr.splitlines()[-1]


def test_damage_is_a_run_error_with_the_stores_error_as_its_cause(trained: Path) -> None:
    pipeline.synthesize(checkpoint="in/checkpoint.pt", num=3, precision="float32", say=None)
    shard = Path("dataset.zarr/uncertainty/c/0")
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
    with pytest.raises(RunError) as caught:
        pipeline.filter("dataset.zarr", keep=0.5)
    assert type(caught.value.__cause__).__name__ == "CorruptionError"


def test_a_configuration_beside_the_data_is_used_and_keywords_override_it(trained: Path) -> None:
    Path("dgan.toml").write_text("[train]\nmembers = 3\nsteps = 20\nbatch_size = 16\n")
    lines: list[str] = []
    assert pipeline.train(say=lines.append).members == 3
    assert lines[0] == "using dgan.toml" and lines[-1].endswith("nothing to do")
    with pytest.raises(UsageError, match=r"members = 3, this run has 10"):
        pipeline.train(members=10)  # the default, but given


def test_a_dry_run_gives_the_commands_lines_and_writes_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    words = ["--checkpoint=in/checkpoint.pt", "--latents=in/latents.npy", "--annotations=in/masks"]
    printed = dgan("extract-features", *words, "--dry-run").stdout
    assert extract(dry_run=True) == printed.removesuffix("\n")
    assert sorted(folder.rglob("*")) == before


def test_say_is_told_what_the_command_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    extract(say=lines.append)
    shutil.rmtree("features.zarr")
    words = ["--checkpoint=in/checkpoint.pt", "--latents=in/latents.npy", "--annotations=in/masks"]
    assert lines == dgan("extract-features", *words).output.splitlines()
    capsys.readouterr()
    extract()
    assert capsys.readouterr().out.splitlines()[-1] == lines[-1]
    extract(say=None)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(UsageError, match="say is 3; expected a function"):
        extract(say=3)


def test_an_interrupted_call_goes_on_in_the_same_process(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = FeatureWriter.write
    images: list[int] = []

    def interrupted(self: FeatureWriter, prepared: fstore.PreparedImage) -> None:
        if len(images) == 2:
            raise KeyboardInterrupt
        images.append(prepared.image)
        write(self, prepared)

    monkeypatch.setattr(FeatureWriter, "write", interrupted)
    with pytest.raises(KeyboardInterrupt) as kept:  # a notebook keeps the traceback, and its frames
        extract(store="mine.zarr")
    assert len(fstore.open("mine.zarr")) == 2
    monkeypatch.setattr(FeatureWriter, "write", write)
    extract(store="mine.zarr")
    assert content("mine.zarr") == content("features.zarr")
    assert kept.value.__cause__ is None


def test_a_thread_may_call_and_no_signal_is_handled(trained: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    hook = sys.unraisablehook
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(pipeline.train(**TRAIN)))
    thread.start()
    thread.join()
    assert found[0].members == 3
    assert {number: signal.getsignal(number) for number in before} == before
    assert sys.unraisablehook is hook


def test_a_function_runs_where_a_loop_of_asyncio_runs(folder: Path) -> None:
    async def cell() -> int:
        return len(extract())

    assert asyncio.run(cell()) == 4


def test_torch_has_its_settings_again_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(say: Any, **flags: Any) -> None:
        from pipeline.machine.device import _exact_cuda, set_threads

        set_threads(flags["threads"])
        _exact_cuda(0)
        assert torch.get_num_threads() == 3 and not torch.backends.cudnn.allow_tf32
        raise UsageError("enough")

    before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    assert before[:2] == (1, True)
    monkeypatch.setattr(runs, "extract_features", run)
    with pytest.raises(UsageError, match="enough"):
        pipeline.extract_features(threads=3)
    after = torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    assert after == before


@pytest.mark.parametrize(("first", "expected"), [("", "PASSIVE"), ("sys.modules['torch'] = sys", "None")])
def test_torch_is_prepared_where_it_is_not_imported_yet(first: str, expected: str) -> None:
    code = f"import os, sys; {first}\nfrom pipeline import train\nprint(os.environ.get('OMP_WAIT_POLICY'))"
    environment = {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr


def test_the_functions_of_a_store_in_a_notebook_take_numbers_of_arrays(trained: Path) -> None:
    numbers = np.array([2, 1])
    dataset = pipeline.synthesize(
        checkpoint="in/checkpoint.pt", num=numbers[0], seed=numbers[1], precision="float32", say=None
    )
    assert len(dataset) == 2 and dataset.meta.seed == 1


def test_completion_finds_the_functions_and_no_room_has_their_names() -> None:
    assert {"extract_features", "train", "synthesize", "UsageError"} <= set(dir(pipeline))
    rooms = {path.stem for path in (REPOSITORY / "pipeline").iterdir()}
    assert not rooms & set(pipeline._LAZY)  # a room that is imported would take the function's place
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = pipeline.trian
