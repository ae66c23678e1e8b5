"""CSV that a spreadsheet only shows."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from runner.analyst.csv_text import csv_text


@given(st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_no_cell_is_computed_and_every_row_is_read_back(values: list[str]) -> None:
    text = csv_text([{"a": value, "n": number} for number, value in enumerate(values)])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["n"] for row in rows] == [str(number) for number in range(len(values))]
    assert not [row for row in rows if row["a"][:1] in ("=", "+", "-", "@", "\t", "\r")]


def test_long_cells_are_cut_as_spreadsheets_would_and_none_is_nothing() -> None:
    assert csv_text([]) == ""
    (row,) = csv.DictReader(io.StringIO(csv_text([{"a": "x" * 100_000}])))
    assert len(row["a"]) == 32_000
