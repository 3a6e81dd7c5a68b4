"""Networks of segmentation-models-pytorch behind the protocol, with a small module in the library's place."""

from __future__ import annotations

import builtins
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from support.torchvision_names import imported
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.segment.networks import build_network, load_pretrained

LIBRARY = "segmentation_models_pytorch"


class Unet(nn.Module):
    """As the library's: an encoder, a decoder and a head, for sides that are multiples of 32."""

    def __init__(self, encoder_name: str, encoder_weights: None, in_channels: int, classes: int) -> None:
        super().__init__()
        if encoder_name == "broken":
            raise ValueError("Unet has no\nencoder broken")
        assert encoder_weights is None, "nothing is downloaded"
        self.encoder = nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.decoder = nn.Conv2d(4, 4, 1)
        self.segmentation_head = nn.Sequential(nn.Conv2d(4, classes, 1), nn.Identity())

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2] % 32 or images.shape[3] % 32:
            raise RuntimeError(f"Wrong input shape height={images.shape[2]}")
        if images.shape[2] > 96:
            raise AssertionError("too high")
        return self.segmentation_head(self.decoder(self.encoder(images)))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = ModuleType(LIBRARY)
    module.Unet, module.helper, module.Labels = Unet, len, dict
    names = ["small", "broken", *(f"resnet{depth}" for depth in range(20))]
    module.encoders = SimpleNamespace(get_encoder_names=lambda: names)
    monkeypatch.setitem(sys.modules, LIBRARY, module)
    return module


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("size", [(1, 1), (32, 64), (33, 31), (17, 40)])
def test_outputs_have_the_images_size_and_are_the_networks_own(size: tuple[int, int]) -> None:
    network: Any = build_network("smp:Unet", "small", None, 3).eval()
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        found = network(images)
    assert found.shape == (2, 3, *size)
    whole = network.network
    with torch.no_grad():
        expected = whole.segmentation_head(whole.decoder(whole.encoder(images)))
    inner = (..., slice(0, max(size[0] - 1, 0)), slice(0, max(size[1] - 1, 0)))  # 3x3 sees one pixel beyond
    torch.testing.assert_close(found[inner], expected[inner])


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("name", "encoder", "line"),
    [
        ("Unit", "small", "--architecture is 'smp:Unit'; expected smp:Unet"),
        ("helper", "small", "--architecture is 'smp:helper'; expected smp:Unet"),
        ("Labels", "small", "--architecture is 'smp:Labels'; expected smp:Unet"),
        (
            "Unet",
            "resnet1b",
            "--backbone is 'resnet1b'; expected one of 22 encoders, such as resnet1, ",
        ),
        (
            "Unet",
            "broken",
            "smp:Unet cannot be built on --backbone 'broken'; choose another (Unet has no enc",
        ),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(name: str, encoder: str, line: str) -> None:
    with pytest.raises(UsageError) as error:
        build_network(f"smp:{name}", encoder, None, 3)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


@pytest.mark.usefixtures("library")
def test_images_that_the_network_does_not_take_are_told_in_one_line() -> None:
    network = build_network("smp:Unet", "small", None, 3)
    with pytest.raises(UsageError, match=r"takes no images of 120 x 7 pixels \(too high\); choose"):
        network(torch.zeros(2, 3, 120, 7))


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("of", "starts_new"),
    [
        ("", ()),  # as this program saves it
        ("network.", ()),  # as the library's users save it
        ("network.encoder.", ("decoder", "segmentation_head")),  # torchvision's names of a ResNet
    ],
)
def test_weights_load_under_the_librarys_names(of: str, starts_new: tuple[str, ...], tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = build_network("smp:Unet", "small", None, 3).state_dict()
    saved = {name.removeprefix(of): tensor for name, tensor in state.items() if name.startswith(of)}
    torch.save(saved, tmp_path / "file")
    network = build_network("smp:Unet", "small", None, 3)
    assert len(load_pretrained(network, tmp_path / "file")) == bool(starts_new)
    for name, tensor in network.state_dict().items():
        if not name.removeprefix("network.").startswith(starts_new or ("none",)):
            assert torch.equal(tensor, state[name]), name


@pytest.mark.usefixtures("library")
def test_a_head_of_another_number_of_outputs_stays_new(tmp_path: Path) -> None:
    torch.save(build_network("smp:Unet", "small", None, 3).state_dict(), tmp_path / "file")
    (note,) = load_pretrained(build_network("smp:Unet", "small", None, 8), tmp_path / "file")
    assert "has 3 outputs, not 8" in note


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ModuleNotFoundError(f"No module named '{LIBRARY}'", name=LIBRARY),
            f"--architecture smp:NAME needs {LIBRARY}, which is not installed; run: pip install 'dgan[smp]'",
        ),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "segmentation-models-pytorch cannot be imported (operator torchvision::nms does not exist); "
            "install the torchvision that belongs to this torch, of the same index",
        ),
    ],
)
def test_a_library_that_cannot_be_imported_is_told(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, package: str | None = None) -> ModuleType:
        raise error

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(UsageError) as told:
        build_network("smp:Unet", "resnet18", None, 2)
    assert str(told.value) == line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Unet", "FPN", "DeepLabV3Plus", "Segformer"])
def test_networks_of_the_library_itself_learn_and_take_any_size(name: str) -> None:
    imported(LIBRARY)
    network = build_network(f"smp:{name}", "resnet18", None, 3)
    assert any(key.startswith(network.head) for key in network.state_dict())
    assert any(key.startswith(network.trunk) for key in network.state_dict())
    outputs = network(torch.randn(2, 3, 33, 47))
    assert outputs.shape == (2, 3, 33, 47)
    outputs.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    with pytest.raises(UsageError, match="expected one of"):
        build_network(f"smp:{name}", "resnet17", None, 3)


def test_the_library_is_not_imported_for_networks_of_this_program(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def watched(name: str, *rest: Any, **named: Any) -> Any:
        assert not name.startswith((LIBRARY, "torchvision", "timm"))
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", watched)
    build_network("deeplabv3", "mobilenet_v3", None, 2)
