"""Values of fields: dates, addresses and versions as things that compare, and the canonical form of a JSON value."""

from __future__ import annotations

import ipaddress
import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from typing import TypeAlias

from runner.events.fields.schema import DATES, DECIMALS, STRINGS, WHOLE_RANGES, DataType, Field

Scalar: TypeAlias = bool | int | float | str
Canonical: TypeAlias = Scalar | tuple[Scalar, ...] | None

_MAPPED = 0xFFFF_0000_0000
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"({_OCTET})\.({_OCTET})\.({_OCTET})\.({_OCTET})", re.ASCII)


def read_ip(text: str) -> int:
    """The address as a number in the IPv6 space, IPv4 as `::ffff:a.b.c.d`. Raises ValueError if it is none."""
    found = _IPV4.fullmatch(text)
    if found is not None:
        a, b, c, d = found.groups()
        return _MAPPED | int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)
    try:
        return int(ipaddress.IPv6Address(text.partition("%")[0]))
    except ValueError:
        raise ValueError(f"'{text}' is not an IP string literal.") from None


def read_cidr(text: str) -> tuple[int, int]:
    """The first and the last address of a block or of a single address; host bits are ignored. Raises ValueError."""
    address, slash, length = text.partition("/")
    number = read_ip(address)
    if not slash:
        return number, number
    width = 128 if ":" in address else 32
    if not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= width):
        raise ValueError(f"Invalid prefix length [{length}] in [{text}]: expected 0 to {width}")
    mask = (1 << (width - int(length))) - 1
    return number & ~mask, number | mask


def ip_text(text: str) -> str:
    """An address as Elasticsearch prints it: the shortest form, IPv4 wherever possible. Raises ValueError."""
    if _IPV4.fullmatch(text):
        return text
    number = read_ip(text)
    if number >> 32 == 0xFFFF:
        return str(ipaddress.IPv4Address(number & 0xFFFF_FFFF))
    return str(ipaddress.IPv6Address(number))


_IDENTIFIER = r"(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    rf"(?P<main>(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*)(?:-(?P<pre>{_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?P<build>\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)
_MOST_IDENTIFIERS = 32


def version_key(text: str) -> tuple[int, bytes]:
    """A key that orders versions as a `version` field does: semantic versions first, then all other texts.

    Numbers compare by value, a pre-release stands before its release, a build suffix decides last.
    """
    found = _VERSION.fullmatch(text)
    if found is None or text.count(".") >= _MOST_IDENTIFIERS:
        return 1, text.encode("utf-8", "surrogatepass")
    numbers = b".".join(_version_number(number) for number in found["main"].split("."))
    end = b"\x03"
    if found["pre"] is not None:
        parts = found["pre"].split(".")
        end = b"\x02-" + b".".join(_version_number(part) if part.isdigit() else part.encode() for part in parts)
    return 0, numbers + end + (found["build"] or "").encode()


def _version_number(digits: str) -> bytes:
    """A number so that more digits sort after fewer, and before any text."""
    return b"\x01" + len(digits).to_bytes(4, "big") + digits.encode()


_SCALARS = frozenset({str, int, float, bool})
_TEXTS = STRINGS | {DataType.FLATTENED, DataType.VERSION, DataType.BINARY}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WHOLE = re.compile(r"[+-]?\d{1,25}", re.ASCII)


def canonical(value: object, field: Field) -> tuple[Canonical, bool]:
    """What a field holds in a document whose `_source` has `value` there, and whether all of it could be read.

    None for no value, one value as it is, several as a tuple in their order. Strings for the keyword family, text,
    versions, addresses and objects of nested fields (as JSON), int for whole numbers, float for others, bool, and the
    raw str or int for dates. What the type cannot read is left out, and the second item is False.
    """
    if field.constant is not None:
        return _constant(field), True
    read = _READERS.get(field.type, _read_nothing)
    if type(value) in _SCALARS:
        try:
            return read(value, field), True
        except ValueError:
            return None, False
    found: list[Scalar] = []
    readable = True
    for item in _scalars(value, flattened=field.type is DataType.FLATTENED):
        given = field.null_value if item is None else item
        try:
            if given is not None and (scalar := read(given, field)) is not None:
                found.append(scalar)
        except ValueError:
            readable = False
    return (found[0] if len(found) == 1 else tuple(found) or None), readable


def as_stored(number: float, field: Field) -> float:
    """A number with the precision of the field's type. Raises ValueError if the type cannot hold it."""
    if not math.isfinite(number):
        raise ValueError(f"[{field.type.value}] supports only finite values, but got [{number}]")
    if field.type is DataType.SCALED_FLOAT and field.scaling_factor:
        return math.floor(number * field.scaling_factor + 0.5) / field.scaling_factor
    code = {DataType.HALF_FLOAT: "<e", DataType.FLOAT: "<f"}.get(field.type)
    if code is None:
        return number
    try:
        rounded: float = struct.unpack(code, struct.pack(code, number))[0]
    except OverflowError:
        raise ValueError(f"[{field.type.value}] supports only finite values, but got [{number}]") from None
    return rounded


def _constant(field: Field) -> Scalar:
    return field.constant if isinstance(field.constant, (bool, int, float, str)) else str(field.constant)


def _scalars(value: object, *, flattened: bool) -> Iterator[object]:
    """The scalars of nested arrays in order, and for a flattened field those of objects; other objects stay whole."""
    stack = [value]  # not recursion: a document may be nested deeper than Python's stack allows
    while stack:
        item = stack.pop()
        if isinstance(item, (list, tuple)):
            stack.extend(reversed(item))
        elif flattened and isinstance(item, dict):
            stack.extend(reversed(item.values()))
        else:
            yield item


_Reader: TypeAlias = Callable[[object, Field], Scalar | None]


def _read_text(value: object, field: Field) -> Scalar | None:
    if isinstance(value, str):
        text = as_indexed(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, (int, float)):
        text = str(value)
    else:
        raise ValueError("an object where a text is expected")
    if field.ignore_above is not None and len(text) * 2 > field.ignore_above and _units(text) > field.ignore_above:
        return None
    return text


def as_indexed(text: str) -> str:
    """The text with lone surrogates as U+FFFD, as Elasticsearch indexes them: no UTF-8 has them."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _read_whole(value: object, field: Field) -> Scalar | None:
    if value == "":
        return None
    if isinstance(value, str):
        if _WHOLE.fullmatch(value):
            value = int(value)
        elif _NUMBER.fullmatch(value):
            value = float(value)
    if isinstance(value, float) and math.isfinite(value):
        if field.type is DataType.UNSIGNED_LONG and not value.is_integer():
            raise ValueError(f"Value [{value}] has a decimal part")
        value = math.trunc(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"For input: [{value}]")
    low, high = WHOLE_RANGES[field.type]
    if not low <= value <= high:
        raise ValueError(f"Value [{value}] is out of range for a {field.type.value}")
    return value


def _read_real(value: object, field: Field) -> Scalar | None:
    if value == "":
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"For input: [{value}]")
    try:
        return as_stored(float(value), field)
    except OverflowError:
        raise ValueError(f"Value [{value}] is out of range for a {field.type.value}") from None


_BOOLEANS = {"true": True, "false": False, "": False}


def _read_boolean(value: object, field: Field) -> Scalar | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in _BOOLEANS:
        return _BOOLEANS[value]
    raise ValueError(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")


def _read_raw_date(value: object, field: Field) -> Scalar | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"failed to parse date field [{value}]")
    return value


def _read_address(value: object, field: Field) -> Scalar | None:
    if not isinstance(value, str):
        raise ValueError(f"'{value}' is not an IP string literal.")
    return ip_text(value)


def _read_untyped(value: object, field: Field) -> Scalar | None:
    """For a field that no mapping names: each value keeps the type that it has in JSON."""
    if isinstance(value, str):
        return as_indexed(value)
    if isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError("an object where a value is expected")


def _read_object(value: object, field: Field) -> Scalar | None:
    """The JSON text of one object of a nested field."""
    if not isinstance(value, dict):
        raise ValueError("a value where an object is expected")
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        raise ValueError("an object that is nested too deep") from None


def _read_nothing(value: object, field: Field) -> Scalar | None:
    """For objects and types without values that a query could use."""
    return None


_READERS: dict[DataType, _Reader] = {
    **dict.fromkeys(_TEXTS, _read_text),
    **dict.fromkeys(WHOLE_RANGES, _read_whole),
    **dict.fromkeys(DECIMALS, _read_real),
    **dict.fromkeys(DATES, _read_raw_date),
    DataType.BOOLEAN: _read_boolean,
    DataType.NULL: _read_untyped,
    DataType.IP: _read_address,
    DataType.NESTED: _read_object,
}


def typed(value: Canonical) -> object:
    """A key that differs for 1, 1.0 and true, which are equal in Python."""
    if value is None or value == ():
        return value
    kinds = tuple(type(item) for item in value) if isinstance(value, tuple) else type(value)
    return kinds, value
