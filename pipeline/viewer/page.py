"""The page that is served: the report's, with what its scripts need to ask for everything else."""

from __future__ import annotations

import shlex
from typing import Any

import fstore
from pipeline.errors import count
from pipeline.reports.dataset_filter import filter_notes, filter_options, kept_words, own_options, score_name
from pipeline.reports.gallery import class_entries, title_of
from pipeline.reports.page import SERVED_SCRIPTS, Page, policy_of, render
from pipeline.reports.provenance import provenance_section, translation_facts
from pipeline.viewer.content import Snapshot, image_shape

IMAGES_OF_A_PAGE = 120


def page_text(snapshot: Snapshot, largest_divergence: float | None) -> tuple[str, str]:
    """The HTML of a store, and the policy that it is shown under.

    ``largest_divergence``: what 255 stands for in the pictures of divergence; None where there are none.
    """
    page = Page(
        kind="dataset" if snapshot.is_dataset else "annotated images",
        title=title_of(snapshot.store),
        facts=_facts(snapshot),
        notes=_notes(snapshot),
        data=_data(snapshot, largest_divergence),
        sections=[provenance_section(snapshot.store.meta.to_attribute(), left_out=("classes",))],
        scripts=SERVED_SCRIPTS,
        is_served=True,
    )
    return render(page), f"{policy_of(page)}; frame-ancestors 'none'"


def _data(snapshot: Snapshot, largest_divergence: float | None) -> dict[str, Any]:
    """As `pipeline.reports.gallery.gallery_data`, without images: the scripts ask for them. Beside that
    ``key``, which they name when they ask, and ``per_page``.
    """
    store = snapshot.store
    meta: Any = store.meta
    return {
        "kind": meta.kind,
        "title": title_of(store),
        "path": shlex.quote(str(store.location)) if len(store) == store.num_images else None,
        "classes": class_entries(store),
        "ignore": meta.ignore,
        "points": meta.keypoints is not None,
        "num_images": len(store),
        "shape": list(image_shape(store)),
        "keep": meta.keep if snapshot.is_dataset else None,
        "threshold": meta.threshold if snapshot.is_dataset else None,
        "score": score_name(store) if isinstance(store, fstore.Dataset) else None,
        "filter_options": filter_options(store) if isinstance(store, fstore.Dataset) else [],
        "own_options": own_options(store) if isinstance(store, fstore.Dataset) else [],
        "largest_divergence": largest_divergence,
        "all": {} if snapshot.is_dataset else None,
        "items": [],
        "key": snapshot.key,
        "per_page": IMAGES_OF_A_PAGE,
    }


def _facts(snapshot: Snapshot) -> list[tuple[str, str]]:
    store = snapshot.store
    rows, columns = image_shape(store)
    facts = [("Images", f"{len(store):,}, {rows} x {columns} pixels each")]
    if isinstance(store, fstore.Dataset) and snapshot.kept is not None:
        facts.append(("Kept", kept_words(store, snapshot.kept)))
    if isinstance(store, fstore.Dataset):
        facts += translation_facts(store)
    return [*facts, ("Served from", str(store.location))]


def _notes(snapshot: Snapshot) -> list[str]:
    store = snapshot.store
    if len(store) < store.num_images:
        return [
            f"This store is not finished: {len(store):,} of {count(store.num_images, 'image')} are "
            "committed. Reload this page to see more."
        ]
    return filter_notes(store, snapshot.kept) if isinstance(store, fstore.Dataset) else []
