"""Time, peak memory and tables for the benchmark programs. It knows nothing of what they measure."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

POLL_SECONDS = 0.02
ROOT = Path(__file__).resolve().parent.parent
SUMMARY = "DGAN_BENCHMARK_SUMMARY"
"""Environment variable: the file that collects the lines of the last table of `python -m benchmarks`."""
CALL_DGAN = "from pipeline.cli import main; main(prog_name='dgan')"
DGAN = (sys.executable, "-c", CALL_DGAN)
PINNED_DGAN = (
    sys.executable,
    "-c",
    f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); {CALL_DGAN}",
)
"""The same on one core, with all processes that it starts. Linux alone."""


@dataclass(frozen=True)
class ChildRun:
    """What one child process took: wall time, peak resident set, what it printed, and time of the cores."""

    seconds: float
    peak_bytes: int
    output: str
    child_peaks: tuple[int, ...] = ()
    """Of its own child processes that were asked for, in the order in which they were seen."""
    core_seconds: float = 0.0
    """Time that all cores together worked for it and for those of its own children that it waited for."""


def run_child(command: Sequence[str], folder: Path | None = None, children: str | None = None) -> ChildRun:
    """Run a command to its end. Raises RuntimeError with its output when it fails.

    ``children``: a word of the command line of those of its own children whose peaks are asked for; they are
    seen where there is a ``/proc``.

    The peak is the kernel's high-water mark of the child's own address space, read again and again while it
    runs. ``wait4`` alone would not do, because its figure begins at the size of the process that started the
    child; it is used where there is no ``/proc``.
    """
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            command,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path},
        )
        peak, peaks = 0, dict[int, int]()
        while True:
            peak = max(peak, high_water_bytes(child.pid))
            for process in children_of(child.pid, children) if children else ():
                peaks[process] = max(peaks.get(process, 0), high_water_bytes(process))
            finished, status, usage = os.wait4(child.pid, os.WNOHANG)
            if finished:
                break
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}: {text[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    core_seconds = usage.ru_utime + usage.ru_stime
    return ChildRun(seconds, peak or usage.ru_maxrss * unit, text, tuple(peaks.values()), core_seconds)


def imports_peak_bytes() -> int:
    """Peak memory of a process that imports what extraction imports and does nothing."""
    return run_child([sys.executable, "-c", "import pipeline.stages.extract.stage, dask.array"]).peak_bytes


def high_water_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(found[0]) * 1024 if found else 0


def children_of(process: int, word: str) -> list[int]:
    """The children of a process that have ``word`` in their command line: one that was just forked has its
    parent's command line and memory until it starts its own program.
    """
    found: list[int] = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):  # the thread or the child has ended
            found += [
                child
                for child in map(int, file.read_text().split())
                if word.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            ]
    return found


def precisions(device: str) -> tuple[str, ...]:
    """Types of products that are worth timing there: bfloat16 without hardware for it takes many times as
    long, and `dgan` does not choose it.
    """
    import torch

    from pipeline.machine.device import resolve_precision

    chosen = resolve_precision("auto", torch.device(device))
    return ("bfloat16", "float32") if chosen == torch.bfloat16 else ("float32",)


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """The median wall time of ``repeats`` calls."""
    return median(seconds_of(work) for _ in range(repeats))


def seconds_of(work: Callable[[], object]) -> float:
    """The wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def drop_cached(folder: Path) -> None:
    """Ask the kernel to forget the files' pages. A cache below it, such as a host's, may still have them."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in [folder] if folder.is_file() else [p for p in folder.rglob("*") if p.is_file()]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


@contextmanager
def working_folder(folder: Path | None) -> Iterator[Path]:
    """``folder`` itself, created and kept, or a temporary one."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="dgan-bench-") as made:
        yield Path(made)


def machine() -> str:
    """Processor, cores, memory and load of this machine, in one line: figures mean little without it."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":", 1)[1].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        name = models[0] if models else name
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    load = os.getloadavg()[0]
    python = platform.python_version()
    return f"{os.cpu_count()} cores {name}, {memory:.0f} GB, load average {load:.1f}, Python {python}"


def add_to_summary(what: str, ours: str, baseline: str, ratio: str) -> None:
    """One line of the last table of `python -m benchmarks`; nothing where a program runs alone."""
    if os.environ.get(SUMMARY):
        with open(os.environ[SUMMARY], "a", encoding="utf-8") as file:
            file.write(json.dumps([what, ours, baseline, ratio]) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table as wide as it needs to be, also into a file; all columns but the first are right-aligned."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*[str(cell) for cell in row])
    width = sum(max(len(str(row[i])) for row in [columns, *rows]) + 3 for i in range(len(columns))) + 1
    Console(width=max(width, 40, len(title) + 1)).print(table)
