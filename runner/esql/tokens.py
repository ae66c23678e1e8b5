"""The tokens of a query in ES|QL, in its two ways to read a text: sources after FROM, expressions elsewhere.

Every character belongs to one token, so that the texts of all tokens are the query again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from runner.esql.errors import EsqlError
from runner.messages.query_errors import QueryFinding
from runner.messages.text_positions import Source, Span

TokenKind = Literal["space", "comment", "string", "quoted", "name", "number", "source", "mark"]
"""`quoted` is a name between backquotes, `source` an index pattern without quotes, `mark` an operator or a bracket."""

_STRING = r'"""(?:[^"]|"{1,2}(?!"))*"{3,5}|"(?:[^"\\\n\r]|\\.)*"'
_COMMON = (
    ("space", r"\s+"),
    ("comment", r"//[^\n\r]*"),
    ("string", _STRING),
)
_EXPRESSION = (
    *_COMMON,
    ("quoted", r"`(?:[^`]|``)*`"),
    ("number", r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?"),
    ("name", r"[A-Za-z_@][A-Za-z0-9_]*"),
    ("mark", r"::|==|!=|<=|>=|=~|[^\"`]"),
)
_FROM = (
    *_COMMON,
    ("source", r'(?:[^:"=|,\[\]/\s]|/(?![*/]))+'),
    ("mark", r'[^"]'),
)


def _pattern(rules: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<{kind}>{rule})" for kind, rule in rules), re.DOTALL)


_IN_EXPRESSION, _IN_FROM = _pattern(_EXPRESSION), _pattern(_FROM)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_OPEN, _CLOSE = "([{", ")]}"
SOURCE_COMMANDS = frozenset({"from", "ts"})
"""The commands whose words are index patterns."""


@dataclass(frozen=True, slots=True)
class EsqlToken:
    """A piece of the text; `depth` counts the brackets around it."""

    kind: TokenKind
    text: str
    start: int
    depth: int = 0

    @property
    def span(self) -> Span:
        return Span(self.start, self.start + len(self.text))

    @property
    def is_word(self) -> bool:
        """Whether it is more than space between others."""
        return self.kind not in ("space", "comment")

    def is_name(self, word: str) -> bool:
        """Whether it is this word, in any letter case, without backquotes."""
        return self.kind in ("name", "source") and self.text.lower() == word


def tokens_of(text: str) -> list[EsqlToken]:
    """All tokens of the text. Raises EsqlError for a string, name or comment that does not end."""
    return list(read_tokens(text))


def read_tokens(text: str) -> Iterator[EsqlToken]:
    """The tokens as they are read. Raises EsqlError where one does not end."""
    at, depth, in_sources, begins = 0, 0, False, True
    while at < len(text):
        if text.startswith("/*", at):
            end = _comment_end(text, at)
            yield EsqlToken("comment", text[at:end], at, depth)
            at = end
            continue
        found = (_IN_FROM if in_sources else _IN_EXPRESSION).match(text, at)
        if found is None:
            what = {'"': "string", "`": "name between backquotes"}[text[at]]
            raise EsqlError(Source(text), [QueryFinding(Span(at, len(text)), f"this {what} does not end")])
        kind: TokenKind = found.lastgroup  # type: ignore[assignment]
        token = EsqlToken(kind, found[0], at, depth)
        at = found.end()
        if kind == "mark" and token.text in _CLOSE:
            depth = max(0, depth - 1)
            token = EsqlToken(kind, token.text, token.start, depth)
        yield token
        if kind == "mark" and token.text in _OPEN:
            depth += 1
            begins = token.text == "("  # a query in brackets, as a branch of FORK
        elif kind == "mark" and token.text == "|":
            in_sources, begins = False, True
        elif token.is_word:
            in_sources = in_sources or (begins and token.text.lower() in SOURCE_COMMANDS)
            begins = False


def _comment_end(text: str, start: int) -> int:
    """The end of a comment between `/*` and `*/`, in which others may stand."""
    depth, at = 0, start
    while found := _COMMENT_EDGE.search(text, at):
        depth, at = depth + (1 if found[0] == "/*" else -1), found.end()
        if depth == 0:
            return at
    raise EsqlError(Source(text), [QueryFinding(Span(start, len(text)), "this comment does not end")])


def string_value(token: EsqlToken) -> str:
    """The value of a string, or the name between backquotes."""
    text = token.text
    if token.kind == "quoted":
        return text[1:-1].replace("``", "`")
    if text.startswith('"""'):
        return text[3:-3]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1])


_ESCAPES = {"t": "\t", "n": "\n", "r": "\r"}
