"""Pickles read as data: the same values as Python's own reader gives, and records of what is none."""

from __future__ import annotations

import argparse
import collections
import functools
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.pickling import Network, read_pickle

from pipeline.checkpoints.containers.inert_values import Global, Record, StoredTensor
from pipeline.checkpoints.containers.pickles import read_first_pickle
from pipeline.checkpoints.containers.torch_files import load_from_bytes

# ---- round trips --------------------------------------------------------------------------------

NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.booleans())
SCALARS = st.one_of(
    st.none(), NUMBERS, st.text(max_size=20), st.binary(max_size=300), st.binary().map(bytearray)
)
KEYS = st.one_of(st.text(max_size=8), st.integers(-(2**60), 2**60), st.none(), st.binary(max_size=4))
CONTAINERS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4).map(collections.OrderedDict),
        st.sets(KEYS, max_size=4),
        st.frozensets(KEYS, max_size=4),
    ),
    max_leaves=20,
)
PROTOCOLS = st.integers(0, pickle.HIGHEST_PROTOCOL)


@given(CONTAINERS, PROTOCOLS)
def test_plain_content_is_what_python_reads(content: Any, protocol: int) -> None:
    pickled = pickle.dumps(content, protocol)
    found = read_pickle(pickled)
    assert found == pickle.loads(pickled)
    if not isinstance(content, collections.OrderedDict):  # read as a dict, of the same order
        assert type(found) is type(content)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = draw(st.sampled_from(["?", "i1", "<i4", ">i8", "u2", ">f2", "<f4", ">f4", "<f8"]))
    count = int(np.prod(shape, dtype=int))
    array = (np.arange(count) % 2 if dtype == "?" else np.arange(count)).astype(dtype).reshape(shape)
    view = draw(st.sampled_from(["whole", "transposed", "every second", "column order"]))
    if view == "transposed":
        return array.T
    if view == "every second":
        return array[::2] if array.ndim else array
    return np.asfortranarray(array) if view == "column order" else array


@given(arrays(), PROTOCOLS)
def test_arrays_keep_values_shape_and_type(array: np.ndarray, protocol: int) -> None:
    found = read_pickle(pickle.dumps({"w": array, "again": array}, protocol))
    assert type(found["w"]) is np.ndarray and found["w"].shape == array.shape
    assert found["w"].dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found["w"], array)
    assert found["w"] is found["again"]


def test_arrays_that_python_2_pickled_hold_their_bytes_as_text() -> None:
    pickled = pickle.dumps(np.array([1.5, -2.0], np.float32), 3)
    assert pickled.count(b"C\x08") == 1  # bytes; Python 2 knew strings only
    found = read_pickle(pickled.replace(b"C\x08", b"U\x08").replace(b"C\x01b", b"U\x01b"))
    np.testing.assert_array_equal(found, [1.5, -2.0])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [np.float32(0.1), np.int64(-7), np.bool_(True), np.float64("inf")])
def test_numpy_scalars_become_numbers(value: Any, protocol: int) -> None:
    found = read_pickle(pickle.dumps(value, protocol))
    assert found == value.item() and type(found) is type(value.item())


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_tensors_pickled_by_themselves_are_read_through_their_inner_file(protocol: int) -> None:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    content = {
        "transposed": base.T,
        "part": base[1:, ::2],
        "parameter": torch.nn.Parameter(base * 2),
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(5),
        "mask": base > 3,
    }
    stream = io.BytesIO(pickle.dumps(content, protocol))
    found = read_first_pickle(stream, load=load_from_bytes)
    for name, expected in content.items():
        assert isinstance(found[name], StoredTensor)
        tensor = found[name].tensor()
        assert tensor.dtype == expected.dtype and torch.equal(tensor, expected), name


def test_the_end_of_a_pickle_in_a_stream_is_known() -> None:
    stream = io.BytesIO(pickle.dumps([1]) + pickle.dumps("two") + b"rest")
    assert (read_first_pickle(stream), read_first_pickle(stream), stream.read()) == ([1], "two", b"rest")


# ---- inert records --------------------------------------------------------------------------------


class EasyDict(dict):
    """As NVIDIA's: a dict whose keys are attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Slots:
    __slots__ = ("x",)


class Words(list):
    """A list of one's own."""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_instances_of_unknown_classes_become_records(protocol: int) -> None:
    found = read_pickle(pickle.dumps((Network(), EasyDict(fmaps=8), Words("ab")), protocol))
    network, easy, words = found
    assert isinstance(network, Record) and (network.module, network.name) == (Network.__module__, "Network")
    assert network.get("version") == 4 and network.get("static_kwargs") == {"resolution": 64}
    assert network.get("build_module_src").startswith("import os")  # a plain string
    assert easy.get("fmaps") == 8 and easy.get("absent", 3) == 3
    assert words.items == ["a", "b"]


def test_attributes_in_slots_are_kept_as_python_writes_them() -> None:
    value = Slots()
    value.x = 5  # type: ignore[attr-defined]
    assert read_pickle(pickle.dumps(value)).state == (None, {"x": 5})


OPTIMISER = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (argparse.Namespace(lr=0.002), "Namespace"),  # training checkpoints hold their arguments
        (collections.defaultdict(list, {"a": [1]}), "defaultdict"),
        (Path("runs/7"), "PosixPath"),
        (torch.device("cuda:0"), "device"),
        (np.random.RandomState(3), "__randomstate_ctor"),
        (functools.partial(Network, 3), "partial"),  # type: ignore[call-arg]
        (torch.torch_version.TorchVersion("2.5.1"), "TorchVersion"),
        (OPTIMISER, "Adam"),
        (torch.optim.lr_scheduler.StepLR(OPTIMISER, 1), "StepLR"),
        (torch.amp.GradScaler("cpu"), "GradScaler"),
        (np.ma.array([1.0, 2.0]), "_mareconstruct"),
        (torch.strided, "_get_layout"),
    ],
)
def test_harmless_classes_of_libraries_become_records(value: Any, name: str, protocol: int) -> None:
    stream = io.BytesIO(pickle.dumps({"args": value}, protocol))
    found = read_first_pickle(stream, load=load_from_bytes)["args"]
    assert isinstance(found, Record) and found.name == name


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [range(3), Ellipsis, type(None), type(Ellipsis), {(1, (2, 3)): 4}], ids=str)
def test_pythons_own_small_things_are_kept_inert(value: Any, protocol: int) -> None:
    found = read_pickle(pickle.dumps({"extra": value, "w": 1}, protocol))
    assert found["w"] == 1 and isinstance(found["extra"], (Record, Global, dict))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        np.array(["a", "bc"]),
        np.array([{}, None], dtype=object),
        np.zeros(2, dtype=[("a", "f4")]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.datetime64("2020-01-01"),
        np.str_("a"),
    ],
    ids=repr,
)
def test_arrays_of_other_types_are_kept_empty(value: Any, protocol: int) -> None:
    found = read_pickle(pickle.dumps({"extra": value, "w": np.ones(2)}, protocol))
    np.testing.assert_array_equal(found["w"], [1.0, 1.0])
    extra = found["extra"]
    assert isinstance(extra, Record) or (isinstance(extra, np.ndarray) and extra.dtype.kind == "V")
    assert isinstance(extra, Record) or extra.size == 0


def test_tensors_that_are_not_dense_become_records() -> None:
    stream = io.BytesIO(pickle.dumps({"w": torch.eye(3).to_sparse()}))
    found = read_first_pickle(stream, load=load_from_bytes)["w"]
    assert isinstance(found, Record) and found.name == "_rebuild_sparse_tensor"


@pytest.mark.parametrize("module", ["torch_utils.persistence", "stylegan.torch_utils.persistence"])
def test_persistent_modules_are_records_wherever_their_program_stood(module: str) -> None:
    found = read_pickle(f"c{module}\n_reconstruct_persistent_obj\n}}\x85R.".encode("latin-1"))
    assert isinstance(found, Record) and found.args == ({},)


def test_a_class_that_is_only_mentioned_stays_a_name() -> None:
    assert read_pickle(pickle.dumps(Network)) == Global(Network.__module__, "Network")
    assert read_pickle(pickle.dumps(torch.float16)) == torch.float16


def test_a_record_prints_its_name_and_never_its_content() -> None:
    record = read_pickle(pickle.dumps(Network()))
    record.state["itself"] = record
    assert repr(record) == f"Record({Network.__module__}.Network)"
