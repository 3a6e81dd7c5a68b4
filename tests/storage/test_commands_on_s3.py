"""The stages and what reads stores, with every store on S3: the same results as in folders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.object_storage import SECRET, TOKEN, counted, objects, put
from support.places import REPOSITORY
from support.tiny import input_flags

import fstore
import pipeline
from fstore.location import LOCK
from fstore.objects import Bucket
from pipeline.cli import main

pytestmark = pytest.mark.slow
TRAIN = ["--members", "2", "--steps", "20", "--batch-size", "16"]


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, result.output
    assert SECRET not in result.output and TOKEN not in result.output
    return result


def same_arrays(url: str, folder: Path) -> None:
    """All files of a folder but those that have an id, a time or the name of a place."""
    found = objects(url)
    expected = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert sorted(found) == sorted(expected)
    for key in set(expected) - {"zarr.json"}:
        assert found[key] == expected[key], key


def test_every_stage_runs_with_its_stores_on_s3(folder: Path, s3: str) -> None:
    """Each command that has a store, twice: with stores on S3 and with folders."""
    places = {"url": (f"{s3}/run 1/features.zarr", f"{s3}/run 1/dataset.zarr"), "disk": ("f.zarr", "d.zarr")}
    for name, (features, dataset) in places.items():
        run("extract-features", *input_flags(folder / "in"), "--store", features)
        run("train", "--store", features, "--out", f"{name}-interpreter", *TRAIN)
        synthesize = ["--checkpoint", "in/checkpoint.pt", "--interpreter", f"{name}-interpreter"]
        synthesize += ["--store", dataset]
        run("synthesize", *synthesize, "--num", "3", "--keep", "1")
        run("synthesize", *synthesize, "--num", "6", "--keep", "1")
        assert "6 of 6" in run("info", dataset).output
        assert "on disk" in run("info", features).output
        run("verify", features)
        run("filter", dataset, "--keep", "0.5")
        run("verify", dataset)
        run("export", dataset, f"{name}-export", "--format", "png")
    same_arrays(places["url"][0], folder / "f.zarr")
    same_arrays(places["url"][1], folder / "d.zarr")
    exported = {}
    for name in places:
        pictures = Path(f"{name}-export").rglob("*.png")
        exported[name] = {p.relative_to(f"{name}-export"): p.read_bytes() for p in pictures}
    assert exported["url"] == exported["disk"] and len(exported["url"]) > 0
    assert LOCK not in objects(places["url"][0]) and LOCK not in objects(places["url"][1])


@pytest.mark.filterwarnings("always::fstore.errors.StoreWarning")
def test_a_second_run_of_a_stage_is_refused_until_the_lock_is_broken(folder: Path, s3: str) -> None:
    url = f"{s3}/features.zarr"
    extract = ["extract-features", *input_flags(folder / "in"), "--store", url]
    record = {"owner": "x", "host": "gpu-7", "process": 4711}
    record |= dict.fromkeys(("started", "boot", "namespace", "time"), "")
    put(url, LOCK, json.dumps(record).encode())
    for words in (extract, [*extract, "--dry-run"], [*extract, "--dry-run", "--break-lock"]):
        refused = run(*words, code=2)
        assert f"Error: {url}: another writer has it open, process 4711 on host gpu-7; wait" in refused.output
    output = run(*extract, "--break-lock").output
    assert f"Warning: {url}: broke the lock of process 4711 on host gpu-7\n" in output
    assert LOCK not in objects(url)
    put(url, LOCK, json.dumps(record).encode())
    with pytest.raises(pipeline.UsageError, match="another writer has it open"):
        pipeline.extract_features(store=url, say=None, **_inputs(folder))
    with pytest.warns(UserWarning, match="broke the lock"):
        assert len(pipeline.extract_features(store=url, say=None, break_lock=True, **_inputs(folder))) == 4


def _inputs(folder: Path) -> dict[str, Path]:
    inside = folder / "in"
    return {
        "checkpoint": inside / "checkpoint.pt",
        "latents": inside / "latents.npy",
        "annotations": inside / "masks",
    }


def test_a_run_that_is_killed_is_gone_on_with_by_the_same_command(folder: Path, s3: str) -> None:
    """Its lock is left behind; the next run on this machine sees that its process is gone."""
    url = f"{s3}/features.zarr"
    words = ["extract-features", *input_flags(folder / "in"), "--store", url]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "pipeline.cli", *words], env=environment, cwd=folder)
    deadline = time.monotonic() + 120
    bucket = Bucket(url)
    while bucket.get("images/zarr.json") is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert LOCK in objects(url)
    run(*words)
    assert LOCK not in objects(url)
    run("verify", url)
    run("extract-features", *input_flags(folder / "in"), "--store", "f.zarr")
    same_arrays(url, folder / "f.zarr")


def test_a_loader_with_spawned_workers_reads_from_s3(s3: str, folder: Path) -> None:
    from torch.utils.data import DataLoader

    url = f"{s3}/features.zarr"
    run("extract-features", *input_flags(folder / "in"), "--store", url)
    data = fstore.torch_dataset(url)
    with counted(url) as asked:
        here = [data[i][1].numpy() for i in range(4)]
    assert asked["get"] <= 4 * 4 + 6
    loader = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="spawn")
    there = np.concatenate([labels.numpy() for _, labels in loader])
    assert np.array_equal(there, np.stack(here))
    forked = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(Exception, match="multiprocessing_context='spawn'"):
        list(forked)
