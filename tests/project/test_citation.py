"""``CITATION.cff`` is of the Citation File Format 1.2.0 and cites this version."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from support.places import REPOSITORY

from fstore._version import __version__

# Of the format's schema: the keys that a file, a reference and an author may have, as far as they are used.
FILE = {"cff-version", "message", "type", "title", "version", "license", "authors", "keywords", "references"}
REFERENCE = {"type", "title", "year", "authors", "conference", "collection-title", "url"}
REFERENCE_TYPES = {"article", "book", "conference-paper", "proceedings", "software"}
PERSON = {"family-names", "given-names"}


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    return found


def test_it_has_what_the_format_requires_and_nothing_that_it_does_not_know(citation: dict[str, Any]) -> None:
    assert {"cff-version", "message", "title", "authors"} <= set(citation) <= FILE
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["authors"] == [{"name": "The dgan contributors"}]
    for reference in citation["references"]:
        assert {"authors", "title", "type"} <= set(reference) <= REFERENCE
        assert reference["type"] in REFERENCE_TYPES
        assert all(set(person) == PERSON for person in reference["authors"])


def test_it_cites_this_version_under_its_licence(citation: dict[str, Any]) -> None:
    assert citation["version"] == __version__
    assert (REPOSITORY / "LICENSE").read_text(encoding="utf-8").startswith(f"{citation['license']} License")


def test_the_paper_is_the_one_of_the_readme(citation: dict[str, Any]) -> None:
    (paper,) = citation["references"]
    assert (len(paper["authors"]), paper["year"]) == (8, 2021)
    assert paper["url"] in (REPOSITORY / "README.md").read_text(encoding="utf-8")
