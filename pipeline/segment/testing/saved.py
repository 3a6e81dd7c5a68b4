"""The folder beside the scores that holds what was found in each epoch until all are tested.

By it a run that was interrupted goes on.

    scores.json.epochs/
        test.json       what is tested on what: a run with other inputs does not go on with it
        epoch_3.npz     what was found in the first pictures, whole or not at all

It knows files and names. It does not know what the arrays hold.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fstore.compare import differences
from pipeline.errors import UsageError, few, short
from pipeline.interpreter.folder import PARTIAL, replace_file
from pipeline.settings.json_values import parse_object

SUFFIX = ".epochs"
DESCRIPTION = "test.json"
_WEIGHTS = "weights"
_OURS = ("epoch_*.npz", f"epoch_*.npz{PARTIAL}", f"{DESCRIPTION}{PARTIAL}", DESCRIPTION)


def saved_folder(out: Path) -> Path:
    """Where what is found is kept while ``out`` is not yet written."""
    return out.with_name(out.name + SUFFIX)


class SavedEpochs:
    """The folder of a run. A class, because it keeps which weights the files are of.

    identity: JSON values of what is tested on what, without the weights.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any]) -> None:
        self.folder = saved_folder(out)
        self._identity = dict(identity)
        self._weights: dict[str, str] = {}

    def begin(self, weights: Mapping[int, str], *, overwrite: bool) -> None:
        """Go on with what is there, or make the folder; ``weights`` are the epochs' hashes.

        Raises UsageError, one line, for files of a run with other inputs, unless they are to be deleted, and
        where another's folder lies there.
        """
        self._weights = {str(epoch): sha256 for epoch, sha256 in weights.items()}
        if overwrite:
            self.remove()
        found = self._read()
        if found is not None:
            self._check(found)
            self._weights = {**dict(found[_WEIGHTS]), **self._weights}
        elif self.folder.exists():
            self._refuse_strangers()
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**self._identity, _WEIGHTS: self._weights}, indent=2)
        replace_file(self.folder / DESCRIPTION, partial(Path.write_text, data=text, encoding="utf-8"))

    def load(self, epoch: int, names: Collection[str]) -> dict[str, NDArray[Any]]:
        """The arrays ``names`` of what was found in an epoch so far.

        Where there is nothing, or no whole file, it is ``done`` alone, which is 0.
        """
        try:
            # given the path, numpy would leave a damaged file open
            with self._file(epoch).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in names}
        except MemoryError:
            raise
        except Exception:  # damaged bytes fail in zipfile and numpy in many ways, all of the same meaning
            return {"done": np.zeros((), np.int64)}

    def save(self, epoch: int, found: Mapping[str, NDArray[Any]]) -> None:
        """Keep what was found, whole or not at all."""

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, **dict(found))  # type: ignore[arg-type]

        replace_file(self._file(epoch), write)

    def remove(self) -> None:
        """Delete the files, and the folder if nothing else is in it."""
        if not self.folder.is_dir():
            return
        for pattern in _OURS:
            for path in self.folder.glob(pattern):
                path.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch}.npz"

    def _refuse_strangers(self) -> None:
        """Refuse a folder without a description that holds more than a kill leaves before there is one."""
        strangers = [
            path.name
            for path in sorted(self.folder.iterdir())
            if not any(path.match(pattern) for pattern in _OURS)
        ]
        if strangers:
            raise UsageError(
                f"{self.folder}: holds files that are not of a test ({few(strangers)}); move them, or name "
                "another --out"
            )

    def _read(self) -> dict[str, Any] | None:
        try:
            found = parse_object((self.folder / DESCRIPTION).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.folder / DESCRIPTION}: cannot be read ({error}); pass --overwrite to begin anew"
            ) from None
        return {**found, _WEIGHTS: dict(found.get(_WEIGHTS) or {})}

    def _check(self, found: Mapping[str, Any]) -> None:
        """Refuse what was begun with other inputs. Epochs may have come since."""
        mine = {**self._identity, _WEIGHTS: self._weights}
        for key, before, now in differences(found, mine):
            if key.startswith(f"{_WEIGHTS}.") and None in (before, now):
                continue
            raise UsageError(
                f"{self.folder}: is of a test with {key} = {short(before)}, this one has {short(now)}; test "
                "the same again, name another --out, or pass --overwrite to begin anew"
            )
