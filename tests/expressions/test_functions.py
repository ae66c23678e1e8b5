"""The functions of EQL, one call a line of `specs/expressions/functions.txt`, and the laws of arithmetic and order."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.events.fields.schema import DataType
from runner.expressions.functions import FUNCTIONS, arithmetic, compare, equals_ignoring_case, negative, text_of
from runner.expressions.nodes import Value
from tests.paths import SPECS

SPEC = SPECS / "expressions" / "functions.txt"
LINES = [line for line in SPEC.read_text("utf-8").splitlines() if line and not line.startswith("#")]
CALL = re.compile(r"(\w+)(~?)\((.*)\) -> (.*)")
NAMES = [
    *("add", "between", "cidrMatch", "concat", "divide", "endsWith", "indexOf", "length"),
    *("modulo", "multiply", "number", "startsWith", "string", "stringContains", "subtract", "substring"),
]
LONGS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.none() | st.booleans() | LONGS | st.floats() | st.text()


def same(left: Value, right: Value) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and left == right


@pytest.mark.parametrize("line", LINES)
def test_a_call_gives_its_value(line: str) -> None:
    found = CALL.fullmatch(line)
    assert found is not None, "not a line of this file's form"
    name, tilde, arguments, expected = found.groups()
    function = FUNCTIONS[name.lower()]
    values = json.loads(f"[{arguments}]")
    if expected.startswith("error "):
        with pytest.raises(ValueError, match=re.escape(json.loads(expected.removeprefix("error ")))):
            function.evaluate(values, bool(tilde))
    else:
        assert same(function.evaluate(values, bool(tilde)), json.loads(expected))


def test_every_function_stands_in_the_table_and_in_the_specification() -> None:
    assert [function.name for function in FUNCTIONS.values()] == NAMES
    assert list(FUNCTIONS) == [name.lower() for name in NAMES]
    assert {line.partition("(")[0].rstrip("~") for line in LINES} == set(NAMES)


def test_the_table_says_what_the_checker_needs() -> None:
    tilde = {function.name for function in FUNCTIONS.values() if function.case_option}
    assert tilde == {"between", "endsWith", "indexOf", "startsWith", "stringContains"}
    counts = {function.name: (function.least, function.most) for function in FUNCTIONS.values()}
    assert counts["between"] == (3, 4)
    assert counts["cidrMatch"] == (2, None)
    assert counts["concat"] == (1, None)
    assert counts["indexOf"] == (2, 3)
    assert counts["substring"] == (2, 3)
    assert FUNCTIONS["length"].returns is DataType.INTEGER
    assert FUNCTIONS["add"].returns is None


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        (1, 1.0, 0),
        (1, 2, -1),
        (2.5, 2, 1),
        (2**63 - 1, float(2**63), 0),
        (math.nan, math.inf, 1),
        (math.nan, math.nan, 0),
        (-0.0, 0.0, -1),
        ("a", "b", -1),
        ("B", "a", -1),
        ("\uffff", "\U0001f600", 1),
        (False, True, -1),
    ],
)
def test_comparison_orders_values(left: Value, right: Value, order: int) -> None:
    answers = [compare(operator, left, right) for operator in ("<", "<=", "==", "!=", ">=", ">")]
    assert answers == [order < 0, order <= 0, order == 0, order != 0, order >= 0, order > 0]


@pytest.mark.parametrize(
    ("left", "right"), [(None, 1), (None, None), ("1", 1), (True, 1), (True, "true"), (1.5, "1.5")]
)
def test_comparison_of_what_cannot_be_compared_is_null(left: Value, right: Value) -> None:
    assert {compare(operator, left, right) for operator in ("<", "<=", "==", "!=", ">=", ">")} == {None}


@given(VALUES, VALUES)
def test_comparison_mirrors(left: Value, right: Value) -> None:
    assert compare("<", left, right) == compare(">", right, left)
    assert compare("==", left, right) == compare("==", right, left)


@given(st.text(max_size=4), st.text(max_size=4))
def test_strings_compare_by_their_utf16_units(left: str, right: str) -> None:
    assert compare("<", left, right) == (left.encode("utf-16-be") < right.encode("utf-16-be"))


@given(LONGS, LONGS.filter(bool))
def test_quotient_and_remainder_belong_together(left: int, right: int) -> None:
    quotient, remainder = arithmetic("/", left, right), arithmetic("%", left, right)
    assert isinstance(quotient, int) and isinstance(remainder, int)
    assert (quotient * right + remainder - left) % 2**64 == 0
    assert abs(remainder) < abs(right)
    assert remainder == 0 or (remainder < 0) == (left < 0)


@given(LONGS, LONGS)
def test_long_arithmetic_is_exact_or_an_error(left: int, right: int) -> None:
    exact = left * right
    if -(2**63) <= exact < 2**63:
        assert arithmetic("*", left, right) == exact
    else:
        with pytest.raises(ValueError, match="long overflow"):
            arithmetic("*", left, right)


@given(st.floats(), st.floats())
def test_double_arithmetic_never_fails(left: float, right: float) -> None:
    assert all(isinstance(arithmetic(operator, left, right), float) for operator in ("+", "-", "*", "/", "%"))


def test_the_negative_of_a_number() -> None:
    assert [negative(5), negative(-2.5), negative(None)] == [-5, 2.5, None]
    with pytest.raises(ValueError, match="long overflow"):
        negative(-(2**63))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_double_reads_back_in_java_form(number: float) -> None:
    text = text_of(number)
    assert float(text) == number
    assert re.fullmatch(r"-?\d+\.\d+(E-?\d+)?", text)
    assert ("E" in text) == (number != 0 and not 1e-3 <= abs(number) < 1e7)


@given(st.text(), st.integers(-20, 20), st.integers(-20, 20))
def test_substring_is_a_slice_of_utf16_units(text: str, start: int, end: int) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    cut = FUNCTIONS["substring"].evaluate([text, start, end], False)
    low, high, _ = slice(start, end).indices(len(units) // 2)
    assert isinstance(cut, str)
    assert cut.encode("utf-16-le", "surrogatepass") == units[2 * low : 2 * max(low, high)]


@given(st.text(), st.text(max_size=2))
def test_index_of_finds_what_substring_gives(text: str, part: str) -> None:
    found = FUNCTIONS["indexof"].evaluate([text, part], False)
    if found is None:
        assert part not in text
    else:
        rest = FUNCTIONS["substring"].evaluate([text, found], False)
        assert isinstance(rest, str) and rest.startswith(part)


def test_equality_in_any_case_is_for_strings() -> None:
    assert equals_ignoring_case("Ärger", "äRGER")
    assert not equals_ignoring_case("ß", "SS")
    assert not equals_ignoring_case("1", 1)
