"""DeepLabV3 beside torchvision's own networks, in one process, where torchvision is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.torchvision_names import imported
from support.torchvision_networks import THEIR_NAMES, theirs
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.deeplab import DeepLabV3
from pipeline.segment.networks import build_network, load_pretrained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=THEIR_NAMES)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, Any]:
    """Both networks, with weights that went from theirs to ours and back; in float64, because a hundred
    layers of random weights make much of a rounding.
    """
    torch.manual_seed(0)
    reference = theirs(request.param, 5)
    network = DeepLabV3(request.param, 5)
    network.load_state_dict(reference.state_dict(), strict=True)
    reference.load_state_dict(network.state_dict(), strict=True)
    return network.double(), reference.double()


@pytest.mark.parametrize("size", [(33, 47), (112, 300)])  # of the second some rates reach other pixels
def test_outputs_are_equal_in_evaluation(pair: tuple[nn.Module, Any], size: tuple[int, int]) -> None:
    network, reference = (each.eval() for each in pair)
    batch = torch.randn(2, 3, *size).double()
    with torch.no_grad():
        torch.testing.assert_close(network(batch), reference(batch)["out"])


def test_a_training_step_has_equal_gradients_and_statistics(pair: tuple[nn.Module, Any]) -> None:
    batch, labels = torch.randn(3, 3, 40, 33).double(), torch.randint(5, (3, 40, 33))
    losses: list[Tensor] = []
    for each in pair:
        each.train().zero_grad()
        torch.manual_seed(7)  # of the dropout
        outputs = each(batch)
        loss = F.cross_entropy(outputs["out"] if isinstance(outputs, dict) else outputs, labels)
        loss.backward()
        losses.append(loss)
    torch.testing.assert_close(*losses)
    network, reference = pair
    for ours, other in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, other.grad)
    for ours, other in zip(network.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(ours, other)


@pytest.mark.parametrize(
    ("backbone", "theirs"), [("resnet50", "resnet50"), ("mobilenet_v3", "mobilenet_v3_large")]
)
def test_weights_of_a_classification_network_are_the_trunks(
    backbone: str, theirs: str, tmp_path: Path
) -> None:
    reference = getattr(imported("torchvision.models"), theirs)(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    network: Any = build_network("deeplabv3", backbone, 32, 4)
    (note,) = load_pretrained(network, tmp_path / "weights.pth")
    assert "backbone" in note
    layers = dict(reference.named_children())
    trunk = layers.get("features") or nn.Sequential(*list(layers.values())[:-2])
    batch = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.eval().backbone(batch), trunk(batch))


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v3"])
def test_weights_of_a_network_with_an_auxiliary_head_load(backbone: str, tmp_path: Path) -> None:
    build = getattr(imported("torchvision.models.segmentation"), THEIR_NAMES[backbone])
    reference = build(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    network = build_network("deeplabv3", backbone, None, 21).eval()
    assert load_pretrained(network, tmp_path / "weights.pth") == ()
    batch = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(batch), reference(batch)["out"])
