"""Labels from stored features: both layouts agree with labelling the dense features pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.training import HEIGHT, WIDTH, write_store

import fstore
from pipeline.calibration.predictions import Predictor
from pipeline.labelling.votes import entropy, label_pixels
from pipeline.models.interpreter import InterpreterEnsemble


@pytest.mark.parametrize("layout", ["dense", "pyramid"])
def test_a_prediction_is_what_labelling_each_pixel_gives(tmp_path: Path, layout: str) -> None:
    store = fstore.open(write_store(tmp_path / "f.zarr", layout, num_images=2))
    assert isinstance(store, fstore.FeatureStore)
    ensemble = InterpreterEnsemble(3, 7, seeds=(1, 2, 3), widths=(8, 6)).eval()
    found = Predictor(store, ensemble, torch.device("cpu")).predict(1)
    features = torch.from_numpy(store.features[1].compute(scheduler="sync")).flatten(0, 1)
    labels, divergence = label_pixels(ensemble, features)
    with torch.inference_mode():
        doubt = entropy(ensemble.forward_shared(features.float()).softmax(2).mean(0)).mean()
    assert found.labels is not None and found.divergence.dtype == np.float16
    assert (found.labels == labels.reshape(HEIGHT, WIDTH).numpy()).mean() > 0.998  # but for rounding
    assert found.divergence == pytest.approx(divergence.reshape(HEIGHT, WIDTH).numpy(), abs=2e-3)
    assert found.entropy == pytest.approx(float(doubt), abs=1e-3)
