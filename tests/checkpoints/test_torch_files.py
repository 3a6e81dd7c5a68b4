"""Both containers of ``torch.save`` against ``torch.load``, and checkpoint files that are something else."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.places import FIXTURES
from torch import Tensor

from pipeline.checkpoints.containers.checkpoint_file import read_checkpoint
from pipeline.checkpoints.containers.inert_values import BadPickle, Record, StoredTensor
from pipeline.checkpoints.containers.torch_files import load_from_bytes
from pipeline.errors import UsageError

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8]
DTYPES += [torch.int16, torch.int8, torch.bool, torch.complex64]


def saved(content: Any, is_zip: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=is_zip)
    return stream.getvalue()


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "some.pkl"
    path.write_bytes(content)
    return path


def assert_same(found: Any, expected: Any) -> None:
    """`found` as read here, `expected` as read by PyTorch."""
    if isinstance(expected, Tensor):
        assert isinstance(found, StoredTensor)
        tensor = found.tensor()
        assert tensor.dtype == expected.dtype and tensor.shape == expected.shape
        assert torch.equal(tensor.contiguous().flatten().view(torch.uint8), as_bytes(expected))
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected) and len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


def as_bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().flatten().view(torch.uint8)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    dtype = draw(st.sampled_from(DTYPES))
    tensor = torch.arange(int(np.prod(shape))).reshape(shape).to(dtype)
    view = draw(st.sampled_from(["whole", "transposed", "part", "expanded"]))
    if view == "transposed":
        return tensor.T if tensor.ndim == 2 else tensor.transpose(0, -1)
    if view == "part":
        return tensor[1:]
    return tensor[:1].expand(3, *shape[1:]) if view == "expanded" and shape[0] else tensor


@given(st.dictionaries(st.text(max_size=5), tensors() | st.integers(), max_size=4), st.booleans())
def test_both_containers_give_what_torch_load_gives(content: dict[str, Any], is_zip: bool) -> None:
    packed = saved({"state": content, "twice": list(content.values())}, is_zip)
    assert_same(load_from_bytes(packed), torch.load(io.BytesIO(packed), weights_only=True))


def test_types_newer_than_the_storage_classes_are_read() -> None:
    content = {"w": torch.arange(6.0).reshape(2, 3).to(torch.float8_e4m3fn)}  # which legacy files cannot hold
    assert_same(load_from_bytes(saved(content)), content)


@pytest.mark.parametrize("is_zip", [True, False])
def test_parameters_optimisers_and_shared_storages(is_zip: bool) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(2, 3, 8, 8)).sum().backward()
    optimiser.step()
    flat = torch.arange(10.0)
    content = {
        "g": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "views": [flat[:4], flat[4:].reshape(2, 3)],
        "parameter": torch.nn.Parameter(flat),
        "size": flat.shape,
    }
    packed = saved(content, is_zip)
    found = load_from_bytes(packed)
    assert_same({**found, "size": torch.Size(found["size"])}, content)
    assert found["views"][0].storage is found["views"][1].storage


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_whole_network_is_records_and_tensors(is_zip: bool) -> None:
    found = load_from_bytes(saved(torch.nn.Sequential(torch.nn.Linear(2, 3)), is_zip))
    assert isinstance(found, Record) and found.name == "Sequential"
    linear = found.get("_modules")["0"]
    assert linear.name == "Linear" and linear.get("_parameters")["weight"].tensor().shape == (3, 2)


def test_tensors_are_not_read_before_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    torch.save({"optimiser": torch.zeros(4_000_000), "w": torch.ones(2)}, path)
    tracemalloc.start()
    try:
        content = read_checkpoint(path).content
        assert torch.equal(content["w"].tensor(), torch.ones(2))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name",
    [
        "stylegan1_64/stylegan1.for_g_all.pt",
        "stylegan1_128_out64_crop/stylegan1.for_g_all.pt",
        "stylegan2_rosinality_32/stylegan2_rosinality.pt",
    ],
)
def test_the_fixtures_give_what_torch_load_gives(name: str) -> None:
    path = FIXTURES / name
    if not path.is_file():
        pytest.skip(f"fixture {path} is not present")
    read = read_checkpoint(path)
    assert read.kind == "torch-zip"
    assert_same(read.content, torch.load(path, weights_only=True))


def test_the_nvidia_fixture_gives_the_tensors_that_its_storages_hold() -> None:
    path = FIXTURES / "stylegan2_ada_32" / "network-snapshot.pkl"
    if not path.is_file():
        pytest.skip(f"fixture {path} is not present")
    read = read_checkpoint(path)
    assert read.kind == "pickle" and sorted(read.content) == [
        "D",
        "G",
        "G_ema",
        "augment_pipe",
        "training_set_kwargs",
    ]
    generator = read.content["G_ema"].args[0]
    assert isinstance(generator["module_src"], str)
    mapping = generator["state"]["_modules"]["mapping"].args[0]["state"]
    assert mapping["_buffers"]["w_avg"].tensor().shape == (512,)


def test_the_legacy_container_is_told_from_other_pickles(tmp_path: Path) -> None:
    assert read_checkpoint(written(tmp_path, saved({"w": torch.ones(2)}, False))).kind == "torch-legacy"
    assert read_checkpoint(written(tmp_path, pickle.dumps({"w": np.ones(2)}))).kind == "pickle"


# ---- byte order ---------------------------------------------------------------------------------


def rezipped(packed: bytes, change: Callable[[str, bytes], bytes | None], **options: Any) -> bytes:
    """The same zip with each entry's bytes as `change` gives them; None drops one."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(stream, "w", **options) as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return stream.getvalue()


def test_a_zip_of_the_other_byte_order_is_swapped() -> None:
    values = {"w": torch.arange(6.0).reshape(2, 3).T, "z": torch.tensor([1 + 2j, 3 - 4j])}
    swaps = {"archive/data/0": ">f4", "archive/data/1": ">f4"}

    def swapped(name: str, content: bytes) -> bytes:
        if name.endswith("byteorder"):
            return b"big"
        return np.frombuffer(content, "<f4").astype(swaps[name]).tobytes() if name in swaps else content

    assert_same(load_from_bytes(rezipped(saved(values), swapped)), values)


def test_a_legacy_file_of_the_other_byte_order_is_swapped() -> None:
    packed = saved({"w": torch.tensor([1.0, 2.0])}, False)
    end = struct.pack("<q2f", 2, 1.0, 2.0)
    assert packed.endswith(end) and packed.count(b"\x88") == 1  # `little_endian: True`
    swapped = packed.removesuffix(end).replace(b"\x88", b"\x89") + struct.pack(">q2f", 2, 1.0, 2.0)
    assert_same(load_from_bytes(swapped), {"w": torch.tensor([1.0, 2.0])})


# ---- damage -------------------------------------------------------------------------------------

STATE = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}


@pytest.mark.parametrize("is_zip", [True, False])
def test_every_truncation_is_one_line_that_names_the_file(tmp_path: Path, is_zip: bool) -> None:
    packed = saved(STATE, is_zip)
    for length in range(0, len(packed), 7):
        message = refusal(written(tmp_path, packed[:length]))
        words = ("empty", "truncated", "neither a PyTorch file nor a pickle", "header is damaged")
        assert any(word in message for word in words), message


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and len(message) < 500
    return message


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda name, old: None if name.endswith("data/1") else old, "'1' is missing"),
        (lambda name, old: old[:-4] if name.endswith("data/0") else old, "holds 20 bytes, not 6"),
        (lambda name, old: old * 2 if name.endswith("data/0") else old, "holds 48 bytes, not 6"),
        (lambda name, old: b"middle" if name.endswith("byteorder") else old, "byteorder"),
        (lambda name, old: b"\xff\xfe" if name.endswith("byteorder") else old, "truncated or damaged"),
        (lambda name, old: None if name.endswith("data.pkl") else old, "without PyTorch's data.pkl"),
        (lambda name, old: old[:-9] if name.endswith("data.pkl") else old, "pickle is truncated or damaged"),
    ],
)
def test_a_damaged_zip_is_named(tmp_path: Path, changed: Callable[..., bytes | None], words: str) -> None:
    assert words in refusal(written(tmp_path, rezipped(saved(STATE), changed)))


def test_damage_in_a_tensors_bytes_is_named_when_it_is_read(tmp_path: Path) -> None:
    packed = bytearray(saved(STATE))
    packed[packed.index(struct.pack("<6f", *range(6)))] ^= 1
    content = read_checkpoint(written(tmp_path, bytes(packed))).content
    assert torch.equal(content["b"].tensor(), torch.ones(3))
    with pytest.raises(UsageError, match=r"some\.pkl: .*tensor data .* is truncated or damaged"):
        content["w"].tensor()


def test_the_directory_of_a_zip_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, saved({str(index): torch.full((2,), float(index)) for index in range(20)}))
    opened: list[Any] = []

    class Counted(zipfile.ZipFile):
        def __init__(self, *args: Any) -> None:
            opened.append(args)
            super().__init__(*args)

    monkeypatch.setattr(zipfile, "ZipFile", Counted)
    content = read_checkpoint(path).content
    for index in range(20):
        assert torch.equal(content[str(index)].tensor(), torch.full((2,), float(index)))
    assert len(opened) == 1


def test_a_zip_that_stands_behind_other_bytes_is_read() -> None:
    """Entries' offsets count from where the archive begins, as Python's reader corrects them."""
    stream = io.BytesIO(saved(STATE))
    prefixed = b"PK, but not yet" + stream.getvalue()
    assert_same(load_from_bytes(prefixed), STATE)


def test_compressed_entries_are_not_unpacked(tmp_path: Path) -> None:
    bomb = rezipped(
        saved(STATE),
        lambda name, old: bytes(50_000_000) if name.endswith("data.pkl") else old,
        compression=zipfile.ZIP_DEFLATED,
    )
    tracemalloc.start()
    try:
        assert "compressed" in refusal(written(tmp_path, bomb))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (3, 3), (3, 1)),  # one row too many
        (1, (2, 3), (3, 1)),
        (0, (2, 3), (3, 2)),
        (0, (-2, 3), (3, 1)),
        (-1, (2, 3), (3, 1)),
        (0, (2, 3), (-3, 1)),
        (0, (2, 3), (3,)),
        (0, (10**12,), (0,)),  # terabytes out of one number
        (0, (2**63, 2**63), (0, 0)),
        (2**62, (1,), (1,)),
        (0, (2.0, 3), (3, 1)),
        (0, "ab", (3, 1)),
        (0, (1,) * 40, (1,) * 40),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(offset: Any, shape: Any, stride: Any) -> None:
    storage = load_from_bytes(saved(torch.arange(6.0).untyped_storage(), False))

    class Forged:
        def __reduce__(self) -> tuple[Any, ...]:
            args = (torch.arange(6.0)._typed_storage(), offset, shape, stride, False, {})
            return torch._utils._rebuild_tensor_v2, args

    assert storage.num_bytes == 24
    with pytest.raises(BadPickle):
        load_from_bytes(saved(Forged(), False))


@pytest.mark.parametrize("is_zip", [True, False])
def test_poison_is_named_and_never_runs(tmp_path: Path, is_zip: bool) -> None:
    marker = tmp_path / "it_ran"

    class Poison:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {marker}",)

    message = refusal(written(tmp_path, saved({"g_ema": STATE, "args": Poison()}, is_zip)))
    assert f"'{os.system.__module__}.system'" in message and "nothing was executed" in message
    assert not marker.exists()


# ---- files that are something else --------------------------------------------------------------


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, latents=np.ones(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "a JPEG image"),
        (b"\n\n<!DOCTYPE html><html><body>Quota exceeded</body></html>", "a web page"),  # a refused download
        (b"\xef\xbb\xbf<html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (
            struct.pack("<Q", 64) + b'{"__metadata__":{}}' + bytes(80),
            "safetensors header is truncated or damaged",
        ),
        (struct.pack("<Q", 1 << 30) + b'{"a":' + bytes(80), "safetensors header has 1073741824 bytes"),
        (b"\x08\x07\x12\x07pytorch\x1a\x051.9.0" + bytes(50), "ONNX"),
        (b"\x1f\x8b\x08" + bytes(50), "gzip"),
        (bytes(257) + b"ustar\x0000" + bytes(300), "tar archive"),
        (b'{"experiment": "face_34"}', "no PyTorch file, pickle or safetensors file"),
        (b"\x93NUMPY\x01\x00" + bytes(50), "NumPy array"),
        (npz(), "NumPy archive"),
        (bytes(range(256)) * 4, "no PyTorch file, pickle or safetensors file"),
        (b"PK\x03\x04" + bytes(100), "zip archive is truncated or damaged"),
        (b"\x80\x04" + bytes(100), "pickle is truncated or damaged"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(written(tmp_path, content))


def test_torchscript_is_named(tmp_path: Path) -> None:
    stream = io.BytesIO(saved(STATE))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
        archive.writestr("archive/code/__torch__.py", b"class Generator: pass")
    assert "TorchScript" in refusal(written(tmp_path, stream.getvalue()))


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "none.pt")


def test_a_forged_size_of_a_zips_directory_costs_nothing(tmp_path: Path) -> None:
    packed = bytearray(rezipped(saved(STATE), lambda name, content: content))
    at = packed.rindex(b"PK\x05\x06") + 12
    packed[at : at + 4] = b"\xf0\xff\xff\xff"
    tracemalloc.start()
    try:
        assert "zip archive is truncated or damaged" in refusal(written(tmp_path, bytes(packed)))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "head",
    [
        struct.pack("<Q", 140) + bytes(100),  # of TensorFlow's records
        b"\x8e" + struct.pack("<Q", 1 << 27) + bytes(100),  # a pickle's bytes, more than there are
        b"B" + struct.pack("<I", 1 << 27) + bytes(100),
        b"\x80\x04" + bytes(100),
    ],
)
def test_a_large_file_that_is_no_checkpoint_is_not_read_whole(tmp_path: Path, head: bytes) -> None:
    path = written(tmp_path, head)
    os.truncate(path, 1 << 26)
    tracemalloc.start()
    try:
        line = refusal(path)
        assert "no PyTorch file, pickle or safetensors file" in line or "pickle is truncated" in line
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
