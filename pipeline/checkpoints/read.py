"""Reads generator checkpoint files: hash, content, and the generator that is recognised in it.

A file's format is told from its content, never from its name, and nothing that it carries is executed (see
`pipeline.checkpoints.containers.checkpoint_file`). Every fault of a file is a `UsageError` of one line. It
knows nothing of latents, truncation or stages.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.checkpoints.containers.checkpoint_file import read_checkpoint
from pipeline.checkpoints.containers.inert_values import BadPickle
from pipeline.checkpoints.loaders.records import text_of
from pipeline.checkpoints.recognise import SUPPORTED, NotFound, recognise
from pipeline.errors import UsageError, count
from pipeline.models.generator import Generator
from pipeline.models.stylegan2 import StyleGAN2
from pipeline.models.tensors import UnsupportedNetwork

MAX_REASON = 300
"""Characters of an error about a file's content: names in a file may be of any length."""


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator ready for inference, and which file it is."""

    generator: Generator
    """On the CPU, in evaluation mode, no parameter requiring gradients."""
    path: Path
    sha256: str
    """Hexadecimal digest of the whole file."""
    average_latent: np.ndarray | None = None
    """(D,) or (L, D) float32 in W where the file has one."""
    format: str = ""
    """Short name of the file's format, for people."""
    class_label: int | None = None
    """The class that a conditional generator renders."""
    key: str | None = None
    """The key of this generator, where without a key another one, or none, would be taken from the file."""


def load_generator(
    path: str | Path, class_label: int | None = None, key: str | None = None
) -> LoadedGenerator:
    """The generator in the checkpoint file `path`, conditioned on `class_label` where it is conditional.

    Raises UsageError as `read_generator` does; also where a conditional generator is given no label, or one
    out of range, and where an unconditional one is given a label.
    """
    return with_class(read_generator(path, key), class_label)


def read_generator(path: str | Path, key: str | None = None) -> LoadedGenerator:
    """The generator in the checkpoint file `path`; a conditional one without a class yet.

    Of several generators `key` names one by the key that it stands under, or by a part of the path of keys.

    Raises UsageError when the file is missing, a folder, truncated, no checkpoint, not of a supported
    network, asks to execute something, needs more memory than there is, has a weight that is missing, wrongly
    shaped or not finite, or holds several generators and it is not clear which is meant.
    """
    path = Path(path)
    sha256 = file_sha256(path)
    content = read_checkpoint(path).content
    try:
        found, used_key = recognise(content, key)
    except (MemoryError, RuntimeError) as error:  # torch's allocators raise the latter
        raise UsageError(
            f"checkpoint {path}: its network cannot be built ({_first_line(error)}); "
            "free some memory, or pass another checkpoint"
        ) from error
    except (NotFound, UnsupportedNetwork) as error:
        raise UsageError(f"checkpoint {path}: {error}") from error
    except (ValueError, BadPickle) as error:
        reason = str(error)[:MAX_REASON]
        raise UsageError(
            f"checkpoint {path}: {reason}; expected {SUPPORTED}, whole and unmodified"
        ) from error
    network: Any = found.generator
    network.eval().requires_grad_(False)
    return LoadedGenerator(found.generator, path, sha256, found.average_latent, found.format, key=used_key)


def _first_line(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    return text_of((str(error).splitlines() or [""])[0])


def with_class(loaded: LoadedGenerator, class_label: int | None) -> LoadedGenerator:
    """The generator conditioned on a class. Raises UsageError where label and generator do not fit."""
    generator, classes = loaded.generator, loaded.generator.class_labels
    if classes == 0:
        if class_label is not None:
            raise UsageError(
                f"checkpoint {loaded.path}: the generator is not conditional, but --class-label "
                f"{class_label} is given; leave it out"
            )
        return loaded
    if class_label is None or not 0 <= class_label < classes:
        found = "none is given" if class_label is None else f"{class_label} is given"
        raise UsageError(
            f"checkpoint {loaded.path}: the generator is conditional on {count(classes, 'class')}; {found}, "
            f"expected "
            f"--class-label 0 to {classes - 1}"
        )
    assert isinstance(generator, StyleGAN2)  # the only network with classes
    generator.class_label = class_label
    return replace(loaded, class_label=class_label)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces. Raises UsageError when there is no such file to read."""
    if not path.exists():
        raise UsageError(
            f"checkpoint {path}: no such file; expected a generator, check --checkpoint or the config"
        )
    if not path.is_file():
        raise UsageError(f"checkpoint {path}: found a folder, expected a file; name the file in it")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(
            f"checkpoint {path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
