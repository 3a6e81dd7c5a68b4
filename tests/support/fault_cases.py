"""How many cases each kind of fault has, and how each is drawn from a number.

The fast tests run the first few, all tests some more, and ``make soak`` as many as ``FAULTS`` says. A case is
known by its number: ``pytest tests/faults -k 'power and 17'`` runs it again, after ``FAULTS=50`` made it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest
from _pytest.mark import ParameterSet
from hypothesis import settings

SOAK = "FAULTS"


def numbers(fast: int, whole: int) -> list[ParameterSet]:
    """Values for ``parametrize``: the numbers of a kind's cases, those from ``fast`` on marked slow.

    ``whole`` is how many `make test-all` runs; the environment variable ``FAULTS`` takes its place.
    """
    total = int(os.environ.get(SOAK, whole))
    return [pytest.param(n, marks=() if n < fast else pytest.mark.slow, id=f"{n:02d}") for n in range(total)]


def named(names: Sequence[str], quick: Sequence[str], whole: int) -> list[ParameterSet]:
    """Values for ``parametrize`` of ("name", "number"): ``whole`` numbers for each name; the fast tests run
    the first one of the ``quick`` names.
    """
    return [
        pytest.param(name, *case.values, marks=case.marks, id=f"{name}-{case.id}")
        for name in names
        for case in numbers(int(name in quick), whole)
    ]


def examples(fast: int, whole: int) -> int:
    """``max_examples`` of a property: as many as the fast tests, all tests, or ``make soak`` try."""
    if SOAK in os.environ:
        return 4 * int(os.environ[SOAK])
    return fast if settings().max_examples < settings.get_profile("whole").max_examples else whole


def drawn(*key: object) -> random.Random:
    """The source of chance of one case: the same for the same key, on every machine."""
    return random.Random(" ".join(map(str, key)))
