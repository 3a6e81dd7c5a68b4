"""Checks that the images that a training reads are still those that its description names.

It knows who can tell. It does not know what images are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from fstore.errors import StoreError
from pipeline.errors import RunError


class Images(Protocol):
    """Images that a training reads."""

    def check_unchanged(self) -> None:
        """Raise StoreError where they are no longer those that the description names."""
        ...


def check_same_images(images: Images) -> None:
    """Raise RunError where the images are no longer those that the description names.

    It is called before what they taught is saved.
    """
    try:
        images.check_unchanged()
    except StoreError as error:
        raise RunError(str(error)) from None


@contextmanager
def reading(images: Images) -> Iterator[None]:
    """A block that reads the images. If a read fails because they were replaced, the error says so."""
    try:
        yield
    except (StoreError, OSError, ValueError, KeyError):
        check_same_images(images)
        raise
