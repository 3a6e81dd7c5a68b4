"""What a page of a report shows, and the HTML text of it: one file that asks for nothing over a network.

Templates, style and scripts are files of this package; all of them are put into the page. A page is of any
kind: its sections name their templates. This module knows no stores.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

MARK = "<!-- A page of dgan: `dgan report` may write it anew. -->"
"""The second line of every page, by which a file is known to be one."""
FRAME_SCRIPTS = ("state.js", "theme.js")
GALLERY_SCRIPTS = (
    "embedded.js",
    "filter.js",
    "overlay.js",
    "histogram.js",
    "cards.js",
    "large.js",
    "controls.js",
    "main.js",
)
SERVED_SCRIPTS = ("served.js", *GALLERY_SCRIPTS[1:])
ANNOTATION_SCRIPTS = (*GALLERY_SCRIPTS[:-1], "findings.js", GALLERY_SCRIPTS[-1])
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Section:
    """A part of a page below the gallery.

    ``anchor`` is its id in the page, ``template`` the file in ``templates/`` that shows ``values`` (which it
    finds under that name).
    """

    anchor: str
    title: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """What a page shows.

    kind: in a word or two, such as "dataset". facts: the names and values under the title. notes: sentences
    that the reader should see first, such as that a dataset is not finished. data: the JSON for the scripts,
    or None where there is no gallery. gallery: the template of the gallery. scripts: files of ``scripts/``
    after those of the frame, joined in this order into one function. is_served: whether a local server gives
    the page, which may then ask that server for pictures and data.
    """

    kind: str
    title: str
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    data: Mapping[str, Any] | None = None
    gallery: str = "gallery.html.j2"
    sections: Sequence[Section] = ()
    scripts: Sequence[str] = GALLERY_SCRIPTS
    is_served: bool = False


def render(page: Page) -> str:
    """The page as HTML. All texts are escaped; the browser runs no script but the page's own.

    UTF-8 can hold it: half of a surrogate pair, which a store's texts may have, is shown as Python writes it.
    Raises ValueError where ``data`` holds a number that is not finite.
    """
    style, script = _style_and_script(page)
    text = _environment().get_template("base.html.j2").render(
        page=page,
        mark=Markup(MARK),
        policy=policy_of(page),
        style=Markup(style),
        script=Markup(script),
        data=None if page.data is None else Markup(json_for_html(page.data)),
    )  # fmt: skip
    return text.encode("utf-8", "backslashreplace").decode()  # as JSON writes it too


def policy_of(page: Page) -> str:
    """The page's Content-Security-Policy: nothing is allowed but what the page itself holds, and of a page
    that is served, what its server gives.
    """
    style, script = _style_and_script(page)
    own = " 'self'" if page.is_served else ""
    rules = [
        "default-src 'none'",
        f"img-src data: blob:{own}",
        f"style-src '{_digest(style)}'",
        f"script-src '{_digest(script)}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join([*rules, "connect-src 'self'"] if page.is_served else rules)


def json_for_html(data: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: no text in it ends the element or begins a comment."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPED)


def package_text(name: str) -> str:
    """The text of a file of this package, such as ``style.css``."""
    return files("pipeline.reports").joinpath(name).read_text(encoding="utf-8")


def _style_and_script(page: Page) -> tuple[str, str]:
    names = FRAME_SCRIPTS + tuple(page.scripts if page.data is not None else ())
    return package_text("style.css"), _joined(names)


def _joined(names: Sequence[str]) -> str:
    """Script files as one: they share a function's scope, and leave nothing in that of the window.

    It is asynchronous, because a page that is served waits for its data.
    """
    parts = [package_text(f"scripts/{name}") for name in names]
    return '(async () => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


@cache
def _environment() -> Environment:
    """What the templates are read and compiled by, once."""
    return Environment(
        loader=PackageLoader("pipeline.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _digest(text: str) -> str:
    """How a policy names an element by its text (Content Security Policy Level 3, section 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
