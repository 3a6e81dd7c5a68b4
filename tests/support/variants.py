"""Cases of one promise, of which the fast tests try the first ones."""

from __future__ import annotations

import pytest
from _pytest.mark import ParameterSet


def variants(*values: object, fast: int = 1) -> list[ParameterSet]:
    """Values for ``parametrize``, each by itself or a ``pytest.param``: those after the first ``fast`` are
    marked slow.
    """
    sets = [value if isinstance(value, ParameterSet) else pytest.param(value) for value in values]
    slow = [pytest.param(*each.values, marks=[*each.marks, pytest.mark.slow], id=each.id) for each in sets]
    return [*sets[:fast], *slow[fast:]]
