"""A page that is ready to be rendered, with what its writer has to know of its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.reports.page import Page


@dataclass(frozen=True)
class Built:
    """A page. It carries ``num_shown`` of the source's ``num_images`` images; both are 0 of an interpreter.
    ``check_unchanged`` raises where the source is no longer the one that was read.
    """

    page: Page
    num_shown: int
    num_images: int
    check_unchanged: Callable[[], None]
