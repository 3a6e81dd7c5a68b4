"""In which order a stream of images comes, and who reads which: a pure function of seed, epoch and reader.

A *file* holds the images whose index has the same quotient by ``images_of_file``. A *run* is some images of
one file that are read together. Guarantees, for N items and W ranks of K workers each:

* Together the readers give every item exactly once. With ``drop_last`` N mod W items are left out, others in
  another epoch.
* Ranks differ by at most one item; with ``drop_last`` they have the same number, and so have workers of the
  same number in different ranks.
* At most W K - 1 files are read by more than one reader; no reader reads a run twice.
* Of what a reader has read, at most ``shuffle_buffer`` items have not been given.

It knows numbers, by numpy only, and neither stores nor images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fstore.plan import Ints, Purpose, random_stream


@dataclass(frozen=True)
class Reader:
    """One of those that share a stream: worker ``worker`` of ``num_workers`` of rank ``rank`` of
    ``num_ranks``.
    """

    rank: int = 0
    num_ranks: int = 1
    worker: int = 0
    num_workers: int = 1


@dataclass(frozen=True)
class Turn:
    """What a reader does for one item: read ``runs``, each of items of one file, then give item ``place``."""

    runs: tuple[Ints, ...]
    place: int


def runs_of(
    ids: Ints, images_of_file: int, reader: Reader, *, seed: int, epoch: int, longest: int, drop_last: bool
) -> list[Ints]:
    """The runs of one reader in the order of reading: places in ``ids``, at most ``longest`` in a run.

    The files are shuffled and laid end to end; each rank has an equal part of these, each worker an equal
    part of its rank's. ``ids`` ascend.
    """
    files = np.split(np.arange(len(ids)), np.flatnonzero(np.diff(ids // images_of_file)) + 1)
    order = random_stream(seed, epoch, Purpose.FILES).permutation(len(files))
    length = len(ids) - (len(ids) % reader.num_ranks if drop_last else 0)
    first, last = _part(0, length, reader.rank, reader.num_ranks)
    first, last = _part(first, last, reader.worker, reader.num_workers)
    runs, end = [], 0
    for file in (files[i] for i in order):
        begin, end = end, end + len(file)
        own = file[max(first - begin, 0) : max(last - begin, 0)]
        runs += [own[i : i + longest] for i in range(0, len(own), longest)]
    return runs


def turns(
    runs: Sequence[Ints], reader: Reader, *, seed: int, epoch: int, shuffle_buffer: int
) -> Iterator[Turn]:
    """A turn for every item of the runs, which are at most ``shuffle_buffer`` long.

    The buffer takes the next run wherever it has room for it, and gives an item at random where it has not.
    """
    stream = random_stream(seed, epoch, Purpose.STREAM, reader.rank, reader.worker)
    buffer: list[int] = []
    waiting = list(reversed(runs))
    while waiting or buffer:
        read = []
        while waiting and len(buffer) + len(waiting[-1]) <= shuffle_buffer:
            read.append(waiting.pop())
            buffer += read[-1].tolist()
        chosen = int(stream.integers(len(buffer)))
        buffer[chosen], buffer[-1] = buffer[-1], buffer[chosen]
        yield Turn(tuple(read), buffer.pop())


def _part(first: int, last: int, number: int, count: int) -> tuple[int, int]:
    """The ``number``-th of ``count`` parts of [first, last), which differ by at most one."""
    length = last - first
    return first + number * length // count, first + (number + 1) * length // count
