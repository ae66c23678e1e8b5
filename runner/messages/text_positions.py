"""Query text and places in it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of the query: offsets in characters, `start` included, `end` not."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The piece from the start of this one to the end of the other."""
        return Span(self.start, other.end)


_WIDEST = 110
"""Characters of a query line that a picture shows."""


@dataclass(frozen=True, slots=True)
class Source:
    """A query's text, able to say which line and column an offset is on."""

    text: str

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1, as Elasticsearch counts them."""
        starts = _line_starts(self.text)
        line = bisect_right(starts, offset) - 1
        return line + 1, offset - starts[line] + 1

    def line(self, number: int) -> str:
        """The text of a line, counted from 1, without its line end."""
        starts = _line_starts(self.text)
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r\n")

    def picture(self, span: Span, shown_line: int | None = None) -> str:
        """The line of a span with carets under it, ready to print; `shown_line` is the number to print, if not its own.

        Of a line wider than a screen only the part around the span is shown.
        """
        number, column = self.place(span.start)
        text = "".join(char if char.isprintable() else " " for char in self.line(number))
        width = max(1, min(span.end - span.start, len(text) - column + 1, _WIDEST))
        first = max(0, min(column - 1 - (_WIDEST - width) // 2, len(text) - _WIDEST))
        shown = text[first : first + _WIDEST]
        if first:
            shown = "..." + shown[3:]
        if first + _WIDEST < len(text):
            shown = shown[:-3] + "..."
        return f"{shown_line or number:>6} | {shown}\n{'':>6} | {' ' * (column - 1 - first)}{'^' * width}"

    def excerpt(self, span: Span, limit: int = 2000) -> str:
        """The text of a span, cut to `limit` characters: for messages."""
        if span.end - span.start <= limit:
            return self.text[span.start : span.end]
        return self.text[span.start : span.start + limit] + "..."


@lru_cache(maxsize=4)
def _line_starts(text: str) -> tuple[int, ...]:
    """Where each line begins; kept for the last few texts because a query with many findings asks it for each."""
    starts = [0]
    position = text.find("\n")
    while position >= 0:
        starts.append(position + 1)
        position = text.find("\n", position + 1)
    return tuple(starts)


_LONGEST = 160
_BEFORE = 60


class Lines:
    """The lines of a text, able to say where an offset is and to draw it."""

    __slots__ = ("_starts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))][:-1]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1, in characters."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """The offset of a line and column, both from 1, held inside the text."""
        line = max(1, min(line, len(self._starts)))
        return min(self._starts[line - 1] + column - 1, len(self.text))

    def line(self, number: int) -> str:
        """The text of a line, from 1, without its line end; "" if there is no such line."""
        if not 1 <= number <= len(self._starts):
            return ""
        start = self._starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else None]

    def picture(self, line: int, column: int, *, width: int = 1) -> str:
        """A line with carets under `width` characters from `column` on; long lines are cut around the place."""
        return picture(self.line(line), line, column=column, width=width)


def picture(text: str, line: int, *, column: int, width: int = 1) -> str:
    """The text of a line, its number before it and carets under `width` characters from `column` on, ready to print.

    >>> print(picture('query = 5', 7, column=9))
        7 | query = 5
          |         ^
    """
    shown = "".join(char if char.isprintable() else " " for char in text.replace("\t", " "))
    width = max(1, min(width, len(shown) - column + 1))
    if len(shown) > _LONGEST:
        start = max(0, min(column - 1 - _BEFORE, len(shown) - _LONGEST))
        cut = shown[start : start + _LONGEST]
        shown = ("..." if start else "") + cut + ("..." if start + _LONGEST < len(shown) else "")
        column = column - start + (3 if start else 0)
        width = max(1, min(width, len(shown) - column + 1))
    return f"{line:>5} | {shown}\n{' ' * 5} | {' ' * (column - 1)}{'^' * width}"
