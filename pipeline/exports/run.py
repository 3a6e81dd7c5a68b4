"""``dgan export``: from a store to files that other tools read, part by part.

Each part is written, then marked; when all are there, the files of the whole are written and everything moves
to its place. Killed and run again, the same command goes on. This module knows no format: it hands each part
to an exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Event
from time import monotonic

from fstore.display import human_bytes, human_duration
from fstore.location import Location
from fstore.lock import FolderLock
from pipeline.cluster.choice import ClusterChoice
from pipeline.cluster.opening import open_pool
from pipeline.cluster.pool import Pool
from pipeline.errors import RunError, UsageError, count, few
from pipeline.exports.content import Item
from pipeline.exports.identity import difference
from pipeline.exports.job import ExportJob
from pipeline.exports.plan import Part
from pipeline.exports.sink import MeasuringSink, Sink
from pipeline.exports.workers import write_on_workers
from pipeline.machine.cores import num_cores
from pipeline.machine.progress import Bar, progress
from pipeline.machine.provenance import created_record

SAMPLE_IMAGES = 4  # that are encoded to tell the size of the whole


def dry_run(job: ExportJob, *, overwrite: bool = False) -> list[str]:
    """What ``export`` would write and how much, a line for each subject; it raises what that would refuse."""
    state = _check_place(job, overwrite)
    if state == "finished":
        return [_nothing_to_do(job)]
    needed, seconds = _estimate(job)
    _check_disk(job, needed, freed=_freed_bytes(job, state))
    free = Location.parse(job.folder.out).free_bytes()
    shares = [f"{name or 'all'} {size:,}" for name, size in job.info.splits.items()]
    return [
        f"{job.folder.out}: {'goes on with ' if state == 'unfinished' else ''}format {job.format}",
        f"images       {', '.join(shares)}, of {count(len(job.content.store), 'image')} in "
        f"{job.content.store.location}",
        f"on disk      about {human_bytes(needed)}, in {count(len(job.parts), 'part')}",
        f"disk free    {'unknown' if free is None else human_bytes(free)}",
        f"time         about {human_duration(seconds)} on one thread",
    ]


def export(
    job: ExportJob,
    *,
    overwrite: bool = False,
    threads: int | None = None,
    cluster: ClusterChoice | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """Write what is not written yet. Returns one line on what is there.

    ``threads``: how many parts are written at once; None: one a processor core. ``cluster``: processes that
    write parts, each one at a time; None: the threads of this one do. ``say`` is told, in one line
    each, what people should know.

    Raises UsageError where something else lies in the folder or an export with other settings, RunError where
    the disk is too small, StoreError where the store is damaged or replaced meanwhile.
    """
    with _locked(job.folder.out):
        state = _check_place(job, overwrite)
        if state == "finished":
            job.folder.sweep()  # left where a run was killed at the very end
            return _nothing_to_do(job)
        whole: list[str] = []
        if state == "discarding" or not job.folder.is_ready():
            whole = _write(job, state, threads or num_cores(), cluster, say)
        more = {"source": job.info.source, "created": created_record()}
        job.folder.finish(job.settings, more, whole)
    return _summary(job)


def _write(
    job: ExportJob, state: str, threads: int, cluster: ClusterChoice | None, say: Callable[[str], None]
) -> list[str]:
    """Write all files to where they wait until all are there. Returns the names of those that are of no part.

    Of what comes before the first file, the deletion of an export that is overwritten comes last: all else
    may fail.
    """
    _check_disk(job, _estimate(job)[0], freed=_freed_bytes(job, state))
    pending = [part for part in job.parts if state == "discarding" or not job.folder.written(part.index)]
    with _opened_pool(cluster if pending else None, say) as pool:
        if state == "discarding":
            job.folder.discard()
        job.folder.begin(job.settings)
        _write_parts(job, pending, threads, pool, say)
    whole = _write_whole(job)
    job.content.store.check_unchanged()
    return whole


def _opened_pool(
    cluster: ClusterChoice | None, say: Callable[[str], None]
) -> AbstractContextManager[Pool | None]:
    return nullcontext() if cluster is None else open_pool(cluster, say)


def _write_parts(
    job: ExportJob, pending: list[Part], threads: int, pool: Pool | None, say: Callable[[str], None]
) -> None:
    images = sum(len(part.places) for part in pending)
    if len(pending) < len(job.parts):
        say(f"{job.folder.out}: going on after {count(len(job.content) - images, 'image')}")
    done = len(job.content) - images
    with progress(f"exporting {job.format}", len(job.content), "images", done) as bar:
        if pool is None:
            _write_in_threads(job, threads, pending, bar)
        else:
            write_on_workers(job, pool, pending, bar)


def _write_in_threads(job: ExportJob, threads: int, pending: list[Part], bar: Bar) -> None:
    stop = Event()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="dgan-export")
    try:
        running: set[Future[None]] = set()
        for part in pending:
            running.add(pool.submit(_write_part, job, part, bar, stop))
            if len(running) > threads:
                running = _after_one(running)
        while running:
            running = _after_one(running)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _after_one(running: set[Future[None]]) -> set[Future[None]]:
    """Wait until one ends; those that still run. An error of any is raised at once."""
    ended, left = wait(running, return_when=FIRST_COMPLETED)
    for future in ended:
        future.result()
    return left


def _write_part(job: ExportJob, part: Part, bar: Bar, stop: Event) -> None:
    """Write one part and mark it. It ends early, without the mark, when ``stop`` is set."""

    def items() -> Iterator[Item]:
        for place in part.places:
            if stop.is_set():
                raise InterruptedError(f"part {part.index}: stopped before it was whole")
            yield job.content.read(place)
            bar.advance(1)

    sink = Sink(job.folder.tree)
    records = list(job.exporter.write_part(part, items(), sink))
    job.folder.mark_part(part.index, sink.files, records)


def _write_whole(job: ExportJob) -> list[str]:
    """Write the files that are of no part. Returns their names."""
    sink = Sink(job.folder.tree)
    for split in job.splits:
        indices = [part.index for part in job.parts if part.split == split.name]
        records = job.folder.records(range(indices[0], indices[-1] + 1))
        job.exporter.write_whole(split.name, records, sink)
    job.exporter.write_last(sink)
    return list(sink.files)


def _check_place(job: ExportJob, overwrite: bool) -> str:
    """The folder's state, "discarding" where it holds an export that is to be overwritten.

    Raises UsageError where the export cannot be written there.
    """
    folder = job.folder
    state = folder.state()
    if state == "foreign":
        what = f"holds other files ({few(folder.others())})" if folder.out.is_dir() else "is a file"
        raise UsageError(f"{folder.out}: {what}; expected an empty or new folder, name another OUT")
    if state == "finished" and not overwrite:
        _check_begun(job, "the export there")
        if folder.missing():
            raise UsageError(
                f"{folder.out}: was exported, but {few(folder.missing())} is not there any more; pass "
                "--overwrite to export anew"
            )
        return state
    if overwrite and state != "absent":
        state = "discarding"
    others = folder.others()
    if state == "discarding":
        others += folder.others_below()
    if others:
        raise UsageError(
            f"{folder.out}: holds files that are not the export's ({few(others)}); move them away, or name "
            "another OUT"
        )
    if state == "unfinished":
        _check_begun(job, "the export that was begun there")
    return state


def _check_begun(job: ExportJob, what: str) -> None:
    """Refuse to go on with an export whose settings are not those of this run."""
    begun = job.folder.settings()
    if not begun:
        raise UsageError(
            f"{job.folder.out}: what says which export is there is damaged; delete the folder, or name "
            "another OUT"
        )
    differs = difference(begun, job.settings)
    if differs is not None:
        raise UsageError(
            f"{job.folder.out}: {what} {differs}; use the same, name another OUT, or pass --overwrite"
        )


def _estimate(job: ExportJob) -> tuple[int, float]:
    """Bytes of all files, and seconds on one thread, from the first few images, which are only measured."""
    first = job.parts[0]
    places = first.places[:SAMPLE_IMAGES]
    part = Part(0, first.split, 0, 1, places)
    sink, start = MeasuringSink(), monotonic()
    list(job.exporter.write_part(part, (job.content.read(place) for place in places), sink))
    ratio = len(job.content) / len(places)
    return int(sum(sink.files.values()) * ratio), (monotonic() - start) * ratio


def _used_bytes(folder: Path) -> int:
    return (Location.parse(folder).used_bytes() or 0) if folder.is_dir() else 0


def _freed_bytes(job: ExportJob, state: str) -> int:
    """Bytes of the export that is to be overwritten; 0 where none is."""
    return _used_bytes(job.folder.out) if state == "discarding" else 0


def _check_disk(job: ExportJob, needed: int, freed: int = 0) -> None:
    """Refuse a disk that is too small. ``freed``: bytes that the export to be overwritten takes."""
    free = Location.parse(job.folder.out).free_bytes()
    written = freed or _used_bytes(job.folder.tree)
    if free is not None and needed - written > free:
        raise RunError(
            f"{job.folder.out}: the export needs about {human_bytes(needed - written)} and the disk has "
            f"{human_bytes(free)} free; make room, name another OUT, or export less with --limit"
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """A block during which nobody else exports into the folder, which is made first."""
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{out}: is a file, or lies in one; name another OUT") from None
    lock = FolderLock(out)
    try:
        yield
    finally:
        lock.release()
        if made:
            with suppress(OSError):  # it is not empty: the export has begun
                out.rmdir()


def _nothing_to_do(job: ExportJob) -> str:
    return f"{job.folder.out}: exported already with these settings; nothing to do"


def _summary(job: ExportJob) -> str:
    named = [f"{name} {size:,}" for name, size in job.info.splits.items() if name is not None]
    parts = f" ({', '.join(named)})" if named else ""
    return f"{job.folder.out}: {count(len(job.content), 'image')}{parts} exported as {job.format}"
