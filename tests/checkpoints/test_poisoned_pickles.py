"""Nothing of a poisoned pickle runs, whatever it names and however it calls it."""

from __future__ import annotations

import copyreg
import functools
import io
import pickle
import struct
from pathlib import Path

import pytest
import torch
from support.pickling import Network, Reduced, read_pickle

from pipeline.checkpoints.containers.inert_values import UnsafePickle
from pipeline.checkpoints.containers.pickles import read_first_pickle
from pipeline.checkpoints.containers.torch_files import load_from_bytes


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
    pickled = pickle.dumps(Reduced(functools.partial(Network, 3), (4,)))  # type: ignore[call-arg]
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
