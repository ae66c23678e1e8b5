"""`explain`: the stages, conditions, field types and limits of a query, as records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.engine.filter.field_tests import field_test
from runner.engine.plan import EventProgram, Limit, Plan, Stage, field_refs
from runner.eql.explain.unparse import duration, string, unparse
from runner.eql.program import ParsedQuery, Program
from runner.events.fields.schema import DATES, STRINGS, DataType, Field, Schema
from runner.expressions import nodes
from runner.expressions.functions import text_of

Role: TypeAlias = Literal["leaf", "and", "or", "not"]
Way: TypeAlias = Literal["field query", "script"]

_COMPARED = {"<": "is less than", "<=": "is at most", ">": "is greater than", ">=": "is at least"}
_NULL = "optional and unmapped: null stands in its place"
_FOLDED, _SENSITIVE = "A to Z in either case", "case-sensitive"
_CALLED = {"startswith": "begins with", "endswith": "ends with", "stringcontains": "contains"}


@dataclass(frozen=True, slots=True)
class FieldReading:
    """A field as the query uses it: `origin` is where its type is from, `exact` the sub-field for exact operations."""

    name: str
    type: str
    origin: str
    exact: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeafReading:
    """One indivisible condition: how it is evaluated, and the values that meet it."""

    text: str
    way: Way
    query: str
    """The kind of query that evaluates it (`term`, `wildcard`, ...), or `script`."""
    reads: tuple[str, ...]
    """The fields whose values it reads, exact sub-fields if those are used."""
    asks: str
    """What a value must be, without the letter case."""
    case: str = ""
    """Whether upper and lower case differ, if the condition compares texts."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConditionReading:
    """A condition: a leaf, or `and`, `or` and `not` over parts."""

    text: str
    role: Role
    leaf: LeafReading | None = None
    parts: tuple[ConditionReading, ...] = ()


@dataclass(frozen=True, slots=True)
class StageReading:
    """One stage. No condition: any event. `empty`: the condition is constantly false or null."""

    label: str
    missing: bool
    empty: bool
    keys: tuple[str, ...]
    conditions: tuple[ConditionReading, ...]


@dataclass(frozen=True, slots=True)
class QueryReading:
    """The reading of a query."""

    kind: str
    stages: tuple[StageReading, ...]
    maxspan: str | None
    timestamp: str
    tiebreaker: str | None
    limits: tuple[str, ...]
    fields: tuple[FieldReading, ...]
    warnings: tuple[str, ...]


def explain(
    program: Program | EventProgram,
    origin: Callable[[Field], str],
    *,
    unmapped: Sequence[str] = (),
    limits: Sequence[Limit] | None = None,
) -> QueryReading:
    """The reading of a program's query; `origin` returns the source of a field's type.

    `unmapped` are its optional fields replaced by null, `limits` those of the search, by default the plan's own.

    >>> from runner.eql.program import compile_query
    >>> from runner.events.fields.schema import DATES, STRINGS, shipped_schema
    >>> program = compile_query('process where process.name : "ba*"', shipped_schema())
    >>> reading = explain(program, lambda field: "shipped table")
    >>> [condition.text for condition in reading.stages[0].conditions]
    ['event.category == "process"', 'process.name : "ba*"']
    """
    plan = program.plan
    applied = plan.limits if limits is None else limits
    return QueryReading(
        kind=plan.kind,
        stages=tuple(_stage(stage, label) for stage, label in zip(plan.all_stages(), labels(plan), strict=True)),
        maxspan=None if plan.maxspan is None else duration(plan.maxspan // 1_000_000),
        timestamp=plan.timestamp.name,
        tiebreaker=None if plan.tiebreaker is None else plan.tiebreaker.name,
        limits=tuple(f"{limit.side} {limit.count}" for limit in applied),
        fields=(*_fields(plan, origin), *(FieldReading(name, "null", _NULL) for name in unmapped)),
        warnings=tuple(finding.text for finding in program.warnings),
    )


def origin_in(known: Schema, name: str) -> Callable[[Field], str]:
    """A function from a field to the source of its type: the schema called `name`, or the values of the events."""

    def origin(field: Field) -> str:
        if field.type is DataType.NULL:
            return "unknown: it counts as missing in every event"
        return name if known.find(field.name) is not None else "inferred from the events"

    return origin


def labels(plan: Plan) -> tuple[str, ...]:
    """The labels of a plan's stages, in the order of `all_stages`."""
    if plan.kind == "event":
        return ("query",)
    numbered = tuple(
        f"{'missing event' if stage.missing else 'stage'} {number}" for number, stage in enumerate(plan.stages, 1)
    )
    return numbered if plan.until is None else (*numbered, "until")


def _stage(stage: Stage, label: str) -> StageReading:
    return StageReading(
        label=label,
        missing=stage.missing,
        empty=stage.empty,
        keys=tuple("null" if key is None else unparse(key) for key in stage.keys),
        conditions=tuple(map(_condition, stage.conjuncts)),
    )


def _condition(expression: nodes.Expression) -> ConditionReading:
    text = unparse(expression)
    if not isinstance(expression, (nodes.And, nodes.Or, nodes.Not)):
        return ConditionReading(text, "leaf", read_leaf(expression))
    return ConditionReading(text, role_of(expression), None, tuple(map(_condition, nodes.children(expression))))


def role_of(expression: nodes.Expression) -> Role:
    """The operator that joins the parts of a condition."""
    if isinstance(expression, (nodes.And, nodes.Or)):
        return "and" if isinstance(expression, nodes.And) else "or"
    return "not" if isinstance(expression, nodes.Not) else "leaf"


def _fields(plan: Plan, origin: Callable[[Field], str]) -> Iterator[FieldReading]:
    """The fields of the query, each once, in the order of their first occurrence."""
    seen: dict[str, nodes.FieldRef] = {}
    for stage in plan.all_stages():
        for conjunct in stage.conjuncts:
            for ref in field_refs(conjunct):
                seen.setdefault(ref.field.name, ref)
        for key in stage.keys:
            if key is not None:
                seen.setdefault(key.field.name, key)
    for ref in seen.values():
        exact = ref.exact.name if ref.exact.name != ref.field.name else None
        yield FieldReading(ref.field.name, ref.field.type.value, origin(ref.field), exact, tuple(_field_notes(ref)))


def _field_notes(ref: nodes.FieldRef) -> Iterator[str]:
    field = ref.field
    if field.path and field.path != field.name and ref.exact is field:
        yield f"reads the value of {field.path}"
    if field.formats:
        yield f"dates in the format {'||'.join(field.formats)}"
    if ref.exact.ignore_above is not None:
        yield f"values longer than {ref.exact.ignore_above} characters count as missing"
    if field.null_value is not None:
        yield f"null counts as {text_of(field.null_value)}" if isinstance(field.null_value, (str, int, float)) else ""
    if field.constant is not None:
        yield f"every event has the value {field.constant}"


def unmapped_names(query: ParsedQuery, schema: Schema) -> tuple[str, ...]:
    """The optional fields of a query that a schema does not have; the checker replaces them by null."""
    names = dict.fromkeys(name.name for name in query.names() if name.optional)
    return tuple(name for name in names if schema.find(name) is None)


# Leaves.


def read_leaf(expression: nodes.Expression) -> LeafReading:
    """How one indivisible condition is answered."""
    if isinstance(expression, (nodes.Nested, nodes.AnyOf)):
        refs = tuple(dict.fromkeys(ref.exact.name for ref in field_refs(expression)))
        asks = "holds for one object" if isinstance(expression, nodes.Nested) else "one of them holds"
        return LeafReading(unparse(expression), "field query", "bool", refs, asks)
    if field_test(expression, 0) is None:
        refs = tuple(dict.fromkeys(ref.exact.name for ref in field_refs(expression)))
        asks = "is true for some combination of the fields' values"
        notes = tuple(_script_notes(expression))
        return LeafReading(unparse(expression), "script", "script", refs, asks, notes=notes)
    match expression:
        case nodes.FieldRef(_, field):
            return _field_query(expression, "term", field, "is true")
        case nodes.Comparison(_, "==", nodes.FieldRef(_, field), nodes.Constant(value=None)):
            return _field_query(expression, "exists", field, "has no value")
        case nodes.Comparison(_, operator, nodes.FieldRef(_, field, exact), nodes.Constant(value=value)):
            return _comparison(expression, operator, field, exact=exact, value=value)
        case nodes.Membership(_, nodes.FieldRef(exact=exact), items, insensitive):
            listed = _either([_shown(item.value) for item in items if isinstance(item, nodes.Constant)])
            if insensitive:
                notes = ("`*` and `?` are literal for `in~`",) if any(char in listed for char in "*?") else ()
                return _field_query(expression, "term", exact, f"is {listed}", case=_FOLDED, notes=notes)
            return _field_query(expression, "terms", exact, f"is {listed}", case=_case_of(exact))
        case nodes.Pattern(_, operator, nodes.FieldRef(exact=exact), patterns):
            return _pattern(expression, operator, exact, patterns=[text_of(pattern.value) for pattern in patterns])
        case nodes.Phrase(_, nodes.FieldRef(exact=exact), text, slop):
            if exact.type is not DataType.TEXT:
                return _field_query(expression, "term", exact, f"is {string(text)}", case=_case_of(exact))
            moved = f", moved by {slop} at most" if slop else ""
            return _field_query(expression, "match_phrase", exact, f"has the words of {string(text)} in a row{moved}")
        case nodes.Fuzzy(_, nodes.FieldRef(exact=exact), text, edits):
            return _field_query(expression, "fuzzy", exact, f"is {string(text)} after {edits} edits at most")
        case nodes.Between(_, nodes.FieldRef(exact=exact), above, low, below, high):
            asks = f"{_COMPARED[above]} {_shown(low.value)} and {_COMPARED[below]} {_shown(high.value)}"
            return _field_query(expression, "range", exact, asks)
        case nodes.Wildcard(_, nodes.FieldRef(exact=exact), pattern, insensitive):
            case_ = _FOLDED if insensitive else _SENSITIVE
            return _field_query(expression, "wildcard", exact, f"fits {string(pattern)} as a whole", case=case_)
        case nodes.Listed(_, nodes.FieldRef(exact=exact), listed):
            return _field_query(expression, "terms", exact, f"is one of {len(listed.texts)} values")
        case nodes.Call(_, name, (nodes.FieldRef(exact=exact), *rest), insensitive):
            constants = [_shown(item.value) for item in rest if isinstance(item, nodes.Constant)]
            if name == "cidrmatch":
                return _field_query(expression, "terms", exact, f"lies in {_either(constants)}")
            return _field_query(
                expression,
                "prefix" if name == "startswith" else "wildcard",
                exact,
                f"{_CALLED[name]} {constants[0]}",
                case=_FOLDED if insensitive else _SENSITIVE,
                notes=_needle_notes(name, constants[0]),
            )
    raise TypeError(f"no field query: {type(expression).__name__}")


def _field_query(
    expression: nodes.Expression, query: str, field: Field, asks: str, *, case: str = "", notes: tuple[str, ...] = ()
) -> LeafReading:
    return LeafReading(unparse(expression), "field query", query, (field.name,), asks, case, notes)


def _case_of(field: Field) -> str:
    return _SENSITIVE if field.type in STRINGS else ""


def _comparison(
    expression: nodes.Expression, operator: str, field: Field, *, exact: Field, value: nodes.Value
) -> LeafReading:
    shown = _shown(value)
    if operator != "==":
        analysed = field.type is DataType.TEXT
        notes = ("the words of the analysed text are compared",) if analysed else ()
        read = field if analysed else exact
        return _field_query(expression, "range", read, f"{_COMPARED[operator]} {shown}", notes=notes)
    if exact.type in DATES:
        return _field_query(expression, "range", exact, f"falls in the time that {shown} names")
    if exact.type is DataType.IP and "/" in shown:
        return _field_query(expression, "term", exact, f"lies in {shown}")
    wild = isinstance(value, str) and any(char in value for char in "*?")
    notes = ("`*` and `?` are literal for `==`",) if wild else ()
    return _field_query(expression, "term", exact, f"is {shown}", case=_case_of(exact), notes=notes)


def _pattern(expression: nodes.Expression, operator: str, exact: Field, *, patterns: list[str]) -> LeafReading:
    case = _FOLDED if operator == ":" or operator.endswith("~") else _SENSITIVE
    listed = _either([string(pattern) for pattern in patterns])
    if operator.startswith("regex"):
        notes = tuple(_regex_notes(patterns))
        return _field_query(expression, "regexp", exact, f"fits {listed} as a whole", case=case, notes=notes)
    if not any(char in pattern for pattern in patterns for char in "*?"):
        return _field_query(expression, "term", exact, f"is {listed}", case=case)
    return _field_query(expression, "wildcard", exact, f"fits {listed} as a whole", case=case)


def _regex_notes(patterns: Sequence[str]) -> Iterator[str]:
    """Notes on a pattern in Lucene's syntax for readers used to other dialects."""
    yield "Lucene syntax: the whole value must fit"
    text = "|".join(patterns)
    bare = {char for place, char in enumerate(text) if place == 0 or text[place - 1] != "\\"}
    if bare & {"^", "$"} and any(pattern.startswith("^") or pattern.endswith("$") for pattern in patterns):
        yield "`^` and `$` are ordinary characters here, not anchors"
    special = [char for char in '~&@#<"' if char in bare]
    if special:
        yield f"operators here unless a backslash stands before them: {' '.join(special)}"


def _needle_notes(name: str, shown: str) -> tuple[str, ...]:
    if name != "startswith" and any(char in shown for char in "*?\\"):
        return ("`*`, `?` and `\\` in the text are not escaped: they work as in a wildcard query",)
    return ()


def _script_notes(expression: nodes.Expression) -> Iterator[str]:
    parts = list(nodes.walk(expression))
    patterns = [node for node in parts if isinstance(node, nodes.Pattern)]
    if any(pattern.operator.startswith("regex") for pattern in patterns):
        yield "Java syntax: the whole value must fit; `^` and `$` are anchors"
    if any(not pattern.operator.startswith("regex") for pattern in patterns):
        yield "`*` and `?` stop at line ends; letters of all alphabets ignore case where the operator does"
    names = [ref.exact.name for ref in field_refs(expression)]
    if len(set(names)) < len(names):
        yield "a field that stands twice may give a different one of its values to each place"


def _shown(value: nodes.Value) -> str:
    return string(value) if isinstance(value, str) else text_of(value)


def _either(shown: Sequence[str]) -> str:
    return shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"
