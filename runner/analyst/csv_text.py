"""Rows as CSV that a spreadsheet only shows: no cell is computed, no character controls what shows it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

from runner.messages.printable import printable

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of cells that spreadsheets compute: values of events must not get to."""
_LONGEST: Final = 32_000
"""Characters of a cell: spreadsheets take 32,767."""


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as CSV, with the names of the first as its first line; empty without a row."""
    file = io.StringIO()
    writer: Any = None
    for row in rows:
        writer = writer or csv.DictWriter(file, list(row))
        if not file.tell():
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return file.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value[:_LONGEST], but="\n")[:_LONGEST]
    return f"'{text}" if value.lstrip().startswith(_FORMULA) or text.startswith(_FORMULA) else text
