"""Every relative link and picture of the pages leads to a file of the repository, and to a heading in it."""

from __future__ import annotations

import pytest
from support.markdown import PAGES, anchors, links, resolve
from support.places import REPOSITORY

ELSEWHERE = ("https://", "http://", "mailto:")


def relative_links(page: str) -> list[tuple[int, str]]:
    return [(line, target) for line, target in links(page) if not target.startswith(ELSEWHERE)]


def problem(page: str, target: str) -> str | None:
    """What is wrong with a relative link, or None."""
    path, anchor = resolve(page, target)
    if not path.resolve().is_relative_to(REPOSITORY) or not path.exists():
        return f"{target}: there is no such file"
    if anchor and anchor not in anchors(str(path.resolve().relative_to(REPOSITORY))):
        return f"{target}: the page has no such heading"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    found = [(line, problem(page, target)) for line, target in relative_links(page)]
    assert [f"{page}:{line}: {said}" for line, said in found if said] == []


def test_the_index_has_every_page() -> None:
    indexed = {resolve("docs/README.md", target)[0].resolve() for _, target in links("docs/README.md")}
    pages = {path for path in (REPOSITORY / "docs").glob("*.*") if path.suffix in (".md", ".ipynb")}
    assert {path.name for path in pages - indexed} == {"README.md"}


def test_a_missing_file_and_a_missing_heading_are_found() -> None:
    assert problem("README.md", "docs/nothing.md") is not None
    assert problem("README.md", "docs/format.md#9-nothing") is not None
    assert problem("README.md", "../elsewhere.md") is not None
    assert problem("docs/format.md", "#5-what-a-feature-is") is None
    assert len(relative_links("README.md")) > 5
