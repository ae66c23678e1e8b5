"""The sixteen functions of EQL as a table that the checker reads, and the arithmetic and comparison of single values.

This is the plain definition of what Elasticsearch's scripts compute; the engine's value tests must agree with it.
Strings are measured in UTF-16 units, as Java does. A value that an operation cannot work on raises `ValueError`, in
Elasticsearch's words.
"""

from __future__ import annotations

import math
import operator as op
import re
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from runner.errors import WrongTypeError
from runner.events.fields.schema import DataType
from runner.events.fields.values import read_cidr, read_ip
from runner.expressions.nodes import Value
from runner.expressions.patterns.wildcard import fold_java

ArgumentKind = Literal["string", "numeric", "integer", "ip", "boolean", "any"]
Evaluate = Callable[[Sequence[Value], bool], Value]
ArithmeticOperator = Literal["+", "-", "*", "/", "%"]
ComparisonOperator = Literal["==", "!=", "<", "<=", ">", ">="]

_COMPARISONS: Mapping[ComparisonOperator, Callable[[int, int], bool]] = {
    "==": op.eq, "!=": op.ne, "<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge,
}  # fmt: skip
_LONG_MIN, _LONG_MAX, _UNSIGNED_MAX = -(2**63), 2**63 - 1, 2**64 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function; `name` is Elasticsearch's, `constant` says that a field is refused there."""

    name: str
    kind: ArgumentKind
    optional: bool = False
    constant: bool = False
    variadic: bool = False
    """One or more arguments; only the last parameter."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function. `returns` None: numeric, the wider of the arguments. `case_option`: it has a form with a tilde."""

    name: str
    parameters: tuple[Parameter, ...]
    returns: DataType | None
    case_option: bool
    evaluate: Evaluate
    """(values, insensitive) -> value; optional arguments may be left off or None. Raises ValueError."""

    @property
    def least(self) -> int:
        """How many arguments a call must have."""
        return sum(not parameter.optional for parameter in self.parameters)

    @property
    def most(self) -> int | None:
        """How many arguments a call may have; None if there is no limit."""
        return None if self.parameters[-1].variadic else len(self.parameters)


def text_of(value: Value) -> str:
    """A value as text the way Java prints it: `true`, `2.0`, `1.0E10`, `null`."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return _double_text(value)


def _double_text(number: float) -> str:
    """`Double.toString` of Java 19: the shortest digits that read back, an exponent below 1e-3 and from 1e7 on."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    magnitude = abs(number)
    if magnitude == 0 or 1e-3 <= magnitude < 1e7:
        return repr(number)
    mantissa, _, exponent = _scientific(number).partition("e")
    return f"{mantissa}E{int(exponent)}"


def _scientific(number: float) -> str:
    """The shortest digits of a number as `d.ddde±xx`."""
    for precision in range(1, 17):
        text = f"{number:.{precision}e}"
        if float(text) == number:
            return text
    return f"{number:.16e}"


def arithmetic(operator: ArithmeticOperator, left: Value, right: Value) -> Value:
    """`left operator right` with the rules of Java: exact 64-bit integers, division toward zero, IEEE doubles.

    None if either side is None. Raises ValueError on overflow, integer division by zero, or a value that is no number.
    """
    if left is None or right is None:
        return None
    if not _is_number(left) or not _is_number(right):
        wrong = right if _is_number(left) else left
        raise WrongTypeError(f"A number is required; received [{text_of(wrong)}]")
    if isinstance(left, float) or isinstance(right, float):
        return _float_arithmetic(operator, float(left), float(right))
    assert isinstance(left, int) and isinstance(right, int)
    return _long_arithmetic(operator, left, right)


def negative(value: Value) -> Value:
    """Unary minus of a number. Raises ValueError on overflow or a value that is no number."""
    if isinstance(value, float):
        return -value
    return arithmetic("-", 0, value)


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _long_arithmetic(operator: ArithmeticOperator, left: int, right: int) -> int:
    if operator in "/%":
        if right == 0:
            raise ValueError("/ by zero")
        quotient = abs(left) // abs(right)
        if (left < 0) != (right < 0):
            quotient = -quotient
        if operator == "%":
            return left - right * quotient
        return _LONG_MIN if quotient == 2**63 and right == -1 else quotient
    result = left + right if operator == "+" else left - right if operator == "-" else left * right
    if left > _LONG_MAX or right > _LONG_MAX:  # as soon as one side needs them, all 64 bits are without a sign
        if not 0 <= result <= _UNSIGNED_MAX:
            raise ValueError("unsigned_long overflow")
    elif not _LONG_MIN <= result <= _LONG_MAX:
        raise ValueError("long overflow")
    return result


def _float_arithmetic(operator: ArithmeticOperator, left: float, right: float) -> float:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            if right == 0:
                if left == 0 or math.isnan(left):
                    return math.nan
                return math.copysign(math.inf, left) * math.copysign(1.0, right)
            return left / right
        case "%":
            if right == 0 or math.isinf(left) or math.isnan(left) or math.isnan(right):
                return math.nan
            return math.fmod(left, right)


def compare(operator: ComparisonOperator, left: Value, right: Value) -> bool | None:
    """The three-valued answer of a comparison in a script: None if a side is None or the types cannot be compared.

    Numbers compare as doubles as soon as one is a double; strings in the order of their UTF-16 units.
    """
    order = _order(left, right)
    return None if order is None else _COMPARISONS[operator](order, 0)


def equals_ignoring_case(left: Value, right: Value) -> bool:
    """`:` and `in~` in a script, without wildcards: whether both are strings and equal in any case."""
    return isinstance(left, str) and isinstance(right, str) and fold_java(left) == fold_java(right)


def _order(left: Value, right: Value) -> int | None:
    if left is None or right is None:
        return None
    if isinstance(left, str) and isinstance(right, str):
        if left.isascii() or right.isascii():  # then no place is reached where code points and UTF-16 units differ
            return (left > right) - (left < right)
        one, two = left.encode("utf-16-be", "surrogatepass"), right.encode("utf-16-be", "surrogatepass")
        return (one > two) - (one < two)
    if isinstance(left, bool) and isinstance(right, bool):
        return left - right
    if not _is_number(left) or not _is_number(right):
        return None
    if isinstance(left, float) or isinstance(right, float):
        return _double_order(float(left), float(right))
    assert isinstance(left, int) and isinstance(right, int)
    return (left > right) - (left < right)


def _double_order(left: float, right: float) -> int:
    """`Double.compare`: NaN is above everything and equal to itself, -0.0 is below 0.0."""
    if left < right:
        return -1
    if left > right:
        return 1
    one, two = _double_bits(left), _double_bits(right)
    return (one > two) - (one < two)


def _double_bits(number: float) -> int:
    bits: int = struct.unpack(">q", struct.pack(">d", math.nan if math.isnan(number) else number))[0]
    return bits


def _units(text: str) -> str:
    """The text with every character beyond U+FFFF as its two surrogates, so that Python's positions are Java's."""
    if text.isascii():
        return text
    encoded = text.encode("utf-16-le", "surrogatepass")
    if len(encoded) == 2 * len(text):
        return text
    return "".join(map(chr, array("H", encoded)))


def _joined(text: str) -> str:
    """The reverse of `_units`."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise WrongTypeError(f"A string/char is required; received [{text_of(value)}]")
    return value


def _whole(value: Value, name: str, default: int) -> int:
    """An integer argument, `default` if it is None."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongTypeError(f"An integer number is required for [{name}]; received [{text_of(value)}]")
    return value


def _argument(values: Sequence[Value], place: int) -> Value:
    return values[place] if len(values) > place else None


def _between(values: Sequence[Value], insensitive: bool) -> Value:
    source, left, right = values[0], values[1], values[2]
    if source is None or left is None or right is None:
        return None
    source, left, right = _units(_text(source)), _units(_text(left)), _units(_text(right))
    if not source or not left or not right:
        return _joined(source)
    searched = source
    if insensitive:
        searched, left, right = source.lower(), left.lower(), right.lower()
    found = searched.find(left)
    if found < 0:
        return ""
    start = found + len(left)
    greedy = _argument(values, 3)
    end = searched.rfind(right) if greedy is True else searched.find(right, start)
    if end < 0:
        return ""
    if end < start:
        raise ValueError(f"begin {start}, end {end}, length {len(source)}")
    return _joined(source[start:end])


def _cidr_match(values: Sequence[Value], insensitive: bool) -> Value:
    if any(value is None for value in values):
        return None
    address = read_ip(_text(values[0]))
    matched = False
    for block in values[1:]:  # all of them are read, so that a bad one is an error whatever the address is
        first, last = read_cidr(_text(block))
        matched = matched or first <= address <= last
    return matched


def _concat(values: Sequence[Value], insensitive: bool) -> Value:
    if any(value is None for value in values):
        return None
    return "".join(map(text_of, values))


def _string_test(test: Callable[[str, str], bool]) -> Evaluate:
    """A function of two strings that is None if either is, and compares lower-cased texts in its form with a tilde."""

    def evaluate(values: Sequence[Value], insensitive: bool) -> Value:
        text, part = values[0], values[1]
        if text is None or part is None:
            return None
        text, part = _text(text), _text(part)
        return test(text.lower(), part.lower()) if insensitive else test(text, part)

    return evaluate


def _contains(text: str, part: str) -> bool:
    return bool(text) and bool(part) and part in text


def _index_of(values: Sequence[Value], insensitive: bool) -> Value:
    if values[0] is None or values[1] is None:
        return None
    text, part = _text(values[0]), _text(values[1])
    if insensitive:
        text, part = text.lower(), part.lower()
    text, part = _units(text), _units(part)
    start = max(0, _whole(_argument(values, 2), "start", 0))
    if not part:
        return min(start, len(text))
    found = text.find(part, start)
    return found if found >= 0 else None


def _length(values: Sequence[Value], insensitive: bool) -> Value:
    if values[0] is None:
        return None
    text = _text(values[0])
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _substring(values: Sequence[Value], insensitive: bool) -> Value:
    if values[0] is None:
        return None
    text = _units(_text(values[0]))
    start = _whole(_argument(values, 1), "start", 0)
    end = _whole(_argument(values, 2), "end", len(text))
    return _joined(text[start:end])


def _string(values: Sequence[Value], insensitive: bool) -> Value:
    return None if values[0] is None else text_of(values[0])


_JAVA_DOUBLE = re.compile(r"([+-]?)(?:(NaN|Infinity)|((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[fFdD]?)")
_JAVA_LONG = re.compile(r"[+-]?[0-9]+")
_BLANKS = "".join(map(chr, range(33)))


def _number(values: Sequence[Value], insensitive: bool) -> Value:
    if values[0] is None:
        return None
    text = _text(values[0])
    written = _argument(values, 1)
    base = _whole(written, "base", 16 if text.startswith("0x") else 10)
    number = _decimal(text) if base == 10 else _whole_in_base(text.removeprefix("0x") if base == 16 else text, base)
    if number is None:
        raise ValueError(f"Unable to convert [{text}] to number of base [{base}]")
    return number


def _decimal(text: str) -> int | float | None:
    """What `Long.parseLong`, then `Double.parseDouble` read; None if neither can."""
    if _JAVA_LONG.fullmatch(text) and len(text) < 40 and _LONG_MIN <= int(text) <= _LONG_MAX:
        return int(text)
    found = _JAVA_DOUBLE.fullmatch(text.strip(_BLANKS))
    if found is None:
        return None
    sign, name, digits = found.groups()
    magnitude = float(digits) if digits else math.nan if name == "NaN" else math.inf
    return -magnitude if sign == "-" else magnitude


def _whole_in_base(text: str, base: int) -> int | None:
    """What `Long.parseLong(text, base)` reads; None if it cannot."""
    if not 2 <= base <= 36:
        return None
    sign = -1 if text.startswith("-") else 1
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits or len(digits) > 1000 or not digits.isascii() or not digits.isalnum():
        return None
    if any(int(digit, 36) >= base for digit in digits):
        return None
    number = 0
    for digit in digits:
        number = number * base + int(digit, 36)
    number *= sign
    return number if _LONG_MIN <= number <= _LONG_MAX else None


def _math(operator: ArithmeticOperator) -> Evaluate:
    def evaluate(values: Sequence[Value], insensitive: bool) -> Value:
        return arithmetic(operator, values[0], values[1])

    return evaluate


def _build_functions() -> dict[str, Function]:
    keyword, integer, boolean = DataType.KEYWORD, DataType.INTEGER, DataType.BOOLEAN
    text = Parameter("input", "string")
    two_numbers = (Parameter("left", "numeric"), Parameter("right", "numeric"))
    two_texts = (text, Parameter("pattern", "string"))
    blocks = Parameter("addresses", "string", constant=True, variadic=True)
    greedy = Parameter("greedy", "boolean", optional=True)
    start = Parameter("start", "integer")
    number_base = Parameter("base", "integer", optional=True, constant=True)
    between = (text, Parameter("left", "string"), Parameter("right", "string"), greedy)
    contains = (Parameter("string", "string"), Parameter("substring", "string"))
    index_of = (text, Parameter("substring", "string"), Parameter("start", "numeric", optional=True))
    substring = (text, start, Parameter("end", "integer", optional=True))
    functions = (
        Function("add", two_numbers, None, False, _math("+")),
        Function("between", between, keyword, True, _between),
        Function("cidrMatch", (Parameter("input", "ip"), blocks), boolean, False, _cidr_match),
        Function("concat", (Parameter("values", "any", variadic=True),), keyword, False, _concat),
        Function("divide", two_numbers, None, False, _math("/")),
        Function("endsWith", two_texts, boolean, True, _string_test(str.endswith)),
        Function("indexOf", index_of, integer, True, _index_of),
        Function("length", (text,), integer, False, _length),
        Function("modulo", two_numbers, None, False, _math("%")),
        Function("multiply", two_numbers, None, False, _math("*")),
        Function("number", (Parameter("value", "string"), number_base), DataType.DOUBLE, False, _number),
        Function("startsWith", two_texts, boolean, True, _string_test(str.startswith)),
        Function("string", (Parameter("value", "any"),), keyword, False, _string),
        Function("stringContains", contains, boolean, True, _string_test(_contains)),
        Function("subtract", two_numbers, None, False, _math("-")),
        Function("substring", substring, keyword, False, _substring),
    )
    return {function.name.lower(): function for function in functions}


FUNCTIONS: Mapping[str, Function] = MappingProxyType(_build_functions())
"""All functions by their lower-case name."""
