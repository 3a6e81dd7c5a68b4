"""What a run of ``dgan translate apply`` has read before it starts.

It writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fstore
from fstore import format as fmt
from fstore.filter import Filter, filter_of
from pipeline.machine.provenance import created_record
from pipeline.stages.synthesize.filtering import open_complete
from pipeline.translate.application.checks import check_apart
from pipeline.translate.application.images import working_size
from pipeline.translate.folder import Translator, open_translator


@dataclass(frozen=True)
class ApplicationJob:
    """Everything a run needs, read and checked.

    size: (h, w) at which the network works. meta: what the new dataset says of itself, without a filter.
    filter: the source's, which the new dataset gets.
    """

    translator: Translator
    source: fstore.Dataset
    filter: Filter
    size: tuple[int, int]
    meta: fmt.DatasetMeta
    store: str
    overwrite: bool
    notes: tuple[str, ...] = ()
    """What a user should know before it begins, a line each."""


def read_job(translator: Path, data: str, store: str, *, overwrite: bool) -> ApplicationJob:
    """Read the translator, and what the dataset says of itself.

    Raises UsageError, one line: the dataset is not complete or is the store to write, or the translator
    cannot be used. StoreError: there is no such dataset, or it has no filter.
    """
    check_apart(data, store)
    source = open_complete(data)
    kept = filter_of(source)
    opened = open_translator(translator)
    size = working_size(source.meta.shape, opened.resolution)
    meta = replace(
        source.meta,
        keep=None,
        threshold=None,
        filter=None,
        created=created_record(),
        translator=_record(opened, source, size),
    )
    return ApplicationJob(opened, source, kept, size, meta, store, overwrite, tuple(_notes(opened, source)))


def _record(translator: Translator, source: fstore.Dataset, size: tuple[int, int]) -> dict[str, Any]:
    """What the new dataset says of the translation. No paths but names, so that nothing of the machine is
    told.
    """
    name = str(source.location).rstrip("/").rpartition("/")[2]
    before = {} if source.meta.translator is None else {"translator": dict(source.meta.translator)}
    record = {key: value for key, value in translator.record.items() if key != "source"}
    return {
        **record,
        "learnt_from": translator.record["source"],
        "resolution": translator.resolution,
        "size": list(size),
        "source": {"store": name, "id": source.id, **before},
    }


def _notes(translator: Translator, source: fstore.Dataset) -> list[str]:
    shape, side, notes = source.meta.shape, translator.resolution, []
    if not translator.is_finished:
        notes.append(
            f"{translator.path}: its training is not finished; the network of its last finished epoch "
            "translates"
        )
    if min(shape) > side:
        notes.append(
            f"{source.location}: has images of {shape[0]} x {shape[1]} pixels, and {translator.path} has "
            f"learnt {side} x {side}: they are translated at that size and enlarged again, which loses detail"
        )
    if source.meta.translator is not None:
        notes.append(f"{source.location}: holds translated images already, which are translated again")
    return notes
