"""The notebook runs on small stores of both layouts, and its outputs are not in the repository."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from support.places import REPOSITORY
from support.stores import fill, make_meta

import fstore
from fstore import format as fmt

NOTEBOOK = REPOSITORY / "docs" / "inspect.ipynb"


def make_dataset(path: Path, num_images: int = 70, side: int = 16) -> None:
    """A complete dataset of noise, a task and a short one, of which 0.9 are kept."""
    classes = tuple(fmt.ClassInfo(i, f"class_{i}", f"#{i * 60:02x}8040") for i in range(4))
    writer = fstore.create_dataset(
        path, fmt.DatasetMeta((side, side), classes, latent_size=8), num_images=num_images
    )
    random = np.random.default_rng(0)
    for task in writer.pending_tasks():
        n = len(writer.task_images(task))
        divergence = random.uniform(0, 0.6, (n, side, side)).astype(np.float16)
        parts = {
            "images": random.integers(0, 256, (n, side, side, 3)).astype(np.uint8),
            "labels": random.integers(0, 4, (n, side, side)).astype(np.uint8),
            "divergence": divergence,
            "latents": random.standard_normal((n, 8)).astype(np.float32),
            "uncertainty": divergence.astype(np.float32).mean((1, 2)),
        }
        writer.write_task(task, parts)
    writer.close()
    uncertainty = fstore.open(path).uncertainty
    kept = np.zeros(num_images, dtype=bool)
    kept[np.argsort(uncertainty, kind="stable")[: int(0.9 * num_images)]] = True
    fstore.set_kept(path, kept, "0.9", float(uncertainty[kept].max()))


def test_the_notebook_is_stored_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_both_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of both layouts, one after the other in one kernel, whose imports are most of the time.

    A dataset has no layout: its cells run once.
    """
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed; pip install -e .[dev]")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed; pip install -e .[dev]")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed; pip install -e .[dev]")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; pip install -e .[dev]")
    for layout in ("dense", "pyramid"):
        (tmp_path / layout).mkdir()
        fill(tmp_path / layout / "features.zarr", make_meta(layout), num_images=4, images=[0, 2, 3])
    make_dataset(tmp_path / "dense" / "dataset.zarr")
    for variable in (
        "IPYTHONDIR",
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "MPLCONFIGDIR",
    ):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    (tmp_path / "MPLCONFIGDIR").mkdir()
    (tmp_path / "MPLCONFIGDIR" / "matplotlibrc").write_text("figure.dpi: 20\n")  # small pictures are quick
    monkeypatch.setenv("DGAN_FEATURES", "features.zarr")
    monkeypatch.setenv("DGAN_DATASET", "dataset.zarr")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells, move_on = notebook.cells, nbformat.v4.new_code_cell("%reset -f\n%cd ../pyramid")
    num_features = next(i for i, cell in enumerate(cells) if "fstore.open(DATASET)" in cell.source)
    notebook.cells = [*cells, move_on, *copy.deepcopy(cells[:num_features])]
    resources = {"metadata": {"path": str(tmp_path / "dense")}}
    nbclient.NotebookClient(notebook, timeout=120, resources=resources).execute()
    for run, num_pictures in ((cells[:num_features], 3), (notebook.cells[-num_features:], 3), (cells, 6)):
        outputs = [output for cell in run for output in cell.get("outputs", [])]
        shown = "".join(
            output.get("data", {}).get("text/plain", "") + output.get("text", "") for output in outputs
        )
        assert "<FeatureStore features.zarr>" in shown
        assert "3 of 4 committed" in shown
        assert sum("image/png" in output.get("data", {}) for output in outputs) == num_pictures
    assert "<Dataset dataset.zarr>" in shown
    assert "63 of 70 kept" in shown
