"""The commands that ``tests/faults/`` disturbs, at toy size, and what each makes when nothing disturbs it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support.processes import run, run_until
from support.stores import store_bytes, tree_bytes
from support.tiny import input_flags, write_inputs

from pipeline.exports.marks import MARK

TASK_IMAGES = 8
EXTRACT = ("extract-features", "--resolution", "64", "--render-batch", "3")
SYNTHESIZE = ("synthesize", "--num", "44", "--render-batch", "8", "--keep", "0.5")
SETTINGS = "[train]\nbatch_size = 16\nepoch_pixels = 320\nmax_epochs = 4\nfinal_epochs = 1\n"
NAMES = ("extract-dense", "extract-pyramid", "train", "synthesize", "export-png", "export-webdataset")
"""Of `Workshop.command`."""
QUICK = ("extract-pyramid", "train", "synthesize", "export-png")


@dataclass(frozen=True)
class Command:
    """A command that writes ``out`` into its current folder, from inputs that lie elsewhere.

    ``whole``: what ``content`` gives after an undisturbed run; ``changes``: how many changes to files that
    run makes.
    """

    name: str
    words: tuple[str, ...]
    whole: dict[str, object]
    changes: int

    def run(self, folder: Path) -> int:
        """Run it to its end in ``folder``; gives the number of changes to files there."""
        prepare(folder)
        return run(self.words, folder, TASK_IMAGES)

    def run_until(self, change: int, folder: Path) -> None:
        """Kill it with SIGKILL just before it makes the ``change``-th change (1, 2, ...) in ``folder``."""
        prepare(folder)
        run_until(change, self.words, folder, TASK_IMAGES)

    def is_whole(self, folder: Path) -> bool:
        """Whether ``out`` has the bytes of an undisturbed run."""
        return content(folder / "out") == self.whole


def prepare(folder: Path) -> None:
    """The settings that the commands find in their current folder."""
    (folder / "dgan.toml").write_text(SETTINGS)


def content(out: Path) -> dict[str, object]:
    """The files of a store, an interpreter or an export, without the times at which they were made."""
    if (out / "zarr.json").exists():
        return dict(store_bytes(out))
    files: dict[str, object] = dict(tree_bytes(out))
    for name in ("interpreter.json", MARK):
        if name in files:
            files[name] = {**json.loads((out / name).read_text()), "created": None}
    return files


class Workshop:
    """Makes inputs and undisturbed outputs in a folder, each when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = write_inputs(folder / "in", num=9)
        self.command = cache(self._command)

    def _command(self, name: str) -> Command:
        """One of ``NAMES``, after it has been run once."""
        place = self.folder / name
        place.mkdir()
        words = self.words(name)
        prepare(place)
        changes = run(words, place, TASK_IMAGES)
        return Command(name, words, content(place / "out"), changes)

    def out(self, name: str) -> Path:
        """What the undisturbed command has made: do not change it."""
        self.command(name)
        return self.folder / name / "out"

    def copy(self, name: str, folder: Path) -> Path:
        """A copy of it as ``folder/out``."""
        return shutil.copytree(self.out(name), folder / "out", symlinks=True)

    def words(self, name: str) -> tuple[str, ...]:
        """The words of a command, without ``dgan``."""
        if name.startswith("extract-"):
            layout = name.removeprefix("extract-")
            return (*EXTRACT, *input_flags(self.inputs), "--layout", layout, "--store", "out")
        if name == "train":
            return ("train", "--members", "2", "--store", str(self.out("extract-pyramid")), "--out", "out")
        if name == "synthesize":
            checkpoint, interpreter = self.inputs / "checkpoint.pt", self.out("train")
            flags = ("--checkpoint", str(checkpoint), "--interpreter", str(interpreter), "--store", "out")
            return (*SYNTHESIZE, *flags)
        dataset, format = self.out("synthesize"), name.removeprefix("export-")
        return ("export", str(dataset), "out", "--format", format, "--split", "train=0.8,val=0.2")
