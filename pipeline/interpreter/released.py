"""An interpreter as the DatasetGAN and EditGAN releases save it: a folder of members ``model_{i}.pth``.

Each file is ``{"model_state_dict": {"module.layers.0.weight": ...}}``, ``module.`` being DataParallel's. Only
tensors are read (``weights_only=True``); nothing that a file carries is executed.

The files hold weights, and neither the generator nor the grid nor the classes. Those come from the
configuration and the checkpoint, as for extracting features. This module knows no images and no stores.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fstore.format import build_layers
from fstore.meta import ClassInfo
from pipeline.checkpoints.read import LoadedGenerator
from pipeline.errors import UsageError, count, short
from pipeline.inputs.generator import average_latent, generator_record, render_settings
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.files import Interpreter
from pipeline.interpreter.folder import DESCRIPTION, unreadable
from pipeline.machine.provenance import created_record
from pipeline.machine.torch_files import PackedError, load_plain
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.models.tensors import are_finite
from pipeline.rendering.latents import array_sha256
from pipeline.rendering.layer_selection import with_layers
from pipeline.settings.classes import IGNORE_NAME, configured_classes, default_palette, padded_names
from pipeline.settings.file_names import is_hidden
from pipeline.settings.schema import Config

MAX_MEMBERS = 1000
_FILE = re.compile(r"(.*_)?model_([0-9]{1,6})\.pth")  # EditGAN's are named car_model_{i}.pth
_EXPECTED = 'expected {"model_state_dict": {"layers.0.weight": ...}} as DatasetGAN saves it'
_VECTORS = {"2": ("weight", "bias", "running_mean", "running_var"), "3": ("bias",), "0": ("bias",)}
_VECTORS |= {"5": _VECTORS["2"], "6": ("bias",)}
_MATRICES = ("layers.0.weight", "layers.3.weight", "layers.6.weight")
_COUNTERS = ("layers.2.num_batches_tracked", "layers.5.num_batches_tracked")  # old torch saves none


@dataclass(frozen=True)
class ReleasedMembers:
    """The members of a folder: E classifiers of C features and K outputs, and what their files are.

    ``ensemble`` is on the CPU and in evaluation mode; ``sha256`` is that of the files' digests in order.
    """

    folder: Path
    ensemble: InterpreterEnsemble
    sha256: str


def is_released(folder: Path) -> bool:
    """Whether ``folder`` holds members as the releases save them, and no interpreter of this program."""
    if not folder.is_dir() or (folder / DESCRIPTION).exists():
        return False
    return any(_number_of(entry) is not None for entry in folder.iterdir())


def load_released(
    folder: Path, loaded: LoadedGenerator, config: Config
) -> tuple[LoadedGenerator, Interpreter, tuple[str, ...]]:
    """The members in ``folder`` as an interpreter of this generator.

    Returns the generator with the layers that the settings select, the interpreter, and notes for the user.
    Grid, crop, layers, truncation, noise, average latent and the classes' names are those of ``config``. A
    member has as many outputs as the largest label of its masks, plus one. That may not be the number of
    classes: names are then cut, or made up, to fit. Raises UsageError, one line that names the file, for
    members that cannot be used, or whose width is not that of this generator's features.
    """
    members = read_members(folder)
    loaded = with_layers(loaded, config.features.layers)
    settings = render_settings(config, loaded)
    native = [(layer.name, layer.resolution, layer.channels) for layer in loaded.generator.layers]
    layers = build_layers(native, settings.grid)
    width, ensemble = sum(layer.channels for layer in layers), members.ensemble
    if width != ensemble.channels:
        raise UsageError(
            f"{folder}: its members take {ensemble.channels} features a pixel, {loaded.path} has {width} in "
            f"{len(layers)} layers; pass the checkpoint that they were trained on, or set [features] layers"
        )
    average, origin = average_latent(config, loaded, settings)
    classes, class_notes = _classes(members, config)
    info = InterpreterInfo(
        members=ensemble.num_members,
        widths=ensemble.widths,
        channels=ensemble.channels,
        classes=classes,
        ignore=None,
        layers=layers,
        grid=settings.grid,
        crop_rows=settings.crop_rows,
        upsample=config.features.upsample,
        generator=generator_record(
            loaded, settings, latent_space="z", average=origin, render_batch=config.features.render_batch
        ),
        store={},
        training={"source": "released members"},
        seeds=(),
        created=created_record(),
    )
    first, last = settings.crop_rows
    notes = [
        f"{folder}: a release's members; the grid of {settings.grid[0]} x {settings.grid[1]}, rows "
        f"{first}:{last}, and truncation {settings.truncation:g} are as {config.source} has them"
    ]
    if ensemble.num_members != config.train.members:
        notes.append(
            f"{folder}: holds {count(ensemble.num_members, 'member')}, {config.source} has "
            f"{config.train.members}; all that are there are used"
        )
    return loaded, Interpreter(ensemble, info, average, members.sha256), (*notes, *class_notes)


def released_settings(interpreter: Interpreter) -> dict[str, Any]:
    """What the members' files do not say, as JSON values. A dataset records them, because its labels depend
    on them.
    """
    info, average = interpreter.info, interpreter.average_latent
    return {
        "grid": list(info.grid),
        "crop_rows": list(info.crop_rows),
        "upsample": info.upsample,
        "layers": [layer.name for layer in info.layers],
        "average_latent_sha256": None if average is None else array_sha256(average),
    }


def _classes(members: ReleasedMembers, config: Config) -> tuple[tuple[ClassInfo, ...], list[str]]:
    """A class for each output, with the configured name where there is one; a note where numbers differ."""
    num_outputs = members.ensemble.num_classes
    listed, where = configured_classes(config.annotations)
    named = [entry for entry in listed if entry.name.casefold() != IGNORE_NAME]
    names = padded_names([entry.name for entry in named], num_outputs)
    colors = [entry.color for entry in named] + [None] * num_outputs
    palette = default_palette(num_outputs)
    classes = tuple(ClassInfo(i, names[i], colors[i] or palette[i]) for i in range(num_outputs))
    expected = len(named) or config.annotations.num_classes or num_outputs
    if expected == num_outputs:
        return classes, []
    fate = (
        f"labels from {num_outputs} on never occur"
        if expected > num_outputs
        else f"those from {expected} on are named class_{expected} and so on"
    )
    return classes, [
        f"{members.folder}: its members have {count(num_outputs, 'output')}, the largest label that they "
        f"were trained on and 1; {where if named else config.source} has {count(expected, 'class')}, and "
        f"{fate}"
    ]


def read_members(folder: Path) -> ReleasedMembers:
    """All members of ``folder``. Raises UsageError, one line, where one is missing, is damaged, is of another
    network, or has other sizes than the rest.
    """
    paths = _member_files(folder)
    tensors: dict[str, Tensor] = {}
    sizes: dict[str, tuple[int, ...]] = {}
    digest = hashlib.sha256()
    for member, path in enumerate(paths):
        state = _read_member(path)
        found = {name: tuple(tensor.shape) for name, tensor in state.items()}
        sizes = sizes or found
        for name in _MATRICES:
            if found[name] != sizes[name]:
                raise UsageError(
                    f"{path}: {name} is {found[name]}, that of {paths[0].name} {sizes[name]}; expected "
                    "members of one training"
                )
        tensors |= {f"{member}.{name}": tensor for name, tensor in state.items()}
        digest.update(_file_digest(path))
    return ReleasedMembers(folder, InterpreterEnsemble.from_members(tensors).eval(), digest.hexdigest())


def _number_of(path: Path) -> int | None:
    """The member that a file of this name holds, or None."""
    match = None if is_hidden(path.name) else _FILE.fullmatch(path.name)
    return None if match is None else int(match[2])


def _member_files(folder: Path) -> list[Path]:
    """The folder's files of members, 0 to the last, none missing and none twice."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        number = _number_of(path)
        if number is None:
            continue
        if number in found:
            raise UsageError(
                f"{folder}: {found[number].name} and {path.name} are both member {number}; expected one "
                "ensemble a folder: move the other"
            )
        found[number] = path
    if not found:
        raise UsageError(
            f"{folder}: holds no model_0.pth; expected members model_0.pth, model_1.pth and so on"
        )
    missing = sorted(set(range(min(max(found) + 1, MAX_MEMBERS))) - found.keys())
    if missing or len(found) > MAX_MEMBERS:
        raise UsageError(
            f"{folder}: holds {found[max(found)].name} but no model_{(missing or [MAX_MEMBERS])[0]}.pth; "
            f"expected members from 0 without a gap, at most {MAX_MEMBERS}: copy it here, or renumber"
        )
    return [found[number] for number in sorted(found)]


def _read_member(path: Path) -> dict[str, Tensor]:
    """One member's float32 tensors, by their names in its nn.Sequential. Their shapes fit one another."""
    content = _load(path)
    state = content.get("model_state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise UsageError(f"{path}: found a {type(state or content).__name__}; {_EXPECTED}")
    state = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
    limit = path.stat().st_size  # a view of few stored values may declare any shape
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise UsageError(f"{path}: {short(name)} is no plain tensor; {_EXPECTED}")
        if tensor.numel() * tensor.element_size() > limit:
            raise UsageError(
                f"{path}: {short(name)} is {tuple(tensor.shape)}, more than a file of {limit} bytes can "
                "hold; download or copy it again"
            )
    return {name: _checked(path, name, state, shape) for name, shape in _shapes(path, state).items()}


def _shapes(path: Path, state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor of a member, as its three matrices have them."""
    for name in _MATRICES:
        if name not in state or state[name].ndim != 2 or 0 in state[name].shape:
            found = "is missing" if name not in state else f"is {tuple(state[name].shape)}"
            raise UsageError(f"{path}: {name} {found}, expected a matrix; {_EXPECTED}")
    (first, channels), (second, _), (last, _) = (state[name].shape for name in _MATRICES)
    rows = {"0": first, "2": first, "3": second, "5": second, "6": last}
    shapes: dict[str, tuple[int, ...]] = {
        "layers.0.weight": (first, channels),
        "layers.3.weight": (second, first),
        "layers.6.weight": (last, second),
    }
    shapes |= {f"layers.{layer}.{name}": (rows[layer],) for layer in rows for name in _VECTORS[layer]}
    shapes |= dict.fromkeys(_COUNTERS, ())
    strangers = sorted(state.keys() - shapes.keys())
    if strangers:
        raise UsageError(
            f"{path}: has {short(strangers[0])}, which a DatasetGAN classifier has not; {_EXPECTED}"
        )
    return shapes


def _checked(path: Path, name: str, state: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    if name in _COUNTERS:
        return torch.zeros((), dtype=torch.int64)  # of use in training only
    if name not in state:
        raise UsageError(f"{path}: {name} is missing; {_EXPECTED}")
    tensor = state[name]
    if tuple(tensor.shape) != shape or not tensor.is_floating_point():
        raise UsageError(
            f"{path}: {name} is {tensor.dtype} {tuple(tensor.shape)}, expected floating-point {shape}; "
            f"{_EXPECTED}"
        )
    values = tensor.detach().to(torch.float32).contiguous()
    if not are_finite(values):
        raise UsageError(
            f"{path}: {name} has NaN or infinite values; expected a member whose training converged"
        )
    if name.endswith("running_var") and bool((values < 0).any()):
        raise UsageError(f"{path}: {name} has negative values; expected variances: download or copy it again")
    return values


def _load(path: Path) -> Any:
    try:
        return load_plain(path)
    except PermissionError as error:
        raise unreadable(path, error) from None
    except PackedError as error:
        raise UsageError(f"{path}: {error}; {_EXPECTED}") from error
    except pickle.UnpicklingError as error:
        raise UsageError(f"{path}: holds something other than plain tensors; {_EXPECTED}") from error
    except Exception as error:  # damaged bytes fail in torch in many ways, all meaning the same to the user
        raise UsageError(
            f"{path}: is truncated, damaged or no PyTorch file; {_EXPECTED}, download or copy it again"
        ) from error


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
