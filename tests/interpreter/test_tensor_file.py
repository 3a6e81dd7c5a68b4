"""Files of tensors: the bytes that the format's own library writes, and no other file beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from support.places import REPOSITORY

from pipeline.interpreter import tensor_file
from pipeline.interpreter.tensor_file import write_tensors

SHAPES = st.lists(st.integers(0, 3), max_size=3)
DTYPES = st.sampled_from(list(tensor_file._CODES))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
METADATA = st.none() | st.dictionaries(NAMES, NAMES, min_size=1, max_size=1)


def filled(shape: list[int], dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.int64).reshape(shape).to(dtype)


@given(specs=st.dictionaries(NAMES, st.tuples(SHAPES, DTYPES), max_size=6), metadata=METADATA)
def test_the_bytes_are_those_of_the_library(
    tmp_path_factory: pytest.TempPathFactory,
    specs: dict[str, tuple[list[int], torch.dtype]],
    metadata: dict[str, str] | None,
) -> None:
    tensors = {name: filled(*spec) for name, spec in specs.items() if name != "__metadata__"}
    path = tmp_path_factory.mktemp("tensors") / "file"
    write_tensors(path, tensors, metadata)
    assert path.read_bytes() == save(tensors, metadata)
    loaded = load(path.read_bytes())
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_a_part_of_a_larger_tensor_is_written_as_its_own(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4).requires_grad_()
    write_tensors(tmp_path / "file", {"columns": whole[:, 1:3]})
    assert load((tmp_path / "file").read_bytes())["columns"].tolist() == [[1, 2], [5, 6], [9, 10]]


def test_nothing_writes_through_a_library_that_draws_names_of_its_own() -> None:
    # After a kill nobody would know the name, and the file would stay.
    writer = re.compile(r"^\s*(from|import) safetensors.*\bsave|\bserialize_file\(", re.MULTILINE)
    assert writer.search("    from safetensors.numpy import load_file, save_file\n")
    sources = [path for package in ("fstore", "pipeline") for path in (REPOSITORY / package).rglob("*.py")]
    assert [path for path in sources if writer.search(path.read_text(encoding="utf-8"))] == []
