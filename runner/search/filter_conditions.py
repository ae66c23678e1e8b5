"""Kibana's `filters` of a rule, Query DSL, as conditions over the fields of a schema: for the local engine.

Term-level queries compare with values and words as they are indexed, match queries with those of the analysed text.
A query or an option that is not known here is refused by name: without it the rule would find other events.
Query DSL: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/query-dsl.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from runner import eql
from runner.engine.plan import EventProgram, Plan, Stage
from runner.events.fields.schema import KEYWORDS, DataType, Field, Schema
from runner.events.fields.words import words
from runner.expressions import field_queries, nodes
from runner.expressions.field_queries import RangeOperator
from runner.expressions.functions import text_of
from runner.expressions.mapped_fields import default_fields, field_for, within
from runner.expressions.truths import Truth, all_of, any_of, field_ref, has_value, negation_of
from runner.lucene.conditions import LuceneConditions
from runner.lucene.parser import parse as parse_lucene
from runner.messages.query_errors import QueryError
from runner.messages.suggestions import did_you_mean
from runner.messages.text_positions import Source, Span
from runner.rules.rule import Rule
from runner.search.cluster.request_body import filter_clause, has_filters
from runner.search.own_alerts import filters_of

_NOWHERE = Span(0, 0)
_WITHOUT_EFFECT = frozenset(
    {"boost", "_name", "score_mode", "ignore_unmapped", "rewrite", "relation", "max_expansions"}
)
"""Options that change no match."""
_UTC = ("UTC", "Zulu", "Z", "+00:00", "GMT")
_OPERATORS: dict[str, RangeOperator] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


_Program = TypeVar("_Program", eql.Program, EventProgram, eql.Program | EventProgram)


class FilterRefusedError(ValueError):
    """A filter that the local engine cannot apply; `number` is its place in the rule's filters, from 0."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


def filters_condition(filters: Sequence[Mapping[str, Any]], schema: Schema) -> Truth:
    """What every event of a rule must meet by its filters; disabled ones are left out. Raises FilterRefusedError."""
    parts: list[Truth] = []
    for number, entry in enumerate(filters):
        try:
            parts.append(_entry(entry, schema))
        except QueryError as error:
            raise FilterRefusedError("; ".join(finding.text for finding in error.findings), number) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            said = str(error) if isinstance(error, ValueError) else ""
            raise FilterRefusedError(said or "this is not Query DSL as it is known here", number) from None
    return all_of(parts, _NOWHERE)


def with_filters(program: _Program, rule: Rule, schema: Schema) -> _Program:
    """The program over events that meet the rule's filters alone. Raises FilterRefusedError."""
    if not has_filters(rule):
        return program
    return replace(program, plan=filtered(program.plan, filters_condition(filters_of(rule), schema)))


def filtered(plan: Plan, condition: Truth) -> Plan:
    """The plan over the events that meet the condition alone: no stage sees others, also none of a missing event."""
    if condition is True:
        return plan
    stages = tuple(_filtered(stage, condition) for stage in plan.stages)
    return replace(plan, stages=stages, until=None if plan.until is None else _filtered(plan.until, condition))


def _filtered(stage: Stage, condition: Truth) -> Stage:
    if isinstance(condition, bool):
        return replace(stage, empty=True)
    # Before the others, of which the last may be what exceptions leave out.
    return replace(stage, conjuncts=(condition, *stage.conjuncts))


def _entry(entry: Mapping[str, Any], schema: Schema) -> Truth:
    meta = entry.get("meta") or {}
    if meta.get("disabled"):
        return True
    found = _Filter(schema).of(filter_clause(entry))
    return negation_of(found, _NOWHERE) if meta.get("negate") else found


class _Filter:
    """Reads clauses of Query DSL, those of nested queries within the path."""

    def __init__(self, schema: Schema, nested: str = "") -> None:
        self._schema, self._nested = schema, nested

    def of(self, query: Mapping[str, Any]) -> Truth:
        if not isinstance(query, Mapping) or len(query) != 1:
            raise ValueError(f"expected one query, found {sorted(query) if isinstance(query, Mapping) else query!r}")
        ((kind, body),) = query.items()
        made = _KINDS.get(kind)
        if made is None:
            raise ValueError(f"`{kind}` queries cannot be applied to files{did_you_mean(kind, _KINDS)}")
        return made(self, body)

    def everything(self, body: Any) -> Truth:
        return True

    def nothing(self, body: Any) -> Truth:
        return False

    def boolean(self, body: Mapping[str, Any]) -> Truth:
        _known(body, "bool", "must", "filter", "should", "must_not", "minimum_should_match")
        must = [*self._several(body, "must"), *self._several(body, "filter")]
        unwanted = [negation_of(one, _NOWHERE) for one in self._several(body, "must_not")]
        should = list(self._several(body, "should"))
        least = body.get("minimum_should_match", 0 if must or not should else 1)
        if should and str(least) not in ("0", "1"):
            raise ValueError(f"`minimum_should_match` {least} cannot be applied to files, only 0 and 1")
        optional = not should or str(least) == "0"
        return all_of([*must, *unwanted, *([] if optional else [any_of(should, _NOWHERE)])], _NOWHERE)

    def _several(self, body: Mapping[str, Any], name: str) -> Iterator[Truth]:
        given = body.get(name) or ()
        yield from (self.of(one) for one in ([given] if isinstance(given, Mapping) else given))

    def constant_score(self, body: Mapping[str, Any]) -> Truth:
        _known(body, "constant_score", "filter")
        return self.of(body["filter"])

    def nested(self, body: Mapping[str, Any]) -> Truth:
        _known(body, "nested", "path", "query")
        path = body["path"]
        found = self._schema.find(path)
        inner = _Filter(self._schema, path).of(body["query"])
        if found is None and self._schema.lenient:
            raise ValueError(f"whether [{path}] is a nested field is not known")
        if found is None or found.type is not DataType.NESTED:
            return False
        ref = field_ref(within(found, self._nested, self._schema), _NOWHERE)
        return (inner and has_value(ref)) if isinstance(inner, bool) else nodes.Nested(_NOWHERE, ref, inner)

    def exists(self, body: Mapping[str, Any]) -> Truth:
        _known(body, "exists", "field")
        found = self._field(body["field"], existence=True)
        return field_queries.is_there(found, self._schema, _NOWHERE, self._nested)

    def match(self, body: Mapping[str, Any]) -> Truth:
        name, given = _of_field(body, "match", "query", "operator", "lenient")
        text = text_of(given["query"])
        found = self._field(name)
        if str(given.get("operator", "or")).lower() == "and" and found is not None and found.type is DataType.TEXT:
            each = [field_queries.match_phrase(found, word, _NOWHERE) or False for word in words(text)]
            return bool(each) and all_of(each, _NOWHERE)
        return field_queries.match(found, text, _NOWHERE) or False

    def match_phrase(self, body: Mapping[str, Any]) -> Truth:
        return self._phrase(*_of_field(body, "match_phrase", "query", "slop"))

    def _phrase(self, name: str, given: Mapping[str, Any]) -> Truth:
        slop = int(given.get("slop", 0))
        return field_queries.match_phrase(self._field(name), text_of(given["query"]), _NOWHERE, slop) or False

    def term(self, body: Mapping[str, Any]) -> Truth:
        name, given = _of_field(body, "term", "value", "case_insensitive")
        return self._term(self._field(name), text_of(given["value"]), insensitive=bool(given.get("case_insensitive")))

    def terms(self, body: Mapping[str, Any]) -> Truth:
        ((name, given),) = ((key, value) for key, value in body.items() if key not in _WITHOUT_EFFECT)
        if not isinstance(given, (list, tuple)):
            raise ValueError("`terms` of another index cannot be applied to files")
        found = self._field(name)
        return any_of([self._term(found, text_of(one), insensitive=False) for one in given], _NOWHERE)

    def _term(self, found: Field | None, text: str, *, insensitive: bool) -> Truth:
        """A whole value; of an analysed field a word as it is indexed."""
        if found is not None and (found.type is DataType.TEXT or (insensitive and found.normalized)):
            return self._fits(found, field_queries.escaped(text), insensitive=insensitive)
        if insensitive and found is not None and found.type in KEYWORDS | {DataType.NULL}:
            ref = field_ref(found, _NOWHERE)
            return nodes.Membership(_NOWHERE, ref, (nodes.Constant(_NOWHERE, text),), insensitive=True)
        return field_queries.match_phrase(found, text, _NOWHERE) or False

    def _fits(self, found: Field | None, pattern: str, *, insensitive: bool) -> Truth:
        truth = field_queries.wildcard(found, pattern, _NOWHERE)
        return replace(truth, pattern=pattern, insensitive=insensitive) if isinstance(truth, nodes.Wildcard) else truth

    def wildcard(self, body: Mapping[str, Any]) -> Truth:
        name, given = _of_field(body, "wildcard", "value", "wildcard", "case_insensitive")
        pattern = text_of(given.get("value", given.get("wildcard")))
        return self._fits(self._field(name), pattern, insensitive=bool(given.get("case_insensitive")))

    def prefix(self, body: Mapping[str, Any]) -> Truth:
        name, given = _of_field(body, "prefix", "value", "case_insensitive")
        pattern = f"{field_queries.escaped(text_of(given['value']))}*"
        return self._fits(self._field(name), pattern, insensitive=bool(given.get("case_insensitive")))

    def regexp(self, body: Mapping[str, Any]) -> Truth:
        name, given = _of_field(body, "regexp", "value", "case_insensitive", "flags")
        if str(given.get("flags", "ALL")) != "ALL":
            raise ValueError(f"`flags` {given['flags']} of a regular expression cannot be applied to files, only ALL")
        truth = field_queries.regexp(self._field(name), text_of(given["value"]), _NOWHERE)
        if given.get("case_insensitive") and isinstance(truth, nodes.Pattern):
            return replace(truth, operator="regex~")
        return truth

    def span(self, body: Mapping[str, Any]) -> Truth:
        name, given = _of_field(body, "range", *_OPERATORS, "format", "time_zone")
        if given.get("time_zone", "UTC") not in _UTC:
            raise ValueError(f"`time_zone` {given['time_zone']} of a range cannot be applied to files, only UTC")
        if "format" in given and not str(given["format"]).startswith(("strict_date_optional_time", "epoch_millis")):
            raise ValueError(f"`format` {given['format']} of a range cannot be applied to files")
        ends = [(sign, text_of(given[key])) for key, sign in _OPERATORS.items() if given.get(key) is not None]
        return field_queries.between(self._field(name), tuple(ends), _NOWHERE)

    def query_string(self, body: Mapping[str, Any]) -> Truth:
        known = ("query", "fields", "default_field", "analyze_wildcard", "time_zone", "lenient", "default_operator")
        _known(body, "query_string", *known)
        if str(body.get("default_operator", "or")).lower() != "or" or body.get("time_zone", "UTC") not in _UTC:
            raise ValueError(
                "a `query_string` with `default_operator` and, or outside of UTC, cannot be applied to files"
            )
        text = body["query"]
        names = body.get("fields") or ([body["default_field"]] if body.get("default_field", "*") != "*" else [])
        fields = tuple(found for name in names if (found := self._field(name)) is not None) if names else None
        if fields is None:
            default_fields(self._schema, self._nested)  # which are too many over files
        analysed = bool(body.get("analyze_wildcard"))
        conditions = LuceneConditions(Source(text), self._schema, fields, self._nested, analyse_prefixes=analysed)
        return conditions.of(parse_lucene(text)) if text.strip() else False

    def _field(self, name: str, *, existence: bool = False) -> Field | None:
        found = field_for(name, self._schema, self._nested, existence=existence)
        return within(found, self._nested, self._schema) if found is not None else None


_KINDS: dict[str, Callable[[_Filter, Any], Truth]] = {
    "bool": _Filter.boolean,
    "constant_score": _Filter.constant_score,
    "exists": _Filter.exists,
    "match": _Filter.match,
    "match_all": _Filter.everything,
    "match_none": _Filter.nothing,
    "match_phrase": _Filter.match_phrase,
    "nested": _Filter.nested,
    "prefix": _Filter.prefix,
    "query_string": _Filter.query_string,
    "range": _Filter.span,
    "regexp": _Filter.regexp,
    "term": _Filter.term,
    "terms": _Filter.terms,
    "wildcard": _Filter.wildcard,
}


def _known(body: Mapping[str, Any], kind: str, *names: str) -> None:
    """Raise ValueError for an option that is not known."""
    if other := next((name for name in body if name not in names and name not in _WITHOUT_EFFECT), None):
        raise ValueError(f"`{other}` of a `{kind}` query cannot be applied to files{did_you_mean(other, names)}")


def _of_field(body: Mapping[str, Any], kind: str, main: str, *others: str) -> tuple[str, Mapping[str, Any]]:
    """The field of a query and its options; a bare value is the `main` one."""
    ((name, given),) = ((key, value) for key, value in body.items() if key not in _WITHOUT_EFFECT)
    options = given if isinstance(given, Mapping) else {main: given}
    _known(options, kind, main, *others)
    return name, options
