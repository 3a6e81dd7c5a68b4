"""`dgan filter`, and the filter at the end of a synthesis: other scores, the rule per class, auto."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from support.commands import dgan, done
from support.filters import calibration, dataset_to_filter, random_dataset
from support.labelled import dataset_meta, fill_dataset
from support.processes import peak_bytes
from support.synthesis import CPU, make_job, synthesize

import fstore
import pipeline
from fstore.image_scores import image_score
from fstore.meta import SCORES
from pipeline.errors import UsageError
from pipeline.machine import threads
from pipeline.stages.synthesize import stage
from pipeline.stages.synthesize.class_shares import losing_line, share_lines
from pipeline.stages.synthesize.filtering import read_facts


def brute_scores(dataset: fstore.Dataset, score: str) -> np.ndarray:
    pairs = zip(dataset.divergence.compute(), dataset.labels.compute(), strict=True)
    return np.array([image_score(divergence, labels, score) for divergence, labels in pairs])


def ok(store: Path) -> bool:
    report = fstore.verify_store(store)
    assert report.ok, report.problems
    return True


# --- other scores ---


@pytest.mark.parametrize("score", SCORES)
def test_a_filter_goes_by_the_score_that_is_named(tmp_path: Path, score: str) -> None:
    store = tmp_path / "d.zarr"
    before = random_dataset(store, failed=[1]).uncertainty
    result = done("filter", store, "--keep", "0.5", "--score", score)
    dataset = fstore.open(store)
    np.testing.assert_array_equal(dataset.uncertainty, before)
    assert dataset.meta.score == "top10" and not dataset.kept[1]
    expected = before if score == "top10" else brute_scores(dataset, score).astype(np.float32)
    np.testing.assert_allclose(dataset.filter_score, expected, rtol=1e-6)
    order = sorted(np.flatnonzero(np.isfinite(expected)), key=lambda i: (dataset.filter_score[i], i))
    assert np.flatnonzero(dataset.kept).tolist() == sorted(order[:6])
    by = "uncertainty" if score == "top10" else score
    assert f"6 of 12 images kept (keep 0.5, {by} at most {dataset.meta.threshold:.4g})" in result.stdout
    assert (dataset.meta.filter is None) == (score == "top10") and ok(store)


def test_a_filter_by_the_stored_score_is_as_it_always_was(tmp_path: Path) -> None:
    for name, flags in (("a", []), ("b", ["--score", "top10", "--no-keep-per-class"])):
        random_dataset(tmp_path / name)
        zarr.open_group(tmp_path / name).attrs["fstore"] |= {"created": {"id": "same"}}
        done("filter", tmp_path / name, "--keep", "0.5", *flags)
    files = [
        {f.relative_to(tmp_path / name): f.read_bytes() for f in (tmp_path / name).rglob("*") if f.is_file()}
        for name in "ab"
    ]
    assert files[0] == files[1]


def test_an_image_without_a_finite_score_among_none_is_a_failed_run(tmp_path: Path) -> None:
    random_dataset(tmp_path / "d.zarr", 4, failed=range(4))
    result = dgan("filter", tmp_path / "d.zarr", "--keep", "0.5", "--score", "mean")
    assert result.exit_code == 1 and "its score mean has no finite value" in result.stderr


@pytest.mark.usefixtures("tasks_of_16")
def test_facts_of_many_tasks_and_threads_are_those_of_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads.torch, "get_num_threads", lambda: 3)
    dataset = random_dataset(tmp_path / "d.zarr", 40)
    facts = read_facts(dataset, "class-mean", with_classes=True)
    np.testing.assert_allclose(facts.scores, brute_scores(dataset, "class-mean"), rtol=1e-6)
    labels = dataset.labels.compute().reshape(40, -1)
    np.testing.assert_array_equal(facts.shown, [[(row == c).any() for c in range(3)] for row in labels])


def test_labels_of_two_bytes_and_those_that_are_no_class(tmp_path: Path) -> None:
    labels = np.array([0, 299, 4, 5]).repeat(16).reshape(4, 4, 4).astype(np.uint16)
    names = [f"class {i}" for i in range(300)]
    divergence = np.full(labels.shape, 0.5, np.float16)
    dataset = dataset_to_filter(tmp_path / "d.zarr", labels, divergence, np.arange(4.0), names=names)
    zarr.open_group(tmp_path / "d.zarr")["labels"][2] = np.full((4, 4), 300, np.uint16)  # no class
    facts = read_facts(dataset, "interior", with_classes=True)
    assert [np.flatnonzero(row).tolist() for row in facts.shown] == [[0], [299], [], [5]]
    assert facts.scores.tolist() == [0.5] * 4


def test_a_damaged_image_is_one_line_and_the_filter_stays(tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    random_dataset(store)
    done("filter", store, "--keep", "0.5")
    file = store / "labels" / "c" / "0" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[10] ^= 255
    file.write_bytes(content)
    before = (store / "zarr.json").read_bytes()
    result = dgan("filter", store, "--keep", "0.5", "--score", "class-mean")
    assert result.exit_code == 1 and "array 'labels', image 0, chunk" in result.stderr
    assert len(result.stderr.splitlines()) == 1 and (store / "zarr.json").read_bytes() == before


def test_a_dataset_that_is_replaced_while_it_is_read_is_not_filtered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "d.zarr"
    dataset = random_dataset(store)
    monkeypatch.setattr(fstore, "open", lambda path: dataset)
    zarr.open_group(store).attrs["fstore"] |= {"created": {"id": "another"}}
    result = dgan("filter", store, "--keep", "0.5", "--score", "mean")
    assert result.exit_code != 0 and "is no longer the store that was opened" in result.stderr
    assert zarr.open_group(store).attrs["fstore"]["keep"] is None


@pytest.mark.slow
def test_ten_times_the_images_take_no_more_memory(tmp_path: Path) -> None:
    peaks = []
    for num in (30, 300):
        random_dataset(tmp_path / f"{num}.zarr", num, side=128)
        words = ["filter", f"{num}.zarr", "--keep", "0.5", "--score", "interior", "--keep-per-class"]
        peaks.append(peak_bytes(words, tmp_path))
    read_bytes = 270 * 128 * 128 * (1 + 2)  # labels and divergence of the images that are more
    assert peaks[1] - peaks[0] < 0.4 * read_bytes


# --- per class ---


def test_a_name_that_would_break_the_table_does_not(tmp_path: Path) -> None:
    labels = np.zeros((2, 2, 2), np.uint8)
    dataset_to_filter(
        tmp_path / "d.zarr", labels, labels.astype(np.float16), np.arange(2), names=("s\x1b\nk",)
    )
    result = done("filter", tmp_path / "d.zarr", "--keep", "0.5", "--keep-per-class")
    assert "\ns\ufffd\ufffdk  " in result.stdout and "\x1b" not in result.stdout


def test_a_rare_class_is_kept_and_the_table_says_so(tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    labels = np.zeros((20, 4, 4), np.uint8)
    labels[:10, 0, 0], labels[16:, 1, 1] = 1, 2
    dataset_to_filter(store, labels, np.zeros(labels.shape, np.float16), np.arange(20.0))
    plain = done("filter", store, "--keep", "0.5")
    assert "50% of all images are dropped" in plain.stderr and "bird (4 of 4)" in plain.stderr
    result = done("filter", store, "--keep", "0.5", "--keep-per-class")
    dataset = fstore.open(store)
    assert np.flatnonzero(dataset.kept).tolist() == [*range(10), 16, 17]
    assert result.stdout.splitlines()[1:] == [
        "class                   images   share  plain rule      kept   share",
        "sky                         20  100.0%          10        12  100.0%",
        "road                        10   50.0%          10        10   83.3%",
        "bird                         4   20.0%           0         2   16.7%",
        "2 images more than by the plain rule, for bird, sky",
    ]
    assert "12 of 20 images kept (keep 0.5 of every class, uncertainty at most 17)" in result.stdout
    assert dataset.meta.threshold == 17 and ok(store)


def test_what_the_table_and_the_line_say_is_counted(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    shown = random.random((50, 4)) < np.array([1.0, 0.5, 0.2, 0.0])
    plain, kept = random.random(50) < 0.5, np.ones(50, bool)
    lines = share_lines(["a", "b", "c", "d"], shown, plain, plain | kept)
    assert len(lines) == 5  # a class that no image shows has no line
    for i, line in enumerate(lines[1:4]):
        name, images, share, less, more, after = line.replace("%", "").split()
        assert (name, int(images), int(less), int(more)) == (
            "abc"[i],
            shown[:, i].sum(),
            shown[plain, i].sum(),
            shown[:, i].sum(),
        )
        assert float(share) == float(after) == pytest.approx(100 * shown[:, i].mean(), abs=0.06)
    same = share_lines(["a", "b", "c", "d"], shown, plain, plain)
    assert same[-1] == "the plain rule keeps enough of every class: nothing is added"


@pytest.mark.parametrize(
    ("lost", "images", "told"),
    [
        (4, 4, True),
        (2, 4, False),  # 1.2 images more than 20% of 4
        (3, 4, True),  # 2.2 more
        (6, 20, False),  # half as much again as all images
        (8, 20, True),  # twice as much
    ],
)
def test_a_class_is_named_that_loses_twice_as_much_as_all_and_two_images_more(
    lost: int, images: int, told: bool
) -> None:
    kept = np.arange(100) >= 20
    shown = np.zeros((100, 1), bool)
    shown[:lost], shown[20 : 20 + images - lost] = True, True
    line = losing_line(["bird"], shown, kept)
    assert (line is not None) == told
    if line:
        assert f"bird ({lost} of {images})" in line and "20% of all images" in line


def test_a_filter_that_drops_nothing_reads_no_labels(tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    random_dataset(store)
    (store / "labels" / "c" / "0" / "0" / "0").unlink()
    assert "12 of 12" in done("filter", store, "--keep", "1").stdout


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--keep-per-class"], "--keep-per-class needs labels"),
        (["--score", "class-mean"], "--score class-mean needs labels"),
        (["--score", "interior"], "--score interior needs labels"),
    ],
)
def test_a_dataset_of_keypoints_has_no_such_filter(tmp_path: Path, flags: list[str], says: str) -> None:
    store = tmp_path / "d.zarr"
    fill_dataset(store, 5, dataset_meta(keypoints=True))
    result = dgan("filter", store, "--keep", "0.5", *flags)
    assert result.exit_code == 2 and f"{store}: holds keypoints, and {says}" in result.stderr
    assert "3 of 5" in done("filter", store, "--keep", "0.5", "--score", "mean").stdout
    assert fstore.open(store).meta.filter is not None and ok(store)


# --- auto ---


@pytest.fixture(scope="module")
def unfiltered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset: change a copy."""
    path = tmp_path_factory.mktemp("unfiltered") / "d.zarr"
    random_dataset(path)
    return path


@pytest.fixture
def here(unfiltered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a dataset and a calibration for it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(unfiltered, tmp_path / "d.zarr")
    text = calibration({"top10": "0.75", "mean": "0.25"}).to_text()
    (tmp_path / "calibration.json").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("score", "keep", "num"), [(None, "0.75", 9), ("mean", "0.25", 3), ("top10", "0.75", 9)]
)
def test_auto_keeps_what_the_calibration_recommends_for_the_score(
    here: Path, score: str | None, keep: str, num: int
) -> None:
    flags = [] if score is None else ["--score", score]
    result = done("filter", "d.zarr", "--keep", "auto", *flags)
    assert f"{num} of 12 images kept (keep {keep}, as calibration.json recommends, " in result.stdout
    meta = fstore.open("d.zarr").meta
    assert meta.keep == keep and meta.filter is not None
    digest = hashlib.sha256((here / "calibration.json").read_bytes()).hexdigest()
    expected = {"file": "calibration.json", "sha256": digest, "recommended": keep}
    assert meta.filter.calibration == expected and meta.filter.score == (score or "top10")
    assert "keep auto (file calibration.json" in repr(fstore.open("d.zarr")) and ok(here / "d.zarr")


def test_auto_takes_another_file(here: Path) -> None:
    (here / "calibration.json").rename(here / "other.json")
    done("filter", "d.zarr", "--keep", "auto", "--calibration", "other.json", "--keep-per-class")
    meta = fstore.open("d.zarr").meta
    assert meta.filter.per_class and meta.filter.calibration["file"] == "other.json"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda file: file.unlink(),
            "no such file, and --keep auto .*run `dgan calibrate --store features.z",
        ),
        (lambda file: file.write_text("{"), "is no calibration, or is damaged"),
        (
            lambda file: file.write_text(calibration({"top10": "1"}, sha256="cd" * 32).to_text()),
            "is of a generator with sha256 cdcdcdcdcdcd..., d.zarr of one with abababababab...",
        ),
        (
            lambda file: file.write_text(calibration({"top10": "1"}, key="G").to_text()),
            "is of a generator with key 'G', d.zarr of one with None",
        ),
        (
            lambda file: file.write_text(calibration({"top10": "1"}, names=("sky", "sea")).to_text()),
            "is of 2 classes .'sky, sea'., d.zarr of 3 classes",
        ),
        (lambda file: file.write_text(calibration({"mean": "1"}).to_text()), "says nothing of .*top10"),
    ],
)
def test_a_calibration_that_cannot_be_used_is_one_line(
    here: Path, change: Callable[[Path], object], says: str
) -> None:
    change(here / "calibration.json")
    with pytest.raises(UsageError, match=f"^calibration.json: {says}"):
        pipeline.filter("d.zarr", keep="auto")
    result = dgan("filter", "d.zarr", "--keep", "auto")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert fstore.open("d.zarr").meta.keep is None


def test_python_takes_the_same_keywords(here: Path) -> None:
    dataset = pipeline.filter("d.zarr", keep="auto", score="mean", keep_per_class=True, say=lambda line: None)
    assert dataset.meta.filter.score == "mean" and dataset.meta.filter.per_class
    dataset = pipeline.filter("d.zarr", keep=0.5, say=lambda line: None)
    assert dataset.meta.filter is None and dataset.meta.keep == "0.5"


# --- at the end of a synthesis ---


def test_synthesis_refuses_a_calibration_before_it_renders(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--dry-run"]):
        result = synthesize(inputs, tmp_path / "d.zarr", "--keep", "auto", *more, code=2)
        assert "calibration.json: no such file" in result.stderr
    assert not (tmp_path / "d.zarr").exists()


def test_synthesis_filters_as_it_is_told_and_a_longer_one_anew(inputs: Path, tmp_path: Path) -> None:
    store, file = tmp_path / "d.zarr", tmp_path / "c.json"
    meta = make_job(inputs).meta
    names = [info.name for info in meta.classes]
    text = calibration({"class-mean": "0.5"}, sha256=meta.generator["sha256"], names=names).to_text()
    file.write_text(text)
    flags = ["--precision", "float32", "--score", "class-mean"]
    auto = ["--keep", "auto", "--calibration", str(file), "--keep-per-class"]
    result = synthesize(inputs, store, *flags, *auto)
    assert "keep 0.5 of every class, as c.json recommends" in result.stdout.splitlines()[-1]
    dataset = fstore.open(store)
    assert dataset.meta.score == "class-mean" and dataset.meta.filter.per_class
    np.testing.assert_allclose(dataset.uncertainty, brute_scores(dataset, "class-mean"), rtol=2e-3)
    assert not (store / "filter_score").exists() and ok(store)
    done("filter", store, "--keep", "0.5", "--score", "mean")
    assert (store / "filter_score").exists()
    synthesize(inputs, store, *flags, "--num", "7")
    longer = fstore.open(store)
    assert (len(longer), longer.meta.keep, longer.meta.filter) == (7, "0.9", None)
    assert not (store / "filter_score").exists() and ok(store)


def test_the_plan_says_how_will_be_filtered(inputs: Path, tmp_path: Path) -> None:
    job = make_job(inputs, tmp_path / "d.zarr", keep_per_class=True, score="interior", num=2)
    lines = stage.dry_run(job, CPU)
    assert "filter       keep 0.9 of every class, by interior" in lines


def test_an_export_names_the_rule(here: Path) -> None:
    done("filter", "d.zarr", "--keep", "auto")
    done("export", "d.zarr", "out", "--format", "coco")
    file = here / "out" / "annotations" / "instances.json"
    info = json.loads(file.read_text())["info"]
    assert info["source"]["filter"]["calibration"]["recommended"] == "0.75"
    done("filter", "d.zarr", "--keep", "0.75")
    result = dgan("export", "d.zarr", "out", "--format", "coco")
    assert result.exit_code == 2 and "the filter's rule" in result.stderr
