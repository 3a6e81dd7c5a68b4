"""The example notebook runs from the checkpoint to a segmentation model, in a kernel of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.places import REPOSITORY

from pipeline.settings.files import demo_text

NOTEBOOK = REPOSITORY / "docs" / "from-checkpoint-to-segmenter.ipynb"
SMALL = "MEMBERS, STEPS, IMAGES, EPOCHS, TEST_IMAGES = 2, 40, 16, 1, 8"
NO_COMPARISON = '[synthesize]\nprecision = "float32"\n'  # of precisions, which renders 16 images twice


def test_the_notebook_is_stored_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def executed(folder: Path, parameters: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook after its run in ``folder``, with ``parameters`` laid over those of its first cell."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed; pip install -e .[dev]")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed; pip install -e .[dev]")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed; pip install -e .[dev]")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; pip install -e .[dev]")
    jupyter = [f"JUPYTER_{kind}_DIR" for kind in ("CONFIG", "DATA", "RUNTIME")]
    for name in ("IPYTHONDIR", *jupyter, "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(folder / name))
    (folder / "MPLCONFIGDIR").mkdir()
    (folder / "MPLCONFIGDIR" / "matplotlibrc").write_text("figure.dpi: 20\n")  # small pictures are quick
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    first = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    notebook.cells.insert(first + 1, nbformat.v4.new_code_cell(parameters))
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=1200, resources=resources).execute()
    return notebook


def texts(notebook: Any) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]


def reached(notebook: Any) -> dict[str, float]:
    """The mIoU on new images, of the U-Net and of the ensemble."""
    found = re.findall(r"^(U-Net|ensemble) +mIoU (\S+)$", "\n".join(texts(notebook)), re.MULTILINE)
    return {name: float(value) for name, value in found}


@pytest.mark.slow
def test_the_notebook_runs_and_shows_its_progress_in_lines_that_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dgan.toml").write_text(f"{demo_text()}\n{NO_COMPARISON}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # beside other tests, two threads wait for one another
    notebook = executed(tmp_path, SMALL, monkeypatch)
    shown = texts(notebook)
    for title, units in (("extracting features", "16/16 images"), ("synthesizing", "16/16 images")):
        (line,) = [text for text in shown if text.startswith(title)]  # one output, and not one an update
        assert units in line and "\n" not in line
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert not any(output.get("name") == "stderr" for output in outputs)
    assert any(text.startswith("<FeatureStore") for text in shown)
    assert any(text.startswith("<Dataset") for text in shown)
    assert reached(notebook).keys() == {"U-Net", "ensemble"}


@pytest.mark.slow
def test_the_notebook_as_it_stands_makes_a_good_segmenter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = reached(executed(tmp_path, "", monkeypatch))
    assert found["ensemble"] > 0.9 and found["U-Net"] > 0.88
