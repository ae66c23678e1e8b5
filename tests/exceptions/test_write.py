"""Exceptions that are written are read back as they were."""

from __future__ import annotations

import tomllib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import RunnerError
from runner.exceptions.write import NewException

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@given(TEXTS, TEXTS)
def test_texts_are_read_back_from_lines_that_no_terminal_obeys(name: str, value: str) -> None:
    text = NewException(name, "r", {"host.name": [value]}, rules=("id",), expires=date(2026, 9, 30)).text()
    (table,) = tomllib.loads(text)["exception"]
    assert (table["name"], table["when"]["host.name"], table["expires"]) == (name, value, date(2026, 9, 30))
    assert text.replace("\n", "").isprintable()


def test_half_a_character_is_refused() -> None:
    with pytest.raises(RunnerError, match="half of a character"):
        NewException("n", "r", {"host.name": [chr(0xD800)]}).text()
