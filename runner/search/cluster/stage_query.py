"""Which documents a plan needs to see: its stages as one filter in Elasticsearch's Query DSL.

The filter is never narrower than the stages: every document that the local engine would take as an event of a stage
passes. It may be wider, since the engine looks at each document again. So a condition that has no query of the same
meaning asks for less: that the field has a value, or nothing at all; and the negation of a wider condition, which would
be a narrower one, asks for nothing at all. `Translation.exact` keeps the two apart.

A `keyword` with a normaliser counts as the plain keyword that the field capabilities show; the server's query decides
for it, as it does in the EQL search API.
Query DSL: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/query-dsl.html
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from runner.dates import dates
from runner.dates.dates import MILLI
from runner.engine.plan import Plan, Stage
from runner.events.fields import values
from runner.events.fields.schema import DATES, INTEGERS, KEYWORDS, WHOLE_RANGES, DataType, Field
from runner.exceptions.item_query import listed_queries
from runner.expressions import nodes
from runner.expressions.functions import text_of
from runner.expressions.patterns import wildcard

Query: TypeAlias = dict[str, Any]

LARGEST_DEPTH = 18
"""How deep `bool` queries of one condition may stand in each other: a server takes 30, those around them included."""
_LONGEST_PATTERN = 1_000
"""Characters of a pattern (`index.max_regex_length`)."""
_MOST_TERMS = 10_000
_MOST_OPERANDS = 300
"""Single queries of one `AnyOf`: a server accepts at least 1,024 in all, and the engine decides about each event."""
_MOST_SINGLE_WILDCARDS = 16
"""`?` in one wildcard pattern: with more of them after a `*`, an automaton can be too large for a server."""
_LAST_YEAR = 253_402_300_799_999_999_999
"""The end of the year 9999 in nanoseconds, the last that a date format with four digits can say."""
_FIRST_YEAR = -62_135_596_800_000_000_000

_SIGNED = INTEGERS - {DataType.UNSIGNED_LONG}
_RANGE_NAMES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_TESTS_OF_TEXT = frozenset({"startswith", "endswith", "stringcontains"})


@dataclass(frozen=True, slots=True)
class Translation:
    """A query that returns at least the documents that meet a condition; `exact`: and no others.

    `clauses` is how many single queries it holds, `depth` how deep its `bool` queries stand in each other.
    """

    query: Query
    exact: bool = True
    clauses: int = 1
    depth: int = 0

    @property
    def is_everything(self) -> bool:
        return "match_all" in self.query

    @property
    def is_nothing(self) -> bool:
        return "match_none" in self.query


_ALL = Translation({"match_all": {}})
_NONE = Translation({"match_none": {}})
_UNKNOWN = replace(_ALL, exact=False)


@dataclass(frozen=True, slots=True)
class Filters:
    """The documents that the stages of a plan need to see. `whole`: those that may be an event of any of them.

    `needed`: of several stages that every match needs, the documents that may be an event of each.
    """

    whole: Translation
    needed: tuple[Translation, ...] = ()


def filters_for(plan: Plan, *, now_ns: int, unsearchable: Collection[str] = (), fold_regexps: bool = True) -> Filters:
    """The filters of a plan.

    `unsearchable` names its fields that some index cannot search in,
    `now_ns` is what `now` means in date math, in nanoseconds since 1970. Without `fold_regexps` no regular expression
    is sent that ignores case: runtime fields can not do that, and no field capability tells them.
    """
    translator = _Translator(frozenset(unsearchable), now_ns, fold_regexps=fold_regexps)
    stages = [_NONE if stage.empty else translator.stage(stage) for stage in plan.all_stages()]
    needed = tuple(part for stage, part in zip(plan.stages, stages, strict=False) if not stage.missing)
    if any(part.is_nothing for part in needed):
        return Filters(_NONE)
    return Filters(any_of(stages), needed if len(needed) > 1 else ())


def condition_query(expression: nodes.Expression, *, now_ns: int, unsearchable: Collection[str] = ()) -> Translation:
    """The documents that may meet a condition; see `filters_for`."""
    return _Translator(frozenset(unsearchable), now_ns, fold_regexps=True)._condition(expression)


def any_of(parts: Iterable[Translation]) -> Translation:
    """Documents of any of the parts; equal parts are asked for once."""
    kept: list[Translation] = []
    for part in parts:
        if part.is_everything:
            return part
        if not part.is_nothing and all(part.query != other.query for other in kept):
            kept.append(part)
    if len(kept) < 2:
        return kept[0] if kept else _NONE
    query = {"bool": {"should": [part.query for part in kept], "minimum_should_match": 1}}
    return _joined(query, kept, exact=all(part.exact for part in kept))


def all_of(parts: Iterable[Translation]) -> Translation:
    """Documents of all of the parts."""
    kept: list[Translation] = []
    exact = True
    for part in parts:
        if part.is_nothing:
            return part
        exact = exact and part.exact
        if not part.is_everything and all(part.query != other.query for other in kept):
            kept.append(part)
    if len(kept) < 2:
        return replace(kept[0] if kept else _ALL, exact=exact)
    return _joined({"bool": {"filter": [part.query for part in kept]}}, kept, exact=exact)


def _not(part: Translation) -> Translation:
    if not part.exact:
        return _UNKNOWN
    if part.is_everything or part.is_nothing:
        return _NONE if part.is_everything else _ALL
    return _joined({"bool": {"must_not": [part.query]}}, [part], exact=True)


def _joined(query: Query, parts: Sequence[Translation], *, exact: bool) -> Translation:
    depth = 1 + max(part.depth for part in parts)
    if depth > LARGEST_DEPTH:
        return _UNKNOWN
    return Translation(query, exact, sum(part.clauses for part in parts), depth)


class _Translator:
    """Translates the conditions of one plan. Follows `eql.kernels`, which says what each condition means."""

    def __init__(self, unsearchable: frozenset[str], now_ns: int, *, fold_regexps: bool) -> None:
        self._fold_regexps = fold_regexps
        self._unsearchable = unsearchable
        self._now_ns = now_ns

    def stage(self, stage: Stage) -> Translation:
        """Documents that may be an event of the stage: those without a mandatory join key take no part."""
        keys = [self._present(key.exact) for key in stage.keys if key is not None and not key.optional]
        return all_of([*map(self._condition, stage.conjuncts), *keys])

    def _condition(self, expression: nodes.Expression) -> Translation:
        match expression:
            case nodes.And(_, operands):
                return all_of(map(self._condition, operands))
            case nodes.Or(_, operands):
                return any_of(map(self._condition, operands))
            case nodes.Not(_, operand):
                return _not(self._condition(operand))
            case nodes.Constant(value=value):
                return _ALL if value is True else _NONE
            case nodes.AnyOf(_, operands):
                whole = any_of(map(self._condition, operands))
                return whole if whole.clauses <= _MOST_OPERANDS else _UNKNOWN
            case nodes.Nested(_, ref, condition):
                inner = self._condition(condition)
                query = {"path": ref.field.name, "query": inner.query, "score_mode": "none", "ignore_unmapped": True}
                return _joined({"nested": query}, [inner], exact=inner.exact)
        found = self._leaf(expression)
        return found if found is not None else self._script(expression)

    def _leaf(self, expression: nodes.Expression) -> Translation | None:
        """A condition on one field and constants; None for any other."""
        match expression:
            case nodes.FieldRef(field=field):
                return self._equal(field, True)
            case nodes.Comparison(_, "==", nodes.FieldRef(field=field), nodes.Constant(value=None)):
                return _not(self._present(field))
            case nodes.Comparison(_, operator, nodes.FieldRef() as ref, nodes.Constant(value=constant)):
                if operator == "==":
                    return self._equal(ref.exact, constant)
                return self._ordered(ref, operator, constant)
            case nodes.Membership(_, nodes.FieldRef(exact=field), items, insensitive):
                constants = [item.value for item in items if isinstance(item, nodes.Constant)]
                if len(constants) == len(items):
                    return self._member(field, constants, insensitive)
            case nodes.Pattern(_, operator, nodes.FieldRef(exact=field), patterns):
                texts = [text_of(pattern.value) for pattern in patterns if pattern.value is not None]
                return self._pattern(field, operator, texts)
            case nodes.Phrase() | nodes.Wildcard() | nodes.Listed():
                return self._plain(expression)
            case nodes.Fuzzy(value=ref):
                return self._wider(ref.exact)
            case nodes.Between(_, ref, above, low, below, high):
                ends = (self._ordered(ref, above, low.value), self._ordered(ref, below, high.value))
                return replace(all_of(ends), exact=False)  # each end may be met by another value
            case nodes.Call(_, name, (nodes.FieldRef(exact=field), *rest), insensitive):
                given = [item.value for item in rest if isinstance(item, nodes.Constant)]
                if len(given) == len(rest):
                    return self._call(field, name, given, insensitive=insensitive)
        return None

    # Whether a field has a value.

    def _present(self, field: Field) -> Translation:
        """Documents in which the field has a value; nothing can be asked of a field that is not indexed."""
        if field.type in (DataType.BINARY, DataType.NULL) or field.name in self._unsearchable:
            return _UNKNOWN
        return Translation({"exists": {"field": field.name}})

    def _wider(self, field: Field) -> Translation:
        """For a condition that only a value can meet."""
        return replace(self._present(field), exact=False)

    def _is_searchable_text(self, field: Field, texts: Sequence[str]) -> bool:
        """Whether queries for texts say of the field what the engine says."""
        return field.type in KEYWORDS and field.name not in self._unsearchable and all(map(_is_sendable, texts))

    # Comparisons with constants.

    def _equal(self, field: Field, constant: nodes.Value) -> Translation:
        if constant is None:
            return _NONE
        if field.name in self._unsearchable:
            return _UNKNOWN
        if field.type in KEYWORDS:
            return self._terms(field, [text_of(constant)], insensitive=False)
        if field.type is DataType.BOOLEAN:
            wanted = constant if isinstance(constant, bool) else text_of(constant) == "true"
            return Translation({"term": {field.name: {"value": wanted}}})
        if field.type in DATES:
            return self._between(field, *self._moments(field, constant))
        if field.type is DataType.IP:
            return self._in_block(field, text_of(constant))
        if (number := _number_for(field, constant)) is not None:
            return Translation({"term": {field.name: {"value": number}}})
        return self._wider(field)

    def _ordered(self, ref: nodes.FieldRef, operator: str, constant: nodes.Value) -> Translation:
        """`<` and the like. Texts and numbers that a server stores with less precision are not asked for."""
        field = ref.field if ref.field.type is DataType.TEXT else ref.exact
        if constant is None:
            return _NONE
        if field.name in self._unsearchable:
            return _UNKNOWN
        if field.type in DATES:
            first, last = self._moments(field, constant)
            if operator.startswith(">"):
                return self._between(field, first if operator == ">=" else last + 1, None)
            return self._between(field, None, last if operator == "<=" else first - 1)
        if field.type is DataType.IP:
            bound: Any = str(ipaddress.IPv6Address(values.read_ip(text_of(constant))))
            return Translation({"range": {field.name: {_RANGE_NAMES[operator]: bound}}})
        if (number := _number_for(field, constant)) is not None:
            return Translation({"range": {field.name: {_RANGE_NAMES[operator]: number}}})
        return self._wider(field)

    def _moments(self, field: Field, constant: nodes.Value) -> tuple[int, int]:
        nanos = field.type is DataType.DATE_NANOS
        return dates.date_range(text_of(constant), field.formats, self._now_ns, nanos=nanos)

    def _between(self, field: Field, low: int | None, high: int | None) -> Translation:
        """Dates in a span of nanoseconds, both ends included. A `date` has milliseconds only."""
        if field.type is DataType.DATE:
            low = None if low is None else -(-low // MILLI) * MILLI
            high = None if high is None else high // MILLI * MILLI
        first = 0 if field.type is DataType.DATE_NANOS else _FIRST_YEAR
        last = 2**63 - 1 if field.type is DataType.DATE_NANOS else _LAST_YEAR
        if any(moment is not None and not first <= moment <= last for moment in (low, high)):
            return self._wider(field)
        given = {"gte": low, "lte": high}
        bounds = {name: dates.date_text(moment, nanos=True) for name, moment in given.items() if moment is not None}
        return Translation({"range": {field.name: {**bounds, "format": "strict_date_optional_time_nanos"}}})

    def _in_block(self, field: Field, block: str) -> Translation:
        first, last = map(str, map(ipaddress.IPv6Address, values.read_cidr(block)))
        return Translation({"range": {field.name: {"gte": first, "lte": last}}})

    # Texts.

    def _terms(self, field: Field, texts: Sequence[str], *, insensitive: bool) -> Translation:
        """Values that are one of the texts; `insensitive` folds ASCII letters, which is all that the engine folds."""
        if not self._is_searchable_text(field, texts) or "" in texts or len(texts) > _MOST_TERMS:
            return self._wider(field)
        if not insensitive:
            query = (
                {"term": {field.name: {"value": texts[0]}}} if len(texts) == 1 else {"terms": {field.name: [*texts]}}
            )
            return Translation(query)
        return any_of(
            Translation({"term": {field.name: {"value": text, "case_insensitive": True}}}, exact=text.isascii())
            for text in texts
        )

    def _member(self, field: Field, constants: Sequence[nodes.Value], insensitive: bool) -> Translation:
        given = [constant for constant in constants if constant is not None]
        if not given:
            return _NONE
        if field.type in KEYWORDS:
            return self._terms(field, list(dict.fromkeys(map(text_of, given))), insensitive=insensitive)
        if insensitive:
            return self._wider(field)
        return any_of(self._equal(field, constant) for constant in given)

    def _pattern(self, field: Field, operator: str, texts: Sequence[str]) -> Translation:
        if not texts:
            return _NONE
        insensitive = operator == ":" or operator.endswith("~")
        if operator.startswith("regex"):
            return self._regexp(field, "|".join(texts), insensitive=insensitive)
        plain = [text for text in texts if not ("*" in text or "?" in text)]
        parts = [self._terms(field, plain, insensitive=insensitive)] if plain else []
        parts += [
            # Nothing is escaped in EQL, while the wildcard query takes a backslash for an escape.
            self._wildcard(field, text.replace("\\", "\\\\"), insensitive=insensitive)
            for text in texts
            if text not in plain
        ]
        return any_of(parts)

    def _regexp(self, field: Field, pattern: str, *, insensitive: bool) -> Translation:
        if not self._can_match_patterns(field, pattern) or (insensitive and not self._fold_regexps):
            return self._wider(field)
        asked = {"value": pattern, "flags": "ALL", **_folding(insensitive)}
        return Translation({"regexp": {field.name: asked}}, exact=False)

    def _wildcard(self, field: Field, pattern: str, *, insensitive: bool) -> Translation:
        """A pattern of the wildcard query, in which a backslash makes the next character literal."""
        if pattern and not pattern.strip("*"):
            return self._present(field)
        if not self._can_match_patterns(field, pattern) or pattern.count("?") > _MOST_SINGLE_WILDCARDS:
            return self._wider(field)
        asked = {"value": pattern, **_folding(insensitive)}
        return Translation({"wildcard": {field.name: asked}}, exact=not insensitive or pattern.isascii())

    def _can_match_patterns(self, field: Field, pattern: str) -> bool:
        return 0 < len(pattern) <= _LONGEST_PATTERN and self._is_searchable_text(field, [pattern])

    def _call(
        self, field: Field, name: str, constants: Sequence[nodes.Value], *, insensitive: bool
    ) -> Translation | None:
        """The four functions that are a query; None for any other."""
        if name == "cidrmatch" and field.type is DataType.IP and field.name not in self._unsearchable:
            return any_of(self._in_block(field, text_of(block)) for block in constants if block is not None)
        if name not in _TESTS_OF_TEXT:
            return None
        if constants[0] is None:
            return _NONE
        needle = text_of(constants[0])
        if name != "startswith":
            # The needle is not escaped there: wildcards in it are wildcards.
            pattern = wildcard.needle_pattern(needle, at_end=name == "endswith")
            found = self._wildcard(field, pattern, insensitive=insensitive)
            return replace(found, exact=found.exact and not any(char in needle for char in "\\*?"))
        if not self._can_match_patterns(field, needle):
            return self._wider(field)
        asked = {"value": needle, **_folding(insensitive)}
        return Translation({"prefix": {field.name: asked}}, exact=not insensitive or needle.isascii())

    def _plain(self, expression: nodes.Phrase | nodes.Wildcard | nodes.Listed) -> Translation:
        """Conditions that are made after queries: these ask for the same."""
        field = expression.value.exact
        queries: list[Query]
        match expression:
            case nodes.Phrase(text=text, slop=slop):
                asked_phrase = {"query": text, "slop": slop} if slop else text
                queries, texts = [{"match_phrase": {field.name: asked_phrase}}], [text]
            case nodes.Wildcard(pattern=pattern, insensitive=insensitive):
                asked = {"value": pattern, **_folding(insensitive)}
                queries, texts = [{"wildcard": {field.name: asked}}], [pattern]
            case nodes.Listed(listed=listed):
                texts = list(listed.texts)
                queries = list(listed_queries(field.name, texts, addresses=field.type is DataType.IP))
        if field.name in self._unsearchable or field.type is DataType.NULL or not all(map(_is_sendable, texts)):
            return self._wider(field)
        return any_of(map(Translation, queries))

    # Scripts.

    def _script(self, expression: nodes.Expression) -> Translation:
        """For what a server answers with a script: that the fields have values without which it cannot be true."""
        return replace(all_of(map(self._present, _mandatory(expression))), exact=False)


def _mandatory(expression: nodes.Expression) -> list[Field]:
    """Fields without a value in which an expression is null: those of operations that null passes through."""
    match expression:
        case nodes.FieldRef(exact=field):
            return [field]
        case nodes.Call(arguments=(first, *_)):
            return _mandatory(first)
        case nodes.Negative(operand=operand) | nodes.Not(operand=operand):
            return _mandatory(operand)
        case nodes.Comparison(left=left, right=right):
            is_null_test = any(isinstance(side, nodes.Constant) and side.value is None for side in (left, right))
            return [] if is_null_test else _mandatory(left) + _mandatory(right)
        case nodes.Arithmetic(left=left, right=right):
            return _mandatory(left) + _mandatory(right)
        case nodes.Pattern(value=value) | nodes.Membership(value=value):
            return _mandatory(value)
    return []


def _number(constant: nodes.Value) -> int | float | None:
    """A numeric constant, whole if it is; None if it is no finite number."""
    try:
        number = float(text_of(constant)) if isinstance(constant, str) else constant
        if isinstance(constant, str) and constant.strip().lstrip("+-").isdecimal():
            number = int(constant)
    except ValueError:
        return None
    if number is None or isinstance(number, (bool, str)) or not math.isfinite(number):
        return None
    return int(number) if number == int(number) and abs(number) <= 2**53 else number


def _number_for(field: Field, constant: nodes.Value) -> int | float | None:
    """A numeric constant that the field's type compares as the engine does; None for any other."""
    number = _number(constant)
    if number is None:
        return None
    if field.type in _SIGNED:
        low, high = WHOLE_RANGES[field.type]
        return number if isinstance(number, int) and low <= number <= high else None
    # 0.0 and -0.0 are one number here, two to the server.
    return float(number) if field.type is DataType.DOUBLE and number != 0 and abs(number) <= 2**53 else None


def _folding(insensitive: bool) -> Query:
    return {"case_insensitive": True} if insensitive else {}


def _is_sendable(text: str) -> bool:
    """Whether a text is valid Unicode, as JSON must be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
