"""The tokens of Lucene's classic query syntax: of the longest text that fits, the first kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias

from runner.lucene.errors import LuceneSyntaxError
from runner.messages.foreign_queries import foreign_hint
from runner.messages.query_errors import QueryFinding
from runner.messages.text_positions import Source, Span

TokenKind: TypeAlias = Literal[
    "AND", "OR", "NOT", "+", "-", "lone operator", "(", ")", ":", "*", "boost", "~",
    "quoted", "term", "prefix", "wildcard", "regexp", "range", "end",
]  # fmt: skip

_START = r'(?:\\.|[^ \t\n\r\u3000+\-!():^\[\]"{}~*?\\/])'
_CHAR = rf"(?:{_START}|[+\-])"
_BLANK = re.compile(r"[ \t\n\r\u3000]*")
_LONE = re.compile(r"[+\-!][ \t\n\r\u3000]")
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)
_TERM = re.compile(rf"(?:{_START}|[*?])(?:{_CHAR}|[*?])*", re.DOTALL)
_REGEXP = re.compile(r"/(?:\\/|[^/])*/")
_BOOST = re.compile(r"\^[0-9]+(?:\.[0-9]+)?")
_SLOP = re.compile(r"~(?:[0-9]+(?:\.[0-9]+)?)?")
_END = r'"(?:\\"|[^"])*"|[^ \]}]+'
_RANGE = re.compile(rf"[\[{{] *({_END}) +TO +({_END}) *[\]}}]")
_WORDS: dict[str, TokenKind] = {"AND": "AND", "&&": "AND", "OR": "OR", "||": "OR", "NOT": "NOT"}
_SIGNS: dict[str, TokenKind] = {"+": "+", "-": "-", "!": "NOT", "(": "(", ")": ")", ":": ":"}
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_WILD = re.compile(r"\\.|([*?])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LuceneToken:
    """A piece of the text; `ends` are those of a range."""

    kind: TokenKind
    text: str
    span: Span
    ends: tuple[str, str] = ("", "")


def unescaped(text: str) -> str:
    """The text without the backslashes that make characters literal."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)


def tokens(text: str) -> list[LuceneToken]:
    """The tokens of a text, the last one `end`. Raises LuceneSyntaxError where none begins."""
    found: list[LuceneToken] = []
    place = 0
    while (place := _BLANK.match(text, place).end()) < len(text):  # type: ignore[union-attr]
        found.append(token := _token(text, place))
        place = token.span.end
    return [*found, LuceneToken("end", "", Span(place, place))]


def _token(text: str, place: int) -> LuceneToken:
    char = text[place]
    if _LONE.match(text, place):
        return _of("lone operator", text, place, place + 1)
    if char in _SIGNS:
        return _of(_SIGNS[char], text, place, place + 1)
    if char in "[{":
        if (found := _RANGE.match(text, place)) is None:
            _fail(text, place, "a range is written [from TO to] or {from TO to}")
        return LuceneToken("range", found[0], Span(place, found.end()), (found[1], found[2]))
    for kind, pattern, advice in _ENCLOSED:
        if char == advice[0]:
            if (found := pattern.match(text, place)) is None:
                _fail(text, place, advice[1])
            return _of(kind, text, place, found.end())
    if (found := _TERM.match(text, place)) is None:
        _fail(text, place, "a backslash stands before the character that it makes literal")
    return _of(_kind_of(found[0]), text, place, found.end())


_ENCLOSED: tuple[tuple[TokenKind, re.Pattern[str], tuple[str, str]], ...] = (
    ("quoted", _QUOTED, ('"', "the quote is not closed")),
    ("regexp", _REGEXP, ("/", r"a `/` begins a regular expression up to the next one: write \/ for the character")),
    ("boost", _BOOST, ("^", r"a number follows `^`: write \^ for the character")),
    ("~", _SLOP, ("~", "")),
    ("term", re.compile(r"(?!)"), ("]", r"write \] for the character")),
    ("term", re.compile(r"(?!)"), ("}", r"write \} for the character")),
)


def _of(kind: TokenKind, text: str, start: int, end: int) -> LuceneToken:
    return LuceneToken(kind, text[start:end], Span(start, end))


def _kind_of(text: str) -> TokenKind:
    if text in _WORDS:
        return _WORDS[text]
    if text == "*":
        return "*"
    wild = [found.start() for found in _WILD.finditer(text) if found[1]]
    if not wild:
        return "term"
    return "prefix" if wild == [len(text) - 1] and text.endswith("*") else "wildcard"


def _fail(text: str, place: int, advice: str) -> NoReturn:
    span = Span(place, place + 1)
    advice = foreign_hint(text, "Lucene's syntax").removeprefix("; ") or advice
    raise LuceneSyntaxError(Source(text), [QueryFinding(span, f"cannot read `{text[place]}` here", f"; {advice}")])
