"""Damaged pickles, and those that would take time or memory without end, are named and cost nothing."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from support.pickling import Network, Reduced, read_pickle

from pipeline.checkpoints.containers.inert_values import BadPickle, Record
from pipeline.checkpoints.containers.limits import MAX_OPERATIONS, checked_key
from pipeline.checkpoints.containers.pickles import read_first_pickle
from pipeline.checkpoints.containers.torch_files import load_from_bytes

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
