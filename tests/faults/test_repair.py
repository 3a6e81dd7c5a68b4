"""Damage to any file of a store is found, never read as numbers, and mended by the run that wrote it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from support.fault_table import REFUSED, SURVIVED
from support.stores import fill, make_image, make_maps, make_meta, store_bytes
from support.variants import variants

import fstore
from fstore import format as fmt
from fstore.chunks import CheckedArray
from fstore.errors import StoreError
from fstore.inventory import read_inventory
from fstore.location import Location
from pipeline.cli import main
from pipeline.commands.repair import ranges

Note = Callable[[str], None]
NATIVE = (("b4", (4, 4), 2), ("b16", (16, 16), 3))
NUM, NUM_DATASET = 3, 70  # of the dataset one whole task and a short one
CLASSES = make_meta().classes


def features(layout: str) -> Callable[[Path], None]:
    meta = make_meta(layout, grid=(16, 16), native=NATIVE)
    return lambda path: fill(path, meta, num_images=NUM, native=NATIVE)


def dataset(*, keypoints: bool = False) -> Callable[[Path], None]:
    points = fmt.KeypointInfo(("eye", "nose"), 1.0) if keypoints else None
    interpreter = {"members": 3}
    meta = fmt.DatasetMeta((6, 5), CLASSES, 4, keypoints=points, interpreter=interpreter)

    def write(path: Path) -> None:
        writer = fstore.create_dataset(path, meta, num_images=NUM_DATASET)
        for task in writer.pending_tasks():
            random, images = np.random.default_rng(task), writer.task_images(task)
            parts = {
                spec.name: random.random((len(images), *spec.shape[1:])).astype(spec.dtype)
                for spec in fmt.dataset_arrays(meta, NUM_DATASET)
            }
            writer.write_task(task, parts)
        writer.close()
        scores = fstore.open(path).uncertainty
        kept = scores <= np.sort(scores)[34]
        fstore.set_kept(path, kept, "0.5", float(scores[kept].max()))

    return write


WRITERS = {
    "dense": features("dense"),
    "pyramid": features("pyramid"),
    "labels": dataset(),
    "keypoints": dataset(keypoints=True),
}


@dataclass(frozen=True)
class Damaged:
    """A file of a store, and what it is of. ``image``: the first one of the file."""

    file: Path
    array: str
    image: int


def last_files(path: Path) -> Iterator[Damaged]:
    """Of each array that has images the file of the last image; of markers too."""
    inventory = read_inventory(Location.parse(path))
    for name, spec in inventory.specs.items():
        files = [file for file in (path / name / "c").rglob("*") if file.is_file()]
        first = [int(file.relative_to(path / name / "c").parts[0]) for file in files]
        if name not in ("kept", fmt.FILTER_SCORE):
            side = (spec.shards or spec.chunks)[0]
            yield Damaged(files[int(np.argmax(first))], name, max(first) * side)


def flip(file: Path) -> None:
    """One bit in the middle of the content."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-3]),
    "empty": lambda file: file.write_bytes(b""),
    "missing": Path.unlink,
}


def read_image(path: Path, array: str, image: int) -> np.ndarray:
    """The image of an array as readers of `fstore` get it."""
    inventory = read_inventory(Location.parse(path))
    found = inventory.array(array)
    rest = tuple((0, size) for size in found.shape[1:])
    return CheckedArray(found, inventory.location).read(((image, image + 1), *rest))


FAST = {("pyramid", "flipped")}
CASES = [
    pytest.param(kind, how, marks=() if (kind, how) in FAST else pytest.mark.slow)
    for kind in WRITERS
    for how in DAMAGE
]


@pytest.mark.parametrize(("kind", "how"), CASES)
def test_damage_is_found_and_never_read_and_mended(tmp_path: Path, kind: str, how: str, note: Note) -> None:
    path, write = tmp_path / "x.zarr", WRITERS[kind]
    write(path)
    whole = store_bytes(path)
    for damaged in last_files(path):
        DAMAGE[how](damaged.file)
        is_marker = damaged.array == "committed"
        if is_marker and how == "missing":  # as of an image that was never written
            assert len(fstore.open(path)) == damaged.image, "those before it are committed"
            write(path)
            assert store_bytes(path) == whole
            note(SURVIVED)
            continue
        report = fstore.verify_store(path)
        assert not report.ok and any(repr(damaged.array) in line for line in report.problems), damaged
        hit = [image for image in report.of_images if image >= damaged.image]
        assert hit and hit == list(report.of_images), damaged
        if not is_marker:
            with pytest.raises(StoreError, match=damaged.array):
                read_image(path, damaged.array, hit[0])
        before = store_bytes(path)
        planned = fstore.repair_store(path, dry_run=True)
        assert store_bytes(path) == before
        found = fstore.repair_store(path)
        assert (found.images, found.unsets_filter) == (planned.images, planned.unsets_filter)
        assert set(report.of_images) <= set(found.images), damaged
        assert fstore.verify_store(path).ok, damaged
        write(path)
        assert store_bytes(path) == whole, damaged
        note(SURVIVED)
    assert fstore.repair_store(path).images == ()
    assert store_bytes(path) == whole


def test_of_features_one_image_is_taken_back_and_of_a_dataset_its_task(tmp_path: Path) -> None:
    for kind, image, images in (("dense", 2, (2,)), ("labels", 64, tuple(range(64, 70)))):
        path = tmp_path / kind
        WRITERS[kind](path)
        file = next(each.file for each in last_files(path) if each.array == "images")
        flip(file)
        found = fstore.repair_store(path)
        assert max(found.report.of_images) >= image and found.images == images
        assert found.unsets_filter is (kind == "labels")
        markers = read_inventory(Location.parse(path)).array("committed")[:]
        assert sorted(np.flatnonzero(markers == 0)) == list(images)


def test_a_stale_marker_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    WRITERS["pyramid"](path)
    whole = store_bytes(path)
    for name in ("images", "masks", "latents", "class_counts", "layers"):
        for file in (path / name).rglob("c/1/**/*"):
            if file.is_file():
                file.unlink()
    report = fstore.verify_store(path)
    assert list(report.of_images) == [1]
    assert fstore.repair_store(path).images == (1,)
    WRITERS["pyramid"](path)
    assert store_bytes(path) == whole


def test_a_filter_that_is_damaged_alone_is_unset(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    WRITERS["labels"](path)
    whole = store_bytes(path)
    flip(next(file for file in (path / "kept" / "c").rglob("*") if file.is_file()))
    assert fstore.verify_store(path).of_filter
    found = fstore.repair_store(path)
    assert (found.images, found.unsets_filter, found.keep) == ((), True, "0.5")
    WRITERS["labels"](path)
    assert store_bytes(path) == whole


def test_what_belongs_to_no_image_is_refused(tmp_path: Path, note: Note) -> None:
    path = tmp_path / "x.zarr"
    WRITERS["dense"](path)
    file = path / "masks" / "zarr.json"
    document = json.loads(file.read_text())
    document["data_type"] = "uint16"
    file.write_text(json.dumps(document))
    before = store_bytes(path)
    with pytest.raises(StoreError, match=r"'masks'.*belongs to no image.*restore it from a copy"):
        fstore.repair_store(path)
    assert store_bytes(path) == before
    note(REFUSED)


def test_a_store_that_is_being_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    WRITERS["dense"](path)
    meta = make_meta("dense", grid=(16, 16), native=NATIVE)
    writer = fstore.create(path, meta, num_images=NUM, latent_shape=(8,))
    with pytest.raises(StoreError, match="another writer"):
        fstore.repair_store(path)
    writer.close()
    assert fstore.repair_store(path).images == ()


def run(*words: str) -> tuple[int, list[str]]:
    found = CliRunner().invoke(main, ["repair", *words])
    return found.exit_code, found.output.splitlines()


def test_the_command_says_what_it_does_and_what_is_next(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    WRITERS["labels"](path)
    assert run(str(path)) == (0, [f"{path}: 70 committed images checked, nothing to repair"])
    flip(next(each.file for each in last_files(path) if each.array == "labels"))
    assert run(str(path), "--dry-run")[1] == [
        f"{path}: 70 committed images checked; images 64 to 69 would no longer be committed",
        f"{path}: its filter (keep 0.5) would be unset",
        "next: run the same `dgan synthesize` again, which makes these images anew, and `dgan filter` if "
        "that has set the filter",
    ]
    code, lines = run(str(path))
    assert code == 0 and "images 64 to 69 are no longer committed" in lines[0]
    assert run(str(path))[1] == [f"{path}: 64 committed images checked, nothing to repair"]
    code, lines = run(str(tmp_path / "none.zarr"))
    assert code == 2 and re.search("no such store", lines[-1])


@pytest.mark.parametrize(
    ("numbers", "text"), [([3], "3"), ([1, 2, 3, 7], "1 to 3, 7"), ([0, 2], "0, 2"), ([], "")]
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


@pytest.mark.slow
def test_a_death_within_a_repair_leaves_what_the_next_one_ends(tmp_path: Path, note: Note) -> None:
    from support.deaths import dying, survived

    WRITERS["labels"](tmp_path / "whole.zarr")
    change = 0
    while True:
        change += 1
        path = tmp_path / f"{change}.zarr"
        WRITERS["labels"](path)
        flip(next(each.file for each in last_files(path) if each.array == "images"))
        with dying(path, change), suppress(StoreError):
            fstore.repair_store(path)
        ended = survived()
        assert fstore.verify_store(path).of_filter == ()
        fstore.repair_store(path)
        WRITERS["labels"](path)
        assert store_bytes(path) == store_bytes(tmp_path / "whole.zarr"), change
        note(SURVIVED)
        if ended:
            break
    assert change > 3


def stale_file(path: Path, num: int) -> None:
    """A marker file of images 64 to 127, or of image ``num`` in a feature store."""
    step = read_inventory(Location.parse(path)).array("committed").chunks[0]
    shutil.copy(path / "committed/c/0", path / "committed/c" / str(-(-num // step)))


def stale_places(path: Path, num: int) -> None:
    """The places of the last marker file that no image has yet."""
    array = Location.parse(path).open_group("r+")["committed"]
    assert isinstance(array, zarr.Array)
    array.resize((-(-num // array.chunks[0]) * array.chunks[0],))
    array[num:] = 1
    array.resize((num,))


def arrays_of(path: Path) -> dict[str, bytes]:
    """The files of a store's arrays. The attribute says how often a store was lengthened."""
    return {name: content for name, content in store_bytes(path).items() if name != "zarr.json"}


STALE = variants(
    pytest.param("features", 3, stale_file),
    pytest.param("dataset", 70, stale_places),
    pytest.param("dataset", 64, stale_file),
)


def write_num(path: Path, kind: str, num: int) -> None:
    """A store of ``num`` images, or more images in the store that is there."""
    if kind == "features":
        meta = make_meta("dense", grid=(16, 16), native=NATIVE)
        latents = np.stack([np.random.default_rng(1000 + i).standard_normal(8) for i in range(num)])
        masks = np.stack([make_image(meta, image)[1] for image in range(num)])
        annotated = fstore.Annotated(latents.astype(np.float32), masks)
        writer = fstore.create(path, meta, num_images=num, latent_shape=(8,), annotated=annotated)
        for image in writer.pending():
            picture, mask = make_image(meta, image)
            writer.write_image(image, make_maps(image, NATIVE), picture, mask, annotated.latents[image])
        writer.close()
        return
    writer = fstore.create_dataset(path, fmt.DatasetMeta((6, 5), CLASSES, 4), num_images=num)
    for task in writer.pending_tasks():
        specs, count = fmt.dataset_arrays(writer.meta, num), len(writer.task_images(task))
        writer.write_task(task, {spec.name: np.ones((count, *spec.shape[1:]), spec.dtype) for spec in specs})
    writer.close()


@pytest.mark.parametrize(("kind", "num", "spoil"), STALE)
@pytest.mark.parametrize("repairs", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_marker_beyond_the_last_image_is_found_and_never_counts(
    tmp_path: Path, kind: str, num: int, spoil: Callable[[Path, int], None], repairs: bool, note: Note
) -> None:
    path = tmp_path / "x.zarr"
    write_num(path, kind, num)
    whole = store_bytes(path)
    spoil(path, num)
    assert store_bytes(path) != whole
    (line,) = fstore.verify_store(path).problems
    assert f"'committed', chunk [{num if kind == 'features' else 1}]: marks image" in line
    assert f"the store has {num} images" in line
    if repairs:
        planned = fstore.repair_store(path, dry_run=True)
        assert (planned.images, planned.markers) == ((), 1) and store_bytes(path) != whole
        assert fstore.repair_store(path).markers == 1
        assert store_bytes(path) == whole
    write_num(tmp_path / "longer.zarr", kind, 2 * num)
    write_num(path, kind, 2 * num)  # it reads markers only after it has deleted those beyond
    assert arrays_of(path) == arrays_of(tmp_path / "longer.zarr")
    assert fstore.verify_store(path).ok
    note(SURVIVED)
