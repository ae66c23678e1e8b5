"""Conditions of the texts of `query_string`, by the fields of a schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runner.events.fields.schema import DataType, Field, Schema
from runner.events.fields.words import words
from runner.expressions import field_queries
from runner.expressions.field_queries import NoSuchQueryError, RangeOperator
from runner.expressions.mapped_fields import (
    check_range_of_key,
    default_fields,
    field_for,
    fields_matching,
    is_flattened_key,
    nested_above,
    within,
)
from runner.expressions.patterns import lucene_regex
from runner.expressions.patterns.pattern_reader import PatternError
from runner.expressions.truths import Truth, all_of, any_of, negation_of
from runner.lucene.ast import LuceneGroup, LuceneNode, LuceneRange, LuceneTerm
from runner.lucene.errors import LuceneFieldError
from runner.messages.query_errors import QueryFinding
from runner.messages.text_positions import OtherPlace, Source, Span

_EXISTS = "_exists_"
_SIGNS: tuple[RangeOperator, ...] = (">=", "<=", ">", "<")
_AUTOMATIC_EDITS = ((3, 0), (6, 1))
"""Pairs of a length and the edits that `~` allows a text shorter than it; two for a longer text."""


@dataclass(frozen=True, slots=True)
class LuceneConditions:
    """Turns syntax trees over the fields of a schema into conditions.

    `fields` are those of a text without a field, by default all of them; with them given, a value that a field's type
    cannot read is an error, and without them it is not found. `nested` is the path of the objects that are searched.
    `at` is the place to name in errors, for a text that is part of another one.
    """

    source: Source
    schema: Schema
    fields: tuple[Field, ...] | None = None
    nested: str = ""
    analyse_prefixes: bool = True
    at: Span | None = None

    def of(self, group: LuceneGroup) -> Truth:
        """The condition of a whole text. Raises LuceneFieldError."""
        found = self._group(group)
        return False if found is None else found

    def _node(self, node: LuceneNode) -> Truth | None:
        """The condition; None for texts without a word, which are left out of their group."""
        if isinstance(node, LuceneGroup):
            return self._group(node)
        span = self.at or node.span
        try:
            return self._term(node, span) if isinstance(node, LuceneTerm) else self._range(node, span)
        except ValueError as error:
            finding = QueryFinding(span, str(error))
            if isinstance(error, PatternError) and self.at is None:  # the pattern stands between two slashes
                start = span.start + 1 + error.place
                finding = QueryFinding(Span(start, start + 1), str(error), other=_opened(span, error.opened))
            raise LuceneFieldError(self.source, [finding]) from None

    def _group(self, group: LuceneGroup) -> Truth | None:
        found = [(clause.occurrence, self._node(clause.part)) for clause in group.clauses]
        given = [(occurrence, truth) for occurrence, truth in found if truth is not None]
        if not given:
            return None
        span = self.at or group.span
        must = [truth for occurrence, truth in given if occurrence == "must"]
        should = [truth for occurrence, truth in given if occurrence == "should"]
        unwanted = [negation_of(truth, span) for occurrence, truth in given if occurrence == "must not"]
        if should and not must:
            must = [any_of(should, span)]
        return all_of([*must, *unwanted], span)

    def _term(self, term: LuceneTerm, span: Span) -> Truth | None:
        if term.field == _EXISTS and term.kind in ("words", "phrase"):
            found = self._found(term.text)
            return field_queries.is_there(found, self.schema, span, self.nested)
        if term.kind == "any" and term.field in (None, "*") and self.fields is None:
            return True
        if term.kind == "regexp":
            lucene_regex.matcher([term.text], insensitive=False)
        if term.kind == "words" and (sign := next((one for one in _SIGNS if term.text.startswith(one)), None)):
            bound = term.text[len(sign) :]
            if bound:
                return self._over(term.field, lambda found: self._between(found, ((sign, bound),), span))
        return self._over(term.field, lambda found: self._asked(term, found, span))

    def _asked(self, term: LuceneTerm, found: Field | None, span: Span) -> Truth | None:
        """What a term asks of one field."""
        is_key = found is not None and is_flattened_key(found.name, self.schema)
        if is_key and term.kind in ("regexp", "fuzzy"):
            raise ValueError(f"{term.kind} queries cannot be about keys of flattened fields")
        match term.kind:
            case "words":
                return field_queries.match(found, term.text, span)
            case "phrase":
                return field_queries.match_phrase(found, term.text, span, term.edits or 0)
            case "any":
                return field_queries.is_there(found, self.schema, span, self.nested)
            case "prefix":
                return self._prefix(term.text, found, span)
            case "wildcard":
                return field_queries.wildcard(found, term.text, span)
            case "regexp":
                return field_queries.regexp(found, term.text, span)
            case "fuzzy":
                edits = term.edits if term.edits is not None else _automatic_edits(term.text)
                return field_queries.fuzzy(found, term.text, edits, span)

    def _prefix(self, text: str, found: Field | None, span: Span) -> Truth | None:
        """The beginning of a value; of an analysed field a word of the text but the last, or one that begins so."""
        if not self.analyse_prefixes or found is None or found.type is not DataType.TEXT:
            return field_queries.star_pattern(found, (text, ""), span)
        *whole, last = words(text) or [""]
        if not last:
            return None
        parts = [field_queries.match(found, word, span) for word in whole]
        parts.append(field_queries.wildcard(found, f"{field_queries.escaped(last)}*", span))
        return any_of([part for part in parts if part is not None], span)

    def _range(self, node: LuceneRange, span: Span) -> Truth | None:
        ends: list[tuple[RangeOperator, str]] = []
        if node.low is not None:
            ends.append((">=" if node.with_low else ">", node.low))
        if node.high is not None:
            ends.append(("<=" if node.with_high else "<", node.high))
        return self._over(node.field, lambda found: self._between(found, tuple(ends), span))

    def _between(self, found: Field | None, ends: tuple[tuple[RangeOperator, str], ...], span: Span) -> Truth:
        if found is not None:
            check_range_of_key(found.name, self.schema, ends=len(ends))
        return field_queries.between(found, ends, span)

    def _over(self, name: str | None, ask: Callable[[Field | None], Truth | None]) -> Truth | None:
        """What is asked, of any of the fields of that name."""
        truths = [self._readable(ask, found) for found in self._fields(name)]
        given = [truth for truth in truths if truth is not None]
        return any_of(given, self.at or Span(0, 0)) if given or not truths else None

    def _readable(self, ask: Callable[[Field | None], Truth | None], found: Field | None) -> Truth | None:
        try:
            return ask(found)
        except NoSuchQueryError:
            raise
        except ValueError:
            if self.fields is not None:
                raise
            return False

    def _fields(self, name: str | None) -> Sequence[Field | None]:
        if name is None and self.fields is not None:
            return self.fields
        if name is None or name == "*":
            return [self._found(found.name) for found in default_fields(self.schema, self.nested)]
        if "*" in name:
            return [self._found(found.name) for found in fields_matching(name.split("*"), self.schema, self.nested)]
        return [self._found(name)]

    def _found(self, name: str) -> Field | None:
        found = field_for(name, self.schema, self.nested)
        return None if found is None else self._inside(found)

    def _inside(self, found: Field) -> Field:
        return within(found, nested_above(found.name, self.schema), self.schema) if self.nested else found


def _opened(span: Span, place: int | None) -> OtherPlace | None:
    """The bracket of a pattern that is not closed."""
    if place is None:
        return None
    return OtherPlace(Span(span.start + 1 + place, span.start + 2 + place), "opened here")


def _automatic_edits(text: str) -> int:
    return next((edits for shorter, edits in _AUTOMATIC_EDITS if len(text) < shorter), 2)
