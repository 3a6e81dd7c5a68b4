"""Commands that change what an earlier one has made: more images, corrected masks, training anew,
``--overwrite``; at toy size, and what each makes when nothing disturbs it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from support.fault_commands import TASK_IMAGES, Workshop, content, prepare
from support.power_loss import moments
from support.processes import run, run_until
from support.tiny import input_flags, write_inputs

NAMES = ("correct", "train", "lengthen", "overwrite-extract", "overwrite-train", "overwrite-export")
"""Of `SecondRounds.round`."""
PLACE = "project"
SECOND = ("extract-features", "--resolution", "64", "--render-batch", "3", "--annotated-only")
CORRECTED = (1, 3)


@dataclass(frozen=True)
class Round:
    """A command that writes ``project/out`` in its current folder, where ``before`` lies as ``project``.

    ``whole``: the files of ``project`` after an undisturbed run. ``events``: the moments of that run.
    """

    words: tuple[str, ...]
    before: Path
    whole: dict[str, object]
    changes: int
    events: list[str]

    def begin(self, folder: Path) -> None:
        """What the earlier command has made, in ``folder``."""
        prepare(folder)
        shutil.copytree(self.before, folder / PLACE)

    def run(self, folder: Path) -> None:
        """Run it to its end."""
        run(self.words, folder, TASK_IMAGES)

    def run_until(self, change: int, folder: Path) -> None:
        """Kill it with SIGKILL just before it makes the ``change``-th change (1, 2, ...)."""
        run_until(change, self.words, folder, TASK_IMAGES)

    def is_whole(self, folder: Path) -> bool:
        """Whether ``project`` has the bytes of an undisturbed run."""
        return all_content(folder / PLACE) == self.whole


def all_content(place: Path) -> dict[str, object]:
    """The content of every folder there, without the times at which it was made; and other names there."""
    found: dict[str, object] = {}
    for entry in sorted(place.iterdir()):
        found |= {f"{entry.name}/{name}": value for name, value in content(entry).items()}
        found[entry.name] = None
    return found


class SecondRounds:
    """Makes each round in a folder when it is first asked for."""

    def __init__(self, folder: Path, workshop: Workshop) -> None:
        self.folder, self.workshop = folder, workshop
        self.round = cache(self._round)
        self.grown = cache(self._grown)

    def made(self, name: str) -> Path:
        """The folder ``project`` of the undisturbed run: do not change it."""
        self.round(name)
        return self.folder / name / PLACE

    def _round(self, name: str) -> Round:
        begin: dict[str, Callable[[Path], tuple[str, ...]]] = {
            "correct": self._correct,
            "train": self._train,
            "lengthen": self._lengthen,
            "overwrite-extract": lambda out: self._overwrite(out, "extract-pyramid", "extract-dense"),
            "overwrite-train": lambda out: self._overwrite(out, "train", "train"),
            "overwrite-export": lambda out: self._overwrite(out, "export-webdataset", "export-png"),
        }
        place = self.folder / name
        (place / PLACE).mkdir(parents=True)
        prepare(place)
        words = begin[name](place / PLACE / "out")
        before = shutil.copytree(place / PLACE, place / "before")
        counted = place / "counted"
        counted.mkdir()
        prepare(counted)
        shutil.copytree(before, counted / PLACE)
        changes = run(words, counted, TASK_IMAGES)
        events = moments(words, place, TASK_IMAGES)
        return Round(words, before, all_content(place / PLACE), changes, events)

    def _overwrite(self, out: Path, old: str, new: str) -> tuple[str, ...]:
        shutil.copytree(self.workshop.out(old), out, symlinks=True)
        words = [f"{PLACE}/out" if word == "out" else word for word in self.workshop.words(new)]
        return (*words, "--overwrite")

    def _lengthen(self, out: Path) -> tuple[str, ...]:
        """20 images become 44; a task has 8, so that the third is written anew."""
        words = [f"{PLACE}/out" if word == "out" else word for word in self.workshop.words("synthesize")]
        words[words.index("--num") + 1] = "20"
        run(words, out.parent.parent, TASK_IMAGES)
        words[words.index("--num") + 1] = "44"
        return tuple(words)

    def _grown(self) -> Path:
        """A folder of ``in``, of nine annotated images, and ``first.zarr``, of five of them with other masks
        of two.
        """
        folder = self.folder / "grown"
        write_inputs(folder / "in", num=9)
        prepare(folder)
        masks, later = folder / "in" / "masks", folder / "later"
        later.mkdir()
        for image in range(5, 9):
            (masks / f"image_mask{image}.npy").rename(later / f"image_mask{image}.npy")
        run([*self._extraction(folder), "--store", "first.zarr"], folder)
        for mask in later.iterdir():
            mask.rename(masks / mask.name)
        for image in CORRECTED:
            path = masks / f"image_mask{image}.npy"
            np.save(path, np.load(path).T)
        return folder

    def _extraction(self, folder: Path) -> tuple[str, ...]:
        return (*SECOND, *input_flags(folder / "in"), "--layout", "pyramid", "--image-zero", "latent")

    def _correct(self, out: Path) -> tuple[str, ...]:
        """Four images are added, and two masks corrected."""
        shutil.copytree(self.grown() / "first.zarr", out)
        return (*self._extraction(self.grown()), "--store", f"{PLACE}/out")

    def _train(self, out: Path) -> tuple[str, ...]:
        """Training on the store that has grown: the old interpreter stays beside the new one."""
        store = self.folder / "grown.zarr"
        shutil.copytree(self.grown() / "first.zarr", store)
        words = ("train", "--members", "2", "--store", str(store), "--out", f"{PLACE}/out")
        run(words, out.parent.parent, TASK_IMAGES)
        run([*self._extraction(self.grown()), "--store", str(store)], self.grown())
        return words
