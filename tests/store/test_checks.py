"""What creating a store would refuse can be asked before: the same error, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zarr
from support.stores import fill, filled, make_meta, tree_bytes

import fstore
from fstore import format as fmt
from fstore.errors import StoreError

META = make_meta()
DATASET = fmt.DatasetMeta((8, 8), META.classes, 4, score="top10", seed=0)


def features(path: Path, **changes: object) -> dict[str, object]:
    asked = {"path": path, "meta": META, "num_images": 3, "latent_shape": (8,)}
    return asked | changes


def error_of(call: Callable[..., object], arguments: dict[str, object]) -> tuple[type, str]:
    with pytest.raises(StoreError) as caught:
        call(**arguments)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"meta": replace(META, layout="pyramid")},
        {"meta": replace(META, ignore=None)},
        {"num_images": 4},
        {"latent_shape": (2, 8)},
    ],
)
def test_other_settings_are_refused_as_creating_refuses_them(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    store = tmp_path / "f.zarr"
    filled(store, META)
    before = tree_bytes(store)
    arguments = features(store, **changes)
    assert error_of(fstore.check_create, arguments) == error_of(fstore.create, arguments)
    fstore.check_create(**arguments, overwrite=True)
    fstore.check_create(**features(store))
    assert tree_bytes(store) == before


def test_a_dataset_is_not_shortened_nor_taken_for_features(tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    fstore.create_dataset(store, DATASET, num_images=5).close()
    before = tree_bytes(store)
    shorter = {"path": store, "meta": DATASET, "num_images": 4}
    assert error_of(fstore.check_create_dataset, shorter) == error_of(fstore.create_dataset, shorter)
    assert error_of(fstore.check_create, features(store)) == error_of(fstore.create, features(store))
    for num in (5, 9):
        fstore.check_create_dataset(store, DATASET, num_images=num)
    assert tree_bytes(store) == before


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_no_store_of_the_other_kind_is_overwritten(tmp_path: Path, place: str) -> None:
    parent = tmp_path if place == "folder" else f"memory://{tmp_path.name}"
    store, other = f"{parent}/d.zarr", f"{parent}/f.zarr"
    fstore.create_dataset(store, DATASET, num_images=5).close()
    fill(other, META)
    of_features = features(store, overwrite=True)
    of_dataset = {"path": other, "meta": DATASET, "num_images": 5, "overwrite": True}
    found = error_of(fstore.create, of_features)
    assert error_of(fstore.check_create, of_features) == found
    expected = f"{store}: is a store of kind 'dataset', and the new one is of kind 'features': "
    assert found[1].startswith(expected) and "choose another --store, or delete this one" in found[1]
    found = error_of(fstore.create_dataset, of_dataset)
    assert error_of(fstore.check_create_dataset, of_dataset) == found
    assert found[1].startswith(
        f"{other}: is a store of kind 'features', and the new one is of kind 'dataset'"
    )
    assert fstore.open(store).num_images == 5 and len(fstore.open(other)) == 3


@pytest.mark.parametrize("kind", [None, "fea", 7, ["dataset"]])
def test_a_store_whose_kind_is_damaged_may_be_written_anew(tmp_path: Path, kind: object) -> None:
    store = tmp_path / "d.zarr"
    fstore.create_dataset(store, DATASET, num_images=5).close()
    group = zarr.open_group(store)
    group.attrs.put({"fstore": {**group.attrs["fstore"], "kind": kind}})
    fstore.create(**features(store, overwrite=True)).close()
    assert fstore.open(store).num_images == 3


def test_another_folder_and_an_open_writer_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "letters"
    foreign.mkdir()
    (foreign / "a.txt").write_text("dear all")
    assert error_of(fstore.check_create, features(foreign)) == error_of(fstore.create, features(foreign))
    store = tmp_path / "f.zarr"
    writer = fstore.create(**features(store))
    found = error_of(fstore.check_create, features(store))
    assert found == error_of(fstore.create, features(store))
    assert "another writer has it open" in found[1]
    writer.close()
    fstore.check_create(**features(store))


def test_where_nothing_is_nothing_appears(tmp_path: Path) -> None:
    fstore.check_create(**features(tmp_path / "f.zarr"))
    fstore.check_create_dataset(tmp_path / "d.zarr", DATASET, num_images=3)
    assert not list(tmp_path.iterdir())
