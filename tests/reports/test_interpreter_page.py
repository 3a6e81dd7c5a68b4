"""``dgan report`` of an interpreter's folder: what it says, finished or not."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import dgan, done
from support.interpreters import INFO, TRAINED, ensemble, saved

from fstore.format import ClassInfo
from pipeline.errors import UsageError
from pipeline.interpreter.files import save_interpreter
from pipeline.interpreter.training_state import TrainingState, save_state
from pipeline.reports.interpreter_page import interpreter_page


def words(page: Path) -> str:
    """The page's visible words, with single spaces."""
    body = page.read_text().partition("<body>")[2].partition("<script>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_page_says_what_was_trained_on_what(tmp_path: Path) -> None:
    folder = tmp_path / "interpreter"
    training = {**INFO.training, "held_out_images": [1, 3], "falling": 0.3, "learning_rate": 1e-3}
    store = {**INFO.store, "inputs": {"image_numbers": [4, 5, 8, 9]}}
    hostile = (*INFO.classes[:2], ClassInfo(2, "<i>hair</i>", "#112233"))
    info = replace(TRAINED, training=training, store=store, classes=hostile)
    sha256 = save_interpreter(folder, ensemble(), info, None).sha256
    out = tmp_path / "page.html"
    result = done("report", folder, "--out", out)
    assert re.fullmatch(rf"{out}: page of interpreter {folder}, [\d.]+ kB\n", result.stdout)
    found = words(out)
    assert "best epoch 1: mIoU 0.5000 on held-out images" in found
    assert "4 annotated images, layout dense. Held out to measure the epochs: images 5, 9." in found
    assert "background skin <i>hair</i>" in found and "<i>" not in out.read_text()
    assert sha256 in found and "batch_size 64" in found and "Label 255 is ignored" in found
    assert "that of each was not recorded" in found
    assert out.read_text().count('<svg class="curves"') == 3


@pytest.mark.parametrize("numbers", [[4, 5, 8], "4589", [4, 5, 8, "<b>"], [4, 5, 8, 8]])
def test_numbers_of_images_that_are_none_are_named(tmp_path: Path, numbers: object) -> None:
    training = {**INFO.training, "held_out_images": [1, 3]}
    info = replace(TRAINED, training=training, store={**INFO.store, "inputs": {"image_numbers": numbers}})
    save_interpreter(tmp_path / "interpreter", ensemble(), info, None)
    with pytest.raises(UsageError, match=r"interpreter: its .* malformed \(store.inputs.image_numbers"):
        interpreter_page(tmp_path / "interpreter")


def test_an_unfinished_training_has_a_page(tmp_path: Path) -> None:
    save_state(tmp_path / "interpreter", TrainingState(TRAINED, {}))
    done("report", tmp_path / "interpreter", "--out", tmp_path / "page.html")
    found = words(tmp_path / "page.html")
    assert "Training is not finished" in found and "2 epochs, 20 steps" in found


def test_an_interpreter_that_is_trained_anew_meanwhile_is_noticed(tmp_path: Path) -> None:
    folder = saved(tmp_path / "interpreter")
    built = interpreter_page(folder)
    built.check_unchanged()
    model = ensemble()
    model.bias1.data += 1
    save_interpreter(folder, model, TRAINED, None)
    with pytest.raises(UsageError, match="trained anew meanwhile"):
        built.check_unchanged()


def test_a_damaged_description_is_one_line(tmp_path: Path) -> None:
    folder = saved(tmp_path / "interpreter")
    (folder / "interpreter.json").write_text("{")
    result = dgan("report", folder, "--out", tmp_path / "page.html")
    assert result.exit_code == 2 and "is damaged" in result.output
    assert not (tmp_path / "page.html").exists()
