"""Durations ("5m") and date math ("now-9m", "2026-03-01||-1d/M").

The grammar is Elasticsearch's: https://www.elastic.co/docs/reference/elasticsearch/rest-apis/common-options#date-math
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from runner.dates.dates import FIXED_UNITS, read_moment, rounded, shifted
from runner.windows import from_nanoseconds, nanoseconds

_DURATION = re.compile(r"(?P<count>[0-9]+)(?P<unit>[A-Za-z]*)")
_UNIT_WORDS = {
    "ms": "ms", "msec": "ms", "millis": "ms", "milliseconds": "ms",
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "h": "h", "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
    "d": "d", "day": "d", "days": "d",
    "w": "w", "week": "w", "weeks": "w",
}  # fmt: skip


def read_duration(text: str) -> timedelta:
    """The length of time that `text` names: a whole number and one of ms, s, m, h, d, w; raises ValueError.

    >>> read_duration("90s")
    datetime.timedelta(seconds=90)
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"`{text}` is not a duration, expected a whole number and a unit, such as 5m")
    count, unit = found["count"], found["unit"]
    if unit not in FIXED_UNITS:
        raise ValueError(_bad_unit(text, count, unit))
    try:
        return timedelta(microseconds=int(count) * FIXED_UNITS[unit] // 1_000)
    except (OverflowError, ValueError):
        raise ValueError(f"`{_short(text)}` is too long a time") from None


def _bad_unit(text: str, count: str, unit: str) -> str:
    expected = "expected one of ms, s, m, h, d, w"
    if not unit:
        return f"`{text}` has no unit, {expected}; did you mean `{count}m`?"
    if unit in ("M", "y"):
        return f"`{text}`: months and years have no fixed length, {expected}"
    if near := _UNIT_WORDS.get(unit.lower()):
        return f"`{text}`: unknown unit `{unit}`, {expected}; did you mean `{count}{near}`?"
    return f"`{text}`: unknown unit `{unit}`, {expected}"


_DATE = re.compile(
    r"[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2}(?:T(?:[0-9]{2}(?::[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?)?"
    r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?)?)?|-?[0-9]{5,15}"
)
"""An ISO date, UTC where it names no zone, or milliseconds since 1970."""
_LOOSE_STEP = re.compile(r"(?:[+-][0-9]*|/)(?P<unit>[A-Za-z]+)")
_STEP = re.compile(r"(?P<sign>[+-])(?P<count>[0-9]*)(?P<unit>[yMwdhHms])|/(?P<round>[yMwdhHms])")
REFERENCE = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
"""The moment at which a rule's look-back is measured without a clock."""


def is_relative(expression: str) -> bool:
    """Whether the expression counts from now, not from a date that it names."""
    return expression.startswith("now")


@lru_cache(maxsize=1024)
def at_reference(expression: str) -> datetime:
    """The moment that date math names at `REFERENCE`; raises ValueError if it is none. Most rules name the same."""
    return resolve(expression, REFERENCE)


def resolve(expression: str, now: datetime) -> datetime:
    """The moment that date math names at `now`, in UTC; rounding (`/d`) goes down; raises ValueError.

    Kibana's detection engine rounds both ends of a rule's window down as well.

    >>> resolve("now-9m", datetime(2026, 3, 2, 10, 9, tzinfo=UTC)).isoformat()
    '2026-03-02T10:00:00+00:00'
    >>> resolve("2026-03-05||-1d/M", datetime(2026, 3, 2, tzinfo=UTC)).isoformat()
    '2026-03-01T00:00:00+00:00'
    """
    moment, position = _anchor(expression, now)
    try:
        while position < len(expression):
            step = _STEP.match(expression, position)
            if step is None:
                raise ValueError(_bad_step(expression, position))
            moment = rounded(moment, step["round"]) if step["round"] else shifted(moment, _count(step), step["unit"])
            position = step.end()
        return from_nanoseconds(moment)
    except OverflowError:
        raise ValueError(f"`{_short(expression)}` is a time before year 1 or after year 9999") from None


def _anchor(expression: str, now: datetime) -> tuple[int, int]:
    """The moment to count from, in nanoseconds since 1970, and the offset of the first step."""
    if is_relative(expression):
        return nanoseconds(now), len("now")
    date, bars, _ = expression.partition("||")
    moment = _moment(date)
    if moment is None:
        near = f"; did you mean `now{expression}`?" if _STEP.match(expression) else ""
        raise ValueError(
            f"`{_short(expression)}` is not date math, expected `now` or an ISO date followed by `||`{near}"
        )
    return moment, len(date) + len(bars)


def _moment(date: str) -> int | None:
    """The moment of an ISO date, in nanoseconds since 1970; None for other texts, days that do not exist, and years
    that a datetime does not have."""
    if not _DATE.fullmatch(date):
        return None
    try:
        moment = read_moment(date).first
        from_nanoseconds(moment)
    except (ValueError, OverflowError):
        return None
    return moment


def _count(step: re.Match[str]) -> int:
    try:
        count = int(step["count"] or 1)
    except ValueError:  # more digits than Python reads
        raise OverflowError from None
    return -count if step["sign"] == "-" else count


def _bad_step(expression: str, position: int) -> str:
    found, before = _short(expression[position:]), _short(expression[:position])
    for loose in _LOOSE_STEP.finditer(expression):
        near = _UNIT_WORDS.get(loose["unit"].lower())
        if loose.start() <= position < loose.end() and near not in (None, "ms"):
            meant = expression[: loose.start("unit")] + str(near)
            return f"`{_short(expression)}`: unknown unit `{loose['unit']}`; did you mean `{_short(meant)}`?"
    expected = "expected +, - or / and a unit of y, M, w, d, h, m, s"
    blank = "; blanks are not allowed" if expression[position].isspace() else ""
    return f"`{_short(expression)}`: found `{found}` after `{before}`, {expected}{blank}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
