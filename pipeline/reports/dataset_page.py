"""The page of a dataset: gallery, classes, near-duplicates, provenance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fstore
from pipeline.errors import UsageError, count
from pipeline.reports.built import Built
from pipeline.reports.gallery import (
    class_entries,
    gallery_data,
    kept_of,
    largest_divergence,
    picture_items,
)
from pipeline.reports.page import GALLERY_SCRIPTS, Page, Section
from pipeline.reports.provenance import provenance_section
from pipeline.reports.selection import chosen_images


def dataset_page(
    store: fstore.Dataset, *, num_images: int, annotated: str | None, say: Callable[[str], None]
) -> Built:
    """The page of an open dataset, with ``num_images`` of its images at most.

    Raises UsageError where nothing is committed, StoreError where the store is damaged.
    """
    if not len(store):
        raise UsageError(f"{store.location}: no image is committed yet; run `dgan synthesize` first")
    chosen = chosen_images(store.uncertainty, kept_of(store), num_images).tolist()
    largest = largest_divergence(store, chosen)
    items = picture_items(store, chosen, largest)
    title = title_of(store)
    page = Page(
        kind="dataset",
        title=title,
        facts=_facts(store, len(items)),
        notes=_notes(store),
        data=gallery_data(store, title, items, largest, class_entries(store)),
        sections=_sections(store),
        scripts=GALLERY_SCRIPTS,
    )
    return Built(page, len(items), len(store), store.check_unchanged)


def title_of(store: fstore.Dataset | fstore.FeatureStore) -> str:
    """The last name of a store's place."""
    folder = store.location.folder
    name = str(store.location).rstrip("/").rpartition("/")[2] if folder is None else folder.absolute().name
    return name or str(store.location)


def _facts(store: fstore.Dataset, num_shown: int) -> list[tuple[str, str]]:
    meta, kept = store.meta, kept_of(store)
    rows, columns = meta.shape
    facts = [("Images", f"{len(store):,} of {rows} x {columns} pixels")]
    if kept is not None:
        facts.append(("Kept", f"{int(kept.sum()):,} (--keep {meta.keep}, score {meta.score})"))
    facts.append(("On this page", f"{num_shown:,}: both ends of uncertainty, the rest evenly between")
                 if num_shown < len(store) else ("On this page", "all"))  # fmt: skip
    members = meta.interpreter.get("members")
    if members is not None:
        facts.append(("Labelled by", f"{members} members"))
    return facts


def _notes(store: fstore.Dataset) -> list[str]:
    notes = []
    if not store.complete:
        notes.append(
            f"This dataset is not finished: {len(store):,} of {count(store.num_images, 'image')} are "
            "committed, and this page shows those. The same dgan synthesize goes on with it."
        )
    elif store.meta.keep is None:
        notes.append("No filter is set: every image counts as kept. dgan filter sets one.")
    return notes


def _sections(store: fstore.Dataset) -> list[Section]:
    attribute: dict[str, Any] = store.meta.to_attribute()
    return [provenance_section(attribute, left_out=("classes",))]
