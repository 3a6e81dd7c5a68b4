"""A store of keypoints: the error is 1 - PCK@10, and the uncertainties are those that need no labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from support.training import SMALL

import fstore
from fstore.format import ClassInfo, FeatureMeta, KeypointInfo, LayerInfo
from pipeline.calibration import run
from pipeline.labelling.heat_maps import heat, region_mask
from pipeline.quality.calibration_file import read_calibration
from pipeline.settings.schema import CalibrateConfig, Config

SIDE, NUM, SIGMA, NAMES = 32, 4, 2.0, ("left", "right")
CPU = torch.device("cpu")


def write_store(path: Path) -> np.ndarray:
    """A store whose features are the heat maps themselves; returns the points. One image has no point."""
    points = np.random.default_rng(3).uniform(6, 26, (NUM, len(NAMES), 3)).astype(np.float32)
    points[..., 2] = 1
    points[1, :, 2] = 0
    classes = [ClassInfo(i, name, "#336699") for i, name in enumerate(("none", *NAMES))]
    layers = (LayerInfo("fine", (SIDE, SIDE), len(NAMES), 0),)
    meta = FeatureMeta(
        "pyramid", (SIDE, SIDE), (0, SIDE), layers, tuple(classes), keypoints=KeypointInfo(NAMES, SIGMA)
    )
    writer = fstore.create(path, meta, num_images=NUM, latent_shape=(4,))
    y, x = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5, indexing="ij")
    positions = torch.from_numpy(np.stack([x, y], -1)).float()
    for image in range(NUM):
        maps = [heat(positions, torch.from_numpy(points[image, :, :2]), SIGMA).permute(2, 0, 1)]
        mask = region_mask(points[image], SIDE, SIDE, SIGMA)
        picture, latent = np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros(4, np.float32)
        writer.write_image(image, maps, picture, mask, latent, points[image])
    return points


def test_keypoints_are_calibrated_by_pck(tmp_path: Path) -> None:
    write_store(tmp_path / "features.zarr")
    config = Config()
    config = replace(
        config,
        features=replace(config.features, store=str(tmp_path / "features.zarr")),
        train=replace(SMALL, members=2, max_epochs=2, epoch_pixels=320),
        calibrate=CalibrateConfig(folds=2, out=tmp_path / "calibration.json"),
    )
    job = run.prepare(config, CPU, overwrite=False)
    assert job.images.tolist() == [0, 2, 3]  # that without a labelled point measures nothing
    found = run.calibrate(job, CPU, memory_budget=None, say=lambda _: None)
    assert found["measure"] == "pck10" and found["classes"] == list(NAMES)
    assert set(found["scores"]) == {"top10", "mean", "sum", "true-error"}
    for image in found["images"]:
        assert image["error"] == 1 - image["pck10"] and 0 <= image["pck10"] <= 1
    assert read_calibration(config.calibrate.out).to_json() == found
    assert "PCK@10 by the share kept" in run.table_lines(found, config.calibrate.out)[0]
