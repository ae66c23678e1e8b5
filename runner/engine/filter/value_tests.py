"""Tests of values: each leaf of a condition, and a condition as a whole, as a Python function of the canonical values
of the fields that it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from runner.engine.filter.field_tests import ValueTest, any_value, field_test
from runner.engine.filter.script_tests import script_test_for
from runner.engine.plan import field_refs
from runner.events.columns.row_decoder import RowDecoder
from runner.events.fields.schema import KEYWORDS, Field
from runner.events.fields.values import Canonical, Scalar, typed
from runner.expressions import nodes
from runner.json_text import BrokenLine, read_document

WholeTest: TypeAlias = Callable[[Mapping[str, Canonical]], bool]
"""Takes the values of fields by name."""

_OBJECTS = 4_096
"""Most objects of one nested condition remembered."""
_VALUES = 50_000
"""Most values of one field remembered with the operands that they may meet."""


def value_test_for(expression: nodes.Expression, now_ns: int) -> ValueTest:
    """The leaf of a checked, simplified boolean expression that is no `and`, `or`, `not` or constant.

    `now_ns` is what `now` means in date math, in nanoseconds since 1970.
    """
    found = field_test(expression, now_ns)
    if found is not None:
        return found
    if isinstance(expression, nodes.Nested):
        return ValueTest((expression.value.field,), any_value(_object_test(expression, now_ns)), 100)
    if isinstance(expression, nodes.AnyOf):
        index = OperandIndex(expression.operands, now_ns)
        return ValueTest(index.fields, index.test, 1_000)
    occurrences, test = script_test_for(expression, now_ns)
    return ValueTest(tuple(ref.exact for ref in occurrences), test, 50, scripted=True)


def whole_test(expression: nodes.Expression, now_ns: int) -> WholeTest:
    """A checked, simplified condition as one function. It raises ValueError where a script fails on a value."""
    match expression:
        case nodes.Not(_, operand):
            inner = whole_test(operand, now_ns)
            return lambda values: not inner(values)
        case nodes.And(_, operands) | nodes.Or(_, operands):
            parts = [whole_test(operand, now_ns) for operand in operands]
            either = any if isinstance(expression, nodes.Or) else all
            return lambda values: either(part(values) for part in parts)
    leaf = value_test_for(expression, now_ns)
    test, names = leaf.test, [field.name for field in leaf.fields]
    if len(names) == 1:
        (name,) = names
        return lambda values: test(values[name])
    return lambda values: test(*map(values.__getitem__, names))


def _object_test(nested: nodes.Nested, now_ns: int) -> Callable[[Scalar], bool]:
    """The test of the JSON text of one object of a nested field."""
    decoder = RowDecoder(fields_of_condition(nested.condition))
    readers = {name: decoder.gatherer(name) for name in decoder.fields}
    test = whole_test(nested.condition, now_ns)

    @lru_cache(_OBJECTS)
    def meets(text: str) -> bool:
        try:
            row = decoder.row(read_document(text.encode("utf-8", "replace")))
        except BrokenLine:
            return False
        return test({name: read(row) for name, read in readers.items()})

    return lambda text: isinstance(text, str) and meets(text)


def fields_of_condition(expression: nodes.Expression) -> tuple[Field, ...]:
    """The fields that a condition reads, each once."""
    found = {field.name: field for ref in field_refs(expression) for field in (ref.field, ref.exact)}
    return tuple(found.values())


class OperandIndex:
    """Which of many conditions hold for some values: an index by the values that each of them needs.

    Most conditions need one of a few texts in some field: those are found by hashing. Of most others one part is about
    a single field: it is decided once per distinct value. A condition as a whole is tested only if that part holds. One
    with a script that fails on a value does not hold.
    """

    def __init__(self, operands: Sequence[nodes.Expression], now_ns: int) -> None:
        self._operands, self._now_ns = operands, now_ns
        named = {field.name: field for operand in operands for field in fields_of_condition(operand)}
        self.fields = tuple(named.values())
        """The fields that the conditions read."""
        self._names = tuple(named)
        self._tests: dict[int, WholeTest] = {}
        self._texts: dict[str, dict[str, list[int]]] = {}
        self._others: dict[str, list[tuple[int, WholeTest]]] = {}
        self._always: list[int] = []
        for number, operand in enumerate(operands):
            self._enter(number, operand)
        self._indexed = tuple(dict.fromkeys((*self._texts, *self._others)))
        self._known: dict[str, dict[object, tuple[int, ...]]] = {name: {} for name in self._indexed}

    def test(self, *given: Canonical) -> bool:
        """Whether any condition holds for these values of `fields`."""
        return self.first(dict(zip(self._names, given, strict=True))) is not None

    def first(self, values: Mapping[str, Canonical]) -> int | None:
        """The number of the first condition that holds; None if none does."""
        return next(self.holding(values), None)

    def holding(self, values: Mapping[str, Canonical]) -> Iterator[int]:
        """The numbers of all conditions that hold, ascending."""
        found = set(self._always)
        for name in self._indexed:
            found.update(self._candidates(name, values[name]))
        return (number for number in sorted(found) if self._test_of(number)(values))

    def _enter(self, number: int, operand: nodes.Expression) -> None:
        parts = operand.operands if isinstance(operand, nodes.And) else (operand,)
        for part in parts:
            name, texts = _needed_texts(part)
            if texts:
                by_text = self._texts.setdefault(name, {})
                for text in texts:
                    by_text.setdefault(text, []).append(number)
                return
        for part in parts:
            fields = fields_of_condition(part)
            if len(fields) == 1 and not isinstance(part, nodes.Not):
                test = _without_failing(whole_test(part, self._now_ns))
                self._others.setdefault(fields[0].name, []).append((number, test))
                return
        self._always.append(number)

    def _candidates(self, name: str, value: Canonical) -> tuple[int, ...]:
        """The conditions whose needed part about this field holds for the value."""
        known, key = self._known[name], typed(value)
        found = known.get(key)
        if found is None:
            by_text = self._texts.get(name, {})
            several = value if isinstance(value, tuple) else (value,)
            numbers = [number for one in several if isinstance(one, str) for number in by_text.get(one, ())]
            numbers += [number for number, test in self._others.get(name, ()) if test({name: value})]
            if len(known) >= _VALUES:
                known.clear()
            found = known[key] = tuple(numbers)
        return found

    def _test_of(self, number: int) -> WholeTest:
        test = self._tests.get(number)
        if test is None:
            test = self._tests[number] = _without_failing(whole_test(self._operands[number], self._now_ns))
        return test


def _without_failing(test: WholeTest) -> WholeTest:
    """The test that a script's failure on a value does not pass."""

    def passes(values: Mapping[str, Canonical]) -> bool:
        try:
            return test(values)
        except ValueError:
            return False

    return passes


def _needed_texts(part: nodes.Expression) -> tuple[str, Sequence[str]]:
    """The field of which a condition needs one of some texts, and these; none where it needs no such."""
    match part:
        case nodes.Comparison(_, "==", nodes.FieldRef(exact=field), nodes.Constant(value=str() as text)):
            items: Sequence[object] = (text,)
        case nodes.Membership(_, nodes.FieldRef(exact=field), constants, False):
            items = [one.value if isinstance(one, nodes.Constant) else None for one in constants]
        case _:
            return "", ()
    texts = [item for item in items if isinstance(item, str)]
    return (field.name, texts) if field.type in KEYWORDS and len(texts) == len(items) else ("", ())
