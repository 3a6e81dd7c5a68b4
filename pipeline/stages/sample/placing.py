"""How the files of a project get into their folder whole: written elsewhere, forced to disk, and renamed.

What is written lies in OUT/.dgan-sample.partial where the folder OUT is there already, because OUT may be a
disk of its own, and the folder above it may be one in which this user may not write. Where there is no OUT
yet, it lies beside it, as .OUT.partial, and gets its name when it is whole. So each move is a rename within
one file system. It knows names of files. It does not know what is in them.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fstore.durable import force_to_disk
from fstore.errors import UnreadableError
from fstore.lock import FolderLock
from pipeline.errors import UsageError
from pipeline.interpreter.folder import check_writable, partial_path
from pipeline.stages.sample.project import (
    AVERAGE_LATENT,
    CLASSES,
    CONFIG,
    FIRST,
    IMAGES,
    LATENTS,
    MASKS,
    PARTIAL,
    PICTURE,
    RECORD,
    SHEET,
    Project,
    read_project,
)

_WRITTEN = frozenset({IMAGES, MASKS, CLASSES, CONFIG, LATENTS, AVERAGE_LATENT, SHEET, RECORD})
_REPLACED = (
    "replaced"  # in the partial folder: what the new files have taken the place of, until all are there
)


def check_out(out: Path) -> None:
    """Refuse a place where a project cannot be written, before anything is made for it. It writes nothing.

    Raises UsageError: this user may not write there, or a file or another disk is in the way.
    """
    check_writable(out)
    for name in (IMAGES, MASKS):
        place = out / name
        if os.path.lexists(place) and not place.is_dir():
            raise UsageError(f"{place}: is no folder; move it away, or choose another --out")
    images = out / IMAGES
    if images.is_dir():
        check_writable(images)
        if images.stat().st_dev != out.stat().st_dev or os.path.ismount(images):
            raise _other_disk(images)


@contextmanager
def new_project(out: Path, before: Project | None, *, keep_config: bool = False) -> Iterator[Path]:
    """A folder to fill. At the end of the block it becomes ``out``, or its files replace those of ``out``.

    After an error, also one of the moves, nothing of it remains, and ``out`` holds what it held before.
    Annotations, an existing ``classes.toml`` and files that ``dgan sample`` does not write stay as they are.
    With ``keep_config`` the ``dgan.toml`` stays too, because it may have been edited. Raises StoreError where
    another process works on the same folder, UsageError where files cannot be moved there, or the project is
    not the one that was read ``before``.
    """
    out = Path(os.path.realpath(out))
    with ExitStack() as stack:
        is_there = out.is_dir()
        partial = (_partial_inside if is_there else _partial_beside)(out, before, stack)
        for name in (IMAGES, MASKS):
            (partial / name).mkdir()
        yield partial
        if (partial / FIRST).exists():
            shutil.copyfile(partial / CLASSES, partial / FIRST)  # by which it is known again
        for place in [*partial.rglob("*"), partial]:
            force_to_disk(place)  # else a loss of power may leave empty files under the names
        if is_there:
            _move_into(partial, out, keep_config)
        else:
            _become(partial, out)


def _partial_inside(out: Path, before: Project | None, stack: ExitStack) -> Path:
    """An empty partial folder in ``out``, which is locked until the stack ends."""
    _remove_beside(out)
    stack.callback(FolderLock(out).release)
    _check_same(out, before)
    if before is None:
        _remove_first_files(out)
    partial = out / PARTIAL
    stack.callback(shutil.rmtree, partial, ignore_errors=True)
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    partial.mkdir()
    if before is None:
        (partial / FIRST).touch()
    _check_moves(partial, out)
    return partial


def _partial_beside(out: Path, before: Project | None, stack: ExitStack) -> Path:
    """An empty partial folder beside ``out``, which is locked until the stack ends."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(out)
    while True:
        partial.mkdir(exist_ok=True)
        made = partial.stat()
        lock = FolderLock(partial)
        if partial.exists() and os.path.samestat(made, partial.stat()):
            break
        lock.release()  # of a folder that the run which had it has removed, or renamed
    stack.callback(lock.release)
    stack.callback(shutil.rmtree, partial, ignore_errors=True)
    _check_same(out, before)
    for name in (IMAGES, MASKS):
        shutil.rmtree(partial / name, ignore_errors=True)  # of a run that was killed
    return partial


def _check_same(out: Path, before: Project | None) -> None:
    """Refuse to write what follows from a project that was read before the lock was taken, and is another one
    now. Its annotations may have become more.
    """
    now = read_project(out)
    if now is None and before is None:
        return
    if now is None or before is None or (now.latents, now.rendering) != (before.latents, before.rendering):
        raise UsageError(
            f"{out}: another `dgan sample` has changed it since this one began; run the same command again"
        )


def _beside(out: Path) -> Path:
    return partial_path(out.with_name(f".{out.name}"))


def _remove_beside(out: Path) -> None:
    """Remove what a killed run left beside ``out`` before that was there.

    Raises StoreError where the run is at work.
    """
    left = _beside(out) if out.name else None
    if left is None or left.is_symlink() or not left.is_dir():
        return
    with suppress(UnreadableError, PermissionError):  # of another user: it is in nobody's way
        if {entry.name for entry in left.iterdir()} <= _WRITTEN:
            lock = FolderLock(left)
            shutil.rmtree(left, ignore_errors=True)
            lock.release()


def _remove_first_files(out: Path) -> None:
    """Remove the files of a first run that was killed while it moved them. A ``classes.toml`` that somebody
    has filled in since stays.
    """
    images, classes, first = out / IMAGES, out / CLASSES, out / PARTIAL / FIRST
    left = [out / name for name in (LATENTS, AVERAGE_LATENT, SHEET, RECORD)]
    left += [path for path in images.iterdir() if PICTURE.fullmatch(path.name)] if images.is_dir() else []
    if classes.is_file() and classes.read_bytes() == first.read_bytes():
        left.append(classes)
    for path in left:
        path.unlink(missing_ok=True)
    _force_all(out)  # before the partial folder goes, which says that they are such files


def _check_moves(partial: Path, out: Path) -> None:
    """Refuse an ``images`` to which no file can be renamed: that is tried, before anything is rendered."""
    if not (out / IMAGES).is_dir():
        return
    source, target = partial / PARTIAL, out / IMAGES / PARTIAL
    source.touch()
    try:
        os.replace(source, target)
        target.unlink()
    except OSError as error:
        raise _other_disk(out / IMAGES) if error.errno == errno.EXDEV else error from None


def _other_disk(images: Path) -> UsageError:
    return UsageError(
        f"{images}: lies on another disk than the project, or is a mount of its own; expected a plain folder "
        "there, so that new images take their places in one step: let the whole project lie on that disk, or "
        "choose another --out"
    )


def _become(partial: Path, out: Path) -> None:
    try:
        partial.rename(out)
    except OSError:
        if os.path.lexists(out):
            raise UsageError(f"{out}: was made by another program meanwhile; choose another --out") from None
        raise
    force_to_disk(out.parent)


def _move_into(partial: Path, out: Path, keep_config: bool) -> None:
    """Move the new files in place of the old. While they are mixed, there is no ``dgan.toml``.

    After an error the old ones are put back.
    """
    config, aside = out / CONFIG, out / f"{CONFIG}.partial"
    with ExitStack() as undo:
        if config.exists():
            aside.unlink(missing_ok=True)
            undo.callback(_rename_back, aside, config)
            os.replace(config, aside)
        force_to_disk(out)  # also the name of the partial folder, which may say that there was no project
        undo.callback(_force_all, out)
        for name in (IMAGES, MASKS):
            if not (out / name).exists():
                undo.callback(_remove_empty, out / name)
                (out / name).mkdir()
        for old in (out / IMAGES).iterdir():
            if PICTURE.fullmatch(old.name) and not (partial / IMAGES / old.name).exists():
                undo.callback(_way_back(partial, old))
                old.unlink()
        names = [f"{IMAGES}/{picture.name}" for picture in (partial / IMAGES).iterdir()]
        names += [LATENTS, AVERAGE_LATENT, SHEET, RECORD]
        if not (out / CLASSES).exists():
            names.append(CLASSES)
        for name in names:
            undo.callback(_way_back(partial, out / name))
            os.replace(partial / name, out / name)
        _force_all(out)
        keeps = keep_config and aside.exists()  # set aside now, or by a run that was killed
        os.replace(aside if keeps else partial / CONFIG, config)
        undo.pop_all()
    (partial / FIRST).unlink(missing_ok=True)
    aside.unlink(missing_ok=True)
    force_to_disk(out)


def _way_back(partial: Path, path: Path) -> Callable[[], object]:
    """What puts back the file that is at ``path`` now, or makes that there is none again."""
    if not os.path.lexists(path):
        return lambda: path.unlink(missing_ok=True)
    kept = partial / _REPLACED / path.name
    kept.parent.mkdir(exist_ok=True)
    try:
        os.link(path, kept, follow_symlinks=False)
    except (OSError, NotImplementedError):  # a file system without links, or without one for this user
        shutil.copy2(path, kept, follow_symlinks=False)
    return lambda: os.replace(kept, path)


def _rename_back(aside: Path, config: Path) -> None:
    if aside.exists():
        os.replace(aside, config)
        force_to_disk(config.parent)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _force_all(out: Path) -> None:
    for folder in (out / IMAGES, out):
        if folder.is_dir():
            force_to_disk(folder)
