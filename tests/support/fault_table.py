"""The table that ends a session in which tests of ``tests/faults/`` ran: what each kind of fault came to.

A test notes its cases as properties, which pytest-xdist sends from its processes. A test that fails is one
case that is lost.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath

import pytest

PROPERTY = "fault"
SURVIVED, REFUSED, LOST = OUTCOMES = ("survived", "refused", "lost")


def write(reporter: pytest.TerminalReporter) -> None:
    """Print a line for each file of faults, and their sum; nothing where none ran."""
    table = counted([report for reports in reporter.stats.values() for report in reports])
    if not table:
        return
    reporter.section("faults")
    reporter.write_line(row("", ("cases", *OUTCOMES)))
    for kind, counts in [*sorted(table.items()), ("all", sum(table.values(), Counter()))]:
        reporter.write_line(row(kind, (counts.total(), *(counts[outcome] for outcome in OUTCOMES))))


def counted(reports: list[object]) -> dict[str, Counter[str]]:
    """Outcomes by the kind of fault, which is the name of the test's file."""
    table: dict[str, Counter[str]] = {}
    for report in reports:
        place = PurePath(str(getattr(report, "nodeid", "")).partition("::")[0])
        if not isinstance(report, pytest.TestReport) or place.parent.name != "faults":
            continue
        counts = table.setdefault(place.stem.removeprefix("test_").replace("_", " "), Counter())
        if report.when == "call":
            counts.update(str(value) for name, value in report.user_properties if name == PROPERTY)
        counts[LOST] += report.failed
    return {kind: counts for kind, counts in table.items() if counts.total()}


def row(kind: str, values: tuple[object, ...]) -> str:
    return f"{kind:30}" + "".join(f"{value!s:>10}" for value in values)
