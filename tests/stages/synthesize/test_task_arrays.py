"""A task's arrays as they fill up: every value once and in its place, held no longer than need be."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.stores import make_meta
from support.variants import variants

import fstore
from fstore import format as fmt
from pipeline.labelling.labelled_images import LabelledBatch
from pipeline.stages.costs import dataset_bytes
from pipeline.stages.synthesize import stage
from pipeline.stages.synthesize.memory import task_bytes
from pipeline.stages.synthesize.task_arrays import TaskArrays

NAMES = tuple(f"point {k}" for k in range(16))


def meta_of(side: int, *, keypoints: bool = True) -> fmt.DatasetMeta:
    info = fmt.KeypointInfo(NAMES, 1.5) if keypoints else None
    return fmt.DatasetMeta((side, side), make_meta().classes, 4, keypoints=info)


@given(
    num_images=st.integers(1, 64),
    batch=st.integers(1, 70),
    task=st.integers(0, 2),
    keypoints=st.booleans(),
)
def test_every_value_is_handed_on_once_and_in_whole_files(
    num_images: int, batch: int, task: int, keypoints: bool
) -> None:
    first = task * fmt.TASK_IMAGES
    specs = fmt.dataset_arrays(meta_of(1, keypoints=keypoints), first + num_images)
    values = {
        spec.name: np.random.default_rng(0).integers(0, 99, (num_images, *spec.shape[1:])).astype(spec.dtype)
        for spec in specs
    }
    parts: list[tuple[str, int, np.ndarray]] = []
    arrays = TaskArrays(specs, range(first, first + num_images), lambda *part: parts.append(part))
    for place in range(0, num_images, batch):
        arrays.add({name: array[place : place + batch] for name, array in values.items()})
    found = arrays.whole()
    if keypoints:
        assert {name for name, _, _ in parts} == {"heatmaps"}
        starts = list(range(first, first + num_images, fmt.HEATMAP_IMAGES))
        assert [start for _, start, _ in parts] == starts
        found["heatmaps"] = np.concatenate([part for _, _, part in parts])
    assert found.keys() == values.keys()
    for name, array in values.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


OBJECTS = 2**17  # bytes of what threads and zarr hold beside arrays, which does not grow with these


class RandomImages:
    """In place of ``LabelledImages``: noise, which hardly compresses, and labels at random."""

    def __init__(self, meta: fmt.DatasetMeta) -> None:
        self._meta, self._random = meta, np.random.default_rng(0)

    def batch(self, images: range, wanted: int) -> LabelledBatch:
        def noise(spec: fmt.ArraySpec) -> torch.Tensor:
            if spec.dtype == "uint8":
                end = len(self._meta.classes) if spec.name == "labels" else 256
                return torch.from_numpy(self._random.integers(0, end, spec.shape, np.uint8))
            return torch.from_numpy(self._random.random(spec.shape, np.float32).astype(spec.dtype))

        tensors = {spec.name: noise(spec) for spec in fmt.dataset_arrays(self._meta, wanted)}
        latents = tensors.pop("latents").numpy()
        return LabelledBatch(tensors, latents, None)


@pytest.mark.parametrize("num_images", variants(66, 20))
@pytest.mark.parametrize("keypoints", variants(True, False))
@pytest.mark.parametrize("queue_depth", variants(1, 0))
def test_filling_a_dataset_takes_what_is_planned_and_no_task_of_heat_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_images: int, keypoints: bool, queue_depth: int
) -> None:
    monkeypatch.setattr(stage, "check_unchanged", lambda folder, sha256: None)  # there is no interpreter
    meta = meta_of(64, keypoints=keypoints)
    peaks = {}
    for num in (1, num_images):  # a first one loads what is loaded once
        config = SimpleNamespace(num=num, render_batch=2, interpreter=None)
        job = SimpleNamespace(meta=meta, config=config, interpreter=SimpleNamespace(sha256=""))
        writer = fstore.create_dataset(tmp_path / "d.zarr", meta, num_images=num)
        tracemalloc.start()
        try:
            stage._fill(writer, RandomImages(meta), job, writer.pending_tasks(), queue_depth)
            peaks[num] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            writer.close()
    peak = peaks[num_images]
    assert len(fstore.open(tmp_path / "d.zarr")) == num_images
    batches = 4 * dataset_bytes(meta, job.config.render_batch)  # the source's own, and its float32
    planned = task_bytes(meta, num_images, queue_depth) + batches
    assert peak <= 1.1 * planned + OBJECTS
    assert planned <= 2 * peak
    if keypoints and num_images > fmt.TASK_IMAGES:
        heatmaps = next(s for s in fmt.dataset_arrays(meta, fmt.TASK_IMAGES) if s.name == "heatmaps")
        assert planned < heatmaps.raw_bytes
