"""The page as text: what it escapes, what it lets the browser do, and how its file is written."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.deaths import dying, survived

from pipeline.errors import UsageError
from pipeline.reports.page import GALLERY_SCRIPTS, MARK, Page, json_for_html, render
from pipeline.reports.page_file import check_place, is_page, write_page
from pipeline.reports.provenance import provenance_section

HOSTILE = """</script><script>alert(1)</script> "quotes" 'single' <!-- & <img src=x onerror=alert(1)>"""
SOURCE = "dataset.zarr"  # of a page; nothing lies there
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=5,
)  # fmt: skip


class Elements(HTMLParser):
    """The elements of a page as a browser reads them: tag, attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._is_within = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        self.texts.append("")
        self._is_within = True

    def handle_endtag(self, tag: str) -> None:
        self._is_within = False

    def handle_data(self, data: str) -> None:
        if self._is_within:
            self.texts[-1] += data

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        pairs = zip(self.found, self.texts, strict=True)
        return [(attributes, text) for (name, attributes), text in pairs if name == tag]


def hostile_page() -> Page:
    data = {
        "classes": [{"id": 0, "name": HOSTILE, "color": "#ff0000"}],
        "points": False,
        "largest_divergence": 1.0,
        "all": {"uncertainty": [0.5], "kept": None},
        "items": [],
    }
    sections = [provenance_section({"generator": {HOSTILE: HOSTILE}})]
    return Page(
        "dataset", HOSTILE, [(HOSTILE, HOSTILE)], [HOSTILE], data, sections=sections, scripts=GALLERY_SCRIPTS
    )


def test_texts_of_a_store_are_shown_and_never_markup() -> None:
    elements = Elements(render(hostile_page()))
    assert [attributes.get("type") for attributes, _ in elements.of("script")] == ["application/json", None]
    assert not elements.of("img")
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    ((_, title),) = elements.of("h1")
    assert title.strip() == HOSTILE
    data = json.loads(elements.of("script")[0][1])
    assert data["classes"][0]["name"] == HOSTILE


def test_half_of_a_surrogate_pair_is_shown_escaped_and_its_data_come_back() -> None:
    page = hostile_page()
    page = replace(page, title="\ud800", data={**page.data, "name": "\udfff"})
    elements = Elements(render(page).encode().decode())
    ((_, title),) = elements.of("h1")
    assert title.strip() == r"\ud800"
    assert json.loads(elements.of("script")[0][1])["name"] == "\udfff"


@given(value=st.dictionaries(st.text(), JSON_VALUES, max_size=3))
def test_json_in_a_script_element_comes_back_as_it_was(value: dict[str, object]) -> None:
    text = json_for_html(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_a_number_that_is_not_finite_is_refused_in_json() -> None:
    with pytest.raises(ValueError):
        json_for_html({"x": float("nan")})


def test_the_policy_names_the_page_s_own_script_and_style_and_nothing_else() -> None:
    elements = Elements(render(hostile_page()))
    policies = [
        a["content"] or "" for a, _ in elements.of("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(" ", 1) for rule in policies[0].split("; "))
    assert (
        rules["default-src"] == "'none'" and rules["img-src"] == "data: blob:" and "connect-src" not in rules
    )
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        text = elements.of(tag)[-1][1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert not [attributes for _, attributes in elements.found if "style" in attributes]


def test_a_page_names_no_other_place() -> None:
    text = render(hostile_page())
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) <= {"http://www.w3.org/2000/svg"}
    for tag, attributes in Elements(text).found:
        links = [attributes[name] or "" for name in ("src", "href", "action") if name in attributes]
        assert all(link.startswith(("#", "data:")) for link in links), tag


def test_a_served_page_may_ask_its_own_server_alone() -> None:
    page = Page("dataset", "t", is_served=True)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', render(page))
    assert policy is not None
    assert "connect-src &#39;self&#39;" in policy[1] and "img-src data: blob: &#39;self&#39;" in policy[1]


def test_a_page_without_a_gallery_has_its_parts() -> None:
    text = render(Page("interpreter", "t", sections=[provenance_section({"a": {"b": 1}})]))
    assert "Gallery" not in text and ">a b</th><td>1</td>" in text


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "report.html"
    assert write_page(out, render(Page("dataset", "first"))) == out.stat().st_size
    before = out.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_page(out, render(Page("dataset", "second")))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert out.read_bytes() == before


def test_what_a_kill_has_left_of_a_page_goes_when_it_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", count(1).__next__)  # another process each time
    out, last = tmp_path / "report.html", 0
    while not last or not survived():
        last += 1
        with dying(tmp_path, last):
            write_page(out, "text")
        write_page(out, "text")
        assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert last > 2


def test_a_page_replaces_a_page_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    check_place(out, SOURCE, overwrite=False)
    write_page(out, render(Page("dataset", "t")))
    assert is_page(out)
    check_place(out, SOURCE, overwrite=False)
    out.write_text(f"<!doctype html>{' ' * 2000}{MARK}")
    with pytest.raises(UsageError, match="did not write; name another --out, or pass --overwrite"):
        check_place(out, SOURCE, overwrite=False)
    check_place(out, SOURCE, overwrite=True)


@pytest.mark.parametrize(
    ("name", "words"), [(".", "is a folder"), ("missing/report.html", "its folder .* does not exist")]
)
def test_a_place_that_cannot_be_written_is_refused_first(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_place(tmp_path / name, SOURCE, overwrite=True)


@pytest.mark.parametrize("name", ["s.zarr/zarr.json", "s.zarr/new.html", "s.zarr/images/c/0", "l/zarr.json"])
def test_no_page_is_written_into_a_store(tmp_path: Path, name: str) -> None:
    (tmp_path / "s.zarr/images/c").mkdir(parents=True)
    (tmp_path / "l").symlink_to("s.zarr")
    (tmp_path / "s.zarr/zarr.json").write_text("{}")
    for source in (str(tmp_path / "s.zarr"), SOURCE, "file:///s.zarr"):
        with pytest.raises(UsageError, match=r"lies in .*s.zarr, which has files of its own only"):
            check_place(tmp_path / name, source, overwrite=True)


def test_no_page_is_written_into_the_interpreter_that_it_shows(tmp_path: Path) -> None:
    check_place(tmp_path / "interpreter.json", SOURCE, overwrite=True)
    with pytest.raises(UsageError, match="which has files of its own only"):
        check_place(tmp_path / "interpreter.json", f"{tmp_path}/", overwrite=True)


def test_a_pipe_is_neither_waited_for_nor_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is no regular file"):
            check_place(tmp_path / "pipe", SOURCE, overwrite=overwrite)


def test_a_name_that_no_file_can_have_is_the_one_in_the_error(tmp_path: Path) -> None:
    longest = tmp_path / ("a" * 250 + ".html")
    assert write_page(longest, "text") == 4
    with pytest.raises(OSError) as found:
        write_page(tmp_path / ("a" * 300), "text")
    assert found.value.filename == str(tmp_path / ("a" * 300))
    assert [path.name for path in tmp_path.iterdir()] == [longest.name]
