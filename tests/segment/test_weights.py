"""Weights of every kind of file reach the network, or one line says why they do not.

The networks are thin, with torchvision's names; that the names are torchvision's is tested in
``tests/models/test_deeplab.py``.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.thin_networks import thin_networks
from support.torchvision_networks import TENSORS
from torch import Tensor, nn

from pipeline.errors import RunError, UsageError
from pipeline.models.deeplab import BACKBONES
from pipeline.segment.folder import SegmenterFolder, open_segmenter
from pipeline.segment.networks import build_network, load_epoch, load_pretrained, recognised
from pipeline.segment.weights_file import read_weights

State = dict[str, Tensor]
HEAD = ("classifier.4.weight", "classifier.4.bias")


@pytest.fixture(scope="module", autouse=True)
def _thin() -> Iterator[None]:
    with thin_networks():
        yield


def network_of(seed: int, backbone: str = "resnet50", num_outputs: int = 5) -> nn.Module:
    torch.manual_seed(seed)
    return build_network("deeplabv3", backbone, None, num_outputs)


@pytest.fixture(scope="module")
def weights() -> State:
    """Of a network, none of them an initial value."""
    state = network_of(1).state_dict()
    for name, tensor in state.items():
        tensor.copy_(torch.rand(tensor.shape) + 0.5 if tensor.is_floating_point() else torch.tensor(7))
        assert name.startswith(("backbone.", "classifier."))
    return state


def equal(network: nn.Module, state: State, *, but: tuple[str, ...] = ()) -> bool:
    """Whether every tensor of the network is the file's, but those whose names begin so."""
    return all(
        torch.equal(tensor, state[name])
        for name, tensor in network.state_dict().items()
        if not name.startswith(but or ("no name",))
    )


def folder_of(path: Path) -> SegmenterFolder:
    return SegmenterFolder(path.parent, None, {3: path}, is_finished=True)


# ---- what is read -----------------------------------------------------------------------------------------


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


SAVED: dict[str, Callable[[State, Path], object]] = {
    "torchvision's": lambda state, path: torch.save(state, path),
    "with an auxiliary head": lambda state, path: torch.save(
        {**state, "aux_classifier.0.weight": torch.full((3, 3), torch.nan)}, path
    ),
    "the released code's": lambda state, path: torch.save({"model_state_dict": state}, path),
    "of several GPUs": lambda state, path: torch.save({"model_state_dict": prefixed("module.", state)}, path),
    "compiled": lambda state, path: torch.save(prefixed("module._orig_mod.", state), path),
    "with other things beside": lambda state, path: torch.save(
        {"epoch": 3, "model": state, "lr": [0.1]}, path
    ),
    "of PyTorch before 1.6": lambda state, path: torch.save(
        {"model_state_dict": state}, path, _use_new_zipfile_serialization=False
    ),
    "of PyTorch before 0.4.1, which counted no batches": lambda state, path: torch.save(
        {name: tensor for name, tensor in state.items() if "num_batches" not in name}, path
    ),
    "parameters": lambda state, path: torch.save(
        {n: nn.Parameter(t) if t.is_floating_point() else t for n, t in state.items()}, path
    ),
    "safetensors": lambda state, path: save_file(state, path),
}


@pytest.mark.parametrize("save", SAVED.values(), ids=SAVED.keys())
def test_all_weights_of_a_whole_network_load(
    save: Callable[[State, Path], object], weights: State, tmp_path: Path
) -> None:
    save(weights, tmp_path / "file")
    but = ("none",)
    if "num_batches" not in "".join(read_weights(tmp_path / "file")):
        weights = {n: torch.tensor(0) if "num_batches" in n else t for n, t in weights.items()}
    network, of_epoch = network_of(2), network_of(3)
    assert load_pretrained(network, tmp_path / "file") == ()
    load_epoch(folder_of(tmp_path / "file"), 3, of_epoch)
    assert equal(network, weights, but=but) and equal(of_epoch, weights, but=but)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.float8_e4m3fn])
def test_numbers_of_another_width_load(dtype: torch.dtype, weights: State, tmp_path: Path) -> None:
    half = {n: t.to(dtype) if t.is_floating_point() else t for n, t in weights.items()}
    torch.save(half, tmp_path / "file")
    network = network_of(2)
    load_pretrained(network, tmp_path / "file")
    assert equal(network, {name: tensor.to(weights[name].dtype) for name, tensor in half.items()})


def test_a_head_of_another_number_of_outputs_stays_new_and_is_told(weights: State, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "file")
    network = network_of(2, num_outputs=3)
    before = {name: network.state_dict()[name].clone() for name in HEAD}
    notes = load_pretrained(network, tmp_path / "file")
    assert notes == (f"{tmp_path / 'file'}: has 5 outputs, not 3; the last layer begins at random",)
    assert equal(network, weights | before)


@pytest.mark.parametrize("prefix", ["", "features."], ids=["a ResNet's names", "a MobileNet's names"])
def test_weights_of_a_classification_network_are_the_backbones(
    prefix: str, weights: State, tmp_path: Path
) -> None:
    bare = {n.removeprefix("backbone."): t for n, t in weights.items() if n.startswith("backbone.")}
    last = {"fc.weight": torch.ones(10, 64), "fc.bias": torch.ones(10), "classifier.0.weight": torch.ones(2)}
    torch.save({**prefixed(prefix, bare), **last}, tmp_path / "file")
    network = network_of(2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    (note,) = load_pretrained(network, tmp_path / "file")
    assert note == f"{tmp_path / 'file'}: has the backbone's weights; all behind it begins at random"
    assert equal(network, before | prefixed("backbone.", bare))


# ---- what is refused --------------------------------------------------------------------------------------


def refused(network: nn.Module, path: Path) -> str:
    """The line that refuses a file, the same for both ways to load but its end. Nothing was changed."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(UsageError) as error:
        load_pretrained(network, path)
    with pytest.raises(UsageError):
        load_epoch(folder_of(path), 3, network)
    assert equal(network, before)
    line = str(error.value)
    assert "\n" not in line and line.startswith(str(path))
    return line.removeprefix(f"{path}: ")


def changed(state: State, name: str, tensor: Tensor | None) -> State:
    rest = {each: value for each, value in state.items() if each != name}
    return rest if tensor is None else rest | {name: tensor}


BN = "backbone.bn1"
DIFFERENT: dict[str, tuple[str, Tensor | None, str]] = {
    "missing": (f"{BN}.bias", None, f"{BN}.bias is missing, expected (64,)"),
    "shape": (f"{BN}.bias", torch.ones(65), f"{BN}.bias is (65,), expected (64,)"),
    "dtype": (f"{BN}.bias", torch.ones(64).int(), f"{BN}.bias is torch.int32, expected floating-point"),
    "stranger": ("backbone.bn7.bias", torch.ones(2), "found 'backbone.bn7.bias' (2,), expected no such"),
    "head": (HEAD[0], torch.ones(5, 9, 1, 1), "classifier.4.weight is (5, 9, 1, 1), expected (5, 4, 1, 1)"),
    "half a head": (HEAD[1], None, "classifier.4.bias is missing, expected (5,)"),
    "NaN": (f"{BN}.weight", torch.full((64,), torch.nan), f"{BN}.weight has NaN or infinite values"),
    "infinite": (f"{BN}.weight", torch.full((64,), torch.inf), f"{BN}.weight has NaN or infinite values"),
    "variance": (f"{BN}.running_var", -torch.ones(64), f"{BN}.running_var has negative values"),
}


@pytest.mark.parametrize("change", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_the_first_tensor_that_differs_is_named(
    change: tuple[str, Tensor | None, str], weights: State, tmp_path: Path
) -> None:
    name, tensor, line = change
    torch.save({"model_state_dict": changed(weights, name, tensor)}, tmp_path / "file")
    assert line in refused(network_of(2), tmp_path / "file")


def test_weights_of_another_backbone_are_named(weights: State, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "file")
    assert refused(network_of(2, "resnet101"), tmp_path / "file") == (
        "holds weights of another network (backbone.layer3.1.conv1.weight is missing, expected "
        "(12, 48, 1, 1)); it fits --backbone resnet50"
    )
    torch.save(network_of(4, "resnet101").state_dict(), tmp_path / "file")
    assert refused(network_of(2), tmp_path / "file") == (
        "holds weights of another network (found 'backbone.layer3.1.conv1.weight' (12, 48, 1, 1), expected "
        "no such tensor); it fits --backbone resnet101"
    )


def test_an_epoch_must_have_the_head_too(weights: State, tmp_path: Path) -> None:
    torch.save({"model_state_dict": weights}, tmp_path / "file")
    with pytest.raises(UsageError, match=re.escape("classifier.4.weight is (5, 4, 1, 1), expected (3, 4,")):
        load_epoch(folder_of(tmp_path / "file"), 3, network_of(2, num_outputs=3))


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("executed",)


def zipped(path: Path) -> None:
    """A file of PyTorch whose entries are compressed: a few bytes that could unfold to any number."""
    torch.save({"a": torch.zeros(100_000)}, path.with_suffix(".plain"))
    with zipfile.ZipFile(path.with_suffix(".plain")) as plain, zipfile.ZipFile(path, "w") as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "no such file; expected weights"),
    "folder": (Path.mkdir, "is a folder; name the file of weights in it"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("weights"), "is no file of PyTorch or safetensors"),
    "page": (lambda path: path.write_text("<html>"), "is no file of PyTorch or safetensors"),
    "picture": (
        lambda path: Image.new("L", (2, 2)).save(path, "png"),
        "is no file of PyTorch or safetensors",
    ),
    "npz": (
        lambda path: (np.savez(f"{path}.npz", a=np.ones(3)), os.rename(f"{path}.npz", path)),
        "is truncated, damaged or no file",
    ),
    "code": (lambda path: torch.save({"a": Evil()}, path), "is damaged, or holds more than plain tensors"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(Evil(), 2)), "is damaged, or holds more"),
    "module": (lambda path: torch.save(nn.Linear(2, 2), path), "is damaged, or holds more than plain"),
    "tensor": (lambda path: torch.save(torch.ones(3), path), "holds one tensor; expected weights"),
    "list": (lambda path: torch.save([torch.ones(3)], path), "holds a value of type list; expected weights"),
    "no tensors": (lambda path: torch.save({"epoch": 3}, path), "'epoch' is a value of type int, expected a"),
    "empty dict": (lambda path: torch.save({}, path), "holds an empty dict; expected weights"),
    "sparse": (lambda path: torch.save({"a": torch.eye(3).to_sparse()}, path), "'a' is no plain tensor"),
    "without values": (lambda path: torch.save({"a": torch.ones(2, device="meta")}, path), "'a' is no plain"),
    "huge": (
        lambda path: torch.save({"a": torch.zeros(1).expand(2**40)}, path),
        "'a' is (1099511627776,), more than a file of",
    ),
    "compressed": (zipped, "is truncated, damaged or no file of PyTorch"),
    "other network": (
        lambda path: torch.save({"conv.weight": torch.ones(2, 3)}, path),
        "holds weights of another network (backbone.conv1.weight is missing, expected (64, 3, 7, 7))",
    ),
    "header": (lambda path: path.write_bytes(b"\xff\0\0\0\0\0\0\0{"), "is truncated or damaged"),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("case", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_no_weights_is_refused_in_one_line(
    case: tuple[Callable[[Path], object], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, line = case
    make(tmp_path / "file")
    assert refused(network_of(2), tmp_path / "file").startswith(line)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "save",
    [
        torch.save,
        partial(torch.save, _use_new_zipfile_serialization=False),
        save_file,
    ],
    ids=["zip", "legacy", "safetensors"],
)
def test_a_file_cut_anywhere_is_refused_in_one_line(
    save: Callable[[State, Path], object], weights: State, tmp_path: Path
) -> None:
    save({name: weights[name] for name in HEAD}, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    assert len(read_weights(tmp_path / "whole")) == 2
    for num_bytes in range(0, len(content), max(1, len(content) // 60)):
        (tmp_path / "file").write_bytes(content[:num_bytes])
        with pytest.raises(UsageError, match=r"is (empty|no file|truncated|damaged)"):
            read_weights(tmp_path / "file")


def test_a_changed_byte_of_a_tensor_is_told(weights: State, tmp_path: Path) -> None:
    path = tmp_path / "file"
    torch.save({"model_state_dict": weights}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01  # torch.load takes it
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)
    with pytest.raises(UsageError, match=r"the checksum of '.*/data/\d+' is wrong"):
        read_weights(path)


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe: is no regular file"):
        read_weights(tmp_path / "pipe")


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageError, match=r"file: cannot be read \(Permission denied\)"):
        read_weights(tmp_path / "file")


# ---- which network it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_released_folder_tells_its_network(backbone: str, tmp_path: Path) -> None:
    state = network_of(1, backbone, num_outputs=6).state_dict()
    torch.save({"model_state_dict": prefixed("module.", state)}, tmp_path / "deeplab_epoch_3.pth")
    folder = folder_of(tmp_path / "deeplab_epoch_3.pth")
    kind = recognised(folder)
    assert kind == ("deeplabv3", backbone, None, 6)
    network = build_network(*kind)
    load_epoch(folder, 3, network)
    assert equal(network, state)


@pytest.mark.parametrize("dropped", ["classifier.4.weight", "backbone.conv1.weight"])
def test_a_folder_of_another_network_is_not_recognised(dropped: str, weights: State, tmp_path: Path) -> None:
    torch.save(changed(weights, dropped, None), tmp_path / "file")
    with pytest.raises(UsageError, match="expected those of DeepLabV3 on resnet101, resnet50, mobilenet_v3"):
        recognised(folder_of(tmp_path / "file"))


def test_the_names_in_these_tests_are_torchvisions(weights: State) -> None:
    assert weights.keys() <= json.loads(TENSORS.read_text(encoding="utf-8"))["resnet50"].keys()


def test_weights_in_a_folder_that_has_another_description_now_are_refused(
    weights: State, tmp_path: Path
) -> None:
    """They may be of another segmenter, whose classes have other names."""
    from support.scored_segmenters import write_segmenter

    path = write_segmenter(tmp_path / "t")
    folder = open_segmenter(path)
    write_segmenter(tmp_path / "other", data={"synthetic": {}})
    for file in (tmp_path / "other").iterdir():
        file.replace(path / file.name)
    with pytest.raises(RunError, match="another run has trained there meanwhile"):
        load_epoch(folder, 0, network_of(2))
