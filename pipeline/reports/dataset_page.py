"""The page of a dataset: gallery, classes, near-duplicates, provenance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fstore
from pipeline.errors import UsageError, count
from pipeline.quality.frequencies import Frequencies, frequencies
from pipeline.reports.beside import Neighbour, annotated_counts, annotated_store, interpreter_beside
from pipeline.reports.built import Built
from pipeline.reports.class_sections import classes_section, confusion_section
from pipeline.reports.dataset_filter import filter_notes, kept_of, kept_words, scores_of
from pipeline.reports.duplicates_section import duplicates_section
from pipeline.reports.gallery import class_entries, gallery_data, largest_divergence, picture_items, title_of
from pipeline.reports.page import GALLERY_SCRIPTS, Page, Section
from pipeline.reports.provenance import provenance_section, translation_facts
from pipeline.reports.selection import chosen_images
from pipeline.reports.survey import Survey, survey
from pipeline.reports.training_section import training_section


def dataset_page(
    store: fstore.Dataset, *, num_images: int, annotated: str | None, say: Callable[[str], None]
) -> Built:
    """The page of an open dataset, with ``num_images`` of its images at most.

    Raises UsageError where nothing is committed or ``annotated`` does not fit, StoreError where the store is
    damaged.
    """
    if not len(store):
        raise UsageError(f"{store.location}: no image is committed yet; run `{store.meta.maker}` first")
    neighbour = interpreter_beside(store)
    compared = annotated_store(store, annotated, neighbour)
    found = survey(store)
    shares = _frequencies(store, found, compared)
    chosen = chosen_images(scores_of(store), kept_of(store), num_images).tolist()
    largest = largest_divergence(store, chosen)
    items = picture_items(store, chosen, largest)
    title = title_of(store)
    page = Page(
        kind="dataset",
        title=title,
        facts=_facts(store, len(items)),
        notes=_notes(store),
        data=gallery_data(store, title, items, largest, class_entries(store, shares)),
        sections=_sections(store, found, shares, compared, neighbour),
        scripts=GALLERY_SCRIPTS,
    )

    def check_unchanged() -> None:
        store.check_unchanged()
        if compared is not None:
            compared.check_unchanged()

    return Built(page, len(items), len(store), check_unchanged)


def _frequencies(
    store: fstore.Dataset, found: Survey, compared: fstore.FeatureStore | None
) -> Frequencies | None:
    """How often each class is seen; None of keypoints."""
    if found.counts is None:
        return None
    return frequencies(found.counts, kept_of(store), None if compared is None else annotated_counts(compared))


def _facts(store: fstore.Dataset, num_shown: int) -> list[tuple[str, str]]:
    meta, kept = store.meta, kept_of(store)
    rows, columns = meta.shape
    facts = [("Images", f"{len(store):,}, {rows} x {columns} pixels each")]
    if kept is not None:
        facts.append(("Kept", kept_words(store, kept)))
    facts.append(("On this page", f"{num_shown:,}: both ends of uncertainty, the rest evenly between")
                 if num_shown < len(store) else ("On this page", "all"))  # fmt: skip
    members = meta.interpreter.get("members")
    if members is not None:
        facts.append(("Labelled by", f"{members} members"))
    return [*facts, *translation_facts(store)]


def _notes(store: fstore.Dataset) -> list[str]:
    if store.complete:
        return filter_notes(store, kept_of(store))
    return [
        f"This dataset is not finished: {len(store):,} of {count(store.num_images, 'image')} are "
        f"committed, and this page shows those. The same {store.meta.maker} goes on with it."
    ]


def _sections(
    store: fstore.Dataset,
    found: Survey,
    shares: Frequencies | None,
    compared: fstore.FeatureStore | None,
    neighbour: Neighbour | None,
) -> list[Section]:
    """The parts below the gallery, in the order of the page."""
    sections = []
    if shares is not None:
        place = None if compared is None else title_of(compared)
        sections = [
            classes_section(shares, store.meta.classes, place),
            confusion_section(found.votes, store.meta.classes),
        ]
    attribute: dict[str, Any] = store.meta.to_attribute()
    return [
        *sections,
        duplicates_section(store, found.descriptions),
        *([] if neighbour is None else [training_section(neighbour.info)]),
        provenance_section(attribute, left_out=("classes",)),
    ]
