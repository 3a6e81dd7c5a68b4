"""Errors of the store. Each message is one line: what was found, what was expected, where, and what to do."""

from __future__ import annotations


class StoreError(Exception):
    """The path is no store that this version can use, or the call does not fit the store."""


class MismatchError(StoreError):
    """The store was begun with other settings than those of this run."""


class CorruptionError(StoreError):
    """Bytes of a committed image are missing or damaged. The message names array, image and chunk."""


class UnreadableError(StoreError):
    """The system does not let a file of the store be read: permission, too many open files, the network.

    The content of the file may be whole: nobody has seen it.
    """


class RequestError(UnreadableError):
    """A request to storage at a URL failed for good: no permission, no such host, or errors that went on.

    The message names the place without secrets, the reason, how often it was tried again, and what to do.
    """


class BeyondEndError(RequestError):
    """A range of bytes was asked for that lies beyond the end of an object."""


class OverflowError16(StoreError):
    """A feature exceeds float16's largest finite value, 65504. The message names layer and value."""


class StoreWarning(UserWarning):
    """One line about something that a place lacks, such as locks. It is shown once for each place."""
