"""Conditions on values: each leaf of a condition as a Python function of the canonical values of the fields that it
reads.

A leaf that tests a field against constants becomes what Elasticsearch answers with one Lucene query (`field_test`);
every other leaf becomes what it answers with one script (`script_test`). In both, a field with several values
satisfies a leaf if any of its values does, and a field without a value satisfies none but `== null`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from runner.dates import dates
from runner.errors import WrongTypeError
from runner.events.fields import values
from runner.events.fields.schema import DATES, STRINGS, DataType, Field
from runner.events.fields.values import Canonical, Scalar
from runner.expressions import functions, nodes
from runner.expressions.patterns import lucene_regex, wildcard

TestFunction: TypeAlias = Callable[..., bool]
"""Takes the canonical value of each field of the leaf, in order; raises ValueError where Elasticsearch's script
would fail."""

_ScalarTest: TypeAlias = Callable[[Scalar], bool]
_Script: TypeAlias = Callable[[Sequence[nodes.Value]], nodes.Value]

_STRINGS = STRINGS | {DataType.FLATTENED, DataType.NULL}
_MIRROR_TESTS: dict[str, Callable[[object, object], bool]] = {
    "==": lambda left, right: left == right,
    "<": lambda left, right: left < right,  # type: ignore[operator]
    "<=": lambda left, right: left <= right,  # type: ignore[operator]
    ">": lambda left, right: left > right,  # type: ignore[operator]
    ">=": lambda left, right: left >= right,  # type: ignore[operator]
}


@dataclass(frozen=True, slots=True)
class ValueTest:
    """One indivisible condition: the fields it reads, its test, and a rough cost of testing one value."""

    fields: tuple[Field, ...]
    test: TestFunction
    cost: int
    scripted: bool = False
    """Answered by a script, which may fail on a value."""


def value_test_for(expression: nodes.Expression, now_ns: int) -> ValueTest:
    """The leaf of a checked, simplified boolean expression that is no `and`, `or`, `not` or constant.

    `now_ns` is what `now` means in date math, in nanoseconds since 1970.
    """
    found = field_test(expression, now_ns)
    if found is not None:
        return found
    occurrences: list[nodes.FieldRef] = []
    script = _script(expression, occurrences, now_ns)
    return ValueTest(tuple(ref.exact for ref in occurrences), script_test(script, occurrences), 50, scripted=True)


def field_test(expression: nodes.Expression, now_ns: int) -> ValueTest | None:
    """The leaf if the expression tests one plain field against constants, else None."""
    match expression:
        case nodes.FieldRef():
            return ValueTest((expression.field,), _any(_is_true), 1)
        case nodes.Comparison(_, "==", nodes.FieldRef() as ref, nodes.Constant(value=None)):
            return ValueTest((ref.field,), _missing_test(ref.field), 1)
        case nodes.Comparison(_, operator, nodes.FieldRef() as ref, nodes.Constant(value=constant)):
            ranged = operator != "==" and ref.field.type is DataType.TEXT
            read = ref.field if ranged else ref.exact
            return ValueTest((read,), _any(_comparison(operator, read, constant, now_ns)), 2)
        case nodes.Membership(_, nodes.FieldRef() as ref, items, insensitive):
            constants = [item.value for item in items if isinstance(item, nodes.Constant)]
            if len(constants) == len(items):
                return ValueTest((ref.exact,), _any(_membership(ref.exact, constants, insensitive, now_ns)), 2)
        case nodes.Pattern(_, operator, nodes.FieldRef() as ref, patterns):
            test = _pattern(operator, [pattern.value for pattern in patterns], java=False)
            return ValueTest((ref.exact,), _any(_on_text(test)), 30 if operator.startswith("regex") else 6)
        case nodes.Call(_, name, (nodes.FieldRef() as ref, *rest), insensitive):
            constants = [item.value for item in rest if isinstance(item, nodes.Constant)]
            if len(constants) == len(rest):
                call = _call(name, constants, insensitive)
                return ValueTest((ref.exact,), _any(call), 8) if call is not None else None
    return None


def _any(test: _ScalarTest) -> TestFunction:
    """True if any value of the field passes."""

    def test_values(value: Canonical) -> bool:
        if value is None:
            return False
        if isinstance(value, tuple):
            return any(map(test, value))
        return test(value)

    return test_values


def _is_missing(value: Canonical) -> bool:
    return value is None or value == ()


def _missing_test(field: Field) -> TestFunction:
    """True if the field has no value that its type can read; dates and addresses come from the decoder unread."""
    if field.type not in DATES and field.type is not DataType.IP:
        return _is_missing
    read = _script_reader(field)
    present = _any(lambda value: read(value) is not None)
    return lambda value: not present(value)


def _is_true(value: Scalar) -> bool:
    return value is True or value == "true"


def _on_text(test: Callable[[str], bool]) -> _ScalarTest:
    """A test of strings for values that may, in a field without a mapping, be of another type."""
    return lambda value: test(value if isinstance(value, str) else functions.text_of(value))


# Comparisons of a field with a constant, by the field's type: what its term and range queries do.


def _comparison(operator: str, field: Field, constant: nodes.Value, now_ns: int) -> _ScalarTest:
    if constant is None:
        return _never  # null < v and the like are null, which matches nothing
    if field.type in DATES:
        return _date_comparison(operator, field, constant, now_ns)
    if field.type is DataType.IP:
        return _ip_comparison(operator, functions.text_of(constant))
    if field.type is DataType.VERSION:
        return _ordered(operator, values.version_key, functions.text_of(constant))
    if field.type is DataType.BOOLEAN:
        wanted = constant if isinstance(constant, bool) else functions.text_of(constant) == "true"
        return _ordered(operator, int, wanted)
    if field.type is DataType.NULL:
        return _dynamic_comparison(operator, constant)
    if field.type is DataType.TEXT and operator != "==":
        return _analysed_range(operator, functions.text_of(constant))
    if field.type in _STRINGS:
        text = functions.text_of(constant)
        return text.__eq__ if operator == "==" else _ordered(operator, _same, text)
    number = _number(constant)
    if number is not None and (field.type in _ROUNDED or (field.type is DataType.SCALED_FLOAT and operator == "==")):
        number = _rounded(number, field)
    return _never if number is None else _ordered(operator, _same, number)


_ROUNDED = frozenset({DataType.FLOAT, DataType.HALF_FLOAT})


def _rounded(number: float, field: Field) -> float:
    """A constant in the precision of the field's values, as its term and range queries take it."""
    try:
        return values.as_stored(float(number), field)
    except (ValueError, OverflowError):
        return math.copysign(math.inf, number)


def _never(value: Scalar) -> bool:
    return False


def _same(value: Scalar) -> Scalar:
    return value


def _ordered(operator: str, key: Callable[..., object], constant: object) -> _ScalarTest:
    test, bound = _MIRROR_TESTS[operator], key(constant)
    return lambda value: test(key(value), bound)


def _number(constant: nodes.Value) -> int | float | None:
    """A numeric constant, or the number in a text; None where there is none (the checker has refused what
    Elasticsearch refuses)."""
    if isinstance(constant, (int, float)):
        return constant
    try:
        return int(constant or "")
    except ValueError:
        try:
            return float(constant or "")
        except ValueError:
            return None


def _date_comparison(
    operator: str, field: Field, constant: nodes.Value, now_ns: int, *, iso: bool = False
) -> _ScalarTest:
    """`iso`: the values are those that a script sees, whatever the format of the field."""
    nanos = field.type is DataType.DATE_NANOS
    given = functions.text_of(constant)
    first, last = dates.date_range(given, field.formats, now_ns, nanos=nanos)
    low, high = {
        "==": (first, last),
        ">": (last + 1, None),
        ">=": (first, None),
        "<": (None, first - 1),
        "<=": (None, last),
    }[operator]

    formats = () if iso else field.formats

    def test(value: Scalar) -> bool:
        try:
            moment = dates.read_date(value, formats, nanos=nanos)
        except (ValueError, OverflowError):
            return False
        return (low is None or moment >= low) and (high is None or moment <= high)

    return test


def _ip_comparison(operator: str, text: str) -> _ScalarTest:
    if operator == "==":
        return _in_blocks([values.read_cidr(text)])
    test, bound = _MIRROR_TESTS[operator], values.read_ip(text)
    return lambda value: _ip_passes(value, lambda address: test(address, bound))


def _ip_passes(value: Scalar, test: Callable[[int], bool]) -> bool:
    try:
        return test(values.read_ip(functions.text_of(value)))
    except ValueError:
        return False


def _in_blocks(blocks: Sequence[tuple[int, int]]) -> _ScalarTest:
    return lambda value: _ip_passes(value, lambda address: any(low <= address <= high for low, high in blocks))


def _dynamic_comparison(operator: str, constant: nodes.Value) -> _ScalarTest:
    """For a field without a mapping: strings compare with strings, numbers with numbers, anything else does not
    match."""
    if isinstance(constant, bool) or (isinstance(constant, str) and operator == "=="):
        return _on_text(_text_test(operator, functions.text_of(constant)))
    test = _MIRROR_TESTS[operator]
    if isinstance(constant, str):
        return lambda value: isinstance(value, str) and test(value, constant)

    def numeric(value: Scalar) -> bool:
        number = None if isinstance(value, bool) else _number(value)
        return number is not None and test(number, constant)

    return numeric


def _text_test(operator: str, constant: str) -> Callable[[str], bool]:
    test = _MIRROR_TESTS[operator]
    return lambda text: test(text, constant)


def _analysed_range(operator: str, constant: str) -> _ScalarTest:
    """A range on a text field compares the words that the standard analyser makes of it."""
    test = _MIRROR_TESTS[operator]
    return _on_text(lambda text: any(test(word, constant) for word in values.words(text)))


def _membership(field: Field, constants: Sequence[nodes.Value], insensitive: bool, now_ns: int) -> _ScalarTest:
    given = [constant for constant in constants if constant is not None]
    if insensitive:
        folded = [wildcard.equals(functions.text_of(constant), insensitive=True) for constant in given]
        return _on_text(lambda text: any(test(text) for test in folded))
    if field.type in _STRINGS and field.type is not DataType.NULL:
        return frozenset(map(functions.text_of, given)).__contains__
    tests = [_comparison("==", field, constant, now_ns) for constant in given]
    return lambda value: any(test(value) for test in tests)


def _pattern(operator: str, patterns: Sequence[nodes.Value], *, java: bool) -> Callable[[str], bool]:
    """A matcher for any of the patterns; `java` for the dialect of scripts instead of Lucene's."""
    insensitive = operator == ":" or operator.endswith("~")
    texts = [functions.text_of(pattern) for pattern in patterns if pattern is not None]
    if not texts:
        return lambda text: False
    if operator.startswith("regex"):
        return (lucene_regex.java_matcher if java else lucene_regex.matcher)(texts, insensitive)
    if java:
        matchers = [wildcard.java_matcher(text, insensitive) for text in texts]
        return lambda text: any(matches(text) for matches in matchers)
    return wildcard.any_matcher(texts, insensitive)


def _call(name: str, constants: Sequence[nodes.Value], insensitive: bool) -> _ScalarTest | None:
    """The query form of the four boolean functions; None for any other function."""
    if name == "cidrmatch":
        return _in_blocks([values.read_cidr(functions.text_of(block)) for block in constants if block is not None])
    if name not in ("startswith", "endswith", "stringcontains"):
        return None
    if constants[0] is None:
        return _never
    text = functions.text_of(constants[0])
    if name == "startswith":
        return _on_text(wildcard.starts_with(text, insensitive=insensitive))
    pattern = wildcard.needle_pattern(text, at_end=name == "endswith")
    return _on_text(wildcard.escaped_matcher(pattern, insensitive))


# Scripts: three-valued evaluation over one combination of the fields' values.


def script_test(script: _Script, occurrences: Sequence[nodes.FieldRef]) -> TestFunction:
    """True if some combination of values, one for each occurrence of a field, makes the script true."""
    read = [_script_reader(ref.exact) for ref in occurrences]
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


def _script_reader(field: Field) -> Callable[[Scalar], nodes.Value]:
    """How a script sees a value: dates as ISO text, the rest as it is; None for one that the type cannot read."""
    if field.type in DATES:
        nanos = field.type is DataType.DATE_NANOS
        return _or_none(lambda value: dates.date_text(dates.read_date(value, field.formats, nanos=nanos), nanos=nanos))
    if field.type is DataType.IP:
        return _or_none(lambda value: values.ip_text(functions.text_of(value)))
    return _same


def _or_none(read: Callable[[Scalar], nodes.Value]) -> Callable[[Scalar], nodes.Value]:
    def readable(value: Scalar) -> nodes.Value:
        try:
            return read(value)
        except (ValueError, OverflowError):
            return None

    return readable


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
        matches = _pattern(expression.operator, [pattern.value for pattern in expression.patterns], java=True)
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
    if isinstance(left, nodes.FieldRef) and isinstance(right, nodes.Constant) and left.exact.type not in _STRINGS:
        # Dates, addresses and versions compare by what they mean, not as the text that a script would print.
        plain = "==" if operator == "!=" else operator
        if left.exact.type in DATES and right.value is not None:
            test = _date_comparison(plain, left.exact, right.value, now_ns, iso=True)
        else:
            test = _comparison(plain, left.exact, right.value, now_ns)
        inner, negated = _script(left, occurrences, now_ns), operator == "!="
        return lambda given: None if (value := inner(given)) is None else test(value) != negated
    first, second = _script(left, occurrences, now_ns), _script(right, occurrences, now_ns)
    return lambda given: functions.compare(operator, first(given), second(given))
