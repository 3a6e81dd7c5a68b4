"""DeepLabV3 computes what torchvision's networks compute, whose outputs are in files, and takes any image."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.thin_networks import thin_networks
from support.torchvision_networks import (
    NUM_CLASSES,
    OUTPUTS,
    SHOWN,
    TENSORS,
    fill,
    gradient_norms,
    images,
    running_sums,
)
from torch import nn

from pipeline.models import mobilenet_v3
from pipeline.models.deeplab import BACKBONES, AtrousConv, DeepLabV3
from pipeline.models.resnet import ResNet


def recorded(name: str) -> np.ndarray:
    with np.load(OUTPUTS) as file:
        return file[name]


def of_meta(backbone: str) -> DeepLabV3:
    """Without initial values, which take longer than all else."""
    with torch.device("meta"):
        return DeepLabV3(backbone, NUM_CLASSES)


@pytest.fixture
def filled(request: pytest.FixtureRequest) -> nn.Module:
    return fill(of_meta(request.param).double().to_empty(device="cpu"))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_tensors_have_torchvisions_names_and_shapes_in_its_order(backbone: str) -> None:
    expected = json.loads(TENSORS.read_text(encoding="utf-8"))[backbone]
    found = {name: list(tensor.shape) for name, tensor in of_meta(backbone).state_dict().items()}
    assert list(found.items()) == list(expected.items())


SLOW = {"resnet101": pytest.mark.slow}  # its sixty million numbers


@pytest.mark.parametrize(
    ("filled", "backbone"),
    [pytest.param(name, name, marks=SLOW.get(name, ())) for name in BACKBONES],
    indirect=["filled"],
)
def test_outputs_are_torchvisions(filled: nn.Module, backbone: str) -> None:
    with torch.no_grad():
        found = filled.eval()(images())[SHOWN].numpy()
    np.testing.assert_allclose(found, recorded(backbone), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("filled", "backbone"),
    [("mobilenet_v3", "mobilenet_v3"), pytest.param("resnet50", "resnet50", marks=pytest.mark.slow)],
    indirect=["filled"],
)
def test_gradients_and_running_statistics_are_torchvisions(filled: nn.Module, backbone: str) -> None:
    norms = gradient_norms(filled)
    np.testing.assert_allclose(norms, recorded(f"{backbone} gradients"), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(running_sums(filled), recorded(f"{backbone} buffers"), rtol=1e-7, atol=1e-9)


@cache
def thin(output_stride: int) -> DeepLabV3:
    with thin_networks():
        return DeepLabV3("resnet50", 2, output_stride).eval()


@cache
def mobilenet(output_stride: int) -> DeepLabV3:
    return DeepLabV3("mobilenet_v3", 2, output_stride).eval()


SIDES = st.integers(1, 40)


@settings(max_examples=12)
@given(SIDES, SIDES, st.sampled_from([8, 16, 32]))
def test_outputs_have_the_images_size(height: int, width: int, output_stride: int) -> None:
    network = thin(output_stride)
    batch = torch.zeros(1, 3, height, width)
    with torch.no_grad():
        assert network(batch).shape == (1, 2, height, width)
        features = network.backbone(batch)
    assert features.shape[2:] == (math.ceil(height / output_stride), math.ceil(width / output_stride))


@pytest.mark.parametrize("output_stride", mobilenet_v3.STRIDES)
@pytest.mark.parametrize("size", [(1, 1), (33, 20)])
def test_every_stride_of_mobilenet_gives_outputs_of_the_images_size(
    size: tuple[int, int], output_stride: int
) -> None:
    network, batch = mobilenet(output_stride), torch.zeros(2, 3, *size)
    sides = tuple(math.ceil(side / output_stride) for side in size)
    with torch.no_grad():
        assert network(batch).shape == (2, 2, *size)
        assert network.backbone(batch).shape == (2, 960, *sides)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_features_at_the_strided_places_are_those_without_dilation(output_stride: int) -> None:
    """Dilation after a stride that is left out computes the same values, and those between them."""
    with thin_networks():
        dilated, strided = ResNet((1, 2, 2, 2), output_stride).eval(), ResNet((1, 2, 2, 2), 32).eval()
    strided.load_state_dict(dilated.state_dict())
    batch = torch.randn(1, 3, 70, 45)
    with torch.no_grad():
        dense, sparse = dilated(batch), strided(batch)
    assert sparse.shape[2:] == (3, 2)
    step = 32 // output_stride
    torch.testing.assert_close(dense[..., ::step, ::step], sparse, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("backbone", "output_stride"), [("resnet50", 4), ("mobilenet_v3", 8)])
def test_a_stride_that_a_backbone_has_not_is_refused(backbone: str, output_stride: int) -> None:
    with pytest.raises(ValueError, match=f"output stride {output_stride}"):
        DeepLabV3(backbone, 2, output_stride)


@pytest.mark.parametrize(
    ("backbone", "output_stride", "rates"),
    [
        ("resnet50", 8, [12, 24, 36]),
        ("resnet50", 16, [6, 12, 18]),  # the paper's, section 3.3
        ("mobilenet_v3", 16, [12, 24, 36]),
        ("mobilenet_v3", 32, [6, 12, 18]),
    ],
)
def test_rates_stand_for_the_same_pixels_at_every_stride(
    backbone: str, output_stride: int, rates: list[int]
) -> None:
    with torch.device("meta"):
        pyramid: Any = DeepLabV3(backbone, 2, output_stride).classifier[0]
    assert [view[0].dilation[0] for view in list(pyramid.convs)[1:4]] == rates


@given(st.integers(1, 5), st.integers(1, 8), st.integers(1, 8))
def test_taps_that_meet_padding_alone_are_left_out_without_a_difference(
    rate: int, height: int, width: int
) -> None:
    short = AtrousConv(3, 2, rate).double()
    whole = nn.Conv2d(3, 2, 3, padding=rate, dilation=rate, bias=False).double()
    whole.load_state_dict(short.state_dict())
    found, expected = [], []
    for convolution, values in ((short, found), (whole, expected)):
        features = torch.arange(6.0 * height * width).double().reshape(2, 3, height, width).sin()
        outputs = convolution(features.requires_grad_())
        outputs.square().sum().backward()
        values += [outputs, convolution.weight.grad, features.grad]
    torch.testing.assert_close(found, expected)


def test_initial_weights_are_drawn_as_torchvision_draws_them() -> None:
    torch.manual_seed(0)
    network = DeepLabV3("mobilenet_v3", 2)
    for name, parameter in network.named_parameters():
        values = parameter.detach()
        if not name.startswith("backbone."):  # torch's own: uniform, its bound 1 / sqrt(fan_in)
            if values.ndim == 4:
                bound = values[0].numel() ** -0.5
                assert 0.9 * bound < values.abs().max() <= bound
        elif values.ndim == 1:
            assert (values == (0 if name.endswith("bias") else 1)).all()
        elif values.numel() > 10_000:
            fan_out = values.shape[0] * values.shape[2] * values.shape[3]
            assert values.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
