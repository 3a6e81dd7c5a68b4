"""The commands that ``tests/faults/`` disturbs, at toy size, and what each makes when nothing disturbs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random

import pytest
from support.processes import Ending, Running, disturbed, run_until, waiting
from support.stores import store_bytes, tree_bytes
from support.tiny import input_flags, write_inputs
from support.tiny_segmenter import use_tiny_networks
from support.translating import write_translator
from support.translators import write_domains

from pipeline.exports.marks import MARK

TASK_IMAGES = 8
EXTRACT = ("extract-features", "--resolution", "64", "--render-batch", "3")
SYNTHESIZE = ("synthesize", "--num", "44", "--render-batch", "8", "--keep", "0.5")
SETTINGS = "[train]\nbatch_size = 16\nepoch_pixels = 320\nmax_epochs = 4\nfinal_epochs = 1\n"
NAMES = ("extract-dense", "extract-pyramid", "train", "synthesize", "export-png", "export-webdataset")
"""Of `Workshop.command`."""
MORE = ("filter", "segment-train", "translate-apply")
"""Of it too, for faults that every writer may meet."""
TRANSLATE_TRAIN = "translate-train"
"""Of it too: its log's line comes after all else of an epoch, a segmenter's comes before."""
QUICK = ("train",)


@dataclass(frozen=True)
class Command:
    """A command that writes ``out`` into its current folder, from inputs that lie elsewhere.

    ``whole``: what ``content`` gives after an undisturbed run; ``changes``: how many changes to files that
    run makes. ``start``: what it finds as ``out``, which it changes. ``begin``: see
    `support.processes.disturbed`.
    """

    name: str
    words: tuple[str, ...]
    whole: dict[str, object]
    changes: int
    start: Path | None = None
    begin: tuple[Callable[[Path], None], ...] = ()

    def run(self, folder: Path) -> int:
        """Run it to its end in ``folder``; gives the number of changes to files there."""
        ending = self.disturbed(folder)
        assert ending.code == 0, ending.text
        return int((folder / "changes.txt").read_text())

    def run_until(self, change: int, folder: Path) -> None:
        """Kill it with SIGKILL just before it makes the ``change``-th change (1, 2, ...) in ``folder``."""
        self.prepare(folder)
        run_until(change, self.words, folder, TASK_IMAGES)

    def disturbed(
        self,
        folder: Path,
        *begin: Callable[[Path], None],
        more: tuple[str, ...] = (),
        notes: Path | None = None,
        seen: Path | None = None,
    ) -> Ending:
        """How it ends in ``folder``, with ``more`` words; see `support.processes.disturbed`. ``seen``: where
        this process sees the folder.
        """
        self.prepare(folder if seen is None else seen)
        words = (*self.words, *more)
        return disturbed(words, folder, *self.begin, *begin, task_images=TASK_IMAGES, notes=notes)

    def waiting(self, change: int, folder: Path, notes: Path) -> AbstractContextManager[Running]:
        """A block in which it waits in ``folder``; see `support.processes.waiting`."""
        self.prepare(folder)
        return waiting(change, self.words, folder, notes, *self.begin, task_images=TASK_IMAGES)

    def moment(self, random: Random) -> int:
        """A change that it makes before its last ones, so that what is done then is not all yet."""
        return random.randint(1, max(1, 3 * self.changes // 4))

    def prepare(self, folder: Path) -> None:
        """Write what it finds there, where it is not there yet."""
        prepare(folder)
        if self.start is not None and not (folder / "out").exists():
            shutil.copytree(self.start, folder / "out")

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
    for name in ("interpreter.json", "segmenter.json", "translator.json", MARK):
        if name in files:
            files[name] = {**json.loads((out / name).read_text()), "created": None}
    if "log.jsonl" in files:
        lines = (out / "log.jsonl").read_text().splitlines()
        files["log.jsonl"] = [{**json.loads(line), "images_per_second": None} for line in lines]
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
        start = self.out("synthesize") if name == "filter" else None
        begin = (with_tiny_networks,) if name == "segment-train" else ()
        command = Command(name, self.words(name), {}, 0, start, begin)
        changes = command.run(place)
        return replace(command, whole=content(place / "out"), changes=changes)

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
        if name in MORE:
            return self._more_words(name)
        if name == TRANSLATE_TRAIN:
            return self._translate_words()
        dataset, format = self.out("synthesize"), name.removeprefix("export-")
        return ("export", str(dataset), "out", "--format", format, "--split", "train=0.8,val=0.2")

    def _more_words(self, name: str) -> tuple[str, ...]:
        if name == "filter":
            return ("filter", "out", "--keep", "0.25", "--score", "mean", "--keep-per-class")
        dataset = self.out("synthesize")
        if name == "segment-train":
            return ("segment", "train", "--data", str(dataset), "--epochs", "3", "--out", "out")
        translator = self.folder / "translator"
        if not translator.exists():
            write_translator(translator, resolution=64)
        return ("translate", "apply", str(translator), "--data", str(dataset), "--store", "out")

    def _translate_words(self) -> tuple[str, ...]:
        domains = self.folder / "domains"
        if not domains.exists():
            write_domains(domains)
        sides = ("--source", str(domains / "source"), "--target", str(domains / "target"))
        sizes = ("--epochs", "3", "--batch-size", "2", "--width", "2", "--precision", "float32")
        return ("translate", "train", *sides, *sizes, "--out", "out")


def with_tiny_networks(_: Path) -> None:
    """Called in a command's process: what ``dgan segment train`` trains is a network of a few weights."""
    use_tiny_networks(pytest.MonkeyPatch())
