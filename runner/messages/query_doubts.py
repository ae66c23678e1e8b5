"""What is doubtful in the text of a query that can be read all the same, and the bracket that is never closed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.messages.foreign_queries import QueryLanguage, foreign_hint
from runner.messages.lookalikes import INVISIBLE, TYPOGRAPHIC, described
from runner.messages.query_errors import QueryFinding
from runner.messages.text_positions import OtherPlace, Span

LANGUAGES: dict[str, QueryLanguage] = {"eql": "EQL", "kuery": "KQL", "lucene": "Lucene's syntax", "esql": "ES|QL"}
"""The languages by the names that rules give them."""
_FORGIVING = frozenset({"kuery", "lucene"})
"""Those that read nearly any text, as words to search for."""
_PIECES = re.compile(r'\\.|"(?:\\.|[^"\\])*+"|[(){}]', re.DOTALL)
CONTROLS = {"b": "a backspace", "f": "a form feed", "n": "a line end", "r": "a carriage return", "t": "a tab"}
"""What backslashes before letters stand for."""
_NOTHING = re.compile(r"(?!)")
_PATH = {
    "eql": re.compile(r'(?<!")"[^"\\\n]*[A-Za-z]:(?P<escape>\\[bfnrt])\w'),
    "kuery": re.compile(r"[A-Za-z]:(?P<escape>\\[nrt])\w"),
}
"""A drive with a single backslash after it."""
_CLOSED_BY = {")": "(", "}": "{"}


def text_doubts(text: str, language: str) -> Iterator[QueryFinding]:
    """Warnings about a text that can be read in the language, by the name that rules give that.

    >>> [finding.message[:35] for finding in text_doubts("any where true", "kuery")]
    ['this looks like EQL, not KQL: a rul']
    """
    if language in _FORGIVING:
        if foreign := foreign_hint(text, LANGUAGES[language]):
            start = len(text) - len(text.lstrip())
            yield QueryFinding(Span(start, start + len(text[start:].split("\n")[0].rstrip())), foreign.lstrip("; "))
        outside = _PIECES.sub(lambda found: " " * len(found[0]), text)
        if found := TYPOGRAPHIC.search(outside):
            yield QueryFinding(Span(*found.span()), f"this is {described(found[0])}")
    if found := INVISIBLE.search(text):
        yield QueryFinding(Span(*found.span()), f"this is {described(found[0])}")


def lost_backslashes(text: str, language: str) -> Iterator[QueryFinding]:
    """A warning where the language reads a backslash of a path, as in `C:\\temp`, with its letter as one character."""
    found = _PATH.get(language, _NOTHING).search(text)
    if found is not None:
        message = f"{LANGUAGES[language]} reads `{found['escape']}` as {CONTROLS[found['escape'][1]]}"
        place = Span(*found.span("escape"))
        yield QueryFinding(place, message, "; a backslash is written as two")


def unclosed_bracket(text: str, end: int) -> OtherPlace | None:
    """The last bracket before an offset that nothing in the text closes, quoted and escaped characters aside."""
    open_: list[tuple[str, int]] = []
    for found in _PIECES.finditer(text):
        sign = found[0]
        if sign in ("(", "{"):
            open_.append((sign, found.start()))
        elif open_ and _CLOSED_BY.get(sign) == open_[-1][0]:
            open_.pop()
    places = [place for _, place in open_ if place < end]
    return OtherPlace(Span(places[-1], places[-1] + 1), "opened here") if places else None
