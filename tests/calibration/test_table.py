"""The table of a calibration that was read from a file: there is one, or the file is refused in a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.filters import calibration

from pipeline.calibration.table import table_lines
from pipeline.errors import UsageError
from pipeline.quality.calibration_file import read_calibration

WHOLE = calibration({"top10": "0.75", "mean": "0.25"}).to_json()
ODD = (None, True, -1, 0, 1, 5, 0.5, 10**400, "", "0.9", "2", "top10", [], {}, [1], {"a": 1})
REFUSED = re.compile("is no calibration, or is damaged|newer than 1")


def places(document: Any, *above: int | str) -> Iterator[tuple[int | str, ...]]:
    """Where each value of a document lies."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inner:
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from places(value, *above, key)


PLACES = list(places(WHOLE))


def tabulated(path: Path, document: Any) -> list[str]:
    """What a command that finds a finished calibration prints of it."""
    path.write_text(json.dumps(document), encoding="utf-8")
    return table_lines(read_calibration(path).to_json(), path)


def test_the_classes_that_are_dropped_most_are_named(tmp_path: Path) -> None:
    lines = tabulated(tmp_path / "calibration.json", WHOLE)
    assert "dropped images by class: bird 1 of 4, road 1 of 4, sky 1 of 4" in lines


@given(place=st.sampled_from(PLACES), value=st.sampled_from(ODD), deleted=st.booleans())
def test_a_changed_file_has_a_table_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[int | str, ...], value: Any, deleted: bool
) -> None:
    document = json.loads(json.dumps(WHOLE))
    at = document
    for key in place[:-1]:
        at = at[key]
    if deleted:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    try:
        lines = tabulated(tmp_path_factory.mktemp("changed") / "calibration.json", document)
    except UsageError as error:
        assert "\n" not in str(error) and REFUSED.search(str(error))
    else:
        assert len(lines) > 4
