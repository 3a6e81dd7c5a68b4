"""The folder of a calibration that has not ended: what it is of, and what has been found for each image.

    calibration.json.begun/
        settings.json           what is measured, so that nothing else goes on with it
        fold-0/                 the interpreter that is being trained, deleted when the fold is labelled
        image-0.safetensors     what the members that have not seen image 0 say of it

Each file is written under a temporary name and renamed. It knows predictions, and no figures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from pipeline.calibration.predictions import Prediction
from pipeline.errors import UsageError
from pipeline.interpreter.folder import PARTIAL, foreign_names, is_left, remove_interpreter, replace_file
from pipeline.interpreter.tensor_file import write_tensors
from pipeline.settings.json_values import parse_object

SETTINGS = "settings.json"
_FILES = re.compile(rf"(settings\.json|image-\d+\.safetensors)({re.escape(PARTIAL)})?")
SUFFIX = ".begun"  # after the file's name
_FOLDS = re.compile(r"fold-\d+")


@dataclass(frozen=True)
class Begun:
    """The folder. It need not exist."""

    folder: Path

    @classmethod
    def beside(cls, out: Path) -> Begun:
        """That of the calibration ``out``."""
        return cls(out.with_name(out.name + SUFFIX))

    def fold_folder(self, fold: int) -> Path:
        """Where the interpreter of a fold lies while it is trained."""
        return self.folder / f"fold-{fold}"

    def settings(self) -> dict[str, Any]:
        """What is measured; empty where nothing is begun.

        Raises UsageError for a folder that is no such one, or damaged.
        """
        path = self.folder / SETTINGS
        if not self.folder.exists():
            return {}
        if not path.exists():
            self._check_ours()
            return {}
        try:
            return parse_object(path.read_bytes())
        except (OSError, ValueError) as error:
            raise self._damaged(path, error) from None

    def begin(self, settings: Mapping[str, Any], *, anew: bool) -> None:
        """Give the folder, which exists, these settings; ``anew``: empty it first.

        Raises UsageError where it holds something else: ``remove`` would refuse it too, at the very end.
        """
        self._check_ours()
        if anew:
            self._clear()
        text = json.dumps(dict(settings), indent=1, allow_nan=False) + "\n"
        if not (self.folder / SETTINGS).exists():
            replace_file(self.folder / SETTINGS, lambda path: path.write_text(text, encoding="utf-8"))

    def has(self, image: int) -> bool:
        """Whether the prediction of an image is saved."""
        return self._image_file(image).exists()

    def save(self, image: int, prediction: Prediction) -> None:
        """Save what is said of an image."""
        arrays = {"divergence": prediction.divergence, "entropy": np.array([prediction.entropy])}
        for name in ("labels", "keypoints"):
            if getattr(prediction, name) is not None:
                arrays[name] = np.ascontiguousarray(getattr(prediction, name))
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        replace_file(self._image_file(image), lambda path: write_tensors(path, tensors))

    def load(self, image: int) -> Prediction:
        """What ``save`` has saved. Raises UsageError for a damaged file."""
        path = self._image_file(image)
        try:
            arrays = load_file(path)
            doubt = float(arrays.pop("entropy")[0])
            return Prediction(entropy=doubt, **arrays)
        except MemoryError:
            raise
        except Exception as error:  # damaged bytes fail in the library in many ways, all of the same meaning
            raise self._damaged(path, error) from None

    def remove_fold(self, fold: int) -> None:
        """Delete the interpreter of a fold. Raises UsageError where its folder holds something else."""
        place = self.fold_folder(fold)
        if place.is_dir():
            _remove_fold(place)

    def remove(self) -> None:
        """Delete the folder. Raises UsageError where it holds something else."""
        if self.folder.exists():
            self._clear()
            self.folder.rmdir()

    def _clear(self) -> None:
        self._check_ours()
        # The settings last: what a kill leaves is still known as a calibration's.
        for entry in sorted(self.folder.iterdir(), key=lambda entry: entry.name == SETTINGS):
            if entry.is_dir():
                _remove_fold(entry)
            else:
                entry.unlink()

    def _check_ours(self) -> None:
        """Raise UsageError where something in the folder is not of a calibration."""
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder}: is a file, expected a folder; move it away")
        for entry in self.folder.iterdir():
            is_fold = entry.is_dir() and not entry.is_symlink()
            if not (_FOLDS if is_fold else _FILES).fullmatch(entry.name) and not is_left(entry):
                raise _foreign(self.folder, entry.name)
            if is_fold:
                _check_fold(entry)

    def _image_file(self, image: int) -> Path:
        return self.folder / f"image-{image}.safetensors"

    def _damaged(self, path: Path, reason: object) -> UsageError:
        words = " ".join(str(reason).split())[:120]
        return UsageError(f"{path}: is damaged ({words}); delete the folder {self.folder}, and run again")


def _check_fold(place: Path) -> None:
    """Raise UsageError where the folder of a fold holds something else than an interpreter."""
    for name in foreign_names(place):
        raise _foreign(place, name)


def _remove_fold(place: Path) -> None:
    """Delete the folder of a fold. Raises UsageError where it holds something else."""
    _check_fold(place)
    remove_interpreter(place)
    place.rmdir()


def _foreign(folder: Path, name: str) -> UsageError:
    return UsageError(
        f"{folder}: holds {name!r}, which is not of a calibration; move it away, or choose another --out"
    )
