"""Windows as sets of moments: merging and subtracting keep what they must, exactly."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.windows import Window, from_nanoseconds, iso, merge, nanoseconds, subtract

SPECS = Path(__file__).parent / "specs" / "windows"
ZERO = datetime(2026, 3, 2, tzinfo=UTC)


def spans(name: str) -> list[dict[str, Any]]:
    return list(tomllib.loads((SPECS / f"{name}.toml").read_text(encoding="utf-8"))["case"])


def window(text: str) -> Window:
    """`3-7` as minutes of the day."""
    start, end = text.split("-")
    return Window(ZERO + timedelta(minutes=int(start)), ZERO + timedelta(minutes=int(end)))


def told(windows: tuple[Window, ...]) -> list[str]:
    return [
        f"{(each.start - ZERO) // timedelta(minutes=1)}-{(each.end - ZERO) // timedelta(minutes=1)}" for each in windows
    ]


def windows() -> st.SearchStrategy[Window]:
    minutes = st.integers(0, 40)
    return st.tuples(minutes, minutes).map(lambda pair: window(f"{min(pair)}-{max(pair)}"))


def inside(moment: datetime, parts: tuple[Window, ...] | list[Window]) -> bool:
    """Whether a moment lies within one of the parts, their ends left out."""
    return any(part.start < moment < part.end for part in parts)


HALVES = [ZERO + timedelta(minutes=minute, seconds=30) for minute in range(-1, 42)]
"""Moments between the ends of all windows of the tests."""


@pytest.mark.parametrize("case", spans("merge"), ids=lambda case: str(case["name"]))
def test_merge(case: dict[str, Any]) -> None:
    assert told(merge(map(window, case["windows"]))) == case["merged"]


@pytest.mark.parametrize("case", spans("subtract"), ids=lambda case: str(case["name"]))
def test_subtract(case: dict[str, Any]) -> None:
    assert told(subtract(window(case["window"]), map(window, case["covered"]))) == case["left"]


@given(st.lists(windows(), max_size=8))
def test_merging_covers_the_same_time_in_parts_that_do_not_touch(parts: list[Window]) -> None:
    merged = merge(parts)
    assert [inside(moment, merged) for moment in HALVES] == [inside(moment, parts) for moment in HALVES]
    assert all(earlier.end < later.start for earlier, later in pairwise(merged))
    assert merge(merged) == merged


@given(windows(), st.lists(windows(), max_size=8))
def test_what_is_left_and_what_is_covered_make_the_whole(whole: Window, covered: list[Window]) -> None:
    left = subtract(whole, covered)
    for moment in HALVES:
        assert inside(moment, left) == (inside(moment, [whole]) and not inside(moment, merge(covered)))
    assert all(part.start < part.end for part in left)
    assert subtract(whole, [*covered, *left]) == ()


@given(st.datetimes(datetime(1950, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_nanoseconds_and_back(moment: datetime) -> None:
    assert from_nanoseconds(nanoseconds(moment)) == moment


def test_the_end_takes_in_its_whole_millisecond() -> None:
    whole = Window(ZERO, ZERO + timedelta(milliseconds=5, microseconds=250))
    assert (whole.start_ns % 1_000_000_000, whole.end_ns % 1_000_000_000) == (0, 5_999_999)


def test_a_window_runs_forward() -> None:
    with pytest.raises(ValueError, match="after its end"):
        Window(ZERO, ZERO - timedelta(microseconds=1))
    assert Window(ZERO, ZERO).length == timedelta(0)


def test_iso_is_utc_with_milliseconds() -> None:
    moment = datetime.fromisoformat("2026-03-02T01:02:03.456789+02:00")
    assert iso(moment) == "2026-03-01T23:02:03.456Z"
    assert str(Window(moment, moment)) == "2026-03-01T23:02:03.456Z to 2026-03-01T23:02:03.456Z"
