"""Bounds the work that the content of one file can ask for. It does not know what is counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Budget:
    """What looking into one file's content may still cost.

    A few bytes of a file can refer to one large thing any number of times, so that neither the file's size
    nor the largest thing in it bounds the work.
    """

    entries: int = 20_000
    """Of dicts and lists."""
    elements: int = 2**27
    """Of tensors: four times those of the largest generator of 1024 px."""

    def spend_entries(self, count: int) -> None:
        """Takes `count` entries off. Raises ValueError where fewer are left."""
        self.entries -= count
        if self.entries < 0:
            raise ValueError("it refers to many more tensors and modules than any generator has")

    def spend_elements(self, count: int) -> None:
        """Takes `count` elements of tensors off. Raises ValueError where fewer are left."""
        self.elements -= count
        if self.elements < 0:
            raise ValueError("its tensors have many more elements than those of any generator")
