"""The project's Markdown pages as tests read them: code with its line, links, and the anchors of headings.

A CommonMark parser says what is code. This module knows no commands and runs nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from support.places import REPOSITORY

PAGES = sorted(
    str(path.relative_to(REPOSITORY))
    for path in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"))
)
SHELL, PYTHON, TOML, INLINE, OTHER = "shell", "python", "toml", "inline", "other"
_LANGUAGES = {"": SHELL, "sh": SHELL, "bash": SHELL, "python": PYTHON, "toml": TOML}
_BETWEEN = ("&&", ";", "|", "||", "&")


@dataclass(frozen=True)
class Code:
    """A code block or a piece of inline code: where it stands (lines from 1), its kind, its text."""

    page: str
    line: int
    kind: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a shell: its place, and its words without comments."""

    place: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)


@cache
def tokens(page: str) -> tuple[Token, ...]:
    """The page's blocks, in their order."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return tuple(MarkdownIt("commonmark").enable("table").parse(text))


def inline_tokens(page: str) -> Iterator[tuple[int, Token]]:
    """(line of its block, token) of everything inside paragraphs, headings and cells."""
    line = 0
    for token in tokens(page):
        line = token.map[0] + 1 if token.map else line
        for child in token.children or ():
            yield line, child


def codes(page: str) -> Iterator[Code]:
    """All code of the page in its order, blocks and inline."""
    line = 0
    for token in tokens(page):
        line = token.map[0] + 1 if token.map else line
        if token.type == "fence":
            yield Code(page, line, _LANGUAGES.get(token.info.strip(), OTHER), token.content)
        elif token.type == "code_block":
            is_python = re.match(r"(import|from) \w", token.content) is not None
            yield Code(page, line, PYTHON if is_python else SHELL, token.content)
        for child in token.children or ():
            if child.type == "code_inline":
                yield Code(page, line, INLINE, child.content)


def shell_commands(code: Code, programs: tuple[str, ...]) -> Iterator[Command]:
    """The commands of a block or of inline code that begin with one of the programs' names.

    Other lines are passed over: a block may be a tree of files or what a command prints.
    """
    joined = code.text.replace("\\\n", " ")
    for line in joined.splitlines():
        if line.split()[:1] and line.split()[0] in programs:
            for words in _split(line):
                if words and words[0] in programs:
                    yield Command(code.place, tuple(words))


def _split(line: str) -> Iterator[list[str]]:
    """The commands of a line, as a shell splits it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in _BETWEEN:
            yield words
            words = []
        else:
            words.append(word)
    yield words


def links(page: str) -> Iterator[tuple[int, str]]:
    """(line, target) of every link and picture."""
    for line, token in inline_tokens(page):
        target = token.attrGet("href") if token.type == "link_open" else None
        target = token.attrGet("src") if token.type == "image" else target
        if isinstance(target, str):
            yield line, target


@cache
def anchors(page: str) -> frozenset[str]:
    """The names by which a link reaches the page's headings, as GitHub makes them."""
    found: list[str] = []
    blocks = tokens(page)
    for opening, content in pairwise(blocks):
        if opening.type == "heading_open":
            text = "".join(child.content for child in content.children or ())
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.append(f"{name}-{found.count(name)}" if name in found else name)
    return frozenset(found)


def resolve(page: str, target: str) -> tuple[Path, str]:
    """The file that a relative link of the page names, and its anchor or ""."""
    path, _, anchor = target.partition("#")
    here = REPOSITORY / page
    return (here.parent / path if path else here), anchor
