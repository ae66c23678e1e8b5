"""Elasticsearch's queries of one field as conditions, by the field's type: match, phrase, wildcard, range and others.

Each function takes the field that was found for a name (None: no document has any) and raises ValueError, saying what
was found and expected, where a search would fail on the field's type.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Literal, TypeAlias

from runner.events.fields.schema import DECIMALS, INTEGERS, KEYWORDS, NUMBERS, WHOLE_RANGES, DataType, Field, Schema
from runner.events.fields.words import lower, words
from runner.expressions import nodes
from runner.expressions.constants import check_readable
from runner.expressions.mapped_fields import nested_above, within
from runner.expressions.truths import Truth, any_of, field_ref, has_value
from runner.messages.text_positions import Span

RangeOperator: TypeAlias = Literal["<", "<=", ">", ">="]

_CONTAINERS = frozenset({DataType.OBJECT, DataType.NESTED})
_PATTERNED = KEYWORDS | {DataType.TEXT, DataType.FLATTENED, DataType.VERSION, DataType.NULL}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SPECIAL_DECIMAL = re.compile(r"([+-]?)(NaN|Infinity)|(.*[0-9.])[dDfF]")
_WILD = re.compile(r"[*?]")
_MOST_DIGITS = 400
"""Of an exponent or a number: beyond it no value of a field can be equal."""
MOST_SLOP = 99
"""Words of different values of a field lie 100 places apart."""


class NoSuchQueryError(ValueError):
    """The local engine has no query like this; a cluster has."""


def _is_nothing(found: Field | None) -> bool:
    return found is None or found.type in _CONTAINERS


def _unreadable(text: str, found: Field) -> ValueError:
    return ValueError(f'cannot read ["{text}"] as a value of field [{found.name}] of type [{found.type.value}]')


def is_there(found: Field | None, schema: Schema, span: Span, nested: str = "") -> Truth:
    """The field has a value; an object, that some field in it has."""
    if found is None or found.type is DataType.NESTED:
        return False
    if found.type is not DataType.OBJECT:
        return has_value(field_ref(found, span))
    prefix = f"{found.name}."
    below = [
        within(one, nested, schema)
        for name, one in schema.fields.items()
        if name.startswith(prefix) and one.type not in _CONTAINERS and nested_above(name, schema) == nested
    ]
    return any_of([has_value(field_ref(one, span)) for one in below], span)


def match(found: Field | None, text: str, span: Span) -> Truth | None:
    """The field has the value, or any word of the text if it is analysed; None for a text without words there."""
    if found is not None and found.type is DataType.TEXT:
        parts: list[Truth] = [nodes.Phrase(span, field_ref(found, span), word) for word in dict.fromkeys(words(text))]
        return any_of(parts, span) if parts else None
    return match_phrase(found, text, span)


def match_phrase(found: Field | None, text: str, span: Span, slop: int = 0) -> Truth | None:
    """The field has the value, or the words of the text in a row if it is analysed; None for a text without words."""
    if found is None or _is_nothing(found):
        return False
    ref = field_ref(found, span)
    if found.type is DataType.TEXT:
        return _words_in_a_row(ref, text, slop)
    if found.normalized or found.type is DataType.NULL:
        return nodes.Phrase(span, ref, text)
    if found.type in NUMBERS:
        number = read_number(text, found)
        if found.type in DECIMALS and number == 0 and math.copysign(1, number) < 0:
            return False  # to an index 0 and -0 are two values, and hardly any event has the second
        return nodes.Comparison(span, "==", ref, nodes.Constant(span, number))
    if found.type is DataType.IP:
        _check_block(text)
    check_readable(text, found)
    value = text == "true" if found.type is DataType.BOOLEAN else text
    return nodes.Comparison(span, "==", ref, nodes.Constant(span, value))


def _words_in_a_row(ref: nodes.FieldRef, text: str, slop: int) -> Truth | None:
    wanted = words(text)
    if slop > MOST_SLOP:
        raise NoSuchQueryError(
            f"words that may stand {slop} places apart cannot be searched here, only up to {MOST_SLOP}"
        )
    if slop and len(set(wanted)) < len(wanted):
        raise NoSuchQueryError("a word that stands twice in a phrase with `~` cannot be searched here")
    return nodes.Phrase(ref.span, ref, text, slop) if wanted else None


def read_number(text: str, found: Field) -> int | float:
    """The number that a text is for a numeric field. Raises ValueError if it is none."""
    special = _SPECIAL_DECIMAL.fullmatch(text) if found.type in DECIMALS else None
    if special is not None and special[2]:
        return math.nan if special[2] == "NaN" else float(f"{special[1]}inf")
    if special is not None:
        text = special[3]
    if not _NUMBER.fullmatch(text):
        raise _unreadable(text, found)
    if found.type in DECIMALS:
        return float(text)
    try:
        exact = Decimal(text)
    except DecimalException:
        raise _unreadable(text, found) from None
    if exact.adjusted() > _MOST_DIGITS or exact.adjusted() < -_MOST_DIGITS:
        return float(text)
    return int(exact) if exact == exact.to_integral_value() else float(text)


def _check_block(text: str) -> None:
    address, slash, _ = text.partition("/")
    if slash and address.lower().startswith("::ffff:"):
        raise ValueError(f'["{text}"] is a block of IPv4 addresses in IPv6, which is refused: write it as IPv4')


def ordered(found: Field | None, operator: RangeOperator, text: str, span: Span) -> Truth:
    """The field has a value on one side of the text's."""
    if found is None or _is_nothing(found):
        return False
    ref = field_ref(found, span)
    bound = _bound(found, operator, text)
    return nodes.Comparison(span, bound.operator, ref, nodes.Constant(span, bound.value))


@dataclass(frozen=True, slots=True)
class _Bound:
    operator: RangeOperator
    value: nodes.Value


def _bound(found: Field, operator: RangeOperator, text: str) -> _Bound:
    """The end of a range as the field's type compares it."""
    if found.type in NUMBERS:
        number = read_number(text, found)
        low, high = WHOLE_RANGES.get(found.type, (number, number))
        if found.type in INTEGERS and found.type is not DataType.UNSIGNED_LONG and not low <= number <= high:
            raise ValueError(f'["{text}"] is out of the range of field [{found.name}] of type [{found.type.value}]')
        if found.type in DECIMALS and number == 0 and math.copysign(1, number) < 0:
            return _Bound("<" if operator.startswith("<") else ">=", 0.0)
        return _Bound(operator, number)
    if found.type is DataType.NULL and _NUMBER.fullmatch(text):
        return _Bound(operator, float(text) if not text.lstrip("+-").isdecimal() else int(text))
    check_readable(text, found, ordered=True)
    return _Bound(operator, text == "true" if found.type is DataType.BOOLEAN else text)


def between(found: Field | None, ends: tuple[tuple[RangeOperator, str], ...], span: Span) -> Truth:
    """One value of the field lies within the ends, of which there are none, one or two: first the lower."""
    if found is None or _is_nothing(found):
        return False
    ref = field_ref(found, span)
    analysed = found.type is DataType.TEXT
    if not ends:
        return nodes.Wildcard(span, ref, "*") if analysed else has_value(ref)
    bounds = [_bound(found, operator, lower(text) if analysed else text) for operator, text in ends]
    parts = [nodes.Comparison(span, bound.operator, ref, nodes.Constant(span, bound.value)) for bound in bounds]
    if len(parts) == 1:
        return parts[0]
    first, last = parts
    assert isinstance(first.right, nodes.Constant)
    assert isinstance(last.right, nodes.Constant)
    return nodes.Between(span, ref, first.operator, first.right, last.operator, last.right)  # type: ignore[arg-type]


def _patterned(found: Field, what: str) -> None:
    if found.type not in _PATTERNED:
        raise ValueError(f"field [{found.name}] is of type [{found.type.value}], which {what} cannot be about")


def star_pattern(found: Field | None, parts: tuple[str, ...], span: Span) -> Truth:
    """A whole value has the literal texts `parts` in it, with anything between two of them."""
    if found is None or _is_nothing(found):
        return False
    if found.normalized or found.type is DataType.TEXT or any(map(_WILD.search, parts)):
        return wildcard(found, "*".join(map(escaped, parts)), span)
    _patterned(found, "patterns")
    return nodes.Pattern(span, "like", field_ref(found, span), (nodes.Constant(span, "*".join(parts)),))


def escaped(text: str) -> str:
    r"""The text as a wildcard query finds it literally: `\` before `*`, `?` and itself."""
    return re.sub(r"([*?\\])", r"\\\1", text)


def wildcard(found: Field | None, pattern: str, span: Span) -> Truth:
    r"""A whole value, or a word if the field is analysed, fits a pattern of `*`, `?` and `\`."""
    if found is None or _is_nothing(found):
        return False
    _patterned(found, "patterns")
    return nodes.Wildcard(span, field_ref(found, span), lower(pattern) if found.type is DataType.TEXT else pattern)


def regexp(found: Field | None, pattern: str, span: Span) -> Truth:
    """A whole value, or a word if the field is analysed, fits a regular expression of Lucene's."""
    if found is None or _is_nothing(found):
        return False
    _patterned(found, "regular expressions")
    constant = nodes.Constant(span, lower(pattern) if found.normalized else pattern)
    return nodes.Pattern(span, "regex", field_ref(found, span), (constant,))


def fuzzy(found: Field | None, text: str, edits: int, span: Span) -> Truth:
    """A whole value, or a word if the field is analysed, that some edits make the text."""
    if found is None or _is_nothing(found):
        return False
    _patterned(found, "queries with `~`")
    if found.normalized or found.type is DataType.TEXT:
        text = lower(text)
    return nodes.Fuzzy(span, field_ref(found, span), text, edits)
