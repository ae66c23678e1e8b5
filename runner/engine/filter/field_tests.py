"""Tests of field values: what Elasticsearch answers with one Lucene query, as functions of the values of one field.

A field with several values satisfies a leaf if any of its values does, and a field without a value satisfies none but
`== null`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from runner.dates import dates
from runner.events.fields import values
from runner.events.fields.schema import DATES, STRINGS, DataType, Field
from runner.events.fields.values import Canonical, Scalar
from runner.events.fields.words import lower, words
from runner.expressions import functions, nodes
from runner.expressions.patterns import lucene_regex, wildcard

TestFunction: TypeAlias = Callable[..., bool]
"""Takes the canonical value of each field of the leaf, in order; raises ValueError where Elasticsearch's script
would fail."""

ScalarTest: TypeAlias = Callable[[Scalar], bool]

COMPARED_AS_TEXT = STRINGS | {DataType.FLATTENED, DataType.NULL}
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


def field_test(expression: nodes.Expression, now_ns: int) -> ValueTest | None:
    """The leaf if the expression tests one plain field against constants, else None."""
    match expression:
        case nodes.FieldRef():
            return ValueTest((expression.field,), any_value(_is_true), 1)
        case nodes.Comparison(_, "==", nodes.FieldRef() as ref, nodes.Constant(value=None)):
            return ValueTest((ref.field,), _missing_test(ref.field), 1)
        case nodes.Comparison(_, operator, nodes.FieldRef() as ref, nodes.Constant(value=constant)):
            ranged = operator != "==" and ref.field.type is DataType.TEXT
            read = ref.field if ranged else ref.exact
            return ValueTest((read,), any_value(comparison(operator, read, constant, now_ns)), 2)
        case nodes.Membership(_, nodes.FieldRef() as ref, items, insensitive):
            constants = [item.value for item in items if isinstance(item, nodes.Constant)]
            if len(constants) == len(items):
                return ValueTest((ref.exact,), any_value(_membership(ref.exact, constants, insensitive, now_ns)), 2)
        case nodes.Pattern(_, operator, nodes.FieldRef() as ref, patterns):
            test = _of_words(ref.exact, pattern_test(operator, [pattern.value for pattern in patterns], java=False))
            return ValueTest((ref.exact,), any_value(_on_text(test)), 30 if operator.startswith("regex") else 6)
        case nodes.Call(_, name, (nodes.FieldRef() as ref, *rest), insensitive):
            constants = [item.value for item in rest if isinstance(item, nodes.Constant)]
            if len(constants) == len(rest):
                call = _call(name, constants, insensitive)
                return ValueTest((ref.exact,), any_value(call), 8) if call is not None else None
        case nodes.Phrase(_, nodes.FieldRef(exact=read), text, slop):
            return ValueTest((read,), any_value(_phrase(read, text, slop)), 6)
        case nodes.Fuzzy(_, nodes.FieldRef(exact=read), text, edits):
            return ValueTest((read,), any_value(_on_text(_of_words(read, _fuzzy(text, edits)))), 20)
        case nodes.Between(_, nodes.FieldRef(exact=read), above, low, below, high):
            return ValueTest((read,), any_value(_between(read, (above, low.value), (below, high.value), now_ns)), 4)
        case nodes.Wildcard(_, nodes.FieldRef(exact=read), pattern, insensitive):
            return ValueTest((read,), any_value(_wildcard(read, pattern, insensitive=insensitive)), 6)
        case nodes.Listed(_, nodes.FieldRef(exact=read), listed):
            return ValueTest((read,), any_value(_listed(read, listed)), 3)
    return None


def any_value(test: ScalarTest) -> TestFunction:
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
    read = script_reader(field)
    present = any_value(lambda value: read(value) is not None)
    return lambda value: not present(value)


def _is_true(value: Scalar) -> bool:
    return value is True or value == "true"


def _on_text(test: Callable[[str], bool]) -> ScalarTest:
    """A test of strings for values that may, in a field without a mapping, be of another type."""
    return lambda value: test(value if isinstance(value, str) else functions.text_of(value))


# Comparisons of a field with a constant, by the field's type: what its term and range queries do.


def comparison(operator: str, field: Field, constant: nodes.Value, now_ns: int) -> ScalarTest:
    if constant is None:
        return _never  # null < v and the like are null, which matches nothing
    if field.type in DATES:
        return date_comparison(operator, field, constant, now_ns)
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
    if field.type in COMPARED_AS_TEXT:
        text = functions.text_of(constant)
        if field.normalized and operator != "==":
            return _ordered(operator, lower, text)
        return text.__eq__ if operator == "==" else _ordered(operator, _same, text)
    number = _number(constant)
    if number is not None and (field.type in _ROUNDED or (field.type is DataType.SCALED_FLOAT and operator == "==")):
        number = _rounded(number, field)
    return _never if number is None else _ordered(operator, _same, number)


_ROUNDED = frozenset({DataType.FLOAT, DataType.HALF_FLOAT})


def _between(field: Field, low: tuple[str, nodes.Value], high: tuple[str, nodes.Value], now_ns: int) -> ScalarTest:
    """One value, or one word of an analysed field, lies within both ends."""
    if field.type is DataType.TEXT:
        first, last = (_ordered(operator, _same, functions.text_of(bound)) for operator, bound in (low, high))
        return _on_text(_of_words(field, lambda word: first(word) and last(word)))
    starts, ends = (comparison(operator, field, bound, now_ns) for operator, bound in (low, high))
    return lambda value: starts(value) and ends(value)


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


def _ordered(operator: str, key: Callable[..., object], constant: object) -> ScalarTest:
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


def date_comparison(
    operator: str, field: Field, constant: nodes.Value, now_ns: int, *, iso: bool = False
) -> ScalarTest:
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


def _ip_comparison(operator: str, text: str) -> ScalarTest:
    if operator == "==":
        return _in_blocks([values.read_cidr(text)])
    test, bound = _MIRROR_TESTS[operator], values.read_ip(text)
    return lambda value: _ip_passes(value, lambda address: test(address, bound))


def _ip_passes(value: Scalar, test: Callable[[int], bool]) -> bool:
    try:
        return test(values.read_ip(functions.text_of(value)))
    except ValueError:
        return False


def _in_blocks(blocks: Sequence[tuple[int, int]]) -> ScalarTest:
    return lambda value: _ip_passes(value, lambda address: any(low <= address <= high for low, high in blocks))


def _dynamic_comparison(operator: str, constant: nodes.Value) -> ScalarTest:
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


def _analysed_range(operator: str, constant: str) -> ScalarTest:
    """A range on a text field compares the words that the standard analyser makes of it."""
    test = _MIRROR_TESTS[operator]
    return _on_text(lambda text: any(test(word, constant) for word in words(text)))


def _membership(field: Field, constants: Sequence[nodes.Value], insensitive: bool, now_ns: int) -> ScalarTest:
    given = [constant for constant in constants if constant is not None]
    if insensitive:
        folded = [wildcard.equals(functions.text_of(constant), insensitive=True) for constant in given]
        return _on_text(lambda text: any(test(text) for test in folded))
    if field.type in COMPARED_AS_TEXT and field.type is not DataType.NULL:
        return frozenset(map(functions.text_of, given)).__contains__
    tests = [comparison("==", field, constant, now_ns) for constant in given]
    return lambda value: any(test(value) for test in tests)


def pattern_test(operator: str, patterns: Sequence[nodes.Value], *, java: bool) -> Callable[[str], bool]:
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


def _call(name: str, constants: Sequence[nodes.Value], insensitive: bool) -> ScalarTest | None:
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


# What phrase, wildcard and terms queries do by the field's type: words of analysed fields, and normalised values.


def _of_words(field: Field, test: Callable[[str], bool]) -> Callable[[str], bool]:
    """The test of a value's words if the field is analysed, of the value in lower case if it is normalised."""
    if field.type is DataType.TEXT:
        return lambda given: any(map(test, words(given)))
    return (lambda given: test(lower(given))) if field.normalized else test


def _fuzzy(text: str, edits: int) -> Callable[[str], bool]:
    from rapidfuzz.distance.OSA import distance  # takes longer to import than most commands to start

    return lambda given: distance(text, given, score_cutoff=edits) <= edits


def _phrase(field: Field, text: str, slop: int = 0) -> ScalarTest:
    if field.type is DataType.TEXT:
        wanted = words(text)
        if slop and len(wanted) > 1:
            return _on_text(lambda given: _stand_near(wanted, words(given), slop))
        return _on_text(lambda given: _stand_in_a_row(wanted, words(given))) if wanted else _never
    if field.normalized:
        folded = lower(text)
        return _on_text(lambda given: lower(given) == folded)
    if field.type is DataType.NULL and (number := _number(text)) is not None:
        return lambda value: value == number if type(value) in (int, float) else functions.text_of(value) == text
    return _on_text(text.__eq__)


def _stand_in_a_row(wanted: Sequence[str], given: Sequence[str]) -> bool:
    if len(wanted) == 1:
        return wanted[0] in given
    places = range(len(given) - len(wanted) + 1)
    return any(given[place : place + len(wanted)] == wanted for place in places)


def _stand_near(wanted: Sequence[str], given: Sequence[str], slop: int) -> bool:
    """Whether the wanted words, all different, can be moved by `slop` places in all to stand in a row."""
    starts: dict[str, list[int]] = {word: [] for word in wanted}  # where the row would begin for each place of a word
    for place, word in enumerate(given):
        if word in starts:
            starts[word].append(place - wanted.index(word))
    if not all(starts.values()):
        return False
    lows = {start for each in starts.values() for start in each}
    return any(all(any(low <= start <= low + slop for start in each) for each in starts.values()) for low in lows)


def _wildcard(field: Field, pattern: str, *, insensitive: bool) -> ScalarTest:
    matches = wildcard.escaped_matcher(lower(pattern) if field.normalized else pattern, insensitive)
    if field.type is DataType.TEXT:
        return _on_text(lambda given: any(map(matches, words(given))))
    return _on_text(lambda given: matches(lower(given))) if field.normalized else _on_text(matches)


def _listed(field: Field, listed: nodes.ValueSet) -> ScalarTest:
    members = listed.members
    if field.type in DATES:
        nanos = field.type is DataType.DATE_NANOS
        return _in_spans(listed, lambda value: dates.read_date(value, field.formats, nanos=nanos))
    if field.type is DataType.IP:
        return _in_spans(listed, lambda value: values.read_ip(functions.text_of(value)))
    if field.type is DataType.TEXT:
        return _on_text(lambda given: not members.isdisjoint(words(given)))
    if field.normalized:
        return _on_text(lambda given: lower(given) in members)
    return _on_text(members.__contains__) if field.type in COMPARED_AS_TEXT else members.__contains__


def _in_spans(listed: nodes.ValueSet, read: Callable[[Scalar], int]) -> ScalarTest:
    starts, ends = listed.starts, listed.ends

    def test(value: Scalar) -> bool:
        try:
            number = read(value)
        except (ValueError, OverflowError):
            return False
        place = bisect_right(starts, number)
        return place > 0 and number <= ends[place - 1]

    return test


def script_reader(field: Field) -> Callable[[Scalar], nodes.Value]:
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
