"""What `dgan info` prints of an interpreter's folder, and what `dgan verify` checks in it.

It reads the folder's files and formats what they say. It opens no store and no checkpoint.
"""

from __future__ import annotations

from pathlib import Path

from fstore.display import human_bytes, pairs_text
from fstore.values import printable
from pipeline.errors import RunError, UsageError, count
from pipeline.interpreter.description import EpochMetrics, InterpreterInfo
from pipeline.interpreter.files import load_info, load_interpreter, weights_file
from pipeline.interpreter.folder import STATE, folder_state
from pipeline.interpreter.released import is_released, read_members
from pipeline.interpreter.training_state import load_state


def is_interpreter(folder: Path) -> bool:
    """Whether the folder holds an interpreter, finished or not, or a release's members."""
    return folder.is_dir() and (folder_state(folder) in ("finished", "unfinished") or is_released(folder))


def summary_lines(folder: Path) -> list[str]:
    """A line a fact, then a line a class or keypoint. Raises UsageError for a damaged folder."""
    if is_released(folder):
        return _titled(folder, _released_facts(folder))
    return _trained_lines(folder, load_info(folder), folder_state(folder) == "finished")


def finished_lines(folder: Path, info: InterpreterInfo) -> list[str]:
    """The same lines of a finished interpreter that is loaded already."""
    return _trained_lines(folder, info, True)


def _trained_lines(folder: Path, info: InterpreterInfo, finished: bool) -> list[str]:
    return [*_titled(folder, _facts(folder, info, finished)), *_outputs(info)]


def _titled(folder: Path, facts: dict[str, str]) -> list[str]:
    return [f"<Interpreter {folder}>", *(f"  {name:<10} {value}" for name, value in facts.items())]


def verify_line(folder: Path) -> str:
    """Read all files of the folder. Returns a line on what is whole. Raises RunError for damage."""
    try:
        return _verified(folder)
    except UsageError as error:
        raise RunError(str(error)) from None


def _verified(folder: Path) -> str:
    if is_released(folder):
        members = read_members(folder).ensemble.num_members
        return f"{folder}: {count(members, 'released member')}, all whole and of one size"
    if folder_state(folder) == "unfinished":
        state = load_state(folder)
        return f"{folder}: training is unfinished after {_epochs(state.info)}; {STATE} is whole"
    info = load_interpreter(folder).info
    return f"{folder}: {count(info.members, 'member')}, all whole ({human_bytes(_size(folder))} read)"


def _size(folder: Path) -> int:
    return weights_file(folder).stat().st_size


def _released_facts(folder: Path) -> dict[str, str]:
    members = read_members(folder)
    ensemble = members.ensemble
    return {
        "kind": "a release's members; classes, grid and generator are those of --config",
        "members": _sizes(ensemble.num_members, ensemble.widths, ensemble.channels),
        "outputs": str(ensemble.num_classes),
        "sha256": members.sha256,
    }


def _facts(folder: Path, info: InterpreterInfo, finished: bool) -> dict[str, str]:
    learnt = count(info.num_outputs, "class" if info.keypoints is None else "keypoint")
    if info.keypoints is not None:
        learnt = f"{learnt}, sigma {info.keypoints.sigma:g} pixels"
    elif info.ignore is not None:
        learnt = f"{learnt}, ignore label {info.ignore}"
    rows = f"rows {info.crop_rows[0]} to {info.crop_rows[1] - 1}"
    facts = {
        "state": _state(folder, finished),
        "learnt": learnt,
        "members": _sizes(info.members, info.widths, info.channels),
        "store": pairs_text(info.store),
        "generator": pairs_text(info.generator),
        "grid": f"{info.grid[0]} x {info.grid[1]}, {rows}, {info.upsample}",
        "layers": ", ".join(f"{layer.name} {layer.channels}" for layer in info.layers),
        "training": pairs_text(info.training),
        "epochs": _epochs(info),
    }
    if info.epochs:
        facts["quality"] = quality_text(info.epochs[info.best_epoch or 0])
    if info.created:
        facts["created"] = pairs_text(info.created)
    return facts


def _state(folder: Path, finished: bool) -> str:
    if not finished:
        return "unfinished; run the same `dgan train` again to go on"
    anew = (folder / STATE).exists()
    return "finished; being trained anew: run the same `dgan train` again to go on" if anew else "finished"


def _sizes(members: int, widths: tuple[int, int], channels: int) -> str:
    return f"{members}, each of {channels} features a pixel and hidden widths {widths[0]} and {widths[1]}"


def _epochs(info: InterpreterInfo) -> str:
    """How many epochs and steps, and how many epochs were over all images."""
    final = sum(epoch.final for epoch in info.epochs)
    steps = info.epochs[-1].steps if info.epochs else 0
    text = f"{count(len(info.epochs), 'epoch')}, {count(steps, 'step')}"
    return f"{text}; {count(final, 'epoch')} of them over all images" if final else text


def quality_text(best: EpochMetrics) -> str:
    """What the best epoch reached; people count epochs from 1."""
    where = f"best epoch {best.epoch + 1}: "
    if best.heat_error is not None and best.pck15 is not None and best.pck10 is not None:
        return (
            f"{where}heat-map error {best.heat_error:.3g}, PCK@15 {best.pck15:.3f}, PCK@10 {best.pck10:.3f} "
            "on held-out images"
        )
    if best.miou is not None:
        return f"{where}mIoU {best.miou:.4f} on held-out images"
    return f"{where}loss {best.loss:.4f}; nothing was held out"


def _outputs(info: InterpreterInfo) -> list[str]:
    if info.keypoints is not None:
        return [f"  {number:>5} {printable(name)}" for number, name in enumerate(info.keypoints.names)]
    return [f"  {entry.id:>5} {entry.color} {printable(entry.name)}" for entry in info.classes]
