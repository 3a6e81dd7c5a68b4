"""Calibrations, segmenters and translators that were changed at random: a command that reads one ends in a
line, opens no file outside, and asks for no memory that only the file claims.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fault_cases import drawn, named
from support.filters import calibration, random_dataset
from support.mutants import check_mutant
from support.scored_segmenters import use_color_networks, write_colored, write_segmenter
from support.translating import make_source, write_translator

MUTANTS = 6  # of one case
COMMANDS = {
    "calibration": (
        ("filter", "d.zarr", "--keep", "auto"),
        ("filter", "d.zarr", "--keep", "auto", "--score", "mean", "--keep-per-class"),
    ),
    "segmenter": (
        ("segment", "predict", "segmenter", "--images", "photos", "--out", "made"),
        ("segment", "predict", "segmenter", "--images", "photos", "--out", "made", "--resolution", "8"),
    ),
    "translator": (("translate", "apply", "translator", "--data", "source.zarr", "--store", "made"),),
}
FILES = {
    "calibration": ("calibration.json",),
    "segmenter": ("segmenter/segmenter.json", "segmenter/segmenter.json", "segmenter/deeplab_epoch_1.pth"),
    "translator": ("translator/translator.json", "translator/translator.json", "translator/generators.pth"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each of them, and what they are used on."""
    folder = tmp_path_factory.mktemp("trained") / "project"
    folder.mkdir()
    random_dataset(folder / "d.zarr")
    (folder / "calibration.json").write_text(calibration({"top10": "0.75", "mean": "0.25"}).to_text())
    write_colored(folder / "photos", ["photo a.png", "photo b.png"], size=(24, 36), noise=0)
    write_segmenter(folder / "segmenter", (0.6, 0.0))
    make_source(folder / "source.zarr", 3)
    write_translator(folder / "translator")
    return folder


@pytest.mark.parametrize(("kind", "number"), named(list(COMMANDS), list(COMMANDS), 8))
def test_a_mutated_file_is_refused_in_a_line_or_does_no_harm(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    number: int,
    note: Callable[[str], None],
) -> None:
    use_color_networks(monkeypatch)
    chance = drawn("trained", kind, number)
    for mutant in range(MUTANTS):
        folder = tmp_path / f"{mutant}"
        shutil.copytree(project, folder)
        monkeypatch.chdir(folder)
        file, words = chance.choice(FILES[kind]), chance.choice(COMMANDS[kind])
        check_mutant(folder, Path(file), words, chance, note)
        shutil.rmtree(folder)
