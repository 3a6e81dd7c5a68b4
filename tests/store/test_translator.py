"""The attribute ``translator`` of a dataset, and keys that a program does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.labelled import dataset_meta, fill_dataset, keep_some

import fstore
from fstore.errors import MismatchError, StoreError
from fstore.filter import filter_of

RECORD = {"sha256": "ab" * 32, "epochs": 3, "folder": "t", "source": {"store": "d.zarr", "id": "0123"}}


def attribute(path: Path) -> dict[str, Any]:
    return json.loads((path / "zarr.json").read_text())["attributes"]["fstore"]


def with_keys(path: Path, **keys: Any) -> None:
    """Put keys into the attribute of the store."""
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["fstore"].update(keys)
    (path / "zarr.json").write_text(json.dumps(root))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill_dataset(tmp_path / "d.zarr", 6, replace(dataset_meta(), translator=RECORD))
    keep_some(tmp_path / "d.zarr", "0.5")
    return tmp_path / "d.zarr"


def test_a_translated_dataset_says_so_wherever_it_shows_itself(path: Path) -> None:
    store = fstore.open(path)
    assert store.meta.translator == RECORD
    assert store.meta.maker == "dgan translate apply"
    assert (
        "translator sha256 abababababab..., epochs 3, folder t, source (store d.zarr, id 0123)"
        in " ".join(repr(store).split())
    )
    assert attribute(path)["version"] == 1  # older programs read it
    assert fstore.verify_store(path).ok


def test_any_other_dataset_has_no_such_key(tmp_path: Path) -> None:
    fill_dataset(tmp_path / "d.zarr", 1, dataset_meta())
    assert "translator" not in attribute(tmp_path / "d.zarr")
    assert fstore.open(tmp_path / "d.zarr").meta.translator is None
    assert "translator" not in repr(fstore.open(tmp_path / "d.zarr"))


@pytest.mark.parametrize("value", ["a text", 3, ["a list"], True])
def test_what_is_no_object_is_refused(path: Path, value: Any) -> None:
    with_keys(path, translator=value)
    with pytest.raises(StoreError, match=r"translator is .*: expected an object"):
        fstore.open(path)


def test_the_filter_leaves_it_as_it_is(path: Path) -> None:
    keep_some(path, "0.2")
    assert attribute(path)["translator"] == RECORD


def test_a_key_that_no_program_knows_is_ignored_and_kept(path: Path) -> None:
    """As an older program does with ``translator``: it reads the dataset, and filters it."""
    with_keys(path, later={"key": 1})
    with_keys(path, translator={**RECORD, "later": 1})
    assert len(fstore.open(path)) == 6
    keep_some(path, "0.2")
    assert attribute(path)["later"] == {"key": 1}
    assert fstore.open(path).meta.translator == {**RECORD, "later": 1}


def test_images_of_another_translation_are_not_added(path: Path) -> None:
    meta = replace(dataset_meta(), translator=RECORD)
    for other in (None, {**RECORD, "sha256": "cd" * 32}, {**RECORD, "source": {"id": "4567"}}):
        with pytest.raises(MismatchError, match="was begun with translator"):
            fstore.create_dataset(path, replace(meta, translator=other), num_images=6)
    names = {
        **RECORD,
        "folder": "moved",
        "source": {"store": "moved.zarr", "id": "0123"},
    }
    fstore.create_dataset(path, replace(meta, translator=names), num_images=6).close()


def test_a_filter_is_read_as_it_is_set(path: Path, tmp_path: Path) -> None:
    fill_dataset(tmp_path / "other.zarr", 6, dataset_meta())
    found = filter_of(fstore.open(path))
    fstore.set_kept(tmp_path / "other.zarr", found.kept, found.keep, found.threshold, rule=found.rule)
    assert np.array_equal(fstore.open(tmp_path / "other.zarr").kept, fstore.open(path).kept)
    with_keys(path, keep="0.9")  # which is not what is kept
    with pytest.raises(StoreError, match="the filter keeps 3 images, expected 6"):
        filter_of(fstore.open(path))
