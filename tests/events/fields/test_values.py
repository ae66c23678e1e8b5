"""Dates, addresses, versions, and the canonical form of a document's values."""

from __future__ import annotations

import ipaddress
import math
import tomllib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.dates.dates import date_range, date_text, read_date
from runner.events.fields.schema import DataType, Field
from runner.events.fields.values import as_stored, canonical, ip_text, read_cidr, read_ip, version_key
from runner.events.fields.words import words
from tests.paths import SPECS

SPEC = tomllib.loads((SPECS / "events" / "values.toml").read_text("utf-8"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = read_date(SPEC["now"])


def nanoseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize("case", SPEC["date"], ids=lambda case: str(case["text"]))
def test_a_date_is_read(case: dict[str, Any]) -> None:
    formats = tuple(case.get("formats", ()))
    if "read" in case:
        assert date_text(read_date(case["text"], formats, nanos=True), nanos=True) == case["read"]
        cut = read_date(case["text"], formats)
        assert date_text(cut, nanos=True) == case["read"][:23] + "Z"
    else:
        with pytest.raises(ValueError, match=case["error"]):
            read_date(case["text"], formats, nanos=True)


@pytest.mark.parametrize("case", SPEC["range"], ids=lambda case: str(case["text"]))
def test_a_constant_of_a_query_is_a_span_of_time(case: dict[str, Any]) -> None:
    formats = tuple(case.get("formats", ()))
    if "error" in case:
        with pytest.raises(ValueError, match=case["error"]):
            date_range(case["text"], formats, NOW)
        return
    assert [date_text(moment) for moment in date_range(case["text"], formats, NOW)] == [case["first"], case["last"]]


def test_a_day_of_nanoseconds_ends_with_its_last_one() -> None:
    first, last = date_range("2020-02-02", (), NOW, nanos=True)
    assert last - first == 86_400 * 10**9 - 1


@pytest.mark.parametrize(
    "value", [True, "", "yesterday", "2020-02-30", "2020-13-01", "25:00", "2020-01-01T25:00", "1e3", "٢٠٢٠"]
)
def test_what_is_no_date_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="failed to parse date field"):
        read_date(value)


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)), st.integers(-720, 720))
def test_a_date_reads_back_whatever_its_offset(moment: datetime, minutes: int) -> None:
    sign = "-" if minutes < 0 else "+"
    offset = f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    text = f"{moment.year:04d}{moment.isoformat()[4:]}"
    expected = nanoseconds(moment.replace(tzinfo=UTC)) - minutes * 60 * 10**9
    assert read_date(text + offset) == expected - expected % 10**6


@given(st.integers(-(10**15), 10**15).filter(lambda number: abs(number) > 9999))
def test_whole_numbers_are_milliseconds(number: int) -> None:
    assert read_date(number) == number * 10**6 == read_date(str(number)) == read_date(float(number))


@given(st.integers(-(2**62), 2**63 - 1))
def test_the_text_of_a_moment_reads_back(moment: int) -> None:
    assert read_date(date_text(moment)) == moment - moment % 10**6
    if moment >= 0:
        assert read_date(date_text(moment, nanos=True), nanos=True) == moment


@given(st.integers(0, 4 * 10**18), st.sampled_from("yMwdhms"), st.integers(-30, 30))
def test_a_rounded_moment_lies_in_its_unit(now: int, unit: str, amount: int) -> None:
    first, last = date_range(f"now{amount:+d}{unit}/{unit}", (), now)
    exact, _ = date_range(f"now{amount:+d}{unit}", (), now)
    assert first <= exact <= last
    assert date_range(date_text(last + 10**6), (), now)[0] == last + 10**6


@given(st.ip_addresses())
def test_an_address_reads_back(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    number = read_ip(str(address))
    mapped = address if address.version == 6 else ipaddress.IPv6Address(f"::ffff:{address}")
    assert number == int(mapped)
    assert read_ip(ip_text(str(address))) == number
    assert read_ip(mapped.exploded) == number
    assert ip_text(mapped.exploded) == ip_text(str(address))


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_block_is_that_of_its_network(address: ipaddress.IPv4Address, length: int) -> None:
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    expected = read_ip(str(network[0])), read_ip(str(network[-1]))
    assert read_cidr(f"{address}/{length}") == expected


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.256", "01.2.3.4", "a::g", "1.2.3.4/8", "10.0.0.0 ", "١.2.3.4"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IP string literal"):
        read_ip(text)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "10.0.0.0/x"])
def test_what_is_no_block_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Invalid prefix length"):
        read_cidr(text)


@pytest.mark.parametrize(("text", "printed"), SPEC["addresses"].items())
def test_an_address_is_printed_in_its_shortest_form(text: str, printed: str) -> None:
    assert ip_text(text) == printed


def test_versions_stand_in_order() -> None:
    ordered = SPEC["versions"]
    keys = [version_key(version) for version in ordered]
    assert all(one < other for one, other in pairwise(keys))


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=4), st.lists(st.integers(0, 10**9), min_size=1, max_size=4))
def test_versions_compare_number_by_number(one: list[int], other: list[int]) -> None:
    keys = [version_key(".".join(map(str, numbers))) for numbers in (one, other)]
    assert (keys[0] < keys[1]) == (one < other)


@pytest.mark.parametrize("case", SPEC["canonical"], ids=lambda case: f"{case['type']}: {case['given']}")
def test_a_value_in_its_canonical_form(case: dict[str, Any]) -> None:
    options = {name: value for name, value in case.items() if name not in ("type", "given", "read", "bad")}
    field = Field("field", DataType(case["type"]), **options)
    value = case["given"]
    value = [None if item == "null" else item for item in value] if isinstance(value, list) else value
    value = None if value == "null" else value
    read = case.get("read")
    expected = tuple(read) if isinstance(read, list) else read
    found, readable = canonical(value, field)
    assert (found, readable) == (expected, not case.get("bad", False))
    assert type(found) is type(expected)


@given(st.recursive(st.none() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3), max_leaves=6))
def test_arrays_of_any_depth_are_one_row_of_values(value: Any) -> None:
    def leaves(item: Any) -> list[str]:
        if isinstance(item, list):
            return [leaf for inner in item for leaf in leaves(inner)]
        return [] if item is None else [item]

    found, readable = canonical(value, Field("field", DataType.KEYWORD))
    flat = leaves(value)
    assert readable
    assert found == (None if not flat else flat[0] if len(flat) == 1 else tuple(flat))


def test_arrays_may_be_nested_deeper_than_the_stack() -> None:
    value: Any = ["end"]
    for _ in range(5000):
        value = [value]
    assert canonical(value, Field("field", DataType.KEYWORD)) == ("end", True)


def test_the_largest_unsigned_long_is_one() -> None:
    field = Field("field", DataType.UNSIGNED_LONG)
    assert canonical(2**64 - 1, field) == (2**64 - 1, True) == canonical(str(2**64 - 1), field)
    assert canonical(2**64, field) == (None, False)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_float_is_rounded_to_its_width_once(number: float) -> None:
    field = Field("field", DataType.FLOAT)
    assert as_stored(number, field) == number
    assert as_stored(as_stored(number / 3, field), field) == as_stored(number / 3, field)


@pytest.mark.parametrize("number", [math.inf, math.nan, 1e39])
def test_a_float_must_be_finite(number: float) -> None:
    with pytest.raises(ValueError, match="supports only finite values"):
        as_stored(number, Field("field", DataType.FLOAT))


def test_words_are_about_those_of_the_standard_analyser() -> None:
    assert words("Don't stop C:\\Temp\\run-me.exe at 1,000.5 %") == [
        "don't", "stop", "c", "temp", "run", "me.exe", "at", "1,000.5",
    ]  # fmt: skip
