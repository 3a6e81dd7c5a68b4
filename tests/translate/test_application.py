"""``dgan translate apply``: images are the network's, everything else is the source's, bit for bit."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import dgan, done
from support.deaths import dying, survived
from support.fault_cases import examples
from support.stores import store_bytes
from support.translating import RECORD, Failing, Same, make_source, mixed, untrained, write_translator

import fstore
import pipeline
from fstore import format as fmt
from fstore.errors import StoreError
from pipeline.translate.folder import Translator, open_translator
from pipeline.viewer.content import Content
from pipeline.viewer.page import page_text

NUM = 20  # of tasks of 16: two
pytestmark = pytest.mark.usefixtures("tasks_of_16")
Use = Callable[[Translator], None]


@pytest.fixture(autouse=True)
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Decide which translator lies in every folder; at first it is `Mixing`."""

    def use(translator: Translator) -> None:
        monkeypatch.setattr("pipeline.translate.application.job.open_translator", lambda path: translator)

    use(untrained())
    return use


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source in tasks of 16: change a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fmt, "TASK_IMAGES", 16)
        return make_source(tmp_path_factory.mktemp("source") / "dataset.zarr", NUM, votes=True)


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "dataset.zarr")


def apply(source: Path, store: Path, *more: object) -> str:
    """What ``dgan translate apply`` prints at its end."""
    return done("translate", "apply", "translator", "--data", source, "--store", store, *more).stdout.strip()


def refusal(source: Path | str, store: Path | str, *more: object) -> str:
    """The one line of a run that is refused."""
    result = dgan("translate", "apply", "translator", "--data", source, "--store", store, *more)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


def attribute(path: Path) -> dict:
    return json.loads((path / "zarr.json").read_text())["attributes"]["fstore"]


def images_of(path: Path) -> np.ndarray:
    return fstore.open(path).images.compute()


def check_translated(source: Path, store: Path) -> None:
    """All arrays but the images have the same bytes, and each image is the one that `mixed` makes."""
    found, given = zarr.open_group(store, mode="r"), zarr.open_group(source, mode="r")
    assert sorted(found.array_keys()) == sorted(given.array_keys())
    for name, array in given.arrays():
        if name == "images":
            assert np.array_equal(found[name][:], np.stack([mixed(image) for image in array[:]]))
        else:
            assert found[name].dtype == array.dtype
            assert found[name][:].tobytes() == array[:].tobytes(), name
    ours, theirs = attribute(store), attribute(source)
    assert ours.pop("translator") == {
        **RECORD,
        "learnt_from": RECORD["source"],
        "resolution": 6,
        "size": list(theirs["shape"]),
        "source": {"store": source.name, "id": theirs["created"]["id"]},
    }
    assert ours.pop("created")["id"] != theirs.pop("created")["id"]
    assert ours == theirs
    report = fstore.verify_store(store)
    assert report.ok, report.problems


# --- what is in the dataset ---


@settings(max_examples=examples(3, 12))
@given(
    num=st.integers(1, 40),
    shape=st.sampled_from([(6, 6), (6, 9), (10, 6)]),
    keypoints=st.booleans(),
    votes=st.booleans(),
    ignore=st.sampled_from([None, 255, 300]),
    failed=st.frozensets(st.integers(1, 39)),
    keep=st.sampled_from(["0.07", "0.5", "1"]),
    by=st.sampled_from([None, "mean", "class-mean"]),
    per_class=st.booleans(),
)
def test_all_but_the_images_is_the_source_s_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    num: int,
    shape: tuple[int, int],
    keypoints: bool,
    votes: bool,
    ignore: int | None,
    failed: frozenset[int],
    keep: str,
    by: str | None,
    per_class: bool,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    if keypoints:
        votes, per_class, by = False, False, by and "mean"
    make_source(
        folder / "dataset.zarr", num, shape=shape, keypoints=keypoints, ignore=ignore, failed=failed,
        votes=votes and ignore is None, keep=keep, by=by, per_class=per_class,
    )  # fmt: skip
    apply(folder / "dataset.zarr", folder / "translated.zarr")
    check_translated(folder / "dataset.zarr", folder / "translated.zarr")


def test_a_network_that_changes_nothing_gives_the_same_images(use: Use, source: Path, tmp_path: Path) -> None:
    use(untrained(Same()))
    apply(source, tmp_path / "t.zarr")
    assert np.array_equal(images_of(tmp_path / "t.zarr"), images_of(source))


def test_images_of_another_size_come_back_at_their_own(use: Use, tmp_path: Path) -> None:
    """Smooth images hardly change when they are enlarged and made small again, squares or not."""
    source = make_source(tmp_path / "dataset.zarr", 2, shape=(12, 16))
    rows, columns = np.mgrid[:12, :16]
    smooth = np.stack([10 * rows + 60, 8 * columns + 60, 5 * (rows + columns)], 2).astype(np.uint8)
    zarr.open_group(source)["images"][:] = np.stack([smooth, smooth[::-1]])
    use(untrained(Same(), resolution=24))
    apply(source, tmp_path / "t.zarr")
    found = fstore.open(tmp_path / "t.zarr")
    assert found.meta.translator["size"] == [24, 32]
    assert np.abs(found.images.compute().astype(int) - np.stack([smooth, smooth[::-1]])).max() <= 1


def test_readers_take_it_as_any_dataset(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "t.zarr"
    apply(source, store)
    (found, given) = (fstore.torch_dataset(path) for path in (store, source))
    assert np.array_equal(found.ids, given.ids) and found.classes == given.classes
    assert all((found[i][1] == given[i][1]).all() for i in range(len(given)))
    assert np.array_equal(found[0][0].permute(1, 2, 0), mixed(given[0][0].permute(1, 2, 0).numpy()))
    done("verify", store)
    done("filter", store, "--keep", "0.2")
    assert int(fstore.open(store).kept.sum()) == NUM // 5
    assert fstore.open(store).meta.translator is not None


def test_info_and_report_and_exports_tell_of_the_translation(source: Path, tmp_path: Path) -> None:
    store, words = tmp_path / "t.zarr", "translator, trained for 3 epochs towards photos"
    apply(source, store)
    shown = done("info", store).stdout
    assert "translator" in shown and "sha256 cdcdcdcdcdcd..." in shown and "dataset.zarr" in shown
    done("report", store, "--out", tmp_path / "report.html")
    assert words in (tmp_path / "report.html").read_text()
    assert words in page_text(Content(str(store)).newest(), None)[0]
    done("export", store, tmp_path / "out", "--format", "parquet")
    card = (tmp_path / "out" / "README.md").read_text()
    assert words in card and '"translator"' in card
    done("export", source, tmp_path / "plain", "--format", "parquet")
    assert "translator" not in (tmp_path / "plain" / "README.md").read_text()


def test_a_translated_dataset_is_translated_again_and_says_both(source: Path, tmp_path: Path) -> None:
    apply(source, tmp_path / "once.zarr")
    result = done(
        "translate",
        "apply",
        "translator",
        "--data",
        tmp_path / "once.zarr",
        "--store",
        tmp_path / "twice.zarr",
    )
    assert "holds translated images already" in result.stderr
    record = attribute(tmp_path / "twice.zarr")["translator"]
    assert record["source"]["translator"] == attribute(tmp_path / "once.zarr")["translator"]


def test_the_function_gives_the_dataset(source: Path, tmp_path: Path) -> None:
    found = pipeline.translate_apply("translator", data=source, store=tmp_path / "t.zarr")
    assert isinstance(found, fstore.Dataset) and found.meta.translator["epochs"] == 3


def test_a_trained_network_s_result_depends_on_no_other_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor on how many images there are: what the network gives for each alone, to a rounding, is there."""
    monkeypatch.undo()
    folder = write_translator(tmp_path / "translator")
    few = make_source(tmp_path / "few.zarr", 3, shape=(16, 20))
    many = make_source(tmp_path / "many.zarr", 19, shape=(16, 20))
    for source in (few, many):
        done("translate", "apply", folder, "--data", source, "--store", source.with_suffix(".t"))
    found = images_of(many.with_suffix(".t"))
    assert np.array_equal(images_of(few.with_suffix(".t")), found[:3])
    network = open_translator(folder).network
    given = torch.from_numpy(images_of(many)).permute(0, 3, 1, 2).float()  # [N, 3, H, W]
    with torch.inference_mode():
        exact = torch.cat([(network(image[None] / 127.5 - 1) + 1) * 127.5 for image in given])
    assert np.abs(found - exact.permute(0, 2, 3, 1).numpy()).max() < 0.501
    assert found.std() > 5  # they show something


# --- kills, and what a run goes on with ---


@pytest.mark.parametrize("every", [80, pytest.param(1, marks=pytest.mark.slow)])
def test_after_a_death_the_same_command_ends_in_the_same_bytes(tmp_path: Path, every: int) -> None:
    """Heat maps too, whose files hold four images."""
    source = make_source(tmp_path / "dataset.zarr", NUM, keypoints=True, by="mean")
    folder, change, ended = tmp_path / "out", 0, False
    apply(source, tmp_path / "whole.zarr")
    while not ended:
        change += every
        with dying(folder, change):
            dgan("translate", "apply", "translator", "--data", source, "--store", folder / "t.zarr")
        ended = survived()
        apply(source, folder / "t.zarr")
        assert store_bytes(folder / "t.zarr") == store_bytes(tmp_path / "whole.zarr"), change
        shutil.rmtree(folder)
    assert change > 20


def test_a_source_that_has_grown_is_gone_on_with(tmp_path: Path) -> None:
    source, store = make_source(tmp_path / "dataset.zarr", NUM), tmp_path / "t.zarr"
    apply(source, store)
    make_source(source, NUM + 17, keep="0.9")
    apply(source, store)
    check_translated(source, store)
    apply(source, tmp_path / "whole.zarr")
    assert store_bytes(store) == store_bytes(tmp_path / "whole.zarr")


def test_another_filter_of_the_source_is_taken_over_by_the_same_command(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "t.zarr"
    apply(source, store)
    assert apply(source, store).endswith("20 images translated already, 10 kept (keep 0.5); nothing to do")
    done("filter", source, "--keep", "0.3", "--score", "mean", "--keep-per-class")
    apply(source, store)
    check_translated(source, store)


def test_overwrite_begins_anew(use: Use, source: Path, tmp_path: Path) -> None:
    store = make_source(tmp_path / "t.zarr", 3)
    apply(source, store, "--overwrite")
    check_translated(source, store)
    use(untrained(Same(), sha256="ef" * 32))
    assert "was translated by a network with sha256 cdcdcdcdcdcd..." in refusal(source, store)
    apply(source, store, "--overwrite")
    assert np.array_equal(images_of(store), images_of(source))


def test_names_may_differ_when_it_goes_on(use: Use, source: Path, tmp_path: Path) -> None:
    apply(source, tmp_path / "t.zarr")
    moved = source.rename(tmp_path / "moved.zarr")
    translator = untrained()
    use(replace(translator, record={**translator.record, "folder": "other"}))
    assert "nothing to do" in apply(moved, tmp_path / "t.zarr")
    use(replace(translator, record={**translator.record, "epochs": 4}))
    assert "translator.epochs = 3, this run has 4" in refusal(moved, tmp_path / "t.zarr")


# --- refusals ---


def test_the_store_that_is_read_is_never_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link.zarr").symlink_to(source)
    (tmp_path / "folder").symlink_to(tmp_path)
    before = store_bytes(source)
    for store in (
        source,
        f"{source}/",
        tmp_path / "link.zarr",
        f"file://{source}",
        tmp_path / "folder" / source.name,
    ):
        assert "is the dataset that is translated; choose another --store" in refusal(
            source, store, "--overwrite"
        )
    assert "is the dataset that is translated" in refusal(tmp_path / "link.zarr", source, "--overwrite")
    assert "lies in the store" in refusal(source, source / "inner.zarr", "--overwrite")
    assert "lies in the store" in refusal(source, tmp_path, "--overwrite")
    assert store_bytes(source) == before


def test_a_dataset_that_is_not_translated_is_not_gone_on_with(source: Path, tmp_path: Path) -> None:
    other = make_source(tmp_path / "other.zarr", NUM)
    before = store_bytes(other)
    assert re.search(
        r"is a dataset that `dgan translate apply` has not made; .* --overwrite", refusal(source, other)
    )
    assert store_bytes(other) == before


def test_the_images_of_another_dataset_are_not_gone_on_with(source: Path, tmp_path: Path) -> None:
    apply(source, tmp_path / "t.zarr")
    shutil.rmtree(source)
    make_source(source, NUM, votes=True)  # the same images, written anew
    assert "holds the translated images of another dataset than" in refusal(source, tmp_path / "t.zarr")


def test_synthesize_does_not_add_to_translated_images(trained: Path) -> None:
    apply(make_source(trained / "dataset.zarr", 3), trained / "t.zarr")
    before = store_bytes(trained / "t.zarr")
    words = ["synthesize", "--checkpoint", "in/checkpoint.pt", "--num", "5", "--store", "t.zarr"]
    for dry in ([], ["--dry-run"]):
        result = dgan(*words, *dry)
        assert result.exit_code == 2
        assert "holds the translated images of another dataset" in result.stderr.splitlines()[-1]
    assert store_bytes(trained / "t.zarr") == before
    assert "5 of (32, 32, 3) uint8" in done(*words, "--render-batch", "1", "--dry-run", "--overwrite").stdout


def test_a_source_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "t.zarr"
    half = make_source(tmp_path / "half.zarr", NUM, tasks=1)
    assert "16 of 20 images are committed; run the same `dgan synthesize` to its end" in refusal(half, store)
    unfiltered = make_source(tmp_path / "unfiltered.zarr", NUM, keep=None)
    assert "no filter is set yet" in refusal(unfiltered, store)
    assert "no such store" in refusal(tmp_path / "absent.zarr", store)
    assert not store.exists()


def test_values_that_are_not_finite_are_refused_by_the_image_s_number(
    use: Use, source: Path, tmp_path: Path
) -> None:
    images = zarr.open_group(source)["images"]
    images[17, 0, 0] = 255
    use(untrained(Failing()))
    result = dgan("translate", "apply", "translator", "--data", source, "--store", tmp_path / "t.zarr")
    assert result.exit_code == 1
    assert "values that are not finite for image 17 of" in result.stderr.splitlines()[-1]
    assert fstore.open(tmp_path / "t.zarr").image_ids.tolist() == list(range(16))


def test_a_source_that_is_written_anew_meanwhile_is_refused(
    monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path
) -> None:
    def replaced(*arguments: object) -> np.ndarray:
        shutil.rmtree(source)
        make_source(source, NUM, votes=True)
        return np.zeros((16, 6, 6, 3), np.uint8)

    monkeypatch.setattr("pipeline.translate.application.run._translated", replaced)
    line = refusal(source, tmp_path / "t.zarr")
    assert "is no longer the store that was opened" in line
    assert len(fstore.open(tmp_path / "t.zarr")) == 0


def test_a_source_that_is_filtered_meanwhile_is_refused(
    monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path
) -> None:
    def filtered(*arguments: object) -> np.ndarray:
        done("filter", source, "--keep", "0.2")
        return np.zeros((len(arguments[2]), 6, 6, 3), np.uint8)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.translate.application.run._translated", filtered)
    assert "its filter was changed while it was read" in refusal(source, tmp_path / "t.zarr")
    found = fstore.open(tmp_path / "t.zarr")
    assert found.complete and found.meta.keep is None
    with pytest.raises(StoreError, match="run `dgan translate apply` to its end"):
        _ = found.kept


def test_a_damaged_source_is_named(source: Path, tmp_path: Path) -> None:
    (source / "labels" / "c" / "1" / "0" / "0").write_bytes(b"")
    result = dgan("translate", "apply", "translator", "--data", source, "--store", tmp_path / "t.zarr")
    assert result.exit_code == 1
    assert "array 'labels', images 16 to 19" in result.stderr.splitlines()[-1]


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path) -> None:
    monkeypatch.setattr("fstore.location.Location.free_bytes", lambda location: 1000)
    result = dgan("translate", "apply", "translator", "--data", source, "--store", tmp_path / "t.zarr")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "needs about" in result.stderr and "1 kB free" in result.stderr
    assert not (tmp_path / "t.zarr").exists()


# --- the plan and the notes ---


def test_the_plan_says_what_will_be_and_writes_nothing(use: Use, source: Path, tmp_path: Path) -> None:
    use(untrained(resolution=3, is_finished=False))
    names = sorted(os.listdir(tmp_path))
    plan = apply(source, tmp_path / "t.zarr", "--dry-run")
    assert "20 images of 6 x 6 pixels, translated at 3 x 3" in plan
    assert "translator, trained for 3 epochs towards photos" in plan
    assert "its training is not finished" in plan and "enlarged again, which loses detail" in plan
    assert sorted(os.listdir(tmp_path)) == names


def test_an_unfinished_translator_is_taken_with_a_note(use: Use, source: Path, tmp_path: Path) -> None:
    use(untrained(is_finished=False))
    result = done("translate", "apply", "translator", "--data", source, "--store", tmp_path / "t.zarr")
    assert "translator: its training is not finished" in result.stderr
    assert len(fstore.open(tmp_path / "t.zarr")) == NUM


def test_the_tasks_of_a_dataset_are_those_of_the_format() -> None:
    assert fmt.TASK_IMAGES % 16 == 0  # so that no batch of images lies in two tasks


def test_a_size_that_has_no_room_is_refused_before_memory_is_asked_for(
    use: Use, source: Path, tmp_path: Path
) -> None:
    use(replace(untrained(), resolution=2**14, width=4096))
    line = refusal(source, tmp_path / "huge.zarr")
    assert "translates at" in line and "of memory" in line
    assert not (tmp_path / "huge.zarr").exists()
