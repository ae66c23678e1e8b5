from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.rules.date_math import read_duration, resolve

NOW = datetime(2026, 3, 5, 10, 20, 30, 400_500, tzinfo=UTC)  # a Thursday


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("5m", timedelta(minutes=5)),
        ("90s", timedelta(seconds=90)),
        ("1h", timedelta(hours=1)),
        ("2d", timedelta(days=2)),
        ("500ms", timedelta(milliseconds=500)),
        ("1w", timedelta(weeks=1)),
        ("0s", timedelta(0)),
        ("007m", timedelta(minutes=7)),
    ],
)
def test_durations(text: str, length: timedelta) -> None:
    assert read_duration(text) == length


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`` is not a duration, expected a whole number and a unit, such as 5m"),
        ("5", "`5` has no unit, expected one of ms, s, m, h, d, w; did you mean `5m`?"),
        ("5 m", "`5 m` is not a duration, expected a whole number and a unit, such as 5m"),
        ("-5m", "`-5m` is not a duration, expected a whole number and a unit, such as 5m"),
        ("1.5h", "`1.5h` is not a duration, expected a whole number and a unit, such as 5m"),
        ("٣m", "`٣m` is not a duration, expected a whole number and a unit, such as 5m"),
        ("5M", "`5M`: months and years have no fixed length, expected one of ms, s, m, h, d, w"),
        ("5H", "`5H`: unknown unit `H`, expected one of ms, s, m, h, d, w; did you mean `5h`?"),
        ("5parsec", "`5parsec`: unknown unit `parsec`, expected one of ms, s, m, h, d, w"),
        ("9" * 30 + "d", "`999999999999999999999999999999d` is too long a time"),
        ("9" * 5000 + "d", "`" + "9" * 57 + "...` is too long a time"),
    ],
)
def test_what_is_no_duration(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_duration(text)
    assert str(caught.value) == message


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h", "d", "w"]))
def test_a_duration_is_its_count_of_units(count: int, unit: str) -> None:
    assert read_duration(f"{count}{unit}") == count * read_duration(f"1{unit}")


@pytest.mark.parametrize(
    ("expression", "moment"),
    [
        ("now", "2026-03-05T10:20:30.400500"),
        ("now-9m", "2026-03-05T10:11:30.400500"),
        ("now+1h/d", "2026-03-05T00:00:00"),
        ("now-1d/d", "2026-03-04T00:00:00"),
        ("now/w", "2026-03-02T00:00:00"),
        ("now/M-1s", "2026-02-28T23:59:59"),
        ("now/y", "2026-01-01T00:00:00"),
        ("now/H", "2026-03-05T10:00:00"),
        ("now/h+30m", "2026-03-05T10:30:00"),
        ("now/m", "2026-03-05T10:20:00"),
        ("now/s", "2026-03-05T10:20:30"),
        ("now-d", "2026-03-04T10:20:30.400500"),
        ("now-1w", "2026-02-26T10:20:30.400500"),
        ("now-1M", "2026-02-05T10:20:30.400500"),
        ("2024-02-29||+1y", "2025-02-28T00:00:00"),
        ("2026-03-31||-1M", "2026-02-28T00:00:00"),
        ("2026-12-31||+2M", "2027-02-28T00:00:00"),
        ("2026-03-05||-1d/M", "2026-03-01T00:00:00"),
        ("2026-03-05T10:20:30.123456789Z||", "2026-03-05T10:20:30.123456"),
        ("2026-03-05T10:20:30.1", "2026-03-05T10:20:30.100000"),
        ("2026-03-05T10:20:30+02:00", "2026-03-05T08:20:30"),
        ("2026-03-05T10:20-0530||", "2026-03-05T15:50:00"),
        ("2026-03-05T10Z", "2026-03-05T10:00:00"),
        ("2026-03", "2026-03-01T00:00:00"),
        ("2026", "2026-01-01T00:00:00"),
        ("1772706030400||+1h", "2026-03-05T11:20:30.400000"),
    ],
)
def test_date_math(expression: str, moment: str) -> None:
    assert resolve(expression, NOW) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "expression",
    ["", "NOW", "now-", "now-9", "now9m", "now-9x", "now/", "now/2d", "now||-1d", "now-9m ", "nowhere", "9m", "-9m",
     "2026-13-01", "2026-02-30||", "2026-03-05||||", "2026-03-05||-1", "2026-3-5", "2026-03-05T25:00", "yesterday",
     "now-9999999y", "now+" + "9" * 40 + "d", "now+" + "9" * 5000 + "d", "0001-01-01||-1s", "0001-01-01T00:00+12:00"],
)  # fmt: skip
def test_what_is_no_date_math(expression: str) -> None:
    with pytest.raises(ValueError, match=r"expected|did you mean|before year 1"):
        resolve(expression, NOW)


@settings(deadline=None)
@given(st.integers(0, 10**5), st.sampled_from("smhdw"), st.sampled_from("+-"))
def test_steps_are_durations(count: int, unit: str, sign: str) -> None:
    length = read_duration(f"{count}{unit}")
    assert resolve(f"now{sign}{count}{unit}", NOW) == (NOW - length if sign == "-" else NOW + length)


@settings(deadline=None)
@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)), st.sampled_from("yMwdhHms"))
def test_rounding_goes_down_and_stays(now: datetime, unit: str) -> None:
    rounded = resolve(f"now/{unit}", now)
    assert rounded <= now < resolve(f"now/{unit}+1{unit}", now)
    assert resolve(f"now/{unit}", rounded) == rounded


@settings(deadline=None)
@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_an_iso_date_is_its_moment(moment: datetime) -> None:
    assert resolve(moment.isoformat() + "||", NOW) == moment


def test_now_of_another_zone_is_the_same_moment() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    assert resolve("now/d", there) == resolve("now/d", NOW)
