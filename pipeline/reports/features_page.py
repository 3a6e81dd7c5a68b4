"""The page of a feature store: annotations over their pictures, what looks wrong in them, and the classes.

It shows no features. What is looked for, and how, is the business of `pipeline.quality`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fstore
from fstore.display import class_rows
from pipeline.errors import UsageError, count
from pipeline.machine.progress import progress
from pipeline.quality.annotation_checks import KINDS, Finding
from pipeline.quality.annotation_review import AnnotationReview, image_numbers, review_annotations
from pipeline.reports import pictures
from pipeline.reports.annotation_sections import classes_section, findings_section
from pipeline.reports.built import Built
from pipeline.reports.gallery import NUM_DIGITS, areas, class_entries, title_of
from pipeline.reports.page import ANNOTATION_SCRIPTS, Page
from pipeline.reports.provenance import provenance_section
from pipeline.reports.reading import read_image, worked_through


def features_page(store: fstore.FeatureStore, *, num_images: int, say: Callable[[str], None]) -> Built:
    """The page of an open feature store, with ``num_images`` of its images at most, those with findings
    first. ``say`` is told what was found.

    Raises UsageError where nothing is committed, StoreError where the store is damaged.
    """
    if not len(store):
        raise UsageError(f"{store.location}: no image is committed yet; run `dgan extract-features` first")
    with progress("looking at the annotations", len(store), "images") as bar:
        review = review_annotations(store, bar.advance)
    line = review.line(str(store.location))
    if line is not None:
        say(line.partition("; see ")[0])
    chosen = most_found(review.findings, len(store), num_images)
    numbers = image_numbers(store)
    title = title_of(store)
    page = Page(
        kind="feature store",
        title=title,
        facts=_facts(store, len(chosen)),
        notes=_notes(store, review),
        data=_data(store, title, review, numbers, chosen),
        sections=[
            findings_section(review, numbers, of_keypoints=store.meta.keypoints is not None),
            classes_section(store),
            provenance_section(store.meta.to_attribute(), left_out=("classes", "layers")),
        ],
        scripts=ANNOTATION_SCRIPTS,
    )
    return Built(page, len(chosen), len(store), store.check_unchanged)


def most_found(findings: Sequence[Finding], num: int, most: int) -> list[int]:
    """Places in [0, num) of at most ``most`` images, ascending: those with the most findings, then the
    first ones.
    """
    found = Counter(finding.image for finding in findings)
    return sorted(sorted(range(num), key=lambda image: (-found[image], image))[:most])


def _facts(store: fstore.FeatureStore, num_shown: int) -> list[tuple[str, str]]:
    meta = store.meta
    facts = [("Images", f"{len(store):,} of {meta.height} x {meta.width} pixels")]
    if num_shown < len(store):
        facts.append(("On this page", f"{num_shown:,}: those with the most findings, then the first"))
    facts.append(("Features", f"{meta.channels:,} a pixel, {len(meta.layers)} layers, {meta.layout}"))
    if meta.keypoints is not None:
        facts.append(("Keypoints", f"{len(meta.keypoints.names)}, sigma {meta.keypoints.sigma:g} pixels"))
    return facts


def _notes(store: fstore.FeatureStore, review: AnnotationReview) -> list[str]:
    notes = [f"Classes {warning}." for warning in review.warnings]
    if len(store) < store.num_images:
        notes.append(
            f"This store is not finished: {len(store):,} of {count(store.num_images, 'image')} are "
            "committed, and this page shows those. The same dgan extract-features goes on with it."
        )
    return notes


def _data(
    store: fstore.FeatureStore,
    title: str,
    review: AnnotationReview,
    numbers: Sequence[int],
    chosen: Sequence[int],
) -> dict[str, Any]:
    """The JSON of the gallery: as of a dataset, without scores and divergence.

    An item's ``findings`` have a ``text`` and a ``box`` [x, y, width, height] as shares of the picture, null
    where the whole image is meant. ``kinds`` has the number of each kind of finding.
    """
    by_image: dict[int, list[Finding]] = {}
    for finding in review.findings:
        by_image.setdefault(finding.image, []).append(finding)

    def item(position: int) -> dict[str, Any]:
        found = [_entry(store, finding, review.names) for finding in by_image.get(position, [])]
        return {**_item(store, position), "id": numbers[position], "findings": found}

    kinds = Counter(finding.kind for finding in review.findings)
    return {
        "kind": "features",
        "title": title,
        "path": shlex.quote(str(store.location)),
        "classes": _class_entries(store),
        "ignore": store.meta.ignore,
        "points": store.meta.keypoints is not None,
        "num_images": len(store),
        "shape": [store.meta.height, store.meta.width],
        "largest_divergence": None,
        "all": None,
        "kinds": [{"num": kinds[kind], "text": _noun(kinds[kind], kind)} for kind in KINDS if kinds[kind]],
        "items": list(worked_through(item, chosen, len(chosen), "drawing pictures")),
    }


def _noun(number: int, kind: str) -> str:
    return count(number, KINDS[kind]).partition(" ")[2]


def _class_entries(store: fstore.FeatureStore) -> list[dict[str, Any]]:
    entries = class_entries(store)
    if store.meta.keypoints is not None:
        return entries
    rows, total = class_rows(store), _num_pixels(store)
    return [
        {**entry, "share": (pixels or 0) / total, "images": images or 0}
        for entry, (*_, pixels, images) in zip(entries, rows, strict=True)
    ]


def _num_pixels(store: fstore.FeatureStore) -> int:
    return len(store) * store.meta.height * store.meta.width


def _item(store: fstore.FeatureStore, position: int) -> dict[str, Any]:
    """Pictures of a committed image (a position), and the areas of its classes or its keypoints."""
    found: dict[str, Any] = {
        "image": pictures.encode_picture(read_image(store, "images", position)).url,
        "label": None,
        "areas": [],
    }
    if store.meta.keypoints is None:
        mask = read_image(store, "masks", position)
        num_classes = len(store.meta.classes)
        return {
            **found,
            "label": pictures.encode_label_map(mask).url,
            "areas": areas(mask[mask < num_classes], num_classes),
        }
    points = read_image(store, "keypoints", position)
    shares = (points[:, :2] / (store.meta.width, store.meta.height)).round(NUM_DIGITS).tolist()
    seen = (points[:, 2] > 0).tolist()
    return {
        **found,
        "points": [share if is_seen else None for share, is_seen in zip(shares, seen, strict=True)],
    }


def _entry(store: fstore.FeatureStore, finding: Finding, names: Sequence[str]) -> dict[str, Any]:
    if finding.box is None:
        return {"text": finding.text(names), "box": None}
    top, left, bottom, right = finding.box
    sides = np.array([left, top, right - left, bottom - top]) / np.tile(
        [store.meta.width, store.meta.height], 2
    )
    return {"text": finding.text(names), "box": sides.round(NUM_DIGITS).tolist()}
