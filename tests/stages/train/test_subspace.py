"""The subspace in which members learn: against numpy, and what an interpreter that learnt in it is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.stores import NATIVE, fill, make_maps, make_meta
from support.variants import variants
from torch import Tensor

import fstore
from fstore import format as fmt
from fstore.cache import CachedPyramid
from fstore.display import human_bytes
from fstore.feature_store import FeatureStore
from fstore.location import Location
from fstore.map_file import MapFile
from pipeline.cluster.choice import ClusterChoice
from pipeline.errors import RunError
from pipeline.interpreter.files import load_interpreter
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.settings.schema import TrainConfig
from pipeline.stages.train import pixels
from pipeline.stages.train.making import on_all_channels
from pipeline.stages.train.pixels import settle_subspace
from pipeline.stages.train.plan import OFF
from pipeline.stages.train.prepare import prepare
from pipeline.stages.train.sampling import plan_memory
from pipeline.stages.train.stage import dry_run, train
from pipeline.stages.train.subspace import LARGEST, Subspace, find_subspace

META = make_meta("pyramid", grid=(64, 64))
COARSE = (("b4_out", (4, 4), 40), ("b4_more", (4, 4), 8), ("b16_out", (16, 16), 4))


def stored(image: int, native: tuple[tuple[str, tuple[int, int], int], ...] = NATIVE) -> list[Tensor]:
    """Maps as a store holds them: [h, w, c] float16."""
    return [part.permute(1, 2, 0).half() for part in make_maps(image, native)]


@given(energy=st.floats(0.01, 1.0), num=st.integers(1, 3))
def test_axes_are_orthonormal_and_as_few_as_hold_the_energy(energy: float, num: int) -> None:
    images = [stored(image) for image in range(num)]
    found = find_subspace(META, images, energy)
    means, kept, within = [], [], 0.0
    for run, basis in zip(found.runs, found.bases, strict=True):
        place = META.layers.index(run[0])
        values = np.concatenate([maps[place].reshape(-1, maps[place].shape[2]) for maps in images])
        values = values.astype(float)
        assert np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-5)
        within += np.square(values @ basis.double().numpy()).sum() / len(values)
        means.append(np.linalg.svd(values, compute_uv=False) ** 2 / len(values))  # an independent way
        kept.append(basis.shape[1])
    ordered = np.sort(np.concatenate(means))[::-1]
    total, expected = ordered.sum(), sum(each[:num].sum() for each, num in zip(means, kept, strict=True))
    assert within == pytest.approx(expected, rel=1e-5)
    for least in ordered:  # the fewest of all runs together, and one of each
        fewest = [max(1, int((each >= least).sum())) for each in means]
        if ordered[ordered >= least].sum() >= energy * (1 - 1e-9) * total:
            break
    assert kept == fewest


def test_there_are_no_more_axes_than_positions() -> None:
    meta = make_meta("pyramid", grid=(64, 64), native=COARSE)
    found = find_subspace(meta, [stored(image, COARSE) for image in range(2)], 1.0)
    assert [len(run) for run in found.runs] == [2, 1]
    assert [basis.shape for basis in found.bases] == [(48, 32), (4, 4)], "two images of 16 positions"
    assert found.channels == 36
    assert [(layer.channels, layer.offset) for layer in found.layers] == [(32, 0), (4, 32)]


@pytest.mark.parametrize("energy", [1.0, 0.9])
def test_weights_on_all_channels_give_the_outputs_of_the_coordinates(energy: float) -> None:
    images = [stored(0), stored(1)]
    subspace = find_subspace(META, images, energy)
    ensemble = InterpreterEnsemble(3, subspace.channels, seeds=[1, 2]).eval()
    whole = on_all_channels(ensemble, subspace).eval()
    assert whole.channels == META.channels
    full = torch.cat([part[:1, :4].reshape(4, -1) for part in images[0]], dim=1).float()  # any values [4, C]
    parts = full.split([sum(layer.channels for layer in run) for run in subspace.runs], dim=1)
    coordinates = torch.cat([part @ basis for part, basis in zip(parts, subspace.bases, strict=True)], dim=1)
    expected, found = ensemble.forward_shared(coordinates), whole.forward_shared(full)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_coordinates_that_float16_cannot_hold_are_scaled() -> None:
    meta = make_meta("pyramid", grid=(4, 4), native=(("b4", (4, 4), 64),))
    maps = [torch.full((4, 4, 64), 60_000.0).half()]
    subspace = find_subspace(meta, [maps], 1.0)
    (projected,) = subspace.project(maps)
    assert projected.isfinite().all() and float(projected.abs().max()) <= LARGEST
    back = projected.float() @ subspace.bases[0].T / subspace.bases[0].square().sum(0)
    torch.testing.assert_close(back, maps[0].float(), rtol=2e-3, atol=0)


def test_tensors_are_read_back_and_checked() -> None:
    subspace = find_subspace(META, [stored(0)], 0.9)
    again = Subspace.from_tensors(META.layers, subspace.tensors())
    assert all(map(torch.equal, again.bases, subspace.bases)) and again.layers == subspace.layers
    with pytest.raises(ValueError, match=r"basis\.1 is no float32 matrix of 5 rows"):
        Subspace.from_tensors(META.layers, {**subspace.tensors(), "basis.1": torch.zeros(4, 2)})


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    fill(tmp_path / "p.zarr", make_meta("pyramid", grid=(40, 50), crop_rows=(3, 38)))
    opened = fstore.open(tmp_path / "p.zarr")
    assert isinstance(opened, FeatureStore)
    return opened


def test_a_file_of_maps_gives_the_bits_of_maps_in_memory(store: FeatureStore, tmp_path: Path) -> None:
    subspace = find_subspace(store.meta, [store.native_maps(0)], 0.9)

    def read(image: int) -> list[Tensor]:
        return subspace.project(store.native_maps(image))

    held = CachedPyramid(store, range(3), layers=subspace.layers, read=read)
    filed = MapFile(store, range(3), tmp_path, layers=subspace.layers, read=read)
    assert filed.shape == held.shape == (*store.shape[:3], subspace.channels)
    where = np.random.default_rng(0).integers(0, store.shape[:3], (300, 3)).T
    found, expected = filed.pixels(*where), np.asarray(held.pixels(*where))
    assert np.array_equal(found.view(np.uint16), expected.view(np.uint16))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["p.zarr"], "the file has no name"


def dense(resolutions: list[tuple[int, int]]) -> fmt.FeatureMeta:
    native = tuple((f"l{i}", size, 4) for i, size in enumerate(resolutions))
    return make_meta("dense", grid=(32, 32), native=native)


def test_what_auto_means_follows_from_the_store_and_the_length_alone() -> None:
    assert settle_subspace("auto", META, is_whole_epoch=True) == "0.999"
    assert settle_subspace("auto", META, is_whole_epoch=False) == OFF
    assert settle_subspace("auto", dense([(4, 4), (32, 32)]), is_whole_epoch=True) == OFF
    assert settle_subspace("auto", dense([(4, 4), (8, 8), (16, 16)]), is_whole_epoch=True) == "0.999"
    assert settle_subspace("0.5", dense([(32, 32)]), is_whole_epoch=False) == "0.5"
    assert settle_subspace(OFF, META, is_whole_epoch=True) == OFF


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("annotated") / "p.zarr"
    fill(path, make_meta("pyramid", grid=(40, 40)), num_images=4)
    return path


@pytest.mark.parametrize("subspace", variants("auto", "off", "0.9", "1", fast=2))
def test_the_interpreter_is_one_on_all_channels(annotated: Path, tmp_path: Path, subspace: str) -> None:
    config = TrainConfig(
        members=2, batch_size=16, epoch_pixels=320, max_epochs=1, hidden=(8, 6), subspace=subspace
    )
    found = train(annotated, replace(config, out=tmp_path / "i"))
    assert found.ensemble.channels == found.info.channels == sum(layer.channels for layer in META.layers)
    recorded = {"auto": "0.999", "off": None}.get(subspace, subspace)
    assert found.info.training.get("subspace") == recorded
    assert {entry.name for entry in (tmp_path / "i").iterdir()} == {
        "interpreter.json",
        "interpreter.safetensors",
    }
    assert load_interpreter(tmp_path / "i").sha256 == found.sha256


SHORT = TrainConfig(members=2, batch_size=16, epoch_pixels=320, max_epochs=1, hidden=(8, 6), cache="none")


def disk_line(store: Path, config: TrainConfig, workers: int | None) -> str:
    cluster = None if workers is None else ClusterChoice(workers)
    return next(line for line in dry_run(store, config, cluster=cluster) if line.startswith("disk"))


@pytest.mark.parametrize("cache", ["none", "1GB"])
def test_the_disk_has_the_files_of_maps_of_all_processes(
    annotated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    config = replace(SHORT, out=tmp_path / "i", cache=cache)
    jobs = {workers: prepare(annotated, config, torch.device("cpu"), workers=workers) for workers in (0, 3)}
    files, plan = [], jobs[0].plan

    class Measured(MapFile):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            files.append(os.fstat(self._file.fileno()).st_size)

    monkeypatch.setattr(pixels, "MapFile", Measured)
    train(annotated, config)
    exact = [*files, 0][0]
    assert len(files) == (cache == "none")
    assert exact <= plan.map_bytes <= (cache == "none") * plan.pyramid_bytes
    assert jobs[3].plan.map_bytes == 4 * plan.map_bytes
    for workers in (0, 3):
        of_all = jobs[workers].plan.disk_bytes
        assert of_all == plan.state_bytes + (1 + workers) * plan.map_bytes
        line = disk_line(annotated, replace(config, out=tmp_path / "new"), workers or None)
        assert f"at most {human_bytes(of_all)}" in line and ("files of maps" in line) == (cache == "none")
    assert "files of maps" not in disk_line(annotated, replace(config, out=tmp_path / "n", subspace=OFF), 3)


def test_a_known_subspace_says_the_size_of_its_file(store: FeatureStore, tmp_path: Path) -> None:
    subspace = find_subspace(store.meta, [store.native_maps(image) for image in range(3)], 0.9)
    plan = prepare(tmp_path / "p.zarr", replace(SHORT, out=tmp_path / "i"), torch.device("cpu")).plan
    images = plan.split.training + plan.split.held_out

    def read(image: int) -> list[Tensor]:
        return subspace.project(store.native_maps(image))

    filed = MapFile(store, images, tmp_path, layers=subspace.layers, read=read)
    assert pixels.map_file_bytes(store, plan, subspace) == os.fstat(filed._file.fileno()).st_size
    assert pixels.map_file_bytes(store, plan, subspace) < pixels.map_file_bytes(store, plan)


def test_a_disk_without_room_for_a_file_of_maps_is_refused(
    annotated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(SHORT, out=tmp_path / "i")
    plan = prepare(annotated, config, torch.device("cpu")).plan
    monkeypatch.setattr(Location, "free_bytes", lambda self: plan.disk_bytes)
    dry_run(annotated, config)
    with pytest.raises(RunError, match="training needs about"):
        dry_run(annotated, config, cluster=ClusterChoice(1))
    monkeypatch.setattr(Location, "free_bytes", lambda self: plan.state_bytes)
    for run in (dry_run, train):
        with pytest.raises(RunError, match="training needs about"):
            run(annotated, config)
    dry_run(annotated, replace(config, cache="1GB"))
    found = fstore.open(annotated)
    assert isinstance(found, FeatureStore)
    memory = plan_memory(plan, torch.device("cpu"), None)
    monkeypatch.setattr(Location, "free_bytes", lambda self: 10)
    with pytest.raises(
        RunError, match=r"a file of maps needs about .*; free some, or hold them with --cache"
    ):
        pixels.open_pixels(found, plan, memory, torch.device("cpu"), tmp_path)  # as a worker does


@pytest.mark.slow
def test_dense_and_pyramid_learn_the_same(tmp_path: Path) -> None:
    config = TrainConfig(
        members=2,
        batch_size=16,
        epoch_pixels=320,
        max_epochs=1,
        final_epochs=0,
        hidden=(8, 6),
        subspace="0.99",
    )
    loss = {}
    for layout in ("dense", "pyramid"):
        fill(tmp_path / layout, make_meta(layout, grid=(64, 64)), num_images=4)
        found = train(tmp_path / layout, replace(config, out=tmp_path / f"i-{layout}"))
        loss[layout] = found.info.epochs[0].loss
    assert loss["dense"] == pytest.approx(loss["pyramid"], rel=0.2), "other batches of the same pixels"
