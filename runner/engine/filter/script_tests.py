"""Tests of what Elasticsearch answers with one script: three-valued evaluation over one combination of the fields'
values. A field with several values satisfies a script if some combination of values does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

from runner.engine.filter.field_tests import (
    COMPARED_AS_TEXT,
    TestFunction,
    comparison,
    date_comparison,
    pattern_test,
    script_reader,
)
from runner.errors import WrongTypeError
from runner.events.fields.schema import DATES, DataType
from runner.events.fields.values import Canonical
from runner.expressions import functions, nodes

_Script: TypeAlias = Callable[[Sequence[nodes.Value]], nodes.Value]


def script_test_for(expression: nodes.Expression, now_ns: int) -> tuple[tuple[nodes.FieldRef, ...], TestFunction]:
    """The occurrences of fields in a leaf, and its test of their values."""
    occurrences: list[nodes.FieldRef] = []
    script = _script(expression, occurrences, now_ns)
    return tuple(occurrences), _test(script, occurrences)


def _test(script: _Script, occurrences: Sequence[nodes.FieldRef]) -> TestFunction:
    """True if some combination of values, one for each occurrence of a field, makes the script true."""
    read = [script_reader(ref.exact) for ref in occurrences]
    if any(ref.exact.type is DataType.NULL for ref in occurrences):
        script = _sparing(script)

    def test_values(*given: Canonical) -> bool:
        choices = []
        for value, convert in zip(given, read, strict=True):
            several = value if isinstance(value, tuple) else (value,)
            readable: list[nodes.Value] = []
            for item in several:
                found = None if item is None else convert(item)
                if found is not None:
                    readable.append(found)
            choices.append(readable or [None])
        return any(script(combination) is True for combination in itertools.product(*choices))

    return test_values


def _sparing(script: _Script) -> _Script:
    """The script over fields without a mapping: null for a value of a type that it cannot work on; one of the right
    type that it fails on fails the rule."""

    def evaluate(given: Sequence[nodes.Value]) -> nodes.Value:
        try:
            return script(given)
        except WrongTypeError:
            return None

    return evaluate


def _script(expression: nodes.Expression, occurrences: list[nodes.FieldRef], now_ns: int) -> _Script:
    """A function of the values of the occurrences; adds the expression's own occurrences to the list as it finds
    them."""
    match expression:
        case nodes.Constant(value=constant):
            return lambda given: constant
        case nodes.FieldRef():
            position = len(occurrences)
            occurrences.append(expression)
            return lambda given: given[position]
        case nodes.Call(_, name, arguments, insensitive):
            evaluate = functions.FUNCTIONS[name].evaluate
            parts = [_script(argument, occurrences, now_ns) for argument in arguments]
            return lambda given: evaluate([part(given) for part in parts], insensitive)
        case nodes.Negative(_, operand):
            inner = _script(operand, occurrences, now_ns)
            return lambda given: functions.negative(inner(given))
        case nodes.Arithmetic(_, operator, left, right):
            first, second = _script(left, occurrences, now_ns), _script(right, occurrences, now_ns)
            return lambda given: functions.arithmetic(operator, first(given), second(given))
        case nodes.Comparison() | nodes.Membership() | nodes.Pattern():
            return _script_test(expression, occurrences, now_ns)
        case nodes.Not(_, operand):
            inner = _script(operand, occurrences, now_ns)
            return lambda given: None if (value := inner(given)) is None else not value
        case nodes.And(_, operands) | nodes.Or(_, operands):
            parts = [_script(operand, occurrences, now_ns) for operand in operands]
            return _junction(parts, decisive=isinstance(expression, nodes.Or))
        case nodes.Name():
            raise TypeError(f"field {expression.name} was not resolved by the checker")
        case _:
            raise TypeError(f"{type(expression).__name__} is no part of a script")


def _junction(parts: Sequence[_Script], *, decisive: bool) -> _Script:
    """Three-valued `or` (decisive True) and `and` (decisive False)."""

    def evaluate(given: Sequence[nodes.Value]) -> nodes.Value:
        results = [part(given) for part in parts]
        if decisive in results:
            return decisive
        return None if None in results else not decisive

    return evaluate


def _script_test(
    expression: nodes.Comparison | nodes.Membership | nodes.Pattern, occurrences: list[nodes.FieldRef], now_ns: int
) -> _Script:
    if isinstance(expression, nodes.Comparison):
        return _script_comparison(expression, occurrences, now_ns)
    value = _script(expression.value, occurrences, now_ns)
    if isinstance(expression, nodes.Pattern):
        matches = pattern_test(expression.operator, [pattern.value for pattern in expression.patterns], java=True)
        return lambda given: None if (text := value(given)) is None else matches(functions.text_of(text))
    items = [_script(item, occurrences, now_ns) for item in expression.items]
    if expression.insensitive:
        return lambda given: _script_in(value(given), [item(given) for item in items], functions.equals_ignoring_case)
    return lambda given: _script_in(value(given), [item(given) for item in items], _equal)


def _script_in(
    value: nodes.Value, items: Sequence[nodes.Value], equal: Callable[[nodes.Value, nodes.Value], bool]
) -> nodes.Value:
    return None if value is None else any(item is not None and equal(value, item) for item in items)


def _equal(left: nodes.Value, right: nodes.Value) -> bool:
    return functions.compare("==", left, right) is True


def _script_comparison(expression: nodes.Comparison, occurrences: list[nodes.FieldRef], now_ns: int) -> _Script:
    operator = expression.operator
    left, right = expression.left, expression.right
    if operator in ("==", "!=") and isinstance(right, nodes.Constant) and right.value is None:
        inner, wanted = _script(left, occurrences, now_ns), operator == "=="
        return lambda given: (inner(given) is None) == wanted
    if (
        isinstance(left, nodes.FieldRef)
        and isinstance(right, nodes.Constant)
        and left.exact.type not in COMPARED_AS_TEXT
    ):
        # Dates, addresses and versions compare by what they mean, not as the text that a script would print.
        plain = "==" if operator == "!=" else operator
        if left.exact.type in DATES and right.value is not None:
            test = date_comparison(plain, left.exact, right.value, now_ns, iso=True)
        else:
            test = comparison(plain, left.exact, right.value, now_ns)
        inner, negated = _script(left, occurrences, now_ns), operator == "!="
        return lambda given: None if (value := inner(given)) is None else test(value) != negated
    first, second = _script(left, occurrences, now_ns), _script(right, occurrences, now_ns)
    return lambda given: functions.compare(operator, first(given), second(given))
