"""The text of a query as it is sent: `NOW()` as a fixed time, with a limit behind it, and places in it told back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from runner.esql.tokens import EsqlToken, tokens_of
from runner.messages.text_positions import Source, Span
from runner.windows import iso


@dataclass(frozen=True, slots=True)
class SentText:
    """A text with pieces replaced. `cuts` are their spans in the original, ascending, with what stands there now."""

    original: str
    cuts: tuple[tuple[Span, str], ...] = ()
    added: str = ""

    @property
    def text(self) -> str:
        parts, at = [], 0
        for span, new in self.cuts:
            parts += [self.original[at : span.start], new]
            at = span.end
        return "".join([*parts, self.original[at:], self.added])

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Line and column in the original of those in the text; inside a replaced piece, its start."""
        offset = Source(self.text).offset(line, column)
        starts, shift = [], 0
        for span, new in self.cuts:
            starts.append(span.start + shift)
            shift += len(new) - (span.end - span.start)
        number = bisect_right(starts, offset) - 1
        if number >= 0:
            span, new = self.cuts[number]
            past = offset - starts[number] - len(new)
            offset = span.start if past < 0 else span.end + past
        return Source(self.original).place(min(offset, len(self.original)))


def now_calls(tokens: Sequence[EsqlToken]) -> list[Span]:
    """The places of the calls of `NOW()`, in any letter case; not in strings, comments or names."""
    words = [token for token in tokens if token.is_word]
    found = []
    for before, name, opened, closed in zip([None, *words], words, words[1:], words[2:], strict=False):
        is_field = before is not None and before.text == "."
        if not is_field and name.kind == "name" and name.is_name("now") and (opened.text, closed.text) == ("(", ")"):
            found.append(name.span.to(closed.span))
    return found


def sent_text(query: str, *, now: datetime, limit: int | None = None) -> SentText:
    """The query with the time `now` for each `NOW()`, and at most `limit` rows."""
    literal = f'"{iso(now)}"::datetime'
    cuts = tuple((span, literal) for span in now_calls(tokens_of(query)))
    # On a line of its own: a comment may stand before it.
    return SentText(query, cuts, "" if limit is None else f"\n| LIMIT {limit}")
