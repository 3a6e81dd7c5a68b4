"""``dgan export`` on workers: a task is a part, whose files a worker writes and the client marks.

A worker opens the store and plans the export itself, and must come to the same plan. Its files appear whole,
under their names, once they are forced to the disk: it may run on another machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from fstore.durable import force_to_disk
from pipeline.cluster.pool import Pool
from pipeline.cluster.worker import check_stopped
from pipeline.errors import UsageError
from pipeline.exports.content import Item
from pipeline.exports.identity import difference
from pipeline.exports.job import ExportJob, prepare
from pipeline.exports.plan import Part
from pipeline.exports.sink import Sink
from pipeline.machine.progress import Bar
from pipeline.settings.absolute_paths import absolute, with_absolute_paths
from pipeline.settings.schema import ExportConfig


@dataclass(frozen=True)
class ExportRequest:
    """What a worker is told, once. ``settings``: what its own plan must be."""

    store: str
    out: Path
    config: ExportConfig
    settings: dict[str, Any]


class DurableSink(Sink):
    """A sink whose files come to their places when they are whole, so that several may write the same ones.

    Until then they lie in ``temporary``, on the same file system, which goes when the export is finished.
    """

    def __init__(self, tree: Path, temporary: Path) -> None:
        super().__init__(temporary)
        self._place = tree

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A new file, to be written in the block."""
        made = uuid4().hex
        with super().open(made) as file:
            yield file
        self.files[name] = self.files.pop(made)
        path = self._place / name
        force_to_disk(self._tree / made)
        path.parent.mkdir(parents=True, exist_ok=True)
        (self._tree / made).replace(path)
        for folder in path.parents:
            force_to_disk(folder)
            if folder == self._place:
                break


def write_on_workers(job: ExportJob, pool: Pool, pending: list[Part], bar: Bar) -> None:
    """Have the pending parts written by the workers of the pool, and mark them."""
    config = with_absolute_paths(job.config).export
    request = ExportRequest(absolute(job.store), absolute(job.folder.out), config, job.settings)
    images = {part.index: len(part.places) for part in pending}
    for index, _ in pool.run(begin, (request,), write_part, images, lambda index: f"part {index}"):
        job.folder.mark_prepared(index)
        bar.advance(images[index])


def begin(request: ExportRequest) -> ExportJob:
    """Open the store and plan the export. Raises UsageError and StoreError for what this worker lacks."""
    job = prepare(request.store, request.out, request.config)
    differs = difference(request.settings, job.settings)
    if differs is not None:
        raise UsageError(f"{request.store}: the export of what is there {differs}")
    if job.folder.settings() != request.settings:
        raise UsageError(f"{request.out}: the export that was begun is not there")
    return job


def write_part(job: ExportJob, index: int) -> None:
    """Write the files of a part, and what its mark will say."""
    part = job.parts[index]

    def items() -> Iterator[Item]:
        for place in part.places:
            check_stopped()
            yield job.content.read(place)

    sink = DurableSink(job.folder.tree, job.folder.temporary)
    records = list(job.exporter.write_part(part, items(), sink))
    job.folder.prepare_mark(index, sink.files, records)
