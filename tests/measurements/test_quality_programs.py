"""The programs that measure quality run at toy sizes and print their tables."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest


@pytest.mark.slow
def test_uncertainty_table_has_every_score(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import uncertainty
    from pipeline.quality.uncertainty_candidates import DESCRIPTIONS

    uncertainty.main(["--quick"])
    printed = capsys.readouterr().out
    assert all(f"│ ({name}) " in printed for name in DESCRIPTIONS) and "│ top10 " in printed


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_every_subspace_is_trained_in_and_the_energy_is_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from benchmarks import subspace

    subspace.main(["--quick", "--plot", str(tmp_path / "energy.svg")])
    printed = capsys.readouterr().out
    assert all(f"│ {way} " in printed for way in (*subspace.WAYS, "64 px", "all"))
    assert ElementTree.parse(tmp_path / "energy.svg").getroot().tag.endswith("svg")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
@pytest.mark.parametrize("images", [16, 128])
def test_quality_is_told_by_the_bands_that_are_mixed(capsys: pytest.CaptureFixture[str], images: int) -> None:
    from benchmarks import mixing

    mixing.main(["--quick", "--images", str(images)])
    printed = capsys.readouterr().out
    assert all(f"│ {bands} " in printed for bands in mixing.BANDS[images])


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_released_procedure_is_compared_with_the_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import released_procedure

    released_procedure.main(["--quick"])
    printed = capsys.readouterr().out
    assert "│ released" in printed
    assert "│ dgan" in printed


@pytest.mark.slow
def test_the_rates_of_the_annotation_checks_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import annotation_checks

    annotation_checks.main(["--quick"])
    printed = capsys.readouterr().out
    assert "generator, 64 px" in printed and "0 of 3" in printed
    assert all(title in printed for title in ("Boundary slips", "Swapped masks", "Holes and specks", "Time"))


@pytest.mark.slow
def test_every_way_to_choose_the_next_images_is_in_the_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from benchmarks import next_images

    results = tmp_path / "results.jsonl"
    next_images.main(["--quick", "--results", str(results)])
    printed = capsys.readouterr().out
    assert all(printed.count(f"│ {name} ") == 2 for name in next_images.WAYS)
    before = results.read_text()
    next_images.main(["--quick", "--results", str(results)])  # nothing is trained again
    assert results.read_text() == before and capsys.readouterr().out.partition("\n")[2]


def test_first_images_count_rare_classes_of_each_choice(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import first_images

    has = np.array([[True, False, False], [True, True, False], [False, False, False]])
    assert (first_images.num_classes(has), first_images.num_images(has)) == (2, 2)
    first_images.main(["--quick"])
    assert capsys.readouterr().out.count("verse") == 3


@pytest.mark.slow
def test_every_way_to_use_annotated_images_takes_as_many_steps(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from benchmarks import downstream

    downstream.main(["--quick", "--folder", str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.count("2 epochs of 2 steps") == 2 * len(downstream.ROWS) + 1
    for row in (downstream.LABELS, *downstream.ROWS, downstream.PHOTOGRAPHS):
        assert re.search(rf"\| {re.escape(row)} \|.* 0\.\d{{3}} \|", printed)
    assert not list(tmp_path.rglob("*.pth"))
    downstream.main(["--quick", "--folder", str(tmp_path)])  # nothing is trained again
    again = capsys.readouterr().out
    assert "epochs of" not in again and again.splitlines()[-6:] == printed.splitlines()[-6:]
    with pytest.raises(SystemExit, match="name another --folder"):
        downstream.main(["--folder", str(tmp_path)])


@pytest.mark.slow
def test_translators_and_segmenters_are_compared_on_a_toy_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import translation

    quick = ["--quick", "--folder", str(tmp_path)]
    translation.main(quick)
    printed = capsys.readouterr().out
    assert printed.count("unpaired, no adversary") >= 3  # a line a training, a row in each table
    assert len(re.findall(r"(?:dusk|masks), (?:un)?paired: L2 .* is nearer", printed)) == 4
    assert "photographs at dusk (upper bound)" in printed
    translation.main(quick)  # reads what it has found, seconds too
    assert capsys.readouterr().out.splitlines()[1:] == printed.splitlines()[1:]
    with pytest.raises(SystemExit, match="name another --folder"):
        translation.main([*quick, "--seed", "1"])
