"""The text of a JSON document."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.json_values import json_text

NAMES = st.text() | st.binary().map(os.fsdecode)  # as paths have them
VALUES = st.recursive(NAMES | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner))


@given(VALUES)
def test_utf_8_holds_every_document_and_it_reads_back(value: object) -> None:
    text = json_text(value)
    assert json.loads(text.encode("utf-8")) == value and text.endswith("\n")


def test_letters_stand_as_they_are_where_they_can() -> None:
    assert json_text({"name": "Käse"}) == '{"name": "Käse"}\n'
    assert json_text({"name": "Käse\udcff"}) == '{"name": "K\\u00e4se\\udcff"}\n'


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text([float("nan")])
