"""From text to syntax tree, as the classic parser of Lucene does with `or` between clauses."""

from __future__ import annotations

from typing import NoReturn

from runner.lucene.ast import LuceneClause, LuceneGroup, LuceneNode, LuceneRange, LuceneTerm, Occurrence
from runner.lucene.errors import LuceneSyntaxError
from runner.lucene.tokens import LuceneToken, TokenKind, tokens, unescaped
from runner.messages.foreign_queries import foreign_hint
from runner.messages.query_doubts import unclosed_bracket
from runner.messages.query_errors import QueryFinding
from runner.messages.text_positions import Source, Span

MAX_DEPTH = 100
"""How deep brackets may stand in each other."""

_UNGROUPED: frozenset[TokenKind] = frozenset({":", "*", "~", "boost", "AND", "OR"})
"""What takes the term before it out of the words that are searched together."""
_TERMS: frozenset[TokenKind] = frozenset({"term", "prefix", "wildcard", "regexp", "*", "lone operator"})


def parse(text: str) -> LuceneGroup:
    """The syntax tree of a text with something in it. Raises LuceneSyntaxError at the first token that does not fit."""
    parser = _Parser(text)
    group = parser.group(None)
    if parser.token.kind != "end":
        parser.unexpected("AND, OR, NOT, a term or the end")
    return group


class _Parser:
    def __init__(self, text: str) -> None:
        self._source = Source(text)
        self._tokens = tokens(text)
        self._index = 0
        self._depth = 0

    @property
    def token(self) -> LuceneToken:
        return self._tokens[self._index]

    def _kind(self, ahead: int) -> TokenKind:
        return self._tokens[min(self._index + ahead, len(self._tokens) - 1)].kind

    def _advance(self) -> LuceneToken:
        token = self.token
        self._index += 1
        return token

    def unexpected(self, wanted: str) -> NoReturn:
        """Refuse the current token."""
        token = self.token
        found = f"`{token.text[:80]}`" if token.kind != "end" else "the end of the query"
        hint = ""
        if token.kind == ":" and self._index and self._kind(-1) in ("prefix", "wildcard"):
            hint = r"; a star in the name of a field is written \*"
        elif token.kind == ":":
            hint = r"; a colon in a value is written \:, or the value is quoted"
        other = unclosed_bracket(self._source.text, token.span.start)
        if foreign := foreign_hint(self._source.text, "Lucene's syntax"):
            hint, other = foreign, None
        elif other is not None and not hint:
            hint = "; the `(` before it is not closed"
        finding = QueryFinding(token.span, f"expected {wanted}, found {found}", hint, other=other)
        raise LuceneSyntaxError(self._source, [finding])

    def group(self, field: str | None) -> LuceneGroup:
        """Clauses up to a closing bracket or the end."""
        start = self.token.span
        clauses: list[LuceneClause] = []
        while not clauses or self.token.kind not in (")", "end"):
            if (words := self._words(field)) is not None:
                clauses.append(LuceneClause("should", words))
                continue
            conjunction = self.token.kind if clauses and self.token.kind in ("AND", "OR") else None
            if conjunction:
                self._advance()
            _add(clauses, conjunction, self._occurrence(), self._clause(field))
        return LuceneGroup(start.to(self._tokens[self._index - 1].span), tuple(clauses))

    def _words(self, field: str | None) -> LuceneTerm | None:
        """Two or more plain terms beside each other, which are searched as one text; None if no such begin here."""
        found: list[LuceneToken] = []
        while self.token.kind == "term":
            if (not found and self._kind(1) != "term") or self._kind(2 if not found else 1) in _UNGROUPED:
                break
            found.append(self._advance())
        if len(found) < 2:
            self._index -= len(found)
            return None
        text = " ".join(unescaped(token.text) for token in found)
        return LuceneTerm(found[0].span.to(found[-1].span), field, "words", text)

    def _occurrence(self) -> Occurrence:
        if self.token.kind not in ("+", "-", "NOT"):
            return "should"
        return "must" if self._advance().kind == "+" else "must not"

    def _clause(self, field: str | None) -> LuceneNode:
        if self.token.kind in ("term", "*") and self._kind(1) == ":":
            name = self._advance()
            field = unescaped(name.text)
            self._advance()
        if self.token.kind != "(":
            return self._term(field)
        opening = self._advance()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            finding = QueryFinding(opening.span, f"more than {MAX_DEPTH} brackets stand in each other")
            raise LuceneSyntaxError(self._source, [finding])
        group = self.group(field)
        self._close()
        self._depth -= 1
        self._boost()
        return group

    def _close(self) -> None:
        if self.token.kind != ")":
            self.unexpected("`)`")
        self._advance()

    def _term(self, field: str | None) -> LuceneNode:
        token = self.token
        if token.kind == "range":
            self._advance()
            self._boost()
            return _range(token, field)
        if token.kind == "quoted":
            self._advance()
            slop = self._slop(token.span)
            text = unescaped(token.text[1:-1])
            return LuceneTerm(token.span, field, "phrase", text, int(float(slop or "0")))
        if token.kind not in _TERMS:
            self.unexpected("a term, a phrase, a range or `(`")
        self._advance()
        slop = self._slop(token.span)
        if slop is not None and token.kind != "regexp":
            return LuceneTerm(token.span, field, "fuzzy", unescaped(token.text), self._edits(slop, token.span))
        match token.kind:
            case "*":
                return LuceneTerm(token.span, field, "any", "*")
            case "prefix":
                return LuceneTerm(token.span, field, "prefix", unescaped(token.text[:-1]))
            case "wildcard":
                return LuceneTerm(token.span, field, "wildcard", token.text)
            case "regexp":
                return LuceneTerm(token.span, field, "regexp", token.text[1:-1])
        return LuceneTerm(token.span, field, "words", unescaped(token.text))

    def _boost(self) -> None:
        """Pass over a boost, which changes no match."""
        if self.token.kind == "boost":
            self._advance()

    def _slop(self, span: Span) -> str | None:
        """The number after `~` ("" without one); None without `~`."""
        self._boost()
        if self.token.kind != "~":
            return None
        slop = self._advance().text[1:]
        self._boost()
        return slop

    def _edits(self, slop: str, span: Span) -> int | None:
        if slop and slop not in ("0", "1", "2"):
            finding = QueryFinding(span, f"expected ~, ~0, ~1 or ~2 after a term, found `~{slop}`")
            raise LuceneSyntaxError(self._source, [finding])
        return int(slop) if slop else None


def _add(clauses: list[LuceneClause], conjunction: TokenKind | None, occurrence: Occurrence, part: LuceneNode) -> None:
    """Add a clause; `AND` makes those on both sides of it required, if they are not excluded."""
    if conjunction == "AND":
        if clauses[-1].occurrence == "should":
            clauses[-1] = LuceneClause("must", clauses[-1].part)
        occurrence = "must" if occurrence == "should" else occurrence
    clauses.append(LuceneClause(occurrence, part))


def _range(token: LuceneToken, field: str | None) -> LuceneRange:
    low, high = map(_end, token.ends)
    return LuceneRange(token.span, field, low, high, token.text.startswith("["), token.text.endswith("]"))


def _end(text: str) -> str | None:
    if text == "*":
        return None
    return unescaped(text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text)
