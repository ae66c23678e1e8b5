"""Durations ("5m") and date math ("now-9m", "2026-03-01||-1d/M").

The grammar is Elasticsearch's: https://www.elastic.co/docs/reference/elasticsearch/rest-apis/common-options#date-math
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
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
    if unit not in _UNITS:
        raise ValueError(_bad_unit(text, count, unit))
    try:
        return int(count) * _UNITS[unit]
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


_ISO = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:T(?:(?P<hour>[0-9]{2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?)?"
    r"(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?)?)?"
)
_EPOCH_MILLIS = re.compile(r"-?[0-9]{5,15}")
_LOOSE_STEP = re.compile(r"(?:[+-][0-9]*|/)(?P<unit>[A-Za-z]+)")
_STEP = re.compile(r"(?P<sign>[+-])(?P<count>[0-9]*)(?P<unit>[yMwdhHms])|/(?P<round>[yMwdhHms])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_relative(expression: str) -> bool:
    """Whether the expression counts from now, not from a date that it names."""
    return expression.startswith("now")


def check_date_math(expression: str) -> None:
    """Nothing, if `expression` is date math; raises ValueError with what was found and expected."""
    resolve(expression, datetime(2024, 2, 29, 12, 30, tzinfo=UTC))


def resolve(expression: str, now: datetime) -> datetime:
    """The moment that date math names at `now`, in UTC; rounding (`/d`) goes down; raises ValueError.

    Kibana's detection engine rounds both ends of a rule's window down as well.

    >>> resolve("now-9m", datetime(2026, 3, 2, 10, 9, tzinfo=UTC)).isoformat()
    '2026-03-02T10:00:00+00:00'
    >>> resolve("2026-03-05||-1d/M", datetime(2026, 3, 2, tzinfo=UTC)).isoformat()
    '2026-03-01T00:00:00+00:00'
    """
    moment, position = _anchor(expression, now.astimezone(UTC))
    try:
        while position < len(expression):
            step = _STEP.match(expression, position)
            if step is None:
                raise ValueError(_bad_step(expression, position))
            moment = _apply(moment, step)
            position = step.end()
    except OverflowError:
        raise ValueError(f"`{_short(expression)}` is a time before year 1 or after year 9999") from None
    return moment


def _anchor(expression: str, now: datetime) -> tuple[datetime, int]:
    if is_relative(expression):
        return now, len("now")
    date, bars, _ = expression.partition("||")
    moment = _read_moment(date)
    if moment is None:
        near = f"; did you mean `now{expression}`?" if _STEP.match(expression) else ""
        raise ValueError(
            f"`{_short(expression)}` is not date math, expected `now` or an ISO date followed by `||`{near}"
        )
    return moment, len(date) + len(bars)


def _read_moment(text: str) -> datetime | None:
    """The moment of an ISO date (UTC where it names no zone) or of milliseconds since 1970; None if it is neither."""
    try:
        if _EPOCH_MILLIS.fullmatch(text):
            return _EPOCH + timedelta(milliseconds=int(text))
        if (found := _ISO.fullmatch(text)) is None:
            return None
        day = datetime(
            int(found["year"]), int(found["month"] or 1), int(found["day"] or 1), tzinfo=_zone(found["zone"])
        )
        local = day.replace(
            hour=int(found["hour"] or 0),
            minute=int(found["minute"] or 0),
            second=int(found["second"] or 0),
            microsecond=int((found["fraction"] or "").ljust(6, "0")[:6]),
        )
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


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


def _apply(moment: datetime, step: re.Match[str]) -> datetime:
    if step["round"]:
        return _round_down(moment, step["round"])
    try:
        count = int(step["count"] or 1)
    except ValueError:
        raise OverflowError from None
    count = -count if step["sign"] == "-" else count
    unit = step["unit"]
    if unit in "yM":
        return _add_months(moment, count * 12 if unit == "y" else count)
    return moment + count * _UNITS[unit.lower()]


def _add_months(moment: datetime, months: int) -> datetime:
    """The same day `months` later, or the month's last day where it is shorter."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    day = min(moment.day, monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def _round_down(moment: datetime, unit: str) -> datetime:
    """The start of the second, minute, hour, day, ISO week, month or year that `moment` lies in."""
    if unit == "s":
        return moment.replace(microsecond=0)
    if unit == "m":
        return moment.replace(second=0, microsecond=0)
    if unit in "hH":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "w":
        return day - timedelta(days=day.weekday())
    if unit == "M":
        return day.replace(day=1)
    if unit == "y":
        return day.replace(month=1, day=1)
    return day


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
