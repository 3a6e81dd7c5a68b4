"""What the tests of faults share: how a case is noted for the table at the end of the session."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.fault_table import OUTCOMES, PROPERTY


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """``note(SURVIVED)``: one case more that ended in the bytes of an undisturbed run; or ``REFUSED``."""

    def noted(outcome: str) -> None:
        assert outcome in OUTCOMES
        record_property(PROPERTY, outcome)

    return noted
