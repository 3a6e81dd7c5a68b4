"""Networks by the names of the settings, and how they compute on a device."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import UsageError
from pipeline.machine.training_format import training_format
from pipeline.segment.networks import build_network


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("unet", "resnet50", None), "--architecture is 'unet'; expected deeplabv3, or smp:NAME"),
        (
            ("deeplabv3", "vgg", None),
            "--backbone is 'vgg'; expected resnet101, resnet50, mobilenet_v3",
        ),
        (("deeplabv3", "mobilenet_v3", 8), "--output-stride is 8; mobilenet_v3 has 16, 32"),
        (("deeplabv3", "resnet50", 4), "--output-stride is 4; resnet50 has 8, 16, 32"),
        (
            ("smp:Unet", "resnet18", 16),
            "--output-stride is of deeplabv3; leave it out with --architecture smp:NAME",
        ),
    ],
)
def test_unknown_names_and_strides_are_refused(arguments: tuple[str, str, int | None], line: str) -> None:
    with pytest.raises(UsageError) as error:
        build_network(*arguments, num_outputs=2)
    assert str(error.value) == line


def test_equal_seeds_give_equal_networks() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(build_network("deeplabv3", "mobilenet_v3", None, 2).state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize(
    ("device", "precision", "capability", "autocast"),
    [
        ("cpu", "auto", None, None),  # bfloat16 was slower in every layer, with AVX512-BF16 too
        ("cpu", "bfloat16", None, torch.bfloat16),
        ("cpu", "float32", None, None),
        ("cuda", "auto", (8, 0), torch.bfloat16),
        ("cuda", "auto", (7, 5), None),  # has no tensor cores for it
        ("cuda", "float32", (9, 0), None),
    ],
)
def test_the_format_follows_device_and_precision(
    device: str,
    precision: str,
    capability: tuple[int, int] | None,
    autocast: torch.dtype | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert training_format(torch.device(device), precision) == (torch.channels_last, autocast)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="--precision is 'half'"):
        training_format(torch.device("cpu"), "half")
