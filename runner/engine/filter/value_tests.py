"""Tests of values: each leaf of a condition, and a condition as a whole, as a Python function of the canonical values
of the fields that it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from runner.engine.filter.field_tests import ValueTest, any_value, field_test
from runner.engine.filter.script_tests import script_test_for
from runner.engine.plan import field_refs
from runner.events.columns.row_decoder import RowDecoder
from runner.events.fields.schema import KEYWORDS, DataType, Field
from runner.events.fields.values import Canonical, Scalar, read_cidr, read_ip, typed
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
        self.operands, self.now_ns = operands, now_ns
        named = {field.name: field for operand in operands for field in fields_of_condition(operand)}
        self.fields = tuple(named.values())
        """The fields that the conditions read."""
        self._names = tuple(named)
        self._tests: dict[int, WholeTest] = {}
        self._candidates = {name: _Candidates(field) for name, field in named.items()}
        self._always: list[int] = []
        for number, operand in enumerate(operands):
            self._enter(number, operand)
        self._indexed = [(place, found) for place, found in enumerate(self._candidates.values()) if found.is_used]

    def test(self, *given: Canonical) -> bool:
        """Whether any condition holds for these values of `fields`."""
        return next(self.holding(dict(zip(self._names, given, strict=True))), None) is not None

    def holding_rows(self, columns: Sequence[Sequence[Canonical]]) -> Iterator[tuple[int, tuple[int, ...]]]:
        """The places of events for which any condition holds, with their numbers; values field by field."""
        wanted: dict[int, set[int]] = {}
        for place, candidates in self._indexed:
            several = list(candidates.of(columns[place]))
            if any(several):
                for row, numbers in enumerate(several):
                    if numbers:
                        wanted.setdefault(row, set()).update(numbers)
        for row in range(len(columns[0])) if self._always else sorted(wanted):
            values = dict(zip(self._names, (column[row] for column in columns), strict=True))
            numbers = (*self._always, *wanted.get(row, ()))
            held = tuple(number for number in sorted(numbers) if self._test_of(number)(values))
            if held:
                yield row, held

    def holding(self, values: Mapping[str, Canonical]) -> Iterator[int]:
        """The numbers of all conditions that hold, ascending."""
        found = set(self._always)
        for place, candidates in self._indexed:
            found.update(*candidates.of([values[self._names[place]]]))
        return (number for number in sorted(found) if self._test_of(number)(values))

    def _enter(self, number: int, operand: nodes.Expression) -> None:
        parts = operand.operands if isinstance(operand, nodes.And) else (operand,)
        for part in parts:
            name, keys = _needed_values(part)
            if keys:
                for key in keys:
                    self._candidates[name].values_needed.setdefault(key, []).append(number)
                return
        for part in parts:
            fields = fields_of_condition(part)
            if len(fields) == 1 and not isinstance(part, nodes.Not):
                test = _without_failing(whole_test(part, self.now_ns))
                self._candidates[fields[0].name].tests.append((number, test))
                return
        self._always.append(number)

    def _test_of(self, number: int) -> WholeTest:
        test = self._tests.get(number)
        if test is None:
            test = self._tests[number] = _without_failing(whole_test(self.operands[number], self.now_ns))
        return test


class _Candidates(dict[Any, tuple[int, ...]]):
    """By value of one field, the conditions whose needed part about this field holds. Worked out when asked for."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.values_needed: dict[str | int, list[int]] = {}
        """Conditions that need a text, or an address as a number."""
        self.tests: list[tuple[int, WholeTest]] = []
        """Conditions with another test of the field."""
        self._name, self._is_ip = field.name, field.type is DataType.IP
        # Values of different types may occur, some of which are equal in Python.
        self._untyped = field.type is DataType.NULL

    @property
    def is_used(self) -> bool:
        return bool(self.values_needed or self.tests)

    def of(self, values: Sequence[Canonical]) -> Iterator[tuple[int, ...]]:
        """The conditions of each value."""
        return map(self.__getitem__, map(typed, values) if self._untyped else values)

    def __missing__(self, key: Any) -> tuple[int, ...]:
        value = key[1] if self._untyped and key else key
        several = value if isinstance(value, tuple) else (value,)
        needed = self.values_needed
        numbers = [number for one in several if needed for number in needed.get(self._key(one), ())]
        numbers += [number for number, test in self.tests if test({self._name: value})]
        if len(self) >= _VALUES:
            self.clear()
        self[key] = found = tuple(numbers)
        return found

    def _key(self, value: Scalar | None) -> str | int:
        """What the value is found by in `values_needed`; an empty text for one that no condition needs."""
        if not isinstance(value, str):
            return ""
        try:
            return read_ip(value) if self._is_ip else value
        except ValueError:
            return ""


def _without_failing(test: WholeTest) -> WholeTest:
    """The test that a script's failure on a value does not pass."""

    def passes(values: Mapping[str, Canonical]) -> bool:
        try:
            return test(values)
        except ValueError:
            return False

    return passes


def _needed_values(part: nodes.Expression) -> tuple[str, Sequence[str | int]]:
    """The field of which a condition needs one of some texts or addresses, and these; none where it needs no such."""
    match part:
        case nodes.Comparison(_, "==", nodes.FieldRef(exact=field), nodes.Constant(value=str() as text)):
            items: Sequence[object] = (text,)
        case nodes.Membership(_, nodes.FieldRef(exact=field), constants, False):
            items = [one.value if isinstance(one, nodes.Constant) else None for one in constants]
        case _:
            return "", ()
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) < len(items):
        return "", ()
    if field.type is DataType.IP:
        blocks = [read_cidr(text) for text in texts]
        return (field.name, [low for low, _ in blocks]) if all(low == high for low, high in blocks) else ("", ())
    return (field.name, texts) if field.type in KEYWORDS and "" not in texts else ("", ())
