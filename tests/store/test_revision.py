"""A feature store that is gone on with by more images, other masks or more classes: what one run would have
written, and never less than it was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from support.deaths import dying, survived
from support.stores import copy_written, make_image, make_maps, make_meta, store_bytes, tree_bytes
from support.variants import variants

import fstore
from fstore import correction, durable
from fstore import format as fmt
from fstore.errors import CorruptionError, MismatchError, StoreError

NATIVE = (("b4_out", (4, 4), 3), ("b8_out", (8, 8), 2))
POINTS = fmt.KeypointInfo(("a", "b", "c"), 1.5)


@dataclass(frozen=True)
class Inputs:
    """What a run brings: the meta, and of each of its images a mask and keypoints."""

    meta: fmt.FeatureMeta
    masks: np.ndarray
    keypoints: np.ndarray | None
    latents: np.ndarray

    def corrected(self, *images: int) -> Inputs:
        """The same but for the annotations of some images."""
        masks, points = self.masks.copy(), None if self.keypoints is None else self.keypoints.copy()
        for image in images:
            masks[image] = np.roll(masks[image], 5, axis=1)
            if points is not None:
                points[image, :, :2] += 1
        return replace(self, masks=masks, keypoints=points, meta=told(self.meta, masks))

    def with_classes(self, num: int) -> Inputs:
        new = (fmt.ClassInfo(i, f"class_{i}", "#808080") for i in range(len(self.meta.classes), num))
        return replace(self, meta=replace(self.meta, classes=(*self.meta.classes, *new)[:num]))

    def first(self, num: int) -> Inputs:
        points = None if self.keypoints is None else self.keypoints[:num]
        meta = told(self.meta, self.masks[:num])
        return replace(self, masks=self.masks[:num], keypoints=points, latents=self.latents[:num], meta=meta)

    def writer(self, path: Path | str) -> fstore.FeatureWriter:
        annotated = fstore.Annotated(self.latents, self.masks, self.keypoints)
        return fstore.create(
            path, self.meta, num_images=len(self.masks), latent_shape=(8,), annotated=annotated
        )

    def write(self, path: Path | str) -> list[int]:
        """What ``dgan extract-features`` does. Returns which images it wrote features of."""
        with closing(self.writer(path)) as writer:
            pending = writer.pending()
            for image in pending:
                points = None if self.keypoints is None else self.keypoints[image]
                maps, mask, latent = make_maps(image, NATIVE), self.masks[image], self.latents[image]
                writer.write_image(image, maps, picture_of(image), mask, latent, points)
        return pending

    def written(self, path: Path) -> None:
        """A new store of theirs, copied where one of the same inputs has been written before."""
        points = None if self.keypoints is None else self.keypoints.tobytes()
        key = (self.meta, self.masks.tobytes(), points, self.latents.tobytes())
        copy_written(path, key, self.write)


def picture_of(image: int) -> np.ndarray:
    return make_image(make_meta(grid=(20, 24)), image)[0]


def told(meta: fmt.FeatureMeta, masks: np.ndarray) -> fmt.FeatureMeta:
    """The meta with a record that follows from the masks, as the stage's does."""
    return replace(meta, inputs={"masks_sum": int(masks.sum()), "images": len(masks)})


def make_inputs(num: int, layout: str = "pyramid", keypoints: bool = False) -> Inputs:
    meta = make_meta(layout, grid=(20, 24), native=NATIVE, ignore=None if keypoints else 255)
    if keypoints:
        meta = replace(meta, keypoints=POINTS)
    masks = np.stack([make_image(meta, image)[1] for image in range(num)])
    points = np.random.default_rng(5).uniform(1, 18, (num, 3, 3)).astype(np.float32)
    points[..., 2] = 1
    latents = np.random.default_rng(6).standard_normal((num, 8)).astype(np.float32)
    return Inputs(told(meta, masks), masks, points if keypoints else None, latents)


def stamps(path: Path) -> dict[str, tuple[int, int]]:
    """Which file every name is, and when that was written."""
    files = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


KINDS = pytest.mark.parametrize(
    ("layout", "keypoints"),
    [("dense", False), ("pyramid", True), pytest.param("pyramid", False, marks=pytest.mark.slow)],
)


@KINDS
def test_a_store_that_is_appended_to_is_what_one_run_writes(
    tmp_path: Path, layout: str, keypoints: bool
) -> None:
    whole = make_inputs(5, layout, keypoints)
    whole.written(tmp_path / "whole.zarr")
    whole.first(3).write(tmp_path / "grown.zarr")
    before = stamps(tmp_path / "grown.zarr")
    assert whole.write(tmp_path / "grown.zarr") == [3, 4]
    assert store_bytes(tmp_path / "grown.zarr") == store_bytes(tmp_path / "whole.zarr")
    after = stamps(tmp_path / "grown.zarr")
    assert all(after[name] == stamp for name, stamp in before.items() if "/c/" in name)
    assert fstore.verify_store(tmp_path / "grown.zarr").ok


@KINDS
def test_a_corrected_mask_is_written_alone_with_its_index(
    tmp_path: Path, layout: str, keypoints: bool
) -> None:
    first = make_inputs(3, layout, keypoints)
    first.written(tmp_path / "s.zarr")
    before = stamps(tmp_path / "s.zarr")
    second = first.corrected(1)
    assert second.write(tmp_path / "s.zarr") == []
    second.written(tmp_path / "whole.zarr")
    assert store_bytes(tmp_path / "s.zarr") == store_bytes(tmp_path / "whole.zarr")
    after = stamps(tmp_path / "s.zarr")
    changed = {name for name, stamp in before.items() if after[name] != stamp}
    points = {"keypoints/c/1/0/0"} if keypoints else set()
    assert changed == {"zarr.json", "masks/c/1/0/0", "class_counts/c/1/0/0/0", *points}
    assert fstore.open(tmp_path / "s.zarr").revision == 1


@pytest.mark.parametrize("keypoints", variants(False, True, fast=1))
@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b""), flip_a_bit])
def test_a_correction_makes_a_damaged_index_again(
    tmp_path: Path, damage: Callable[[Path], object], keypoints: bool
) -> None:
    path, first = tmp_path / "s.zarr", make_inputs(3, keypoints=keypoints)
    first.written(path)
    for image in (0, 1):
        damage(path / f"class_counts/c/{image}/0/0/0")
    second = first.corrected(1)
    assert second.write(path) == []
    second.written(tmp_path / "whole.zarr")
    assert store_bytes(path) == store_bytes(tmp_path / "whole.zarr")


def test_a_file_that_goes_while_it_is_copied_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.zarr"
    make_inputs(3).written(path)
    (path / "class_counts/c/0/0/0/0").unlink()
    monkeypatch.setattr(correction, "_is_whole", lambda *_: True)
    with pytest.raises(CorruptionError, match=r"class_counts/c/0/0/0/0 has gone.*dgan repair"):
        make_inputs(3).corrected(1).write(path)


@pytest.mark.parametrize("num_classes", variants(300, 3, 6, fast=2))
def test_classes_may_be_added_and_dropped(tmp_path: Path, num_classes: int) -> None:
    """Of 300 classes masks take two bytes."""
    first = make_inputs(3)
    first.written(tmp_path / "s.zarr")
    masks = np.minimum(make_inputs(4).masks.astype(np.uint16), num_classes - 1)
    masks[3] = num_classes - 1
    second = replace(make_inputs(4), masks=masks).with_classes(num_classes)
    second = replace(second, meta=replace(told(second.meta, masks), ignore=None))
    assert second.write(tmp_path / "s.zarr") == [3]
    second.written(tmp_path / "whole.zarr")
    assert store_bytes(tmp_path / "s.zarr") == store_bytes(tmp_path / "whole.zarr")
    assert fstore.verify_store(tmp_path / "s.zarr").ok
    assert fstore.open(tmp_path / "s.zarr").class_counts.shape[-1] == num_classes


def test_at_a_url_too() -> None:
    whole = make_inputs(4).corrected(0).with_classes(5)
    make_inputs(2).write("memory://revised.zarr")
    assert whole.write("memory://revised.zarr") == [2, 3]
    store = fstore.open("memory://revised.zarr")
    np.testing.assert_array_equal(store.masks.compute(), whole.masks)
    assert store.class_counts.shape[-1] == 5 and fstore.verify_store("memory://revised.zarr").ok


def test_nothing_is_written_where_nothing_differs(tmp_path: Path) -> None:
    inputs = make_inputs(3)
    inputs.written(tmp_path / "s.zarr")
    before = stamps(tmp_path / "s.zarr")
    assert inputs.write(tmp_path / "s.zarr") == []
    assert stamps(tmp_path / "s.zarr") == before


def test_what_is_planned_is_told_before(tmp_path: Path) -> None:
    make_inputs(3).written(tmp_path / "s.zarr")
    before = tree_bytes(tmp_path / "s.zarr")
    run = make_inputs(5).corrected(0, 2).with_classes(6)
    annotated = fstore.Annotated(run.latents, run.masks)
    found = fstore.check_create(
        tmp_path / "s.zarr", run.meta, num_images=5, latent_shape=(8,), annotated=annotated
    )
    assert found is not None
    assert (found.num_stored, found.num_added, found.corrected) == (3, 2, (0, 2))
    assert (len(found.classes), len(found.new_classes)) == (4, 6)
    assert tree_bytes(tmp_path / "s.zarr") == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda run: replace(run, latents=run.latents + np.eye(5, 8, dtype=np.float32)), "image 0: its lat"),
        (lambda run: replace(run, latents=run.latents[[0, 2, 1, 3, 4]]), "image 1: its latent is another"),
        (lambda run: run.first(2), "holds image 2, which this run lacks"),
        (lambda run: replace(run, meta=replace(run.meta, layout="dense")), "begun with layout = 'pyramid'"),
    ],
)
def test_what_may_not_change_is_refused_by_name(tmp_path: Path, change, says: str) -> None:
    make_inputs(3).written(tmp_path / "s.zarr")
    before = tree_bytes(tmp_path / "s.zarr")
    with pytest.raises(MismatchError, match=says) as caught:
        change(make_inputs(5)).writer(tmp_path / "s.zarr")
    assert "--overwrite" in str(caught.value) and "\n" not in str(caught.value)
    assert tree_bytes(tmp_path / "s.zarr") == before


def test_a_corrected_mask_with_a_label_that_is_no_class_changes_nothing(tmp_path: Path) -> None:
    run = make_inputs(3)
    run.written(tmp_path / "s.zarr")
    before = tree_bytes(tmp_path / "s.zarr")
    masks = run.masks.copy()
    masks[1, 0, 0] = 9
    with pytest.raises(StoreError, match="image 1: mask has label 9, expected 0 to 3"):
        replace(run, masks=masks).writer(tmp_path / "s.zarr")
    assert tree_bytes(tmp_path / "s.zarr") == before


def test_latents_that_were_mapped_again_may_differ_by_roundings(tmp_path: Path) -> None:
    run = make_inputs(3)
    run.written(tmp_path / "s.zarr")
    moved = run.latents * np.float32(1 + 1e-6)
    for exact in (False, True):
        annotated = fstore.Annotated(moved, run.masks, exact=exact)
        arguments = {"num_images": 3, "latent_shape": (8,), "annotated": annotated}
        if not exact:
            fstore.create(tmp_path / "s.zarr", run.meta, **arguments).close()
            continue
        with pytest.raises(MismatchError, match="image 0: its latent"):
            fstore.create(tmp_path / "s.zarr", run.meta, **arguments)


def test_images_that_were_never_written_may_be_given_up(tmp_path: Path) -> None:
    """A run of five images that wrote two is gone on with as one of three."""
    five = make_inputs(5)
    writer = five.writer(tmp_path / "s.zarr")
    for image in (0, 1):
        maps, mask, latent = make_maps(image, NATIVE), five.masks[image], five.latents[image]
        writer.write_image(image, maps, picture_of(image), mask, latent)
    writer.close()
    assert five.first(3).write(tmp_path / "s.zarr") == [2]
    five.first(3).written(tmp_path / "whole.zarr")
    assert store_bytes(tmp_path / "s.zarr") == store_bytes(tmp_path / "whole.zarr")


@pytest.mark.parametrize("change", ["append", "correct"])
def test_a_reader_is_told_that_its_store_has_changed(tmp_path: Path, change: str) -> None:
    make_inputs(3).written(tmp_path / "s.zarr")
    store = fstore.open(tmp_path / "s.zarr")
    run = make_inputs(4) if change == "append" else make_inputs(3).corrected(1)
    run.write(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match="images were added or annotations corrected while it was read"):
        store.check_unchanged()
    fstore.open(tmp_path / "s.zarr").check_unchanged()
    assert fstore.open(tmp_path / "s.zarr").id == store.id


def version(path: Path) -> int:
    return json.loads((path / "zarr.json").read_text())["attributes"]["fstore"]["version"]


def seen(path: Path) -> tuple[dict[str, np.ndarray], int]:
    """All that a reader sees of the first three images, and how many classes there are."""
    store = fstore.open(path)
    names = ["images", "masks", "latents", *(["keypoints"] if store.meta.keypoints else [])]
    found = {name: store.lazy(name)[:3].compute() for name in names}
    found |= {"features": store.features[:3].compute(), "class_counts": store.class_counts[:3]}
    return found, len(store.meta.classes)


REVISIONS = {
    "append": lambda first: make_inputs(4, keypoints=first.keypoints is not None),
    "correct": lambda first: first.corrected(0, 2),
    "name-a-class": lambda first: first.with_classes(6),
    "all": lambda first: make_inputs(4).corrected(1).with_classes(6),
}


EVERY = "{}-{}-every-change"
EVERY_REVISION = [*((kind, False) for kind in REVISIONS), ("append", True), ("correct", True)]


@pytest.mark.parametrize(
    ("kind", "keypoints", "step"),
    [
        ("all", False, 47),
        pytest.param("correct", True, 13, marks=pytest.mark.slow),
        *(
            pytest.param(*found, 1, marks=pytest.mark.slow, id=EVERY.format(*found))
            for found in EVERY_REVISION
        ),
    ],
)
def test_killed_at_any_change_the_store_is_what_it_was_or_what_it_becomes(
    tmp_path: Path, kind: str, keypoints: bool, step: int
) -> None:
    first = make_inputs(3, keypoints=keypoints)
    second = REVISIONS[kind](first)
    first.written(tmp_path / "before.zarr")
    second.written(tmp_path / "whole.zarr")
    expected = store_bytes(tmp_path / "whole.zarr")
    states = [seen(tmp_path / "before.zarr"), seen(tmp_path / "whole.zarr")]
    change = 1
    while True:
        path = tmp_path / f"{change}.zarr"
        shutil.copytree(tmp_path / "before.zarr", path)
        with dying(path, change):
            second.write(path)
        if survived():
            break
        found, num_classes = seen(path)
        assert any(
            num_classes == classes and all(np.array_equal(found[name], state[name]) for name in state)
            for state, classes in states
        ), f"change {change}"
        report = fstore.verify_store(path)
        assert report.ok and report.checked >= 3, (change, report.problems)
        second.write(path)
        assert store_bytes(path) == expected, change
        change += step
    assert change > 15 and store_bytes(path) == expected


def test_a_correction_that_counts_is_ended_by_a_run_with_other_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_inputs(3)
    first.written(tmp_path / "s.zarr")

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(correction, "_move", die)
        with pytest.raises(KeyboardInterrupt):
            first.corrected(0).write(tmp_path / "s.zarr")
    store = fstore.open(tmp_path / "s.zarr")
    assert store.meta.corrected and "corrected" in os.listdir(tmp_path / "s.zarr")
    assert version(tmp_path / "s.zarr") == 2  # which programs that know no corrections refuse
    assert "correction of annotations, cut off; the same" in " ".join(repr(store).split())
    np.testing.assert_array_equal(store.masks.compute(), first.corrected(0).masks)
    assert fstore.verify_store(tmp_path / "s.zarr").ok
    run = first.corrected(2)
    annotated = fstore.Annotated(run.latents, run.masks)
    fstore.check_create(tmp_path / "s.zarr", run.meta, num_images=3, latent_shape=(8,), annotated=annotated)
    run.write(tmp_path / "s.zarr")
    assert version(tmp_path / "s.zarr") == 1 and "cut off" not in repr(fstore.open(tmp_path / "s.zarr"))
    run.written(tmp_path / "whole.zarr")
    assert store_bytes(tmp_path / "s.zarr") == store_bytes(tmp_path / "whole.zarr")


def test_a_shortened_array_of_markers_is_not_taken_for_a_lengthening(tmp_path: Path) -> None:
    make_inputs(3).written(tmp_path / "s.zarr")
    markers = (tmp_path / "s.zarr" / "committed" / "zarr.json").read_bytes()
    zarr.open_group(tmp_path / "s.zarr")["committed"].resize((2,))
    (tmp_path / "s.zarr" / "committed" / "c" / "2").write_bytes(
        (tmp_path / "s.zarr" / "committed" / "c" / "1").read_bytes()
    )
    assert markers != (tmp_path / "s.zarr" / "committed" / "zarr.json").read_bytes()
    assert not fstore.verify_store(tmp_path / "s.zarr").ok


def test_a_correction_is_forced_to_the_disk_in_an_order_that_holds_after_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First what is beside, then the attribute that makes it count; then what is in place, then it again."""
    path = tmp_path / "s.zarr"
    make_inputs(3).written(path)
    synced: list[str] = []
    force = durable.force_to_disk

    def recording(file: Path) -> None:
        force(file)
        if file.is_file():
            synced.append(str(file.relative_to(path)))

    monkeypatch.setattr(durable, "force_to_disk", recording)
    make_inputs(3).corrected(1).write(path)
    first, last = (index for index, name in enumerate(synced) if name == "zarr.json")
    before = {name for name in synced[:first] if not name.endswith("zarr.json")}
    files = {"masks": "0/0", "class_counts": "0/0/0"}
    assert before == {
        f"corrected/{name}/c/{image}/{rest}" for name, rest in files.items() for image in range(3)
    }
    assert {name.split("/c/")[0] for name in synced[first + 1 : last]} == set(files)
    assert last == len(synced) - 1
