"""The functions, operators and comparisons of scripts on single values, three-valued."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.reference.patterns import java_equal


class ScriptError(Exception):
    """A script that a value made fail; Elasticsearch fails the whole search."""


def text_of(value: Any) -> str:
    """A value as Java prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    places = "".join(map(str, digits))
    power = int(exponent) + len(places) - 1
    return f"{'-' if sign else ''}{places[0]}.{places[1:] or '0'}E{power}"


def units(text: str) -> list[bytes]:
    """The UTF-16 units of a text."""
    encoded = text.encode("utf-16-be", "surrogatepass")
    return [encoded[place : place + 2] for place in range(0, len(encoded), 2)]


def _text(found: list[bytes]) -> str:
    return b"".join(found).decode("utf-16-be", "surrogatepass")


def _find(text: list[bytes], part: list[bytes], start: int = 0) -> int:
    return next((at for at in range(start, len(text) - len(part) + 1) if text[at : at + len(part)] == part), -1)


def substring(text: str, start: int | None = None, end: int | None = None) -> str:
    found = units(text)
    size = len(found)

    def place(given: int | None, default: int) -> int:
        at = default if given is None else given
        return min(max(at + size if at < 0 else at, 0), size)

    first, last = place(start, 0), place(end, size)
    return _text(found[first:last]) if first < last else ""


def index_of(text: str, part: str, start: int | None = None, *, folded: bool) -> int | None:
    if folded:
        text, part = text.lower(), part.lower()
    at = max(start or 0, 0)
    if not part:
        return min(at, len(units(text)))
    found = _find(units(text), units(part), at)
    return None if found < 0 else found


def between(text: str, left: str, right: str, greedy: bool | None = None, *, folded: bool) -> str:
    if not text or not left or not right:
        return text
    looked = text.lower() if folded else text
    if folded:
        left, right = left.lower(), right.lower()
    before, left_found, _ = looked.partition(left)
    if not left_found:
        return ""
    start = len(before) + len(left)
    end = looked.rfind(right) if greedy else looked.find(right, start)
    if end < 0:
        return ""
    if end < start:
        raise ScriptError("begin after end")
    return text[start:end]


def number(text: str, base: int | None = None) -> int | float:
    if base is None:
        base = 16 if text.startswith("0x") else 10
    try:
        if base != 10:
            return int(text.removeprefix("0x") if base == 16 else text, base)
        try:
            return int(text)
        except ValueError:
            return float(text)
    except ValueError:
        raise ScriptError(f"Unable to convert [{text}]") from None


def in_blocks(ip_text: str, blocks: tuple[str, ...]) -> bool:
    ip = address(ip_text)
    for block in blocks:
        plain, _, length = block.partition("/")
        net = address(plain)
        bits = 128 if not length else int(length) + (0 if ":" in plain else 96)
        shift = 128 - bits
        if ip >> shift == net >> shift:
            return True
    return False


def address(text: str) -> int:
    """An address as a number, IPv4 within IPv6."""
    parsed = ipaddress.ip_address(text)
    return int(parsed) + (0xFFFF << 32 if parsed.version == 4 else 0)


def arithmetic(operator: str, left: Any, right: Any) -> Any:
    if left is None or right is None:
        return None
    if isinstance(left, float) or isinstance(right, float):
        return _real(operator, float(left), float(right))
    if operator in "/%":
        if right == 0:
            raise ScriptError("/ by zero")
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return quotient if operator == "/" else left - quotient * right
    result = {"+": left + right, "-": left - right, "*": left * right}[operator]
    limits = (0, 2**64 - 1) if max(left, right) >= 2**63 else (-(2**63), 2**63 - 1)
    if not limits[0] <= result <= limits[1]:
        raise ScriptError("overflow")
    return result


def _real(operator: str, left: float, right: float) -> float:
    if operator == "/":
        if right:
            return left / right
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
    if operator == "%":
        return math.nan if right == 0 or math.isinf(left) or math.isnan(left) else math.fmod(left, right)
    return {"+": left + right, "-": left - right, "*": left * right}[operator]


def compare(operator: str, left: Any, right: Any) -> bool | None:
    """A comparison; None if a side is null or the two cannot be compared."""
    if left is None or right is None:
        return None
    kinds = {_kind(left), _kind(right)}
    if len(kinds) > 1:
        return None
    if kinds == {str}:
        left, right = units(left), units(right)
    elif isinstance(left, float) or isinstance(right, float):
        left, right = _sortable(float(left)), _sortable(float(right))
    return bool(COMPARISONS[operator](left, right))


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _kind(value: Any) -> type:
    return float if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


def _sortable(value: float) -> tuple[float, float]:
    """So that NaN is above all and -0.0 below 0.0."""
    if math.isnan(value):
        return math.inf, 2.0
    return value, math.copysign(1.0, value) if value == 0 else 0.0


def call(name: str, given: list[Any], *, folded: bool) -> Any:
    """The value of a function."""
    rest = [*given, None, None, None]
    if name in ("add", "subtract", "multiply", "divide", "modulo"):
        signs = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "modulo": "%"}
        return arithmetic(signs[name], given[0], given[1])
    if given[0] is None:
        return None
    if name == "length":
        return len(units(given[0]))
    if name == "string":
        return text_of(given[0])
    if name == "number":
        return number(given[0], rest[1])
    if name == "substring":
        return substring(given[0], rest[1], rest[2])
    if name == "concat":
        return None if None in given else "".join(map(text_of, given))
    if given[1] is None:
        return None
    if name == "indexof":
        return index_of(given[0], given[1], rest[2], folded=folded)
    if name == "between":
        return None if given[2] is None else between(*given, folded=folded)
    if name == "cidrmatch":
        return None if None in given else in_blocks(given[0], tuple(given[1:]))
    text, part = (given[0].lower(), given[1].lower()) if folded else given[:2]
    if name == "stringcontains":
        return bool(text) and bool(part) and part in text
    return bool(text.startswith(part) if name == "startswith" else text.endswith(part))


def equal_in_any_case(left: Any, right: Any) -> bool:
    return isinstance(left, str) and isinstance(right, str) and java_equal(left, right)
