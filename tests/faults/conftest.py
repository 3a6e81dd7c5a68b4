"""What the tests of faults share: the commands they disturb, and how a case is noted for the table at the
end of the session.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.fault_commands import Workshop
from support.fault_table import OUTCOMES, PROPERTY
from support.second_rounds import SecondRounds


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """``note(SURVIVED)``: one case more that ended in the bytes of an undisturbed run; or ``REFUSED``."""

    def noted(outcome: str) -> None:
        assert outcome in OUTCOMES
        record_property(PROPERTY, outcome)

    return noted


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Inputs, and undisturbed outputs: change none of them."""
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="session")
def second_rounds(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> SecondRounds:
    """What earlier commands have made, and the commands that change it."""
    return SecondRounds(tmp_path_factory.mktemp("second"), workshop)
