"""Times as people write them: one reader for every flag and setting, exact, and with the near miss named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.settings.moments import read_moment

NOW = datetime(2026, 3, 2, 10, 9, 30, 250_000, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-03-02T10:09:30.250000"),
        ("1d", "2026-03-01T10:09:30.250000"),
        ("1D", "2026-03-01T10:09:30.250000"),
        ("90m", "2026-03-02T08:39:30.250000"),
        ("1M", "2026-02-02T10:09:30.250000"),
        ("-2h", "2026-03-02T08:09:30.250000"),
        ("+2h", "2026-03-02T12:09:30.250000"),
        ("2h ago", "2026-03-02T08:09:30.250000"),
        ("  3  weeks   ago ", "2026-02-09T10:09:30.250000"),
        ("1 month ago", "2026-02-02T10:09:30.250000"),
        ("today", "2026-03-02T00:00:00"),
        ("Yesterday", "2026-03-01T00:00:00"),
        ("tomorrow", "2026-03-03T00:00:00"),
        ("yesterday 18:30", "2026-03-01T18:30:00"),
        ("yesterday Europe/Berlin", "2026-02-28T23:00:00"),
        ("10:05", "2026-03-02T10:05:00"),
        ("2026-03-02", "2026-03-02T00:00:00"),
        ("2026-3-2 9:05", "2026-03-02T09:05:00"),
        ("2026-03-02 10:00", "2026-03-02T10:00:00"),
        ("2026-03-02 10:00:05,5", "2026-03-02T10:00:05.500000"),
        ("2026-03-02T10:00:05.123456789Z", "2026-03-02T10:00:05.123456"),
        ("2026-03-02T10:00", "2026-03-02T10:00:00"),
        ("2026-03-02 10:00 UTC", "2026-03-02T10:00:00"),
        ("2026-03-02 10:00 +0130", "2026-03-02T08:30:00"),
        ("2026-03-02 10:00-05", "2026-03-02T15:00:00"),
        ("2026-03-02 10:00 Europe/Berlin", "2026-03-02T09:00:00"),
        ("2026-07-02 10:00 Europe/Berlin", "2026-07-02T08:00:00"),
        ("2026-03", "2026-03-01T00:00:00"),
        ("1772445600000", "2026-03-02T10:00:00"),
        ("now-1d/d", "2026-03-01T00:00:00"),
        ("2026-03-05||-1d/M", "2026-03-01T00:00:00"),
    ],
)
def test_a_time(text: str, expected: str) -> None:
    assert read_moment(text, NOW).isoformat().removesuffix("+00:00") == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("yestrday", "did you mean `yesterday`?"),
        ("yestrday 10:00", "did you mean `yesterday 10:00`?"),
        ("5 houres ago", "did you mean `5 hours ago`?"),
        ("7", "did you mean `7d`?"),
        ("31.12.2025", "did you mean `2025-12-31`?"),
        ("02/03/2026", "did you mean `2026-03-02` or `2026-02-03`?"),
        ("2026/03/02", "did you mean `2026-03-02`?"),
        ("2026-02-30", "day is out of range for month"),
        ("2026-03-02 25:00", "hour must be in 0..23"),
        ("2026-03-02 10:00 Europe/Berln", "did you mean `Europe/Berlin`?"),
        ("2026-03-02 10:00 +24:00", "+24:00 is no offset"),
        ("-2h ago", "did you mean `2h ago`?"),
        ("now-1", "expected +, - or / and a unit"),
        ("last week", "expected one such as 1d, 2h ago, yesterday"),
        ("", "expected one such as"),
        ("9999999y", "before year 1"),
        ("0001-01-01 00:00 +05:00", "before year 1"),
    ],
)
def test_a_near_miss_is_named(text: str, hint: str) -> None:
    with pytest.raises(ValueError) as raised:
        read_moment(text, NOW)
    assert hint in str(raised.value)


MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC))


@given(MOMENTS, st.integers(min_value=-24 * 60 + 1, max_value=24 * 60 - 1), st.sampled_from("T "))
def test_what_iso_writes_is_read_back(moment: datetime, minutes: int, between: str) -> None:
    there = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert read_moment(there.isoformat(between), NOW) == moment


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_an_error_of_its_own(text: str) -> None:
    try:
        assert read_moment(text, NOW).tzinfo is UTC
    except ValueError as error:
        assert str(error).startswith("`")
