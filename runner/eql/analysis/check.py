"""Semantic analysis, from names to fields and types: `check`. It reports all that is wrong at once.

Works leaves first; a node is judged only when all parts of it are sound, so that one fault makes one finding. The
messages are Elasticsearch's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from runner.eql.analysis.field_lookup import FieldFinder, Unusable
from runner.eql.syntax import ast
from runner.eql.syntax.errors import QueryFinding, VerificationError
from runner.eql.syntax.tokens import offset_in_string
from runner.events.fields.schema import INTEGERS, NUMBERS, STRINGS, DataType, Field, Schema
from runner.events.fields.values import read_cidr
from runner.expressions import nodes, types
from runner.expressions.constants import check_readable, evaluate
from runner.expressions.functions import FUNCTIONS, Function, Parameter, text_of
from runner.expressions.patterns import lucene_regex
from runner.expressions.patterns.pattern_reader import PatternError
from runner.messages.suggestions import Hint, near_names, suggestion
from runner.messages.text_positions import OtherPlace, Source, Span

_BOOLEAN = frozenset({DataType.BOOLEAN})
_KINDS = {
    "string": STRINGS,
    "numeric": NUMBERS,
    "integer": INTEGERS,
    "ip": frozenset({DataType.IP}),
    "boolean": _BOOLEAN,
}
_COUNTS = ("no", "one", "two", "three", "four", "five")


@dataclass(frozen=True, slots=True)
class Checked:
    """A statement whose names are fields, and what is doubtful in it but no error."""

    statement: ast.Statement
    warnings: tuple[QueryFinding, ...]


def check(
    statement: ast.Statement,
    source: Source,
    schema: Schema,
    *,
    category_field: str,
    timestamp_field: str,
    tiebreaker_field: str | None,
) -> Checked:
    """The statement with a `FieldRef` for each name. Raises VerificationError with all findings, in the text's order.

    A name that a lenient schema has not is a field of type NULL, whose values keep the types of the events; a warning
    unless it is optional.
    """
    checker = _Checker(source, schema)
    special = [timestamp_field] if tiebreaker_field is None else [timestamp_field, tiebreaker_field]
    if not isinstance(statement.body, ast.SampleQuery):  # samples use neither
        for name in special:
            checker.require(name, Span(statement.span.start, statement.span.start))
    checked = replace(statement, body=_body(checker, statement.body, category_field))
    if checker.findings:
        raise VerificationError(source, sorted(dict.fromkeys(checker.findings), key=lambda finding: finding.span.start))
    return Checked(checked, tuple(checker.warnings.values()))


def type_of(expression: nodes.Expression) -> DataType:
    """The type of a checked expression's value; NULL where it is always null."""
    if isinstance(expression, nodes.Constant):
        return types.type_of_value(expression.value)
    if isinstance(expression, nodes.FieldRef):
        return expression.field.type
    return _result_type(expression, [type_of(part) for part in nodes.children(expression)])


def _widest(parts: Sequence[DataType]) -> DataType:
    widest = DataType.NULL
    for part in parts:
        widest = types.wider(widest, part)
    return widest


def _body(
    checker: _Checker, body: ast.EventQuery | ast.SequenceQuery | ast.SampleQuery, category_field: str
) -> ast.EventQuery | ast.SequenceQuery | ast.SampleQuery:
    if isinstance(body, ast.EventQuery):
        return checker.event_query(body, category_field)
    shared = checker.keys(body.keys)
    terms = tuple(_term(checker, term, category_field) for term in body.terms)
    if isinstance(body, ast.SampleQuery):
        checker.findings.extend(_key_findings("Sample", shared, terms))
        return replace(body, terms=terms, keys=shared)
    until = _term(checker, body.until, category_field) if body.until else None
    checker.findings.extend(_key_findings("Sequence", shared, terms if until is None else (*terms, until)))
    return replace(body, terms=terms, keys=shared, until=until)


def _term(checker: _Checker, term: ast.Term, category_field: str) -> ast.Term:
    query = checker.event_query(term.query, category_field)
    return replace(term, query=query, keys=checker.keys(term.keys))


def _key_findings(
    kind: str, shared: tuple[ast.KeyExpression, ...], terms: tuple[ast.Term, ...]
) -> Iterator[QueryFinding]:
    """Keys whose type does not go with that of the first term's key at the same place."""
    first = (*shared, *terms[0].keys)
    for term in terms[1:]:
        for key, other in zip((*shared, *term.keys), first, strict=True):
            if not (isinstance(key, nodes.FieldRef) and isinstance(other, nodes.FieldRef)):
                continue
            if not types.compatible(key.field.type, other.field.type):
                yield QueryFinding(
                    key.span,
                    f"{kind} key [{key.field.name}] type [{types.key_type_name(key.field.type)}] is incompatible "
                    f"with key [{other.field.name}] type [{types.key_type_name(other.field.type)}]",
                )


class _Sound(NamedTuple):
    """A node without faults: its type, and the constant that it comes to if no field is in it."""

    node: nodes.Expression  # keeps the node, and thereby its id, alive
    type: DataType
    constant: nodes.Constant | None


class _Checker:
    """One query's findings so far, and what is known of each sound node."""

    def __init__(self, source: Source, schema: Schema) -> None:
        self._source = source
        self._lenient, self._absent = schema.lenient, schema.absent
        self._finder = FieldFinder(schema)
        self._sound: dict[int, _Sound] = {}
        self.findings: list[QueryFinding] = []
        self.warnings: dict[str, QueryFinding] = {}

    # Statements.

    def event_query(self, query: ast.EventQuery, category_field: str) -> ast.EventQuery:
        """The query with its condition checked, and its category against the category field."""
        if query.category is not None:
            start = query.span.start
            ref = self.require(category_field, Span(start, start + len(query.category)))
            if ref is not None:
                problem = _inexact(ref)
                if problem:
                    self._report(ref.span, f"[{category_field}] cannot operate on {problem}")
                self._read(nodes.Constant(ref.span, query.category), ref.exact)
        condition = nodes.rewrite(query.condition, self._check)
        known = self._sound_part(condition)
        if known is not None and known.type not in (DataType.BOOLEAN, DataType.NULL):
            name = types.type_name(known.type).upper()
            self._report(condition.span, f"Condition expression needs to be boolean, found [{name}]")
        self._sound.clear()
        return replace(query, condition=condition)

    def require(self, name: str, span: Span) -> nodes.FieldRef | None:
        """A field that the query uses without naming it."""
        found = self._name(nodes.Name(span, name))
        return found if isinstance(found, nodes.FieldRef) else None

    def keys(self, keys: tuple[ast.KeyExpression, ...]) -> tuple[ast.KeyExpression, ...]:
        """Join keys with their fields."""
        return tuple(self._key(key) for key in keys)

    def _key(self, key: ast.KeyExpression) -> ast.KeyExpression:
        if not isinstance(key, nodes.Name):
            return key
        found = self._name(key)
        if isinstance(found, nodes.FieldRef):
            problem = _inexact(found)
            if problem:
                self._report(found.span, f"[{self._text(found)}] cannot operate on {problem}")
        return found or key

    # Nodes.

    def _check(self, node: nodes.Expression) -> nodes.Expression:
        """The node with its name resolved; recorded as sound if it is."""
        if isinstance(node, nodes.Name):
            found = self._name(node)
            if found is None:
                return node
            constant = found if isinstance(found, nodes.Constant) else None
            self._record(found, type_of(found), constant)
            return found
        if isinstance(node, nodes.Constant):
            return node
        if isinstance(node, nodes.Pattern) and node.operator.startswith("like"):
            node = self._texts(node)
        parts = nodes.children(node)
        sound = [part for part in map(self._sound_part, parts) if part is not None]
        if len(sound) < len(parts):
            return node
        before = len(self.findings)
        self._judge(node, sound)
        if len(self.findings) == before:
            self._record_result(node, sound)
        return node

    def _sound_part(self, node: nodes.Expression) -> _Sound | None:
        """What is known of a part; None if there is a fault in it."""
        if isinstance(node, nodes.Constant):
            return _Sound(node, types.type_of_value(node.value), node)
        return self._sound.get(id(node))

    def _judge(self, node: nodes.Expression, parts: list[_Sound]) -> None:
        """Report what is wrong with a node whose parts are sound."""
        if isinstance(node, (nodes.And, nodes.Or)):
            for place, part in enumerate(parts):
                self._accept(node, part, _BOOLEAN, "boolean", types.ordinal(place))
        elif isinstance(node, nodes.Not):
            self._accept(node, parts[0], _BOOLEAN, "boolean", "")
        elif isinstance(node, nodes.Negative):
            self._accept(node, parts[0], NUMBERS, "numeric", "")
        elif isinstance(node, nodes.Arithmetic):
            for place, part in enumerate(parts):
                self._accept(node, part, NUMBERS, "numeric", types.ordinal(place))
        elif isinstance(node, nodes.Comparison):
            self._comparison(node, parts[0], parts[1])
        elif isinstance(node, nodes.Membership):
            self._membership(node, parts[0], parts[1:])
        elif isinstance(node, nodes.Pattern):
            self._pattern(node, parts[0], parts[1:])
        elif isinstance(node, nodes.Call):
            self._call(node, parts)

    def _record_result(self, node: nodes.Expression, parts: list[_Sound]) -> None:
        """Record a sound operation; one over constants is computed, for what will be compared with it."""
        constants = [part.constant for part in parts if part.constant is not None]
        kinds = [part.type for part in parts]
        if len(constants) < len(parts):
            self._record(node, _result_type(node, kinds), None)
            return
        try:
            value = evaluate(nodes.with_children(node, tuple(constants)))
        except (ValueError, OverflowError) as error:
            self._report(node.span, str(error))
            return
        result = types.type_of_value(value) if value is not None else _result_type(node, kinds)
        self._record(node, result, nodes.Constant(node.span, value))

    def _record(self, node: nodes.Expression, data_type: DataType, constant: nodes.Constant | None) -> None:
        self._sound[id(node)] = _Sound(node, data_type, constant)

    def _name(self, name: nodes.Name) -> nodes.FieldRef | nodes.Constant | None:
        """The field, a null for an optional one that is not there, or None after it was reported."""
        found = self._finder.find(name.name, suggest=not name.optional)
        if not isinstance(found, Unusable):
            return nodes.FieldRef(name.span, found.field, found.exact, name.optional)
        if found.unknown and name.optional and (not self._lenient or name.name in self._absent):
            return nodes.Constant(name.span, None)
        if found.unknown and self._lenient:
            if not name.optional:
                finding = QueryFinding(name.span, found.message, found.hint, "unknown-field")
                self.warnings.setdefault(name.name, finding)
            field = Field(name.name, DataType.NULL)
            return nodes.FieldRef(name.span, field, field, name.optional)
        self._report(name.span, found.message, found.hint, "unknown-field" if found.unknown else "")
        return None

    # Operations.

    def _comparison(self, node: nodes.Comparison, left: _Sound, right: _Sound) -> None:
        if not (self._exact(node, left, "first ") and self._exact(node, right, "second ")):
            return
        if left.constant is None and right.constant is None:
            symbol = "==" if node.operator == "!=" else node.operator
            offender = self._name_of(right.node)
            message = f"Comparisons against fields are not (currently) supported; offender [{offender}] in [{symbol}]"
            self._report(right.node.span, message)
            return
        ordered = node.operator not in ("==", "!=")
        for one, other in ((left, right), (right, left)):
            if isinstance(one.node, nodes.FieldRef) and other.constant is not None:
                self._read(other.constant, one.node.exact, ordered=ordered)

    def _membership(self, node: nodes.Membership, value: _Sound, items: list[_Sound]) -> None:
        text = self._text(node)
        for item in items:
            if item.constant is None:
                offender = self._name_of(item.node)
                message = "Comparisons against fields are not (currently) supported; "
                self._report(node.span, f"{message}offender [{offender}] in [{text}]")
                return
        if node.insensitive:
            self._strings("in~", "in", node, (value, *items))
            return
        if not self._exact(node, value, ""):
            return
        field = value.node.exact if isinstance(value.node, nodes.FieldRef) else None
        for place, item in enumerate(items, start=1):
            if not types.compatible(value.type, item.type):
                self._report(
                    node.span,
                    f"{types.numbered(place)} argument of [{text}] must be [{types.type_name(value.type)}], "
                    f"found value [{self._text(item.node)}] type [{types.type_name(item.type)}]",
                )
                return
            if field is not None and item.constant is not None and not self._read(item.constant, field):
                return

    def _pattern(self, node: nodes.Pattern, value: _Sound, patterns: list[_Sound]) -> None:
        if node.operator == ":":
            self._strings(":", "==", node, (value, *patterns))
            return
        if not self._accept(node, value, STRINGS, "string", "") or not self._exact(node, value, ""):
            return
        insensitive = node.operator.endswith("~")
        for pattern in patterns:
            if not self._accept(node, pattern, STRINGS, "string", ""):
                return
            text = pattern.constant.value if pattern.constant is not None else None
            if node.operator.startswith("regex") and isinstance(text, str):
                matcher = lucene_regex.matcher if isinstance(value.node, nodes.FieldRef) else lucene_regex.java_matcher
                try:
                    matcher([text], insensitive)
                except PatternError as error:
                    self.findings.append(_pattern_finding(pattern.node.span, error, self._text(pattern.node)))
                except ValueError as error:
                    self._report(pattern.node.span, str(error))

    def _strings(self, symbol: str, instead: str, node: nodes.Expression, parts: Sequence[_Sound]) -> None:
        """Report the first part of `:` or `in~` that is no string."""
        for place, part in enumerate(parts):
            order = "first " if place == 0 else "second "
            if part.type not in STRINGS and part.type is not DataType.NULL:
                self._report(
                    node.span,
                    f"{order}argument of [{symbol}] must be [string], found value [{self._text(part.node)}] "
                    f"type [{types.type_name(part.type)}]; consider using [{instead}] instead",
                )
                return
            if not self._exact(node, part, order):
                return

    def _call(self, node: nodes.Call, arguments: list[_Sound]) -> None:
        function = FUNCTIONS.get(node.name)
        if function is None:
            written = node.written.removesuffix("~")
            hint = suggestion(near_names(written.lower(), FUNCTIONS))
            self._report(node.span, f"Unknown function [{written}]", hint)
            return
        if node.insensitive and not function.case_option:
            message = f"Function [{node.written}] does not support case-(in)sensitivity"
            self._report(node.span, message, f"; write [{function.name}]")
            return
        count = len(arguments)
        if count < function.least or (function.most is not None and count > function.most):
            self._report(node.span, f"error building [{node.name}]: expects {_expected_count(function)}")
            return
        last = len(function.parameters) - 1
        for place, argument in enumerate(arguments):
            order = types.ordinal(place) if last > 0 else ""
            if not self._argument(node, function.parameters[min(place, last)], argument, order):
                return

    def _argument(self, node: nodes.Call, parameter: Parameter, argument: _Sound, order: str) -> bool:
        if parameter.constant and argument.constant is None:
            received = self._text(argument.node)
            message = f"{order}argument of [{self._text(node)}] must be a constant, received [{received}]"
            self._report(node.span, message)
            return False
        accepted = _KINDS.get(parameter.kind)
        if accepted is not None and not self._accept(node, argument, accepted, parameter.kind, order):
            return False
        if not self._exact(node, argument, order):
            return False
        if node.name == "cidrmatch" and argument.constant is not None and isinstance(argument.constant.value, str):
            try:
                read_cidr(argument.constant.value)
            except ValueError as error:
                self._report(argument.node.span, str(error))
        return True

    # Reporting.

    def _report(self, span: Span, message: str, hint: Hint = "", code: str = "") -> None:
        self.findings.append(QueryFinding(span, message, hint, code))

    def _accept(
        self, node: nodes.Expression, part: _Sound, accepted: frozenset[DataType], kind: str, order: str
    ) -> bool:
        """Whether a part is of an accepted type or null; reported if not."""
        if part.type in accepted or part.type is DataType.NULL:
            return True
        self._report(
            node.span,
            f"{order}argument of [{self._text(node)}] must be [{kind}], found value [{self._text(part.node)}] "
            f"type [{types.type_name(part.type)}]",
        )
        return False

    def _exact(self, node: nodes.Expression, part: _Sound, order: str) -> bool:
        """Whether a part can be used in exact operations; reported if not."""
        problem = _inexact(part.node, order) if isinstance(part.node, nodes.FieldRef) else ""
        if problem:
            self._report(node.span, f"[{self._text(node)}] cannot operate on {problem}")
        return not problem

    def _read(self, constant: nodes.Constant, field: Field, *, ordered: bool = False) -> bool:
        """Whether the field's type can read a constant; reported if not."""
        try:
            check_readable(constant.value, field, ordered=ordered)
        except ValueError as error:
            self._report(constant.span, str(error))
            return False
        return True

    def _texts(self, node: nodes.Pattern) -> nodes.Pattern:
        """`like 5` as `like "5"`."""
        if all(isinstance(part.value, str | None) for part in node.patterns):
            return node
        texts = (part if part.value is None else replace(part, value=text_of(part.value)) for part in node.patterns)
        return replace(node, patterns=tuple(texts))

    def _text(self, node: nodes.Expression) -> str:
        return self._source.excerpt(node.span)

    def _name_of(self, node: nodes.Expression) -> str:
        return node.field.name if isinstance(node, nodes.FieldRef) else self._text(node)


def _pattern_finding(span: Span, error: PatternError, written: str) -> QueryFinding:
    """What is wrong with a pattern, at the place in its text; at all of it if that is no string as it is written."""
    if not written.startswith('"') or len(written) != span.end - span.start:
        return QueryFinding(span, str(error))
    start, opened = span.start + offset_in_string(written, error.place), None
    if error.opened is not None:
        bracket = span.start + offset_in_string(written, error.opened)
        opened = OtherPlace(Span(bracket, bracket + 1), "opened here")
    return QueryFinding(Span(start, start + 1), str(error), other=opened)


def _result_type(node: nodes.Expression, parts: list[DataType]) -> DataType:
    """The type of an operation from the types of its parts."""
    if isinstance(node, nodes.Call):
        return FUNCTIONS[node.name].returns or _widest(parts)
    return _widest(parts) if isinstance(node, (nodes.Arithmetic, nodes.Negative)) else DataType.BOOLEAN


def _inexact(ref: nodes.FieldRef, order: str = "") -> str:
    """Why exact operations cannot use a field, to be put after "cannot operate on"; empty if they can."""
    prefix = f"{order}argument " if order else ""
    if ref.exact.type is DataType.TEXT:
        leaf = ref.field.name.rpartition(".")[2]
        return (
            f"{prefix}field of data type [text]: No keyword/multi-field defined exact matches for [{leaf}]; "
            "define one or use MATCH/QUERY instead"
        )
    if ref.exact.normalized:
        return (
            f"{prefix}field of data type [{types.type_name(ref.field.type)}]: "
            "Normalized keyword field cannot be used for exact match operations"
        )
    return ""


def _expected_count(function: Function) -> str:
    """How many arguments a function takes, in words."""
    least, most = function.least, function.most
    if most is None:
        return f"at least {_COUNTS[least]} argument{'' if least == 1 else 's'}"
    if least == most:
        return f"exactly {_COUNTS[least]} argument{'' if least == 1 else 's'}"
    return f"{_COUNTS[least]} or {_COUNTS[most]} arguments"
