"""What the benchmark programs compute from what they have measured is right."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch


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


def test_the_time_of_the_cores_is_that_of_work_and_not_of_waiting() -> None:
    from benchmarks.measure import run_child

    waits = run_child([sys.executable, "-c", "import time; time.sleep(0.5)"])
    works = run_child([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"])
    assert waits.seconds >= 0.5 and waits.core_seconds < 0.5 <= works.core_seconds


def test_a_failing_child_is_an_error_that_shows_its_output() -> None:
    from benchmarks.measure import run_child

    with pytest.raises(RuntimeError, match="no luck"):
        run_child([sys.executable, "-c", "raise SystemExit('no luck')"])


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
