"""The section of a page that says where its source comes from: all of its attribute, as table and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import fstore
from pipeline.machine.provenance import created_record, translator_words
from pipeline.reports.page import Section


def provenance_section(attribute: Mapping[str, Any], left_out: tuple[str, ...] = ()) -> Section:
    """Every value of ``attribute``, nested ones with the names on the way to them.

    ``left_out``: keys whose values the page shows elsewhere; the JSON has them, the table has not.
    """
    shown = {key: value for key, value in attribute.items() if key not in left_out}
    return Section(
        "provenance",
        "Provenance",
        "provenance.html.j2",
        {
            "rows": list(_rows(shown, "")),
            "json": json.dumps(attribute, indent=2, ensure_ascii=False),
            "page": created_record(),
        },
    )


def translation_facts(store: fstore.Dataset) -> list[tuple[str, str]]:
    """What a page says at its top of a dataset whose images were translated; nothing of any other."""
    record = store.meta.translator
    return [] if record is None else [("Translated by", translator_words(record))]


def _rows(values: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{before}{key} ")
        else:
            yield before + key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
