"""The folder of a translator: the names of its files, what it says of itself, and the network that it holds.

    translator/
        translator.json          what it is; written before the first step
        generators.pth           {"source_to_target": ..., "target_to_source": ..., "epochs": ...} of the last
                                 finished epoch
        log.jsonl                a line for each epoch
        curves.svg, samples/     a plot of the log, and sample sheets
        training_state.pt        all that training goes on from; it stays, for more epochs

Each file is written under a temporary name, forced to disk and renamed. Weights are read as data alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import UsageError, short
from pipeline.interpreter.folder import check_place, unreadable
from pipeline.models.unet import UNet
from pipeline.resumable.kind import Kind
from pipeline.resumable.saved_tensors import load_hashed
from pipeline.translate.description import KIND, TranslatorInfo

GENERATORS = "generators.pth"
CURVES = "curves.svg"
SAMPLES = "samples"
FORWARD, BACKWARD = "source_to_target", "target_to_source"
EPOCHS = "epochs"
_FILES = re.compile(r"generators\.pth|curves\.svg|samples/(latest|epoch_[0-9]{5,})\.png")
TRANSLATOR = Kind(KIND, TranslatorInfo.from_json, _FILES, (SAMPLES,))
_MARGIN_BYTES = 2**20  # of a file, for the names of its tensors


@dataclass(frozen=True)
class Translator:
    """A trained translator. ``network`` carries images [N, 3, H, W] in [-1, 1] from source to target.

    resolution: side of the square that it has learnt on. width: channels of its first layer.
    record: what a dataset says of it: ``folder``, the
    ``sha256`` of its weights' file, ``source`` and ``target`` with their names, and the ``epochs`` learnt.
    is_finished: whether its training is.
    """

    path: Path
    network: nn.Module
    resolution: int
    width: int
    record: Mapping[str, Any]
    is_finished: bool


def open_translator(path: Path) -> Translator:
    """The translator in a folder, its network on the CPU and in evaluation mode.

    Raises UsageError, one line, for anything else, for one without a finished epoch, and for a damaged one.
    RunError where another run trains there meanwhile.
    """
    check_place(path)
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder; pass the folder that `dgan translate train` wrote")
    info = TRANSLATOR.read_description(path)
    if info is None:
        raise UsageError(
            f"{path}: holds no translator; expected {TRANSLATOR.description}, as `dgan translate train` "
            "writes it"
        )
    if not (path / GENERATORS).exists():
        raise UsageError(f"{path}: has no finished epoch yet; run the same `dgan translate train` again")
    try:
        epochs, networks, sha256 = load_generators(path, info)
    finally:  # weights of another description may look damaged
        TRANSLATOR.check_unchanged(path, info)
    record = {
        "folder": path.name,
        "sha256": sha256,
        "source": {"name": info.source["name"]},
        "target": {"name": info.target["name"]},
        "epochs": epochs,
    }
    return Translator(
        path, networks[FORWARD].eval(), info.resolution, info.width, record, epochs >= info.epochs
    )


def build_generator(info: TranslatorInfo) -> UNet:
    """A generator of this shape, with weights that are to be replaced."""
    return UNet(info.width, info.halvings, info.upsample)


def load_generators(path: Path, info: TranslatorInfo) -> tuple[int, dict[str, UNet], str]:
    """The epochs learnt, both generators by name, and the SHA-256 of the file that they were read from.

    Raises UsageError for a file that is damaged, or that holds other tensors than ``info`` says, before
    memory is asked for.
    """
    file = path / GENERATORS
    with torch.device("meta"):
        expected = build_generator(info).state_dict()
    num_bytes = sum(weight.nbytes for weight in expected.values())
    try:
        content, sha256 = load_hashed(file, 2 * num_bytes + _MARGIN_BYTES)
        epochs = content[EPOCHS]
        if type(epochs) is not int or epochs < 1:
            raise ValueError(f"epochs is {epochs!r:.40}: expected a number")
        for name in (FORWARD, BACKWARD):
            _check_tensors(content[name], expected)
        networks = {name: build_generator(info) for name in (FORWARD, BACKWARD)}
        for name, network in networks.items():
            network.load_state_dict(content[name])
    except OSError as error:
        raise unreadable(file, error) from None
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        words = " ".join(str(error).split())[:120]
        raise UsageError(
            f"{file}: is damaged, or no file of this translator ({words}); restore it, or train anew"
        ) from None
    return epochs, networks, sha256


def _check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """ValueError for other names, shapes or types; torch would build the network first, and convert."""
    if found.keys() != expected.keys():
        other = sorted(map(str, found.keys() ^ expected.keys()))[0]
        raise ValueError(
            f"{short(other)} is not in both, the file and the network of {TRANSLATOR.description}"
        )
    for name, wanted in expected.items():
        tensor = found[name]
        if tensor.layout != torch.strided or tensor.is_meta:
            raise ValueError(f"{name} is no plain tensor")
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} {tensor.dtype}, expected {tuple(wanted.shape)} "
                f"{wanted.dtype}"
            )


def generators_document(epochs: int, weights: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
    """What ``generators.pth`` holds after so many epochs."""
    return {FORWARD: dict(weights[FORWARD]), BACKWARD: dict(weights[BACKWARD]), EPOCHS: epochs}
