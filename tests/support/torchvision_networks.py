"""Weights by a fixed formula, and what torchvision's networks compute with them.

    PYTHONPATH=tests:. python -m support.torchvision_networks

writes ``tests/models/torchvision_outputs/`` anew; it needs torchvision (the files are of 0.28.0). The tests
fill this project's networks by the same formula and read those files, without torchvision.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.torchvision_names import imported
from torch import Tensor, nn

FOLDER = Path(__file__).parent.parent / "models" / "torchvision_outputs"
TENSORS, OUTPUTS = FOLDER / "tensors.json", FOLDER / "outputs.npz"
NUM_CLASSES = 3
THEIR_NAMES = {
    "resnet50": "deeplabv3_resnet50",
    "resnet101": "deeplabv3_resnet101",
    "mobilenet_v3": "deeplabv3_mobilenet_v3_large",
}
WITH_GRADIENTS = ("resnet50", "mobilenet_v3")
SHOWN = (slice(None), slice(None), slice(None, None, 4), slice(None, None, 4))
"""Every fourth pixel: a step of the last features is eight of them or sixteen."""
_NUMBERS = np.random.RandomState(0).standard_normal(65_537)  # a prime number of them: no layer repeats a row


def fill(network: nn.Module) -> nn.Module:
    """The network, made float64, every tensor filled by its name's place in the alphabet."""
    network = network.double()
    for place, (name, tensor) in enumerate(sorted(network.state_dict().items())):
        if tensor.is_floating_point():
            repeat(_values(name, tensor.shape, np.roll(_NUMBERS, 97 * place)), tensor.numpy().reshape(-1))
        else:
            tensor.fill_(place)
    return network


def repeat(numbers: np.ndarray, out: np.ndarray) -> None:
    """Fill a long array with a short one, again and again; `numpy.resize` takes a multiple of the time."""
    whole = len(out) // len(numbers) * len(numbers)
    out[:whole].reshape(-1, len(numbers))[:] = numbers
    out[whole:] = numbers[: len(out) - whole]


def _values(name: str, shape: torch.Size, numbers: np.ndarray) -> np.ndarray:
    """Of standard normal numbers: what keeps activations near 1, and is nowhere the initial value."""
    if name.endswith("running_var"):
        return 1 + 0.5 * np.tanh(numbers)
    if len(shape) == 1:
        return (0.6 if name.endswith("weight") else 0) + 0.1 * numbers
    return numbers * math.sqrt(2 / math.prod(shape[1:]))


def images() -> Tensor:
    """[2, 3, 33, 47] float64: sides that no stride divides."""
    return torch.from_numpy(np.random.RandomState(1).standard_normal((2, 3, 33, 47)))


def gradient_norms(network: nn.Module) -> Tensor:
    """[P] L2 norms of each parameter's gradient, in training mode without dropout, of the mean square output.

    The batch norms' statistics are updated.
    """
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    output = network(images())
    output = output["out"] if isinstance(output, dict) else output
    output.square().mean().backward()
    norms = [parameter.grad.norm() for parameter in network.parameters() if parameter.grad is not None]
    return torch.stack(norms)


def running_sums(network: nn.Module) -> Tensor:
    """[B] the sum of each buffer."""
    return torch.stack([buffer.double().sum() for buffer in network.buffers()])


def theirs(backbone: str, num_classes: int = NUM_CLASSES) -> Any:
    """torchvision's network with random weights. Skips the test where torchvision is not installed."""
    build = getattr(imported("torchvision.models.segmentation"), THEIR_NAMES[backbone])
    return build(weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=None)


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    tensors, outputs = {}, {}
    for backbone in THEIR_NAMES:
        network = fill(theirs(backbone)).eval()
        tensors[backbone] = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        with torch.no_grad():
            outputs[backbone] = network(images())["out"][SHOWN].numpy()
        if backbone in WITH_GRADIENTS:
            outputs[f"{backbone} gradients"] = gradient_norms(network).numpy()
            outputs[f"{backbone} buffers"] = running_sums(network).numpy()
    lines = [f"{json.dumps(name)}: {json.dumps(shapes)}" for name, shapes in tensors.items()]
    TENSORS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    np.savez_compressed(OUTPUTS, **outputs)


if __name__ == "__main__":
    main()
