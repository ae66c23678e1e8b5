"""Places in a text: spans, lines and columns, and pictures of a line with carets."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text: offsets in characters, `start` included, `end` not."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The piece from the start of this one to the end of the other."""
        return Span(self.start, other.end)


@dataclass(frozen=True, slots=True)
class OtherPlace:
    """A second place of a finding, before the first, with the words that say what it is."""

    span: Span
    label: str


@dataclass(frozen=True, slots=True)
class PictureStyle:
    """How a picture is laid out; all are counts of characters."""

    number: int
    """The width of the line's number."""
    widest: int
    """Most of a line that is shown."""
    before: int | None
    """Of a longer line, shown before the place; None puts the place in the middle."""
    dots: int
    """Of a longer line, how many of the shown characters the dots at a cut take the place of."""


IN_QUERY = PictureStyle(number=6, widest=110, before=None, dots=3)
IN_FILE = PictureStyle(number=5, widest=160, before=60, dots=0)


@dataclass(frozen=True, slots=True)
class Source:
    """A text with the lines and columns of its offsets; lines and columns count from 1, in characters."""

    text: str

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset."""
        starts = _line_starts(self.text)
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """The offset of a line and column, held inside the text."""
        starts = _line_starts(self.text)
        return min(starts[max(1, min(line, len(starts))) - 1] + column - 1, len(self.text))

    def line(self, number: int) -> str:
        """The text of a line without its line end; "" if there is no such line."""
        return _line_of(self.text, number)

    def picture(
        self, span: Span, style: PictureStyle, *, shown_line: int | None = None, other: OtherPlace | None = None
    ) -> str:
        """The line on which a span begins, drawn; `shown_line` is the number to print, if not its own.

        The line of the other place is drawn above it; once, if it is the same line and not too long.
        """
        line, column = self.place(span.start)
        number = shown_line or line
        drawn = picture(self.line(line), number, style, column=column, width=span.end - span.start)
        if other is None:
            return drawn
        above, start = self.place(other.span.start)
        width = other.span.end - other.span.start
        upper = picture(self.line(above), number - line + above, style, column=start, width=width)
        if above == line and len(self.line(line)) <= style.widest:
            drawn = drawn.partition("\n")[2]
        return f"{upper} {other.label}\n{drawn}"

    def excerpt(self, span: Span, limit: int = 2000) -> str:
        """The text of a span, cut to `limit` characters: for messages."""
        if span.end - span.start <= limit:
            return self.text[span.start : span.end]
        return self.text[span.start : span.start + limit] + "..."


_LINE_END = re.compile("\n")


@lru_cache(maxsize=4)
def _line_starts(text: str) -> tuple[int, ...]:
    """Where each line begins; kept for the last few texts, as a text with many findings needs it for each."""
    return (0, *(found.end() for found in _LINE_END.finditer(text)))


@lru_cache(maxsize=4)
def _line_of(text: str, number: int) -> str:
    """The same; kept since many findings may be of one line, which is as long as a query."""
    starts = _line_starts(text)
    if not 1 <= number <= len(starts):
        return ""
    end = starts[number] if number < len(starts) else len(text)
    return text[starts[number - 1] : end].rstrip("\r\n")


def picture(text: str, line: int, style: PictureStyle, *, column: int, width: int = 1) -> str:
    """The text of a line, its number before it and carets under `width` characters from `column` on, ready to print.

    Of a long line only the part around the place is shown.

    >>> print(picture('query = 5', 7, IN_FILE, column=9))
        7 | query = 5
          |         ^
    """
    width = max(1, min(width, len(text) - column + 1))
    before = (style.widest - min(width, style.widest)) // 2 if style.before is None else style.before
    start = max(0, min(column - 1 - before, len(text) - style.widest))
    end = start + style.widest
    first, after = (start + style.dots, "...") if start else (0, "")
    last, beyond = (end - style.dots, "...") if end < len(text) else (len(text), "")
    shown = after + "".join(char if char.isprintable() else " " for char in text[first:last]) + beyond
    if start:
        column -= start + style.dots - 3
    width = max(1, min(width, len(shown) - column + 1))
    return f"{line:>{style.number}} | {shown}\n{'':>{style.number}} | {' ' * (column - 1)}{'^' * width}"
