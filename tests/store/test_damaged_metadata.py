"""Damaged metadata ends in one line that names the store, from every entry point, and in nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from support.fault_cases import examples
from support.stores import fill, make_meta

import fstore
from fstore import format as fmt
from fstore import values
from fstore.errors import StoreError

META = make_meta("pyramid", grid=(16, 16), native=(("b4", (4, 4), 2), ("b16", (16, 16), 3)))
DATASET = fmt.DatasetMeta((6, 5), META.classes, 4)
AVERAGE = np.ones(8, np.float32)
NUM_MUTANTS = 25  # of each kind of store and each entry point
NUM_DATASET, KEPT = 3, np.array([True, True, False])


def make_features(path: Path) -> None:
    writer = fstore.create(path, META, num_images=2, latent_shape=(8,), average_latent=AVERAGE)
    writer.close()
    fill(path, META, num_images=2, native=(("b4", (4, 4), 2), ("b16", (16, 16), 3)))


def make_dataset(path: Path) -> None:
    writer = fstore.create_dataset(path, DATASET, num_images=NUM_DATASET)
    specs = fmt.dataset_arrays(DATASET, NUM_DATASET)
    writer.write_task(0, {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs})
    writer.close()
    fstore.set_kept(path, KEPT, "0.5", 0.0)


def read_everything(path: Path) -> None:
    store = fstore.open(path)
    repr(store)
    store._repr_html_()
    store.check_unchanged()
    store.images.compute(scheduler="sync")
    if isinstance(store, fstore.FeatureStore):
        store.features.compute(scheduler="sync")
        _ = store.average_latent, store.class_counts, store.read_masks(range(len(store)))
    else:
        store.labels.compute(scheduler="sync")
        _ = store.uncertainty, store.kept if store.meta.keep else None


def resume(path: Path) -> None:
    fstore.create(path, META, num_images=2, latent_shape=(8,)).close()
    fstore.create_dataset(path, DATASET, num_images=NUM_DATASET).close()


def lengthen(path: Path) -> None:
    fstore.create_dataset(path, DATASET, num_images=NUM_DATASET + 1).close()


def overwrite(path: Path) -> None:
    fstore.create(path, META, num_images=2, latent_shape=(8,), overwrite=True).close()


ENTRIES: dict[str, Callable[[Path], Any]] = {
    "read": read_everything,
    "resume": resume,
    "lengthen": lengthen,
    "filter": lambda path: fstore.set_kept(path, KEPT, "0.5", 0.0),
    "verify": fstore.verify_store,
    "overwrite": overwrite,
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stores")
    make_features(folder / "features.zarr")
    make_dataset(folder / "dataset.zarr")
    return {"features": folder / "features.zarr", "dataset": folder / "dataset.zarr"}


VALUES = [
    *(None, True, -1, 0, 3, 2**31, 2**63, 2**64, 10**400, 1.5, 1e308, float("nan"), float("inf")),
    *("", "x", "0.9", "\ud800", "../x", [], [1], [1, 2, 3], {}, {"id": 1}, [[[]]]),
]


def mutated_value(document: Any, stream: random.Random) -> Any:
    """One value of a JSON document replaced, deleted or doubled."""
    places = list(walk(document, ()))
    *parents, key = stream.choice(places)
    node = document
    for step in parents:
        node = node[step]
    action = stream.choice(("replace", "replace", "delete", "double"))
    if action == "replace":
        node[key] = stream.choice(VALUES)
    elif action == "delete":
        del node[key]
    elif isinstance(node, list):
        node.insert(key, node[key])
    else:
        node[f"{key}2"] = node[key]
    return document


def walk(node: Any, path: tuple) -> Iterator[tuple]:
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in entries:
        yield (*path, key)
        yield from walk(child, (*path, key))


def mutated_bytes(content: bytes, stream: random.Random) -> bytes:
    """A file cut, flipped, emptied, filled with something else, or nested without end."""
    cut, position = stream.randrange(len(content)), stream.randrange(len(content))
    flipped = bytearray(content)
    flipped[position] ^= 1 << stream.randrange(8)
    depth = stream.choice((500, 5000, 100_000))
    nested = content.replace(
        b'"attributes": {', b'"attributes": {"deep": ' + b"[" * depth + b"]" * depth + b","
    )
    return stream.choice(
        [content[:cut], bytes(flipped), b"", b"\xff\xfe\x00", b"null", b"[]", b"3", b"[" * depth, nested]
    )


@pytest.mark.parametrize("kind", ["features", "dataset"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_damaged_metadata_ends_in_success_or_one_line(
    tmp_path: Path, stores: dict[str, Path], kind: str, entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of stores: it is what takes the time
    stream = random.Random(f"{kind} {entry}")
    path = tmp_path / "s.zarr"
    files = sorted(p.relative_to(stores[kind]) for p in stores[kind].rglob("zarr.json"))
    for _ in range(examples(NUM_MUTANTS // 5, NUM_MUTANTS)):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(stores[kind], path)
        file = path / (Path("zarr.json") if stream.random() < 0.5 else stream.choice(files))
        if stream.random() < 0.3:
            file.write_bytes(mutated_bytes(file.read_bytes(), stream))
        else:
            document = mutated_value(json.loads(file.read_text()), stream)
            file.write_text(json.dumps(document))
        mutant = file.read_bytes()
        try:
            ENTRIES[entry](path)
        except StoreError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error), mutant[-300:]
            assert len(str(error)) < 700
        except Exception as error:
            raise AssertionError(f"{file.relative_to(path)}: {mutant[:3000]!r}") from error


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def attribute(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda document: change(document["attributes"]["fstore"])


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("features", lambda a: a["classes"][1].update(id=2), "id, its position, is 2"),
        ("features", lambda a: a["classes"].reverse(), "id, its position, is 3"),
        ("features", lambda a: a["classes"][1].update(name=3), "class 1: name is 3: expected text"),
        ("features", lambda a: a["classes"][1].update(color="red"), "class 1: color is 'red'"),
        ("features", lambda a: a["classes"][1].update(color="#12345"), "class 1: color is '#12345'"),
        ("features", lambda a: a.update(grid=[2**63, 16]), "grid's rows is 9223372036854775808"),
        ("features", lambda a: a.update(grid=[16, 0]), "grid's columns is 0"),
        ("features", lambda a: a.update(grid=[16.0, 16]), r"grid's rows is 16\.0: expected an integer"),
        ("features", lambda a: a.update(grid=[16]), "grid is \\[16\\]: expected a list of 2"),
        (
            "features",
            lambda a: a["layers"][1].update(offset=3),
            "offset is 3: expected an integer from 2",
        ),
        ("features", lambda a: a["layers"][0].update(channels=True), "channels is True"),
        ("features", lambda a: a["layers"][0].update(name="../x"), r"a layer's name is '\.\./x'"),
        ("features", lambda a: a["layers"][1].update(resolution=[17, 16]), "resolution is 17"),
        ("features", lambda a: a.update(channels=6), "channels is 6: expected an integer from 5 to 5"),
        (
            "features",
            lambda a: a.update(ignore=70000),
            "ignore is 70000: expected an integer from 0",
        ),
        ("features", lambda a: a.update(layout="sparse"), "layout is 'sparse'"),
        ("features", lambda a: a.update(created=[]), "created is \\[\\]"),
        ("features", lambda a: a.update(keypoints={"names": "ab", "sigma": 1}), "names is no list"),
        ("features", lambda a: a.update(keypoints={"names": [3], "sigma": 1}), "are no text"),
        ("features", lambda a: a.update(version=True), "version is True"),
        ("features", lambda a: a.update(kind="picture"), "kind 'picture', expected"),
        ("dataset", lambda a: a.update(score="best"), "score is 'best': expected one of"),
        ("dataset", lambda a: a.update(keep="most"), "keep is 'most': expected decimal text"),
        ("dataset", lambda a: a.update(keep=0.5), "keep is 0.5: expected decimal text"),
        ("dataset", lambda a: a.update(keep="1e-999999999"), "keep is '1e-999999999'"),
        ("dataset", lambda a: a.update(threshold="low"), "threshold is 'low': expected a number"),
        ("dataset", lambda a: a.update(seed=-1), "seed is -1"),
        ("dataset", lambda a: a.update(latent_size=2**40), "latent_size is 1099511627776"),
        ("dataset", lambda a: a.update(shape=[6, "5"]), "shape's columns is '5'"),
    ],
)
def test_an_attribute_that_breaks_the_format_is_named_by_open_and_verify(
    tmp_path: Path, stores: dict[str, Path], kind: str, change, says: str
) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(stores[kind], path)
    edit(path / "zarr.json", attribute(change))
    for use in (fstore.open, fstore.verify_store):
        with pytest.raises(StoreError, match=f"^{path}: .*{says}"):
            use(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged"),
        (b'{"zarr_format": 3, "no', "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"zarr_format": 3, "node_type": "group", "attributes": 7}', "without attribute 'fstore'|damaged"),
    ],
)
def test_a_damaged_group_is_named_and_never_overwritten(
    tmp_path: Path, stores: dict[str, Path], content: bytes, says: str
) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(stores["features"], path)
    (path / "zarr.json").write_bytes(content)
    with pytest.raises(StoreError, match=f"^{path}: .*({says})"):
        fstore.open(path)
    with pytest.raises(StoreError, match=f"^{path}: "):
        overwrite(path)
    assert (path / "masks" / "zarr.json").exists()


@pytest.mark.parametrize("name", ["committed", "images", "masks", "latents", "layers/0_b4", "average_latent"])
@pytest.mark.parametrize("use", [read_everything, fstore.verify_store])
def test_a_damaged_array_is_named(tmp_path: Path, stores: dict[str, Path], name: str, use) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(stores["features"], path)
    file = path / name / "zarr.json"
    file.write_bytes(file.read_bytes()[:50])
    try:
        lines = use(path).problems
    except StoreError as error:
        lines = [str(error)]
    assert any(line.startswith(f"{path}: array '{name}': its zarr.json is damaged") for line in lines)


def test_an_array_with_another_encoding_is_refused(tmp_path: Path, stores: dict[str, Path]) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(stores["features"], path)
    edit(path / "masks" / "zarr.json", lambda document: document["codecs"].pop())
    with pytest.raises(StoreError, match=r"array 'masks' has codecs .*expected .*'crc32c'"):
        fstore.open(path).masks.compute()
    assert "array 'masks' has codecs" in fstore.verify_store(path).problems[0]


def test_a_damaged_average_latent_is_named_as_what_it_is(tmp_path: Path, stores: dict[str, Path]) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(stores["features"], path)
    file = path / "average_latent" / "c" / "0"
    file.write_bytes(file.read_bytes()[:-1])
    store = fstore.open(path)
    with pytest.raises(StoreError, match=r"array 'average_latent', chunk \[0\] is damaged"):
        _ = store.average_latent
    assert any("array 'average_latent'" in line for line in fstore.verify_store(path).problems)


def test_the_average_latent_is_read_once(tmp_path: Path, stores: dict[str, Path]) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(stores["features"], path)
    store = fstore.open(path)
    assert np.array_equal(store.average_latent, AVERAGE)
    shutil.rmtree(path / "average_latent")
    assert np.array_equal(store.average_latent, AVERAGE)
    assert fstore.open(path).average_latent is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(JSON | st.lists(st.integers(-1, 5), max_size=5), st.integers(0, 4))
def test_numbers_of_images_are_different_and_one_an_image_or_refused(value: Any, num_images: int) -> None:
    try:
        found = values.image_numbers("inputs.image_numbers", value, num_images)
    except StoreError as error:
        assert str(error).startswith("inputs.image_numbers")
        return
    assert list(found) == list(value) and len(set(found)) == len(found) >= num_images
    assert all(type(number) is int and 0 <= number < 2**63 for number in found)


@pytest.mark.parametrize("numbers", [[8], "78", {}, [8, 8], [8, None], [-1, 8]])
def test_numbers_of_images_that_are_none_are_named_where_they_are_asked_for(
    tmp_path: Path, stores: dict[str, Path], numbers: Any
) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(stores["features"], path)
    assert features_at(path).image_numbers == (0, 1)
    for recorded, found in {(8, 7): (8, 7), (8, 7, 9): (8, 7, 9)}.items():  # 9: its image was taken away
        set_numbers(path, list(recorded))
        assert features_at(path).image_numbers == found
    set_numbers(path, numbers)
    with pytest.raises(StoreError, match=r"s\.zarr: attribute 'fstore' is malformed .inputs\.image_numbers"):
        _ = features_at(path).image_numbers


def features_at(path: Path) -> fstore.FeatureStore:
    store = fstore.open(path)
    assert isinstance(store, fstore.FeatureStore)
    return store


def set_numbers(path: Path, numbers: Any) -> None:
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["fstore"]["inputs"] = {"image_numbers": numbers}
    (path / "zarr.json").write_text(json.dumps(root))


@given(JSON)
def test_finite_values_are_those_that_json_can_hold(value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        with pytest.raises(StoreError, match=r"^generator.* is (nan|inf|-inf): expected a finite number"):
            values.finite("generator", value)
    else:
        assert values.finite("generator", value) is value


def test_stale_copies_of_metadata_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    make_dataset(path)
    zarr.consolidate_metadata(path)
    lengthen(path)
    store = fstore.open(path)
    assert (store.num_images, len(store)) == (NUM_DATASET + 1, NUM_DATASET)


def test_what_others_wrote_beside_the_attribute_stays(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    make_dataset(path)
    zarr.open_group(path).attrs["note"] = {"by": "me"}
    fstore.set_kept(path, KEPT, "0.6", 0.0)
    lengthen(path)
    assert zarr.open_group(path).attrs["note"] == {"by": "me"}
    assert fstore.open(path).meta.keep is None


@pytest.mark.parametrize("ignore", [70000, 65536, -1, 2.0, True, "255"])
def test_an_ignore_label_that_no_mask_can_hold_is_refused(ignore) -> None:
    with pytest.raises(StoreError, match=r"ignore is .*: expected an integer from 0 to 65535"):
        make_meta(ignore=ignore)
    with pytest.raises(StoreError, match=r"ignore is .*: expected an integer from 0 to 65535"):
        fmt.DatasetMeta((6, 5), META.classes, 4, ignore=ignore)
