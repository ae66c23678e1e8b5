"""Columns of timestamps: the quick way for usual texts and the reading of single dates give the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.dates.dates import read_date
from runner.events.fields.schema import DataType, Field
from runner.events.fields.timestamp_column import NO_TIME, read_timestamps

DATE = Field("t", DataType.DATE)
NANOS = Field("t", DataType.DATE_NANOS)
EPOCH = Field("t", DataType.DATE, formats=("epoch_second",))


def one_by_one(values: list[Any], field: Field) -> tuple[list[int], int]:
    """What the column must be."""
    found, unreadable = [], 0
    for value in values:
        first = value[0] if isinstance(value, tuple) and value else None if value == () else value
        try:
            nanos = field.type is DataType.DATE_NANOS
            found.append(NO_TIME if first is None else read_date(first, field.formats, nanos=nanos))
        except ValueError:
            found.append(NO_TIME)
            unreadable += 1
    return found, unreadable


@pytest.mark.parametrize("field", [DATE, NANOS, EPOCH], ids=["date", "date_nanos", "epoch_second"])
@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T10:02:31Z", "2026-03-01T10:02:31.1Z", "2026-03-01T10:02:31.12Z", "2026-03-01T10:02:31.123Z",
        "2026-03-01T10:02:31.123456Z", "2026-03-01T10:02:31.123456789Z", "2026-03-01T10:02:31.1234567891Z",
        "2026-03-01T10:02:31.Z", "2026-03-01T10:02:31+01:00", "2026-03-01T10:02:31.5-02:30", "2026-03-01T10:02Z",
        "2026-03-01T10:02:31", "2026-03-01", "2026-03", "2026", "2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z",
        "2026-02-31T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z", "2026-01-01T23:60:00Z", "2026-01-01T23:59:60Z", "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00z", "1969-12-31T23:59:59.999Z", "1699-01-01T00:00:00Z", "1700-01-01T00:00:00Z",
        "2249-12-31T23:59:59Z", "2262-04-11T23:47:16.854775807Z", "2263-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z",
        "0001-01-01T00:00:00Z", "1772359351000", "1772359351", "-1", "1772359351.5", "", " ", "soon", "Z",
        "20x6-03-01T10:02:31Z", "2026-03-01T10:02:31.12xZ", "2026-03-01T10:02:3\u0661Z", "2026-03-01T10:02:31.123Z\x00",
        "+2026-03-01T10:02:31Z", "2026-03-01T10:02:31.123456789+01:00", "2026-03-01T10:02:31.123456789+01:00:00",
    ],
)  # fmt: skip
def test_texts(text: str, field: Field) -> None:
    expected, unreadable = one_by_one([text], field)
    expected = [moment if -(2**63) < moment < 2**63 else NO_TIME for moment in expected]
    column, missed = read_timestamps([text], field)
    assert column.tolist() == expected
    assert missed == unreadable + (expected == [NO_TIME] and not unreadable)
    among, _ = read_timestamps(["2026-03-01T10:02:31Z", text, "2026-03-01T10:02:31.5Z"], field)
    assert among.tolist()[1:2] == expected


def test_other_values() -> None:
    values: list[Any] = [None, 1772359351000, 1772359351000.25, (), ("2026-03-01", "x"), ("x", "2026-03-01"), 10**30]
    column, unreadable = read_timestamps(values, DATE)
    day = 1772323200 * 10**9
    assert column.tolist() == [NO_TIME, 1772359351 * 10**9, 1772359351 * 10**9, NO_TIME, day, NO_TIME, NO_TIME]
    assert unreadable == 2


@pytest.mark.parametrize("other", [None, (), ("2026-03-01",), 5, 5.5, True, "", "\u0661", "2026-03-01T10:02:31Z\n"])
def test_usual_texts_among_other_values(other: Any) -> None:
    values = ["2026-03-01T10:02:31Z", other, "2026-03-01T10:02:31.5Z", other, other, "2026-03-01T10:02:31.123456789Z"]
    column, unreadable = read_timestamps(values, NANOS)
    assert (column.tolist(), unreadable) == one_by_one(values, NANOS)
    second = 1772359351 * 10**9
    assert column[[0, 2, 5]].tolist() == [second, second + 500_000_000, second + 123_456_789]


def test_no_values() -> None:
    column, unreadable = read_timestamps([], DATE)
    assert (column.tolist(), unreadable) == ([], 0)


usual = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | st.from_regex(
    r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,9})?Z\Z"
)
nearly = st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,11})?Z?\Z")


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A usual text of which a few characters are others, missing or more than there should be."""
    text = draw(usual)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(text)))
        inserted = draw(st.text(st.sampled_from("09Z.:-T+ \n\0/\u0661x"), max_size=2))
        text = text[:place] + inserted + text[place + draw(st.integers(0, 2)) :]
    return text


texts = usual | nearly | damaged() | st.text(st.sampled_from("0123456789-:.TZ\n\0"), max_size=40)
values_of_events = texts | st.none() | st.integers(-(2**70), 2**70) | st.lists(texts, max_size=2).map(tuple)


@pytest.mark.slow
@settings(max_examples=500)
@given(st.lists(texts, min_size=1, max_size=5) | st.lists(values_of_events, max_size=5), st.sampled_from([DATE, NANOS]))
def test_random_values(values: list[Any], field: Field) -> None:
    expected, unreadable = one_by_one(values, field)
    column, missed = read_timestamps(values, field)
    assert column.tolist() == [moment if -(2**63) <= moment < 2**63 else NO_TIME for moment in expected]
    assert missed == unreadable + sum(not -(2**63) <= moment < 2**63 for moment in expected)
