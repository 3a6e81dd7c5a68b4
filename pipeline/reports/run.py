"""Writes the page of a store or an interpreter: tells the kind of what is there, and has its page made.

A kind's module makes a `Built`: the page, and how to see at the end that its source has not changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fstore
from fstore.display import human_bytes
from fstore.urls import is_url
from pipeline.errors import count
from pipeline.interpreter.summary import is_interpreter
from pipeline.reports.built import Built
from pipeline.reports.dataset_page import dataset_page
from pipeline.reports.features_page import features_page
from pipeline.reports.interpreter_page import interpreter_page
from pipeline.reports.page import render
from pipeline.reports.page_file import check_place, write_page


def report(
    path: str,
    out: Path,
    *,
    num_images: int,
    annotated: str | None,
    overwrite: bool,
    say: Callable[[str], None],
) -> str:
    """Write the page of a dataset, a feature store or an interpreter's folder. Returns a line on it.

    Args:
        path: a folder, or the URL of a store.
        out: the HTML file. A page that is there is replaced.
        num_images: the most images that the page carries.
        annotated: the feature store that a dataset is compared with; None: the one beside it, where it fits.
        overwrite: replace a file that is no page, too.
        say: is told what people should know, a line each.

    Raises:
        UsageError: ``out`` must not be written, or ``path`` is nothing that has a page. StoreError: the store
        is damaged, or another one took its place meanwhile.
    """
    check_place(out, path, overwrite=overwrite)
    built = build(path, num_images=num_images, annotated=annotated, say=say)
    text = render(built.page)
    built.check_unchanged()
    num_bytes = write_page(out, text)
    shown = f"{built.num_shown:,} of {count(built.num_images, 'image')}, " if built.num_images else ""
    return f"{out}: page of {built.page.kind} {path}, {shown}{human_bytes(num_bytes)}"


def build(path: str, *, num_images: int, annotated: str | None, say: Callable[[str], None]) -> Built:
    """The page of what lies at ``path``, by its kind. Raises UsageError, StoreError."""
    if not is_url(path) and is_interpreter(Path(path)):
        return interpreter_page(Path(path))
    store = fstore.open(path)
    if isinstance(store, fstore.Dataset):
        return dataset_page(store, num_images=num_images, annotated=annotated, say=say)
    assert isinstance(store, fstore.FeatureStore), "a store is of one of two kinds"
    return features_page(store, num_images=num_images, say=say)
