"""Pickles read as data: the same values as Python's own reader gives, and nothing of a poisoned one runs."""

from __future__ import annotations

import argparse
import collections
import copyreg
import functools
import io
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.checkpoints.containers.inert_values import BadPickle, Global, Record, StoredTensor, UnsafePickle
from pipeline.checkpoints.containers.limits import MAX_OPERATIONS, checked_key
from pipeline.checkpoints.containers.pickles import read_first_pickle
from pipeline.checkpoints.containers.torch_files import load_from_bytes


def read_pickle(content: bytes) -> Any:
    return read_first_pickle(io.BytesIO(content))


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


class Network:
    def __init__(self) -> None:
        self.static_kwargs = {"resolution": 64}

    def __getstate__(self) -> dict[str, Any]:
        return {"version": 4, "build_module_src": "import os; os.system('false')", **self.__dict__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise AssertionError("an unpickler called into the class")


class Slots:
    __slots__ = ("x",)


class Words(list):
    """A list of one's own."""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_instances_of_unknown_classes_become_records(protocol: int) -> None:
    found = read_pickle(pickle.dumps((Network(), EasyDict(fmaps=8), Words("ab")), protocol))
    network, easy, words = found
    assert isinstance(network, Record) and (network.module, network.name) == (__name__, "Network")
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
        (functools.partial(Network, 3), "partial"),
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
    assert read_pickle(pickle.dumps(Network)) == Global(__name__, "Network")
    assert read_pickle(pickle.dumps(torch.float16)) == torch.float16


def test_a_record_prints_its_name_and_never_its_content() -> None:
    record = read_pickle(pickle.dumps(Network()))
    record.state["itself"] = record
    assert repr(record) == f"Record({__name__}.Network)"


# ---- poisoned pickles --------------------------------------------------------------------------------


class Reduced:
    """Pickles as the call that is given."""

    def __init__(self, *reduction: Any) -> None:
        self.reduction = reduction

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduction


def called(module: str, name: str, argument: str, form: str = "reduce") -> bytes:
    """A pickle that calls `module`.`name` with `argument`, in one of the ways that pickles have."""
    string = b"X" + struct.pack("<I", len(argument)) + argument.encode()
    names = [b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)]
    named = f"c{module}\n{name}\n".encode()
    return {
        "reduce": named + string + b"\x85R.",
        "inst": b"(" + string + f"i{module}\n{name}\n.".encode(),
        "obj": b"(" + named + string + b"o.",
        "newobj": named + string + b"\x85\x81.",
        "newobj_ex": named + string + b"\x85}\x92.",
        "stack_global": b"\x80\x04" + names[0] + names[1] + b"\x93" + string + b"\x85R.",
        "by memo": b"\x80\x04" + names[1] + b"\x94" + names[0] + b"\x94h\x01h\x00\x93" + string + b"\x85R.",
        "mentioned": named + b".",
        "in state": b"cmy.module\nNet\n)\x81}X\x01\x00\x00\x00a" + named + string + b"\x85Rsb.",
        "persistent module": (
            b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n(}X\x05\x00\x00\x00state}X\x01\x00\x00\x00w"
            + named + string + b"\x85RsstR."
        ),
        "discarded": named + string + b"\x85R0N.",  # the result never reaches the content
        "new instance by copyreg": b"ccopyreg\n__newobj__\n" + named + string + b"\x86R.",
    }[form]  # fmt: skip


FORMS = ["reduce", "inst", "obj", "newobj", "newobj_ex", "stack_global", "by memo", "in state"]
FORMS += ["persistent module", "discarded", "new instance by copyreg"]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "it_ran"


@pytest.mark.parametrize("form", [*FORMS, "mentioned"])
@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "posix.system", "nt.system", "builtins.eval", "builtins.exec", "__builtin__.eval"),
        *("builtins.__import__", "builtins.getattr", "builtins.open", "builtins.compile", "builtins.vars"),
        *("subprocess.Popen", "commands.getoutput", "webbrowser.open", "operator.attrgetter"),
        *("pickle.loads", "importlib.import_module", "runpy.run_path", "code.InteractiveInterpreter"),
        *("types.FunctionType", "shutil.rmtree", "ctypes.CDLL", "pty.spawn", "timeit.timeit", "io.open"),
        *("_io.FileIO", "functools.reduce", "collections.namedtuple", "copyreg.add_extension", "pdb.run"),
    ],
)
def test_the_standard_library_is_refused_wherever_it_is_named(name: str, form: str, marker: Path) -> None:
    module, _, function = name.rpartition(".")
    with pytest.raises(UnsafePickle) as caught:
        read_pickle(called(module, function, f"touch {marker}", form))
    assert caught.value.name == name and not marker.exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name",
    [
        *("torch.load", "torch.hub.load", "torch.jit.load", "torch.utils.cpp_extension.load_inline"),
        *("torch.serialization.load", "torch.classes.load_library", "torch.ops.load_library"),
        *("numpy.load", "numpy.fromfile", "numpy.f2py.compile", "numpy.testing.runstring"),
        *("torch._utils._import_dotted_name", "torch.Tensor", "numpy.ndarray"),
    ],
)
def test_other_functions_of_torch_and_numpy_are_refused(name: str, form: str, marker: Path) -> None:
    module, _, function = name.rpartition(".")
    with pytest.raises(UnsafePickle) as caught:
        read_pickle(called(module, function, str(marker), form))
    assert caught.value.name == name and not marker.exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("module", ["builtins", "__builtin__"])
def test_types_are_not_made(module: str, form: str) -> None:
    with pytest.raises(UnsafePickle, match="type"):
        read_pickle(called(module, "type", "x", form))


@pytest.mark.parametrize(
    "name", ["evil.run", "torch_utils.custom_ops.get_plugin", "pip.main", "tests.os.system"]
)
def test_functions_of_other_packages_are_refused_when_called(name: str) -> None:
    module, _, function = name.rpartition(".")
    with pytest.raises(UnsafePickle) as caught:
        read_pickle(called(module, function, "x"))
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("collections", "OrderedDict.__init__.__globals__"),  # a chain from an allowed name
        ("builtins", "dict.fromkeys"),
        ("torch", "storage.os.system"),
        ("training.networks", "Generator.forward.__globals__.get"),
        ("numpy", "dtype.mro"),
    ],
)
def test_reaching_through_attributes_is_refused(module: str, name: str) -> None:
    with pytest.raises(UnsafePickle) as caught:
        read_pickle(called(module, name, "x"))
    assert caught.value.name == f"{module}.{name}"


def test_what_an_instance_of_python_code_reduces_to_is_refused(marker: Path) -> None:
    import os

    for reduction in (
        (os.system, (f"touch {marker}",)),
        (eval, (f"open({str(marker)!r}, 'w')",)),
        (functools.partial, (os.system, f"touch {marker}")),
        (functools.partial(exec, f"open({str(marker)!r}, 'w')"), ()),
        (map, (os.system, [f"touch {marker}"])),
        (Network, (), Reduced(os.system, (f"touch {marker}",))),  # poison in a state
    ):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(UnsafePickle):
                read_pickle(pickle.dumps({"g_ema": Reduced(*reduction)}, protocol))
    assert not marker.exists()


def test_a_harmless_record_cannot_be_called() -> None:
    pickled = pickle.dumps(Reduced(functools.partial(Network, 3), (4,)))
    with pytest.raises(UnsafePickle) as caught:
        read_pickle(pickled)
    assert caught.value.name == "functools.partial"


def test_names_made_of_parts_are_seen_whole(marker: Path) -> None:
    """Protocol 4 takes a global's name from the stack; it may have been any string before."""
    pickled = b"\x80\x04" + b"\x8c\x02os\x94" + b"0h\x00" + b"\x8c\x06system\x93" + b"\x8c\x01x\x85R."
    with pytest.raises(UnsafePickle) as caught:
        read_pickle(pickled)
    assert caught.value.name == "os.system"


@pytest.mark.parametrize("code", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"])
def test_extension_codes_are_refused(code: bytes) -> None:
    copyreg.add_extension("os", "system", 1)
    try:
        with pytest.raises(UnsafePickle, match="extension"):
            read_pickle(b"\x80\x02" + code + b".")
    finally:
        copyreg.remove_extension("os", "system", 1)


def test_poison_inside_the_bytes_of_a_tensor_is_named(marker: Path) -> None:
    inner = io.BytesIO()
    torch.save(
        Reduced(__import__("os").system, (f"touch {marker}",)), inner, _use_new_zipfile_serialization=False
    )
    for content in (inner.getvalue(), called("os", "system", f"touch {marker}")):
        poisoned = pickle.dumps({"w": Reduced(torch.storage._load_from_bytes, (content,))})
        with pytest.raises(UnsafePickle) as caught:
            read_first_pickle(io.BytesIO(poisoned), load=load_from_bytes)
        assert caught.value.name.endswith(".system") and not marker.exists()


# ---- damage and traps --------------------------------------------------------------------------------

ARRAY = pickle.dumps({"w": np.arange(6, dtype=np.float32).reshape(2, 3).T}, 3)


def test_every_truncation_is_named_as_damage() -> None:
    pickled = pickle.dumps([Network(), {"w": np.arange(3)}, "text", 3.5, 2**100], 4)
    for length in range(len(pickled)):
        with pytest.raises(BadPickle):
            read_pickle(pickled[:length])


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b".",  # nothing on the stack
        b"}u.",  # no mark
        b"N0N(.",  # ends inside a mark
        b"h\x05.",  # a memo that was never put
        b"K\x01}s.",  # a number as target
        b"}]N s.",
        b"}(]Nu.",  # a list as key
        b"]K\x01R.",  # a list is called
        b"(K\x01ttR.",
        b"K\x01K\x02\x93.",  # numbers as a global's name
        b"cos path\nsystem\n.",
        b"c\n\n.",
        b"X\xff\xff\xff\xffabc.",  # a string of four gigabytes
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",  # bytes of eight exabytes
        b"\x8b\xff\xff\xff\x7f1.",  # a number of two gigabytes
        b"\x8b\x00\x02\x00\x00" + b"\x7f" * 512 + b".",  # a number that takes quadratic time to print
        b"I" + b"9" * 5000 + b"\n.",
        b"L" + b"9" * 5000 + b"L\n.",
        b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",  # two gigabytes of zeros
        b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.",
        b"cbuiltins\nint\nX\x02\x00\x00\x00zz\x85R.",
        b"ccollections\nOrderedDict\nK\x05\x85R.",
        b"ccopyreg\n__newobj__\n" + b"(" + b"ccopyreg\n__newobj__\n" * 2000 + b"tR.",  # of itself of itself
        b"P1\n.",  # persistent ids without a container
        b"NQ.",
        b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a\x97.",  # a buffer that is not in the file
        b"\xff" * 40,
        b"S'\\x'\n.",  # a bad escape
        b"cnumpy.core.multiarray\nscalar\n)R.",
        b"ctorch.storage\n_load_from_bytes\nC\x01a\x85R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))tR.",
    ],
)  # fmt: skip
def test_damaged_pickles_are_named_and_cost_nothing(pickled: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadPickle):
            read_pickle(pickled)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_huge_memo_index_costs_nothing() -> None:
    assert read_pickle(b"Nr\xff\xff\xff\xff.") is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"K\x03K\x02\x86", b"K\x03K\x04\x86", "holds 24 bytes, not 48"),
        (b"K\x03K\x02\x86", b"K\x03J\xff\xff\xff\xff\x86", "negative"),
        (b"K\x03K\x02\x86", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", "not 18446744056529682436"),
        (b"ndarray", b"memmap_", "subclass"),
    ],
)
def test_an_array_that_does_not_match_its_bytes_is_refused(old: bytes, new: bytes, words: str) -> None:
    assert ARRAY.count(old) == 1
    with pytest.raises(BadPickle, match=words):
        read_pickle(ARRAY.replace(old, new))


def doubled(opcode: bytes, times: int) -> bytes:
    return b"\x80\x04)" + b"".join(b"\x94h" + bytes([i]) + opcode for i in range(times)) + b"."


@pytest.mark.parametrize(
    "pickled",
    [
        b"]" * 100_000 + b"a" * 99_999 + b".",  # lists in lists
        b")" + b"\x85" * 100_000 + b".",  # tuples in tuples
        b"N" + b"\x85" * 100_000 + b"0N.",
        doubled(b"\x86", 200),  # 2^200 elements, if one walked them
        b"]q\x00h\x00a.",  # contains itself
        b"cm\nA\n)\x81" * 50_000 + b"b" * 49_999 + b".",  # records in records' states
    ],
)
def test_deep_and_self_containing_content_is_read_and_freed(pickled: bytes) -> None:
    read_pickle(pickled)


@pytest.mark.parametrize("key", [b"]", b"}", b"\x8f", b"\x96" + struct.pack("<Q", 1) + b"a"])
def test_keys_that_have_no_hash_are_refused(key: bytes) -> None:
    with pytest.raises(BadPickle, match="key of"):
        read_pickle(b"}" + key + b"Ns.")


@pytest.mark.parametrize(
    "key",
    [
        b")" + b"\x85" * 100_000,  # so deep that hashing it overflows the stack
        doubled(b"\x86", 60)[2:-1],  # doubles itself: hashing it would not end
        b"K\x01K\x02\x86",  # numbers, whose hash anyone can choose
        b"K\x01K\x02K\x03\x86\x86",
        b"cbuiltins\ncomplex\nG" + struct.pack(">d", 1.5) + b"\x85R",
        b"\x8a\x10" + b"\x01" * 16,  # a whole number of 128 bits
    ],
)
def test_keys_whose_hash_can_be_chosen_are_kept_as_records(key: bytes) -> None:
    """A dict of keys that share one hash takes quadratic time."""
    ((found, value),) = read_pickle(b"}" + key + b"Ns.").items()
    assert isinstance(found, Record) and found.module == "builtins" and value is None
    (element,) = read_pickle(b"\x80\x04\x8f(" + key + b"\x90.")
    assert isinstance(element, Record)


def test_colliding_tuples_cost_no_comparisons() -> None:
    class Counting(tuple):
        """Would count comparisons, were it ever hashed."""

        def __hash__(self) -> int:
            raise AssertionError("a key was hashed whose hash can be chosen")

    keys = {checked_key(Counting((index, -index))) for index in range(3)}
    assert len(keys) == 3 and all(isinstance(key, Record) for key in keys)


def test_keys_of_text_are_themselves() -> None:
    content = {("a", "b"): 1, "a": 2, b"a": 3, 4: 5, 0.5: 6, None: 7, True: 8}
    assert read_pickle(pickle.dumps(content)) == content


@pytest.mark.parametrize(
    "copying",
    [
        b"cbuiltins\nlist\n",  # a list of the list, again and again
        b"cbuiltins\ntuple\n",
        b"ctorch\nSize\n",
    ],
)
def test_copies_of_copies_end(copying: bytes) -> None:
    pickled = b"\x80\x02]q\x00(" + b"N" * 20_000 + b"e0" + (copying + b"h\x00\x85R") * 5_000 + b"."
    with pytest.raises(BadPickle, match="unfolds"):
        read_pickle(pickled)


@pytest.mark.parametrize(
    "making",
    [
        b"ccopyreg\n__newobj__\nh\x00R",  # its arguments are cut from a tuple, which copies
        b"cm\nA\nh\x00h\x01\x92",  # by keywords
        b"cm\nA\nh\x00\x81",
        b"cm\nA\nh\x00R",
    ],
)
def test_instances_of_one_long_tuple_end(making: bytes) -> None:
    pickled = (
        b"\x80\x04(cm\nA\n" + b"N" * 20_000 + b"t\x940}X\x01\x00\x00\x00aNs\x940" + making * 5_000 + b"."
    )
    with pytest.raises(BadPickle, match="20001 arguments, expected at most 64"):
        read_pickle(pickled)


def test_copies_of_short_tuples_end() -> None:
    pickled = b"\x80\x04(cm\nA\n" + b"N" * 63 + b"tq\x000ccopyreg\n__newobj__\nq\x010"
    with pytest.raises(BadPickle, match="unfolds"):
        read_pickle(pickled + b"h\x01h\x00R" * 5_000 + b".")


def test_keywords_stand_beside_the_arguments_uncopied() -> None:
    found = read_pickle(b"\x80\x04cm\nA\nK\x05\x85}X\x01\x00\x00\x00aK\x07s\x92.")
    assert isinstance(found, Record) and found.args == (5,) and found.keywords == {"a": 7}


@pytest.mark.parametrize(("module", "name"), [(257, 1), (1, 257)])
def test_names_beyond_any_real_one_are_refused(module: int, name: int) -> None:
    texts = [b"X" + struct.pack("<I", count) + b"A" * count for count in (module, name)]
    with pytest.raises(BadPickle, match="256 characters"):
        read_pickle(b"\x80\x04" + texts[0] + texts[1] + b"\x93.")


def test_memory_that_runs_out_is_no_damage() -> None:
    def exhausted(_: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        read_first_pickle(io.BytesIO(b"P1\n."), persistent_load=exhausted)


def test_endless_operations_end() -> None:
    with pytest.raises(BadPickle, match="operations"):
        read_pickle(b"N0" * MAX_OPERATIONS + b"N.")


def test_torch_files_inside_torch_files_end() -> None:
    content: Any = torch.zeros(1).untyped_storage()
    for _ in range(8):
        stream = io.BytesIO()
        torch.save(
            Reduced(torch.storage._load_from_bytes, (content,)), stream, _use_new_zipfile_serialization=False
        )
        content = stream.getvalue()
    with pytest.raises(BadPickle, match="inside"):
        load_from_bytes(content)
