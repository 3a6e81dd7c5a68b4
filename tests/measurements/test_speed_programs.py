"""The programs that measure time and memory run at toy sizes and print their tables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from support.viewing import viewed


@pytest.mark.slow
def test_codecs_table_has_every_codec_and_both_readers(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import codecs

    codecs.main(["--quick"])
    printed = capsys.readouterr().out
    assert printed.count("bitshuffle") == 2 * 6  # candidates, sources of features
    assert "zarr-python" in printed
    assert "cannot" not in printed


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_extraction_promises_hold_on_a_toy_generator(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import extraction

    extraction.main(["--quick", "--pixels", "50"])
    printed = capsys.readouterr().out
    assert "agree bit for bit at 50 pixels: True" in printed
    assert len(re.findall(r"worst distance .*: 0\.(?:[0-4]\d*|50*) of the float16 spacing", printed)) == 2
    assert all(name in printed for name in ("(M) memmap", "pyramid", "render alone", "plain files"))
    assert len(re.findall(r"\d cores? that were never idle would take \d+\.\d\d s", printed)) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_sampler_table_has_both_layouts_and_the_flat_file(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import sampler

    sampler.main(["--quick"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("dense, sampler", "pyramid, sequential", "flat .npy"))


@pytest.mark.slow
def test_loading_table_has_pngs_and_both_ways_of_the_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import loading

    loading.main(["--quick"])
    printed = capsys.readouterr().out
    assert all(printed.count(f" {name} ") == 2 for name in ("PNG │", "by index", "stream"))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_labelling_table_has_the_released_way_and_both_precisions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from benchmarks import labelling
    from benchmarks.measure import precisions

    labelling.main(["--quick"])
    printed = capsys.readouterr().out
    assert all(f"│ {name} " in printed for name in ("released (R)", *precisions("cpu")))


def test_the_table_of_votes_has_a_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import labelling

    before = torch.get_num_threads()
    try:
        labelling.main(["--quick", "--votes"])
    finally:
        torch.set_num_threads(before)
    assert re.search(r"64 px, 11 classes │ .* [0-9.]+x │ +[0-9.]+%", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_export_table_has_the_plain_loop_whose_pictures_are_equal(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import export

    export.main(["--quick"])
    printed = capsys.readouterr().out
    assert all(
        f"│ {name} " in printed for name in ("pillow", "dgan png", "dgan webdataset", *export.SETTINGS)
    )
    assert "Pictures and labels of pillow and dgan are equal." in printed


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_report_table_has_both_sizes_beside_reading_alone(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import report_page

    report_page.main(["--quick"])
    rows = re.findall(r"│ (\d+) +│ +(reading|dgan report) ", capsys.readouterr().out)
    assert rows == [(num, what) for num in ("6", "70") for what in ("reading", "dgan report")]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_every_command_on_stores_of_the_true_size_has_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import true_size

    true_size.main(["--quick"])
    rows = re.findall(r"│ (dgan|reading) (\S+)", capsys.readouterr().out)
    stages = ["extract-features,", "extract-features,", "train,", "synthesize,"]
    judging = ["report"] * 3 + ["evaluate"] * 2 + ["filter"] * 2
    assert [word for first, word in rows if first == "dgan"] == stages + judging
    assert len(rows) == 13


@pytest.mark.slow
def test_pages_of_few_and_many_images_are_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import viewing

    @contextmanager
    def served_here(path: Path) -> Iterator[tuple[int, str, float]]:
        with viewed(path) as site:
            yield os.getpid(), site.server.address, 0.5

    monkeypatch.setattr(viewing, "served", served_here)
    viewing.main(["--quick"])
    rows = re.findall(r"│ (\d+) +│ +0.50 s │ +[\d.]+ s │ +[\d.]+ s │ +[\d,]+ MiB │", capsys.readouterr().out)
    assert rows == ["6", "70"]


@pytest.mark.slow
def test_startup_times_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import startup

    startup.main(["--quick"])
    assert "│ dgan --help " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_training_table_has_the_released_loop_every_way_and_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from benchmarks import training

    training.main(["--quick"])
    printed = capsys.readouterr().out
    ways = training.ways("cpu")
    plain = [name for name in ways if " axes, " not in name]
    assert all(f"│ {name} " in printed for name in ("released", *plain, "dense", "pyramid"))
    axes = [name.partition(" ")[2] for name in ways if name not in plain]  # their number stands before
    assert axes and all(printed.count(f" {name} ") == axes.count(name) for name in axes)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_training_at_face_size_is_told_with_its_axes(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import face_training

    face_training.main(["--quick", "--released", "1000"])
    printed = capsys.readouterr().out
    assert "│ auto " in printed and "│ off " in printed and "│  all │" in printed


@pytest.mark.slow
def test_workers_are_timed_beside_one_process(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import workers

    workers.main(["--quick", "--stage", "export"])
    printed = capsys.readouterr().out
    assert all(f" {way} " in printed for way in ("export", *workers.WAYS))


@pytest.mark.slow
def test_training_a_segmenter_is_timed_beside_a_plain_loop(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import segment_training

    segment_training.main(["--quick"])
    printed = capsys.readouterr().out
    assert all(f"│ {way} " in printed for way in ("plain", "plain, 2 workers", "dgan, float32", "dgan"))


@pytest.mark.slow
def test_segmenters_are_timed_in_every_way_and_one_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import segmenters

    segmenters.main(["--quick"])
    printed = capsys.readouterr().out
    for order in segmenters.FORMATS:
        assert all(printed.count(f"│ {order}, {kind} ") == 2 for kind in segmenters.TYPES)
    assert printed.count("│ chosen │") == 2  # training and inference


@pytest.mark.slow
def test_the_translation_loops_learn_the_same_networks(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import translation_loop

    translation_loop.main(["--quick"])
    printed = capsys.readouterr().out
    assert "width 2, bilinear, 64 px, 2 steps of 2 x 2 images" in printed
    assert all(way in printed for way in ("plain", "dgan, steps"))
