"""What the tests of calibration share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.quality import uncertainty_rule


@pytest.fixture(scope="module", autouse=True)
def _few_orders() -> Iterator[None]:
    """Fewer random orders and resamples than a run has: these tests look at no p-value."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uncertainty_rule, "NUM_ORDERS", 99)
        patch.setattr(uncertainty_rule, "NUM_RESAMPLES", 20)
        yield
