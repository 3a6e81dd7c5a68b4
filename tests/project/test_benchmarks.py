"""The benchmark programs run at toy sizes and print their tables; what they compute is right."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from support.places import REPOSITORY
from support.processes import run_python
from support.viewing import viewed

WITH_CHILDREN = (
    "export",
    "extraction",
    "face_size",
    "face_training",
    "labelling",
    "measure",
    "mixing",
    "released_procedure",
    "report_page",
    "subspace",
    "training",
    "true_size",
)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def quick_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the programs start as processes of their own begins without the seconds of imports."""
    for name in WITH_CHILDREN:
        monkeypatch.setattr(import_module(f"benchmarks.{name}"), "run_child", run_python)


@pytest.mark.parametrize(("kind", "width"), [("face", 5088), ("car", 5056), ("cat", 4992)])
def test_official_widths_give_the_published_feature_widths(kind: str, width: int) -> None:
    from benchmarks.generators import KINDS, feature_width, official_widths

    assert feature_width(official_widths(KINDS[kind])) == width


def test_a_made_checkpoint_loads_as_a_generator_of_its_size(tmp_path: Path) -> None:
    from benchmarks.generators import make_checkpoint
    from pipeline.checkpoints.read import load_generator

    make_checkpoint(tmp_path / "g.for_g_all.pt", [8, 8, 4], latent_size=6)
    generator = load_generator(tmp_path / "g.for_g_all.pt").generator
    assert (generator.resolution, generator.latent_size) == (16, 6)


def test_a_mask_has_every_class_as_regions(tmp_path: Path) -> None:
    from benchmarks.generators import blob_mask

    mask = blob_mask(64, 10, seed=0)
    assert set(np.unique(mask)) == set(range(10))
    assert (mask[:, 1:] == mask[:, :-1]).mean() > 0.8


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


def test_the_memmap_work_around_writes_the_features_channels_last(tmp_path: Path) -> None:
    from benchmarks.memmap_features import write_features

    torch.manual_seed(0)
    maps = [torch.randn(1, 3, 4, 4), torch.randn(1, 2, 16, 16), torch.randn(1, 1, 8, 8)]
    write_features(tmp_path / "0.dat", maps, 8)
    found = np.fromfile(tmp_path / "0.dat", np.float16).reshape(8, 8, 6)
    resized = [torch.nn.functional.interpolate(m, size=(8, 8), mode="bilinear")[0] for m in maps]
    np.testing.assert_array_equal(found, torch.cat(resized).half().permute(1, 2, 0).numpy())


def test_a_wrong_pixel_is_more_than_one_rounding_away() -> None:
    from benchmarks.agreement import ONE_ROUNDING, feature_error

    rows, columns = np.divmod(np.arange(64), 8)
    stored = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0)).half()
    exact = torch.nn.functional.interpolate(stored.double()[None], size=(8, 8), mode="bilinear")[0]
    found = exact.flatten(1).T.numpy().astype(np.float16)  # (64, 3)
    assert feature_error(found, stored, (8, 8), (rows, columns)) <= ONE_ROUNDING
    found[7, 1] = np.nextafter(found[7, 1], np.float16(9))
    assert feature_error(found, stored, (8, 8), (rows, columns)) > ONE_ROUNDING


def test_a_map_whose_mean_lies_at_a_tie_may_be_rounded_either_way_but_no_further() -> None:
    from benchmarks.agreement import ONE_ROUNDING, map_error

    near = 1 + 2**-11 + 2.0**-23 * torch.tensor([[[-1.0, 0], [1, 2]]], dtype=torch.float64)
    for steps, is_right in ((-1, False), (0, True), (1, True), (2, False)):
        stored = torch.tensor([[[1 + steps * 2**-10]]], dtype=torch.float16)
        assert (map_error(stored, near.float()) <= ONE_ROUNDING) == is_right


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
def test_uncertainty_table_has_every_score(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import uncertainty
    from pipeline.quality.uncertainty_candidates import DESCRIPTIONS

    uncertainty.main(["--quick"])
    printed = capsys.readouterr().out
    assert all(f"│ ({name}) " in printed for name in DESCRIPTIONS) and "│ top10 " in printed


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


def test_the_released_labelling_is_votes_and_divergence_of_resized_features() -> None:
    from benchmarks.released_label import classifiers, label
    from pipeline.labelling.votes import js_divergence, vote
    from pipeline.models.interpreter import InterpreterEnsemble

    ensemble = InterpreterEnsemble(5, 5, seeds=[0, 1, 2], widths=(8, 6)).eval()
    with torch.no_grad():
        ensemble.weight3.mul_(100)
    members = classifiers(ensemble.export_members(), 3, torch.device("cpu"))
    maps = [torch.randn(1, 3, 4, 4), torch.randn(1, 2, 16, 16)]
    labels, divergence = label(maps, members, (16, 16), (2, 14))
    whole = [torch.nn.functional.interpolate(m, size=(16, 16), mode="bilinear")[0, :, 2:14] for m in maps]
    with torch.inference_mode():
        logits = ensemble.forward_shared(torch.cat(whole).flatten(1).T.contiguous())  # [E, P, K]
    assert torch.equal(labels.flatten(), vote(logits))
    torch.testing.assert_close(divergence.flatten(), js_divergence(logits.softmax(2)), rtol=0, atol=1e-5)


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


def test_pictures_that_differ_are_told(tmp_path: Path) -> None:
    from PIL import Image

    from benchmarks.export import check_equal

    for way, color in {"a": "red", "b": "red", "c": "#fe0000"}.items():
        for name in ("images", "labels"):
            (tmp_path / way / name).mkdir(parents=True)
            Image.new("RGB", (4, 4), color).save(tmp_path / way / name / "0.png")
    check_equal(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError, match=r"0\.png"):
        check_equal(tmp_path / "a", tmp_path / "c")


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
@pytest.mark.usefixtures("quick_children")
def test_released_procedure_is_compared_with_the_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import released_procedure

    released_procedure.main(["--quick"])
    printed = capsys.readouterr().out
    assert "│ released" in printed
    assert "│ dgan" in printed


def test_released_rule_stops_after_51_batches_in_a_row_without_a_better_loss() -> None:
    from benchmarks.released import stops

    best, failures, checked = float("inf"), 0, 0
    for loss in [1.0, *[2.0] * 50, 0.5, *[0.5] * 60]:
        best, failures, stop = stops(loss, best, failures)
        checked += 1
        if stop:
            break
    assert (best, checked) == (0.5, 52 + 51)


def test_released_classifier_learns_and_ends_in_evaluation_mode() -> None:
    from benchmarks.released import train_member

    torch.manual_seed(0)
    labels = torch.arange(640) % 2
    features = torch.randn(640, 4) * 0.1 + labels[:, None]
    member, steps = train_member(features, labels, 2, max_epochs=30)
    assert 40 < steps <= 300
    assert not member.training
    assert (member(features).argmax(1) == labels).float().mean() > 0.95


def test_class_ious_are_intersection_over_union() -> None:
    from benchmarks.released_procedure import class_ious

    found = class_ious(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 3)
    np.testing.assert_allclose(found, [1 / 2, 2 / 3, np.nan])


def test_peak_memory_of_a_child_is_its_own_and_not_that_of_its_parent() -> None:
    from benchmarks.measure import run_child

    ballast = np.ones(200_000_000, np.uint8)
    wait = "import time; time.sleep(0.2)"
    small = run_child([sys.executable, "-c", wait])
    large = run_child([sys.executable, "-c", f"held = b'1' * 100_000_000; {wait}"])
    assert small.peak_bytes < 60e6 < ballast.nbytes
    assert 100e6 < large.peak_bytes < 160e6


def test_a_failing_child_is_an_error_that_shows_its_output() -> None:
    from benchmarks.measure import run_child

    with pytest.raises(RuntimeError, match="no luck"):
        run_child([sys.executable, "-c", "raise SystemExit('no luck')"])


@pytest.mark.slow
def test_the_rates_of_the_annotation_checks_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import annotation_checks

    annotation_checks.main(["--quick"])
    printed = capsys.readouterr().out
    assert "generator, 64 px" in printed and "0 of 3" in printed
    assert all(title in printed for title in ("Boundary slips", "Swapped masks", "Holes and specks", "Time"))


def test_masks_are_moved_and_grown_as_the_benchmark_says() -> None:
    from benchmarks.annotation_checks import grown, moved

    mask = np.zeros((7, 7), np.uint8)
    mask[3, 3] = 2
    assert np.argwhere(moved(mask, 1, -2) == 2).tolist() == [[4, 1]]
    far = np.hypot(*(np.indices((7, 7)) - 3.0))
    np.testing.assert_array_equal(grown(mask, 2, 2) == 2, far <= 2)


def test_rare_parts_split_a_class_of_whole_faces_and_leave_no_doubt() -> None:
    from benchmarks import rare_parts
    from pipeline.embedded import class_names, exact_masks

    latents = rare_parts.draw(3, 400, with_rare=True)
    amount = rare_parts.strengths(latents)
    assert not ((amount > 1.0) & (amount <= 1.5)).any()
    assert ((amount > 1.5).mean(0) > 0.03).all() and ((amount > 1.5).mean(0) < 0.12).all()
    latents = latents[(amount > 1.5).any(1)][:6]
    common, split = exact_masks(latents), rare_parts.masks(latents, with_rare=True)
    names = rare_parts.names(with_rare=True)
    for face, whole in zip(split, common, strict=True):
        for label in np.unique(face[face != whole]):
            parent = next(parent for name, parent, *_ in rare_parts.RARE if name == names[label])
            assert np.array_equal(face == label, whole == class_names().index(parent))
    assert (split != common).any((1, 2)).all()
    assert np.array_equal(rare_parts.masks(latents, with_rare=False), common)


def test_gains_are_means_of_pairs_with_their_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import next_images

    ways = [next_images.FIRST, *next_images.WAYS]
    records = [
        {name: {"ious": [0.5 + gain * (name == "rare"), 0.25, 0.75], "shown": [8, 8, 2]} for name in ways}
        for gain in (0.1, 0.3)
    ]
    next_images.report_ious(records, 2)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "│ rare " in line]
    # gains of mIoU 1/30 and 3/30: their mean is 2/30, its standard error sqrt(2) / 30 / sqrt(2)
    assert "+0.0667 +- 0.0333" in line and "0.5667" in line and "│            2 │" in line


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


def test_a_source_that_counts_as_more_images_begins_anew_at_its_end() -> None:
    from benchmarks.downstream_inputs import Cycled
    from pipeline.segment.training.sample import Sample

    class Three:
        name, record = "three", {"num_images": 3}

        def __len__(self) -> int:
            return 3

        def read(self, places: list[int]) -> list[Sample]:
            return [Sample(np.full((1, 1, 3), place, np.uint8)) for place in places]

        def check_unchanged(self) -> None:
            pass

    cycled = Cycled(Three(), 8)
    found = [int(sample.picture[0, 0, 0]) for sample in cycled.read(range(len(cycled)))]
    assert found == [0, 1, 2, 0, 1, 2, 0, 1]
    assert cycled.record == {"num_images": 3, "counted_as": 8}


def test_a_downstream_table_has_means_and_deviations_over_seeds() -> None:
    from benchmarks.downstream import Cell, markdown

    cells = [Cell("a", 1, 0.5), Cell("a", 4, 0.75), Cell("a", 1, 0.25), Cell("exact", 100, 0.875)]
    assert markdown(cells, [1, 4], 100) == [
        "| learnt from | 1 annotated | 4 annotated | 100 annotated |",
        "|---|--:|--:|--:|",
        "| a | 0.375 +- 0.125 | 0.750 |  |",
        "| exact |  |  | 0.875 |",
    ]


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
def test_the_translation_loops_learn_the_same_networks(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import translation_loop

    translation_loop.main(["--quick"])
    printed = capsys.readouterr().out
    assert "width 2, bilinear, 64 px, 2 steps of 2 x 2 images" in printed
    assert all(way in printed for way in ("plain", "dgan, steps"))


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
