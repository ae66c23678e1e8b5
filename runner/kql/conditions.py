"""Conditions of syntax trees over the fields of a schema: what the queries that Kibana makes of KQL find.

Kibana knows the types of fields outside of nested groups only. A pattern of a keyword is one pattern there; in a group,
and for a field of any other type, each text between blanks in it is one by itself.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from runner.events.fields.schema import KEYWORDS, DataType, Field, Schema
from runner.expressions import field_queries, nodes
from runner.expressions.mapped_fields import (
    METADATA,
    check_range_of_key,
    default_fields,
    field_for,
    fields_matching,
    is_flattened_key,
    is_mapped,
    nested_above,
    within,
)
from runner.expressions.truths import Truth, all_of, any_of, field_ref, has_value, negation_of
from runner.kql.ast import (
    KqlAnd,
    KqlIs,
    KqlNested,
    KqlNode,
    KqlNot,
    KqlOr,
    KqlPattern,
    KqlRange,
    KqlText,
    KqlValue,
    full_name,
    leaves,
)
from runner.kql.errors import KqlFieldError
from runner.kql.query_strings import escaped_query
from runner.lucene.conditions import LuceneConditions
from runner.lucene.errors import LuceneError
from runner.lucene.parser import parse as parse_lucene
from runner.messages.query_errors import QueryFinding
from runner.messages.suggestions import Hint, Suggestion, near_names
from runner.messages.text_positions import Source, Span

_MOST_FINDINGS = 25
_CONTAINERS = frozenset({DataType.OBJECT, DataType.NESTED})
_LIKE_COMPARISONS = (" = ", " == ", " != ")


class _Refused(Exception):  # noqa: N818 - becomes a finding
    """A leaf that a search would fail on; the text says why, and `span` is what is at fault."""

    def __init__(self, message: str, span: Span, hint: Hint = "") -> None:
        super().__init__(message)
        self.span, self.hint = span, hint


def condition_of(node: KqlNode, source: Source, schema: Schema) -> Truth:
    """The condition of a query. Raises KqlFieldError with every leaf on which a search would fail."""
    conditions = _Conditions(source, schema)
    truth = conditions.of(node)
    if conditions.findings:
        raise KqlFieldError(source, conditions.findings)
    return truth


@dataclass(slots=True)
class _Conditions:
    source: Source
    schema: Schema
    nested: str = ""
    """The path of the nested group at hand."""
    findings: list[QueryFinding] = field(default_factory=list)

    def of(self, node: KqlNode) -> Truth:
        match node:
            case KqlAnd(span, operands):
                return all_of([self.of(operand) for operand in operands], span)
            case KqlOr(span, operands):
                return _merged([self.of(operand) for operand in operands], span)
            case KqlNot(span, operand):
                return negation_of(self.of(operand), span)
        try:
            match node:
                case KqlNested():
                    return self._group(node)
                case KqlRange():
                    return self._range(node)
                case KqlIs():
                    return self._is(node)
        except _Refused as refused:
            return self._found(refused.span, str(refused), refused.hint)
        except LuceneError as error:
            return self._found(_value_span(node), "; ".join(finding.text for finding in error.findings))
        except ValueError as error:
            return self._found(_value_span(node), str(error))

    def _found(self, span: Span, message: str, hint: Hint = "") -> bool:
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(QueryFinding(span, message, hint))
        return False

    # Values of fields.

    def _is(self, node: KqlIs) -> Truth:
        value = node.value
        if isinstance(value, KqlText) and value.value is None:
            raise _Refused("a search for null fails", value.span, '; a missing value is `not field: *`, a text "null"')
        if node.field is None:
            return self._free(value)
        star = isinstance(value, KqlPattern) and value.is_star
        if star and not self.nested and isinstance(node.field, KqlPattern) and node.field.is_star:
            return True
        name = node.field
        patterned = isinstance(value, KqlPattern)
        if isinstance(name, KqlPattern):
            if self.nested and not patterned:
                return False  # the name is taken with its star
            return self._over_pattern(name, partial(self._leaf, value), existence=star)
        return self._leaf(value, self._named(name, existence=star))

    def _leaf(self, value: KqlValue, found: Field | None) -> Truth:
        """What a value asks of one field."""
        if isinstance(value, KqlPattern):
            if value.is_star:
                return field_queries.is_there(found, self.schema, value.span, self.nested)
            typed = not self.nested and found is not None and not is_flattened_key(found.name, self.schema)
            if typed and found is not None and found.type in KEYWORDS | {DataType.NULL}:
                return field_queries.star_pattern(found, value.parts, value.span)
            return self._query_string(value, found)
        asked = field_queries.match_phrase if value.quoted else field_queries.match
        return asked(found, value.text, value.span) or False

    def _query_string(self, value: KqlPattern, found: Field | None) -> Truth:
        if found is None or found.type in _CONTAINERS:
            return False
        tree = parse_lucene(escaped_query(value))
        conditions = LuceneConditions(
            self.source, self.schema, (found,), self.nested, analyse_prefixes=False, at=value.span
        )
        return conditions.of(tree)

    def _range(self, node: KqlRange) -> Truth:
        name, value = node.field, node.value

        def asked(found: Field | None) -> Truth:
            if isinstance(value, KqlText) and value.value is None:  # an open end
                return field_queries.is_there(found, self.schema, node.span, self.nested)
            if found is not None:
                check_range_of_key(found.name, self.schema, ends=1)
            return field_queries.ordered(found, node.operator, value.text, node.span)

        if isinstance(name, KqlPattern):
            return False if self.nested else self._over_pattern(name, asked, existence=False)
        return asked(self._named(name))

    def _free(self, value: KqlValue) -> Truth:
        """A text in all fields; those that cannot have it are passed over."""
        if isinstance(value, KqlPattern):
            if value.is_star:
                return True
            conditions = LuceneConditions(
                self.source, self.schema, None, self.nested, analyse_prefixes=False, at=value.span
            )
            return conditions.of(parse_lucene(escaped_query(value)))
        return _merged(
            [self._if_readable(value, found) for found in default_fields(self.schema, self.nested)], value.span
        )

    def _if_readable(self, value: KqlText, found: Field) -> Truth:
        try:
            return self._leaf(value, self._inside(field_for(found.name, self.schema, self.nested)))
        except ValueError:
            return False

    # Fields.

    def _inside(self, found: Field | None) -> Field | None:
        return found if found is None or not self.nested else within(found, self.nested, self.schema)

    def _named(self, name: KqlText, *, existence: bool = False) -> Field | None:
        """The field of that name; None if no event has any."""
        full = full_name(name, self.nested)
        above = nested_above(full, self.schema)
        if above and not self.nested:
            hint = f"; write `{above}:{{ {full.removeprefix(f'{above}.')}: ... }}`"
            raise _Refused(f"[{full}] is a field of objects of the nested field [{above}]", name.span, hint)
        try:
            return self._inside(field_for(full, self.schema, self.nested, existence=existence))
        except ValueError as error:
            raise _Refused(str(error), name.span) from None

    def _over_pattern(self, name: KqlPattern, ask: _Ask, *, existence: bool) -> Truth:
        """What is asked, of any of the fields whose names fit; those of nested objects in a group of their own."""
        try:
            fitting = fields_matching(full_name(name, self.nested).split("*"), self.schema, self.nested or None)
        except ValueError as error:
            raise _Refused(str(error), name.span) from None
        return _merged([self._wrapped(found.name, name.span, ask, existence) for found in fitting], name.span)

    def _wrapped(self, name: str, span: Span, ask: _Ask, existence: bool) -> Truth:
        path = self.nested or nested_above(name, self.schema)
        found = field_for(name, self.schema, path, existence=existence)
        truth = ask(None if found is None else within(found, path, self.schema))
        return truth if self.nested else self._of_object(path, truth, span)

    def _of_object(self, path: str, truth: Truth, span: Span) -> Truth:
        """One object of the nested field, within those of the group at hand, meets the condition."""
        while path != self.nested:
            outer = nested_above(path, self.schema)
            if not f"{outer}.".startswith(f"{self.nested}." if self.nested else ""):
                return False
            ref = field_ref(within(self.schema.fields[path], outer, self.schema), span)
            if not isinstance(truth, bool):
                truth = nodes.Nested(span, ref, truth)
            elif truth:
                truth = has_value(ref)
            path = outer
        return truth

    def _group(self, node: KqlNested) -> Truth:
        path = full_name(node.path, self.nested)
        found = self.schema.find(path)
        schema = self.schema
        if found is None and _may_be_nested(path, schema):
            added = {path: Field(path, DataType.NESTED)}
            schema = replace(schema, fields=ChainMap(added, schema.fields))  # type: ignore[arg-type]
        elif found is None:
            raise _Refused(f"there is no nested field [{path}]", node.path.span, _near(path, schema))
        elif found.type is not DataType.NESTED:
            kind = found.original_type or found.type.value
            hint = "; fields of an object are named with it: `a.b: x`" if found.type is DataType.OBJECT else ""
            raise _Refused(f"[{path}] is of type [{kind}], not [nested]", node.path.span, hint)
        inner = replace(self, schema=schema, nested=path).of(node.condition)
        return replace(self, schema=schema)._of_object(path, inner, node.span)


_Ask: TypeAlias = Callable[[Field | None], Truth]


def _value_span(node: KqlIs | KqlRange | KqlNested) -> Span:
    return node.span if isinstance(node, KqlNested) else node.value.span


def _may_be_nested(path: str, schema: Schema) -> bool:
    """Whether events may have such objects, though no mapping says so."""
    return schema.lenient or any(name.startswith(f"{path}.") for name in schema.fields)


def _merged(parts: Sequence[Truth], span: Span) -> Truth:
    """The disjunction, with the values of each field as one list and its patterns as one."""
    kept: list[Truth] = []
    values: dict[tuple[Field, type], list[nodes.Comparison | nodes.Pattern]] = {}
    for part in (inner for one in parts for inner in (one.operands if isinstance(one, nodes.Or) else (one,))):
        match part:
            case nodes.Comparison(_, "==", nodes.FieldRef(exact=found), nodes.Constant(value=value)) if (
                value is not None and found.type is not DataType.NULL
            ):
                values.setdefault((found, nodes.Comparison), []).append(part)
            case nodes.Pattern(_, "like", nodes.FieldRef(exact=found)):
                values.setdefault((found, nodes.Pattern), []).append(part)
            case _:
                kept.append(part)
    return any_of([*map(_as_one, values.values()), *kept], span)


def _as_one(parts: Sequence[nodes.Comparison | nodes.Pattern]) -> nodes.Expression:
    first = parts[0]
    if len(parts) == 1:
        return first
    span = first.span.to(parts[-1].span)
    if isinstance(first, nodes.Pattern):
        patterns = [pattern for part in parts if isinstance(part, nodes.Pattern) for pattern in part.patterns]
        return nodes.Pattern(span, "like", first.value, tuple(dict.fromkeys(patterns)))
    constants = [part.right for part in parts if isinstance(part, nodes.Comparison)]
    return nodes.Membership(span, first.left, tuple(constants))


def remarks(node: KqlNode, schema: Schema) -> list[QueryFinding]:
    """What is doubtful: fields that nothing maps, with near names, and comparisons that are no KQL."""
    found: list[QueryFinding] = []
    seen: set[str] = set()
    for leaf, path in leaves(node):
        name = leaf.path if isinstance(leaf, KqlNested) else leaf.field
        if isinstance(leaf, KqlIs) and name is None:
            if isinstance(leaf.value, KqlText) and any(sign in leaf.value.text for sign in _LIKE_COMPARISONS):
                message = "this is searched as a text, in all fields"
                hint = "; a field's value is written `field: value`"
                found.append(QueryFinding(leaf.span, message, hint, "no-field-named"))
            continue
        if not isinstance(name, KqlText) or full_name(name, path) in seen:
            continue
        full = full_name(name, path)
        seen.add(full)
        if full not in METADATA and not is_mapped(full, schema):
            message = f"there is no field [{full}]"
            found.append(QueryFinding(name.span, message, _near(full, schema), "unknown-field"))
    return found[:_MOST_FINDINGS]


def _near(name: str, schema: Schema) -> Hint:
    return Suggestion(name, lambda text: near_names(text, schema.fields, least=0.75))
