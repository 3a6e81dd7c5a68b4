"""What a disk may hold after a power cut in the middle of a command.

The command runs in a process of its own. Before a numbered change to names of files, or force to the disk, it
dies, and leaves two things: the files as other processes saw them, and a record of what had been forced. From
these `cut_power` makes a state that a disk may have: of a file whose bytes were not forced since they were
written anything may be left, and of a name that was not forced with its folder the old or the new meaning.

The record is made of real calls. What it does not see (a library that forces a file by itself) makes the cut
harsher, and never milder.
"""

from __future__ import annotations

import itertools
import os
import pickle
import random
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

from support import processes

_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "os.fsync")
COMMITMENTS = ("committed/", ".json", "training_state", ".dgan-export", "parts/", ".pth")


@dataclass
class Forced:
    """What a disk holds for certain, by paths relative to a folder.

    ``names``: of a folder the entries when it was last forced, each with the number of the file's inode, None
    for a folder. ``content``: of an inode the bytes when they were last forced. A folder that is not a key is
    new, and none of its names are certain. ``moves``: renames from one folder to another of which neither is
    forced: on the disk each is one change, which has happened or not.
    """

    names: dict[str, dict[str, int | None]] = field(default_factory=dict)
    content: dict[int, bytes] = field(default_factory=dict)
    moves: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Forced:
        """All that is in a folder."""
        found = cls()
        for place, _, _ in os.walk(folder):
            found.force_folder(Path(place), os.path.relpath(place, folder))
            for entry in os.scandir(place):
                if entry.is_file(follow_symlinks=False):
                    found.content[entry.inode()] = Path(entry.path).read_bytes()
        return found

    def force_folder(self, place: Path, key: str) -> None:
        """The names in a folder are on the disk."""
        self.names[key] = {
            entry.name: None if entry.is_dir(follow_symlinks=False) else entry.inode()
            for entry in os.scandir(place)
        }
        for old, new in [move for move in self.moves if key in map(_parent, move)]:  # one change of the disk
            self.moves.remove((old, new))
            self.names.get(_parent(old), {}).pop(os.path.basename(old), None)
            if _parent(new) in self.names and _parent(new) != key:
                top = place if key == "." else Path(str(place).removesuffix(f"/{key}"))
                if not os.path.lexists(top / new):
                    continue  # it was removed since
                found = os.lstat(top / new)
                number = None if stat.S_ISDIR(found.st_mode) else found.st_ino
                self.names[_parent(new)][os.path.basename(new)] = number

    def move(self, old: str, new: str) -> None:
        """A file or a folder gets another name, which is not on the disk yet."""
        if _parent(old) != _parent(new):
            self.moves.append((old, new))
        for key in [key for key in self.names if key == old or key.startswith(f"{old}/")]:
            self.names[new + key.removeprefix(old)] = dict(self.names[key])


def _parent(key: str) -> str:
    return os.path.dirname(key) or "."


def cut_power(folder: Path, forced: Forced, chance: random.Random) -> None:
    """Make of ``folder``, as other processes saw it last, what a disk may hold after the cut."""
    seen = folder.with_name(f"{folder.name}.seen")
    folder.rename(seen)
    happened = {}
    for move in forced.moves:
        happened.update(dict.fromkeys(move, chance.random() < 0.5))
    _rebuild(seen, folder, ".", forced, happened, chance)
    shutil.rmtree(seen)


def _rebuild(
    seen: Path, target: Path, key: str, forced: Forced, happened: dict[str, bool], chance: random.Random
) -> None:
    target.mkdir()
    before = now = forced.names.get(key, {})
    if seen.is_dir():  # else it has another name now, and all that is certain in it
        now = {e.name: None if e.is_dir(follow_symlinks=False) else e.inode() for e in os.scandir(seen)}
    for name in sorted({**before, **now}):
        old, new = ([names[name]] if name in names else [] for names in (before, now))
        inside = name if key == "." else f"{key}/{name}"
        kept = new if old == new or happened.get(inside, chance.random() < 0.5) else old
        if not kept:
            continue
        if kept == [None]:
            _rebuild(seen / name, target / name, inside, forced, happened, chance)
            continue
        inode = kept[0]
        assert inode is not None
        written = (seen / name).read_bytes() if kept == new and (seen / name).exists() else None
        (target / name).write_bytes(_left(written, forced.content.get(inode), chance))


def _left(written: bytes | None, certain: bytes | None, chance: random.Random) -> bytes:
    """What is left of a file of which ``written`` was seen last, and ``certain`` was forced to the disk."""
    if written == certain or written is None:
        return certain or b""
    start = _common(written, certain or b"")  # the rest is not certain
    ways = [
        written,
        written[:start],
        written[: chance.randint(start, len(written))],
        written[:start] + bytes(len(written) - start),
    ]
    return chance.choice(ways if certain is None else [*ways, certain])


def _common(one: bytes, other: bytes) -> int:
    """How many first bytes two contents share."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def moments(
    words: Sequence[str], folder: Path, task_images: int, begin: Sequence[Callable[[Path], None]] = ()
) -> list[str]:
    """Run a command to its end; gives its changes and forces, in order: ``rename out/a``, ``fsync out``.

    ``begin``: called in its process before it, with the folder.
    """
    code = processes.end_of(_run, tuple(words), folder, task_images, None, tuple(begin))
    assert code == 0, (folder / "output.txt").read_text()
    return pickle.loads((folder / "record.bin").read_bytes())[0]


def drawn_moment(events: Sequence[str], chance: random.Random) -> int:
    """The number of a moment, in half of the draws just before or after something is said to be whole."""
    said = [place for place, event in enumerate(events, 1) if any(each in event for each in COMMITMENTS)]
    if chance.random() < 0.5:
        return chance.randint(1, len(events))
    return min(len(events), chance.choice(said) + chance.randint(0, 2))


def run_until_cut(
    words: Sequence[str],
    folder: Path,
    task_images: int,
    moment: int,
    chance: random.Random,
    place: str = "out",
    begin: Sequence[Callable[[Path], None]] = (),
) -> None:
    """Run a command in ``folder``, which writes below ``place`` there, until just before a moment (1, 2,
    ...); then the power fails. It may end before. ``begin``: as of ``moments``.
    """
    code = processes.end_of(_run, tuple(words), folder, task_images, moment, tuple(begin))
    assert code in (0, -signal.SIGKILL), (folder / "output.txt").read_text()
    _, forced = pickle.loads((folder / "record.bin").read_bytes())
    if (folder / place).exists():
        inside = [move for move in forced.moves if all(each.startswith(f"{place}/") for each in move)]
        moves = [(os.path.relpath(old, place), os.path.relpath(new, place)) for old, new in inside]
        whole = Forced({}, forced.content, moves)
        for key, names in forced.names.items():
            if key == place or key.startswith(f"{place}/"):
                whole.names[os.path.relpath(key, place)] = names
        cut_power(folder / place, whole, chance)


def _run(
    _: object,
    words: tuple[str, ...],
    folder: Path,
    task_images: int,
    last: int | None,
    begin: tuple[Callable[[Path], None], ...],
) -> None:
    from fstore import format as fmt
    from pipeline.cli import main

    fmt.TASK_IMAGES = task_images
    for each in begin:
        each(folder)
    with processes._observed(folder):
        os.chdir(folder)
        recorder = _Recorder(folder, last)
        try:
            main([*words, "--threads", "1"], prog_name="dgan")
        finally:
            recorder.save()


class _Recorder:
    """Follows this process's changes to the names below a folder, and what it forces to the disk there."""

    def __init__(self, folder: Path, last: int | None) -> None:
        self._folder, self._last, self._count = str(folder), last, itertools.count(1)
        self._forced, self._events, self._lock, self._ours = Forced.of(folder), [], RLock(), False
        self._fsync = os.fsync
        os.fsync = os.fdatasync = self._force
        os.sync = self._force_all
        sys.addaudithook(self._heard)

    def save(self) -> None:
        self._ours = True
        with open(os.path.join(self._folder, "record.bin"), "wb") as file:
            pickle.dump((self._events, self._forced), file)

    def _force(self, descriptor: int) -> None:
        with self._lock:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if not self._is_inside(path):
                return self._fsync(descriptor)
            self._happens("fsync", path)
            self._fsync(descriptor)
            self._ours = True
            key = os.path.relpath(path, self._folder)
            if os.path.isdir(path):
                self._forced.force_folder(Path(path), key)
            else:
                self._forced.content[os.fstat(descriptor).st_ino] = Path(path).read_bytes()
            self._ours = False

    def _force_all(self) -> None:
        with self._lock:
            self._happens("sync", self._folder)
            self._ours = True
            self._forced = Forced.of(Path(self._folder))
            self._ours = False

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in _EVENTS or self._ours or isinstance(arguments[0], int):
            return
        if event == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR):  # type: ignore[call-overload]
            return
        with self._lock:
            which = arguments[1] if event in ("os.rename", "os.link") else arguments[0]
            path = _absolute(which, arguments[-1] if event in ("os.remove", "os.rmdir") else -1)
            if not self._is_inside(path):
                return
            self._happens(event.removeprefix("os."), path)
            if event in ("os.rename", "os.remove"):
                self._forget(path)
            if event == "os.rename":
                old = os.path.relpath(_absolute(arguments[0], -1), self._folder)
                self._forced.move(old, os.path.relpath(path, self._folder))
            if event == "os.mkdir" and not os.path.lexists(path):  # another folder of a name that was there
                self._forced.names.pop(os.path.relpath(path, self._folder), None)

    def _forget(self, path: str) -> None:
        """The number of an inode that goes may come again, for another file."""
        # Its bytes stay certain under the name that a forced folder gives them, under a number of their own.
        try:
            found = os.lstat(path)
        except OSError:
            return
        if found.st_nlink > 1 or found.st_ino not in self._forced.content:
            return
        alias = -found.st_ino - (1 << 40) * len(self._events)
        self._forced.content[alias] = self._forced.content.pop(found.st_ino)
        for names in self._forced.names.values():
            for name, inode in names.items():
                if inode == found.st_ino:
                    names[name] = alias

    def _is_inside(self, path: str) -> bool:
        return path.startswith(f"{self._folder}{os.sep}") or path == self._folder

    def _happens(self, what: str, path: str) -> None:
        self._events.append(f"{what} {os.path.relpath(path, self._folder)}")
        if len(self._events) == self._last:
            self.save()
            os.kill(os.getpid(), signal.SIGKILL)


def _absolute(path: object, folder: object) -> str:
    """The path of a call, which may be relative to an open folder."""
    text = os.fsdecode(path)  # type: ignore[arg-type]
    if isinstance(folder, int) and folder >= 0 and not os.path.isabs(text):
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    return os.path.abspath(text)
