"""Conditions on one document: constants first, then `and`, `or`, `not` over leaves, each a query or a script."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.dates.dates import date_range, read_date
from runner.events.fields.schema import DataType, Field, Schema
from runner.events.fields.values import version_key
from runner.events.fields.words import words
from runner.expressions import nodes
from tests.reference import functions as fn
from tests.reference import patterns as pt
from tests.reference import readings as rd

Document = Mapping[str, Any]
Test = Callable[[Document], bool]
MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
QUERY_FUNCTIONS = ("startswith", "endswith", "stringcontains", "cidrmatch")
PREDICATES = (nodes.Comparison, nodes.Membership, nodes.Pattern, nodes.Not, nodes.And, nodes.Or)


@dataclass(frozen=True)
class Constant:
    """A condition or expression that depends on no field."""

    value: Any


class Conditions:
    """The conditions of one query over one schema."""

    def __init__(self, schema: Schema, now: int) -> None:
        self._schema = schema
        self._now = now

    def field(self, name: str) -> Field | None:
        return self._schema.find(name)

    # Conditions as a whole.

    def condition(self, node: nodes.Expression) -> Constant | Test:
        """A condition as a constant or as a test of a document."""
        if isinstance(node, nodes.Not):
            inner = self.condition(node.operand)
            if isinstance(inner, Constant):
                return Constant(None if inner.value is None else not inner.value)
            return lambda document: not inner(document)
        if isinstance(node, (nodes.And, nodes.Or)):
            return self._junction(node)
        constant = self.constant(node)
        return self._leaf(node) if constant is None else constant

    def _junction(self, node: nodes.And | nodes.Or) -> Constant | Test:
        parts = [self.condition(operand) for operand in node.operands]
        tests = [part for part in parts if not isinstance(part, Constant)]
        constants = [part.value for part in parts if isinstance(part, Constant)]
        either = isinstance(node, nodes.Or)
        if not tests:
            deciding = either
            return Constant(deciding if deciding in constants else None if None in constants else not deciding)
        if either:
            if True in constants:
                return Constant(True)
            return lambda document: True in [test(document) for test in tests]
        if False in constants or None in constants:
            return Constant(False if False in constants else None)
        return lambda document: False not in [test(document) for test in tests]

    def constant(self, node: nodes.Expression) -> Constant | None:
        """The value of an expression without fields, and of one that a null makes null; else None."""
        if isinstance(node, nodes.Constant):
            return Constant(node.value)
        if isinstance(node, nodes.Name):
            return Constant(None) if self.field(node.name) is None else None
        if isinstance(node, (nodes.And, nodes.Or, nodes.Not)):
            found = self.condition(node)
            return found if isinstance(found, Constant) else None
        parts = [self.constant(part) for part in nodes.children(node)]
        null = [part is not None and part.value is None for part in parts]
        if isinstance(node, nodes.Comparison) and node.operator not in ("==", "!=") and any(null):
            return Constant(None)
        if isinstance(node, nodes.Arithmetic) and any(null):
            return Constant(None)
        if isinstance(node, nodes.Membership):
            if null[0]:
                return Constant(None)
            if all(null[1:]):
                return Constant(False)
        if isinstance(node, nodes.Pattern) and (null[0] or all(null[1:])):
            return Constant(None)
        if None in parts:
            return None
        if isinstance(node, nodes.Comparison) and any(null):
            return Constant(all(null) == (node.operator == "=="))
        return Constant(self.script(node, []))

    # Leaves.

    def _leaf(self, node: nodes.Expression) -> Constant | Test:
        if isinstance(node, nodes.Name):
            return self._values_test(node, lambda value: value is True)
        if isinstance(node, nodes.Comparison):
            return self._comparison(node)
        if isinstance(node, nodes.Membership) and isinstance(node.value, nodes.Name):
            return self._query_in(node.value, node)
        if isinstance(node, nodes.Pattern) and isinstance(node.value, nodes.Name):
            return self._values_test(node.value, lambda value: self._fits(node, value, java=False))
        if isinstance(node, nodes.Call) and node.name in QUERY_FUNCTIONS and isinstance(node.arguments[0], nodes.Name):
            rest = [self.constant(argument) for argument in node.arguments[1:]]
            if None not in rest:
                return self._query_call(node, [part.value for part in rest if part is not None])
        return self._script_leaf(node)

    def _comparison(self, node: nodes.Comparison) -> Constant | Test:
        left, right = node.left, self.constant(node.right)
        operator: str = node.operator
        if right is None:
            left, right = node.right, self.constant(node.left)
            operator = MIRRORED[operator]
        assert right is not None
        if operator == "!=":
            equal = self._equal(left, right.value, node)
            if isinstance(equal, Constant):
                return Constant(None if equal.value is None else not equal.value)
            return lambda document: not equal(document)
        if operator == "==":
            return self._equal(left, right.value, node)
        return self._compared(left, operator, right.value)

    def _equal(self, left: nodes.Expression, value: Any, node: nodes.Comparison) -> Constant | Test:
        if value is None:
            if isinstance(left, nodes.Name):
                field = self.field(left.name)
                assert field is not None
                return lambda document: not rd.values_of(document, field)
            return self._scripted(left, lambda found: found is None)
        if isinstance(value, bool) and self._is_predicate(left):
            inner = self.condition(left)
            if value or isinstance(inner, Constant):
                return inner
            return lambda document: not inner(document)
        return self._compared(left, "==", value)

    @staticmethod
    def _is_predicate(node: nodes.Expression) -> bool:
        return isinstance(node, PREDICATES) or (isinstance(node, nodes.Call) and node.name in QUERY_FUNCTIONS)

    def _compared(self, left: nodes.Expression, operator: str, value: Any) -> Test:
        if isinstance(left, nodes.Name):
            field = self.field(left.name)
            assert field is not None
            analysed = field.type is DataType.TEXT and operator != "=="
            read = field if analysed else rd.exact_field(field, self._schema)
            test = self.value_test(read, operator, value)
            return lambda document: True in [test(found) for found in rd.values_of(document, read)]
        return self._scripted(left, lambda found: fn.compare(operator, found, value) is True)

    def value_test(self, field: Field, operator: str, constant: Any) -> Callable[[Any], bool]:
        """What a term or range query says of one value."""
        test = fn.COMPARISONS[operator]
        if field.type in rd.DATES:
            nanos = field.type is DataType.DATE_NANOS
            first, last = date_range(fn.text_of(constant), field.formats, self._now, nanos=nanos)
            if operator == "==":
                return lambda value: first <= value <= last
            return lambda value: test(value, last if operator in (">", "<=") else first)
        if field.type is DataType.IP:
            if operator == "==":
                return lambda value: fn.in_blocks(value, (constant,))
            return lambda value: test(fn.address(value), fn.address(constant))
        if field.type is DataType.VERSION:
            return lambda value: test(version_key(value), version_key(fn.text_of(constant)))
        if field.type is DataType.BOOLEAN:
            return lambda value: test(value, constant in (True, "true"))
        if field.type is DataType.TEXT:
            return lambda value: any(test(word, fn.text_of(constant)) for word in words(value))
        if field.type in rd.TEXTS:
            wanted = fn.text_of(constant)
            return lambda value: test(value.encode(), wanted.encode())
        if isinstance(constant, str):
            constant = float(constant) if {*".eE"} & {*constant} else int(constant)
        if field.type in (DataType.FLOAT, DataType.HALF_FLOAT) or (
            field.type is DataType.SCALED_FLOAT and operator == "=="
        ):
            constant = rd.stored(float(constant), field)
        return lambda value: test(value, constant)

    def _values_test(self, name: nodes.Name, test: Callable[[Any], bool]) -> Test:
        field = self.field(name.name)
        assert field is not None
        read = rd.exact_field(field, self._schema)
        return lambda document: True in [test(value) for value in rd.values_of(document, read)]

    def _query_in(self, name: nodes.Name, node: nodes.Membership) -> Test:
        items = [part.value for part in map(self.constant, node.items) if part is not None and part.value is not None]
        if node.insensitive:
            return self._values_test(
                name, lambda value: any(value.translate(_LOWER) == fn.text_of(item).translate(_LOWER) for item in items)
            )
        field = self.field(name.name)
        assert field is not None
        tests = [self.value_test(rd.exact_field(field, self._schema), "==", item) for item in items]
        return self._values_test(name, lambda value: any(test(value) for test in tests))

    def _query_call(self, node: nodes.Call, rest: list[Any]) -> Constant | Test:
        name = node.arguments[0]
        assert isinstance(name, nodes.Name)
        if None in rest:
            return lambda document: False
        if node.name == "cidrmatch":
            return self._values_test(name, lambda value: fn.in_blocks(value, tuple(rest)))
        folded, part = node.insensitive, fn.text_of(rest[0])
        if node.name == "startswith":
            fold = _LOWER if folded else {}
            return self._values_test(name, lambda value: value.translate(fold).startswith(part.translate(fold)))
        if (len(part) - len(part.rstrip("\\"))) % 2:
            part += "\\"  # nothing is left that it could escape, so that it stands for itself
        pattern = f"*{part}" if node.name == "endswith" else f"*{part}*"
        return self._values_test(name, lambda value: pt.wildcard_fits(pattern, value, folded=folded, escapes=True))

    def _fits(self, node: nodes.Pattern, text: str, *, java: bool) -> bool:
        folded = node.operator == ":" or node.operator.endswith("~")
        given = [fn.text_of(item.value) for item in node.patterns if item.value is not None]
        if node.operator.startswith("regex"):
            fits = pt.java_regex_fits if java else pt.regex_fits
        else:
            fits = pt.java_wildcard_fits if java else pt.wildcard_fits
        return any(fits(pattern, text, folded=folded) for pattern in given)

    # Scripts.

    def _script_leaf(self, node: nodes.Expression) -> Test:
        return self._scripted(node, lambda found: found is True)

    def _scripted(self, node: nodes.Expression, accepts: Callable[[Any], bool]) -> Test:
        """True if some combination of values, one for each occurrence of a field, gives what is accepted."""
        names = [part for part in nodes.walk(node) if isinstance(part, nodes.Name)]
        fields = [self.field(name.name) for name in names]
        read = [None if field is None else rd.exact_field(field, self._schema) for field in fields]

        def test(document: Document) -> bool:
            choices = [[None] if field is None else rd.script_values(document, field) for field in read]
            results = [self.script(node, list(chosen)) for chosen in itertools.product(*choices)]
            return True in [accepts(result) for result in results]

        return test

    def script(self, node: nodes.Expression, given: list[Any]) -> Any:
        """The value of an expression; `given` has the value of each name in the order of the text and is used up."""
        if isinstance(node, nodes.Constant):
            return node.value
        if isinstance(node, nodes.Name):
            return given.pop(0) if given else None
        parts = [self.script(part, given) for part in nodes.children(node)]
        if isinstance(node, nodes.Call):
            return fn.call(node.name, parts, folded=node.insensitive)
        if isinstance(node, nodes.Negative):
            return -parts[0] if isinstance(parts[0], float) else fn.arithmetic("-", 0, parts[0])
        if isinstance(node, nodes.Arithmetic):
            return fn.arithmetic(node.operator, parts[0], parts[1])
        if isinstance(node, nodes.Comparison):
            if node.operator in ("==", "!=") and node.right == nodes.Constant(node.right.span, None):
                return (parts[0] is None) == (node.operator == "==")
            field = self.field(node.left.name) if isinstance(node.left, nodes.Name) else None
            if (
                field is not None and field.type in rd.DATES and None not in parts
            ):  # by what they mean, not by their text
                return self.value_test(field, node.operator, parts[1])(read_date(parts[0], (), nanos=True))
            return fn.compare(node.operator, parts[0], parts[1])
        if isinstance(node, nodes.Not):
            return None if parts[0] is None else not parts[0]
        if isinstance(node, (nodes.And, nodes.Or)):
            deciding = isinstance(node, nodes.Or)
            return deciding if deciding in parts else None if None in parts else not deciding
        if parts[0] is None:
            return None
        if isinstance(node, nodes.Pattern):
            return self._fits(node, parts[0], java=True)
        assert isinstance(node, nodes.Membership)
        if node.insensitive:
            return any(fn.equal_in_any_case(parts[0], item) for item in parts[1:])
        return any(fn.compare("==", parts[0], item) is True for item in parts[1:])


_LOWER = {ord(char): char.lower() for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
