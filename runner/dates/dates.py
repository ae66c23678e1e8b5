"""Dates as Elasticsearch reads them: formats of a mapping, moments in nanoseconds, date math and its rounding.

Patterns are those of `java.time.format.DateTimeFormatter`, names those of Elasticsearch's built-in formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from runner.dates.date_formats import PATTERNS, compile_pattern

SECOND = 1_000_000_000
MILLI = 1_000_000
DAY = 86_400 * SECOND
DEFAULT_FORMATS = ("strict_date_optional_time", "epoch_millis")
_MAX_NANOS = 2**63 - 1
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_ERA = 146_097
"""Days in 400 years, after which the calendar repeats."""


class Moment(NamedTuple):
    """A date that was read: its first and its last nanosecond, which differ by what its text leaves open."""

    first: int
    last: int


_Parser = Callable[[str], Moment | None]


def read_date(value: str | int | float, formats: tuple[str, ...] = (), *, nanos: bool = False) -> int:
    """Nanoseconds since 1970 of a value of a date field; cut to milliseconds unless `nanos`. Raises ValueError.

    `formats` are the mapping's; none means `strict_date_optional_time||epoch_millis`.
    """
    if not formats and isinstance(value, str) and (quick := _read_usual(value)) is not None:
        return quick if nanos else quick - quick % MILLI
    moment = read_moment(_text_of(value), formats).first
    return _stored(moment, str(value), nanos=nanos)


def date_range(
    text: str | int | float, formats: tuple[str, ...], now_ns: int, *, nanos: bool = False
) -> tuple[int, int]:
    """The first and last moment that a constant of a query stands for, in nanoseconds since 1970. Raises ValueError.

    `==` is between the two, `>` after the last, `>=` from the first, `<` before the first, `<=` up to the last. Date
    math is done in UTC: `now-1d/d`, `2020-01-01||+1M/d`.
    """
    written = _text_of(text)
    if written.startswith("now"):
        base, math = now_ns - now_ns % MILLI, written[3:]
    elif "||" in written:
        anchor, _, math = written.partition("||")
        base = read_moment(anchor, formats).first
    else:
        moment = read_moment(written, formats)
        return _stored(moment.first, written, nanos=nanos), _stored(moment.last, written, nanos=nanos)
    first, last = _calculated(base, math, round_up=False), _calculated(base, math, round_up=True)
    return _stored(first, written, nanos=nanos), _stored(last, written, nanos=nanos)


def date_text(moment: int, *, nanos: bool = False) -> str:
    """A moment as Elasticsearch prints it: `2020-01-01T12:00:00.000Z`; with `nanos`, up to nine decimals."""
    seconds, fraction = divmod(moment, SECOND)
    days, rest = divmod(seconds, 86_400)
    year, month, day = _civil(days)
    decimals = f"{fraction:09d}"
    kept = decimals[:3] + decimals[3:].rstrip("0") if nanos else decimals[:3]
    return f"{year:04d}-{month:02d}-{day:02d}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}.{kept}Z"


_USUAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d{1,9}))?Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1)


def _read_usual(text: str) -> int | None:
    """The moment of `YYYY-MM-DDThh:mm:ss[.f]Z`, the form of nearly all events; None if it is another."""
    found = _USUAL.fullmatch(text)
    if found is None:
        return None
    try:
        past = datetime.fromisoformat(text[:19]) - _EPOCH
    except ValueError:
        return None
    return (past.days * 86_400 + past.seconds) * SECOND + int((found[1] or "").ljust(9, "0"))


def _text_of(value: str | int | float) -> str:
    if isinstance(value, bool):
        raise ValueError(f"failed to parse date field [{str(value).lower()}]: a boolean is no date")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
    return str(value)


def _stored(moment: int, text: str, *, nanos: bool) -> int:
    if not nanos:
        return moment - moment % MILLI
    if not 0 <= moment <= _MAX_NANOS:
        side = "before the epoch in 1970" if moment < 0 else "after 2262-04-11T23:47:16.854775807"
        raise ValueError(f"date[{text}] is {side} and cannot be stored in nanosecond resolution")
    return moment


def read_moment(text: str, formats: tuple[str, ...] = ()) -> Moment:
    """The date that a text names in one of the formats, in nanoseconds since 1970. Raises ValueError."""
    for parse in _parsers(formats or DEFAULT_FORMATS):
        if (moment := parse(text)) is not None:
            return moment
    names = "||".join(formats or DEFAULT_FORMATS)
    raise ValueError(f"failed to parse date field [{text}] with format [{names}]")


@lru_cache(maxsize=256)
def _parsers(formats: tuple[str, ...]) -> tuple[_Parser, ...]:
    return tuple(_parser(name) for written in formats for name in written.split("||"))


def _parser(name: str) -> _Parser:
    """What reads one format; it gives None for a text that it cannot read. Raises ValueError for an unknown format."""
    if name == "epoch_millis":
        return _epoch_parser(re.compile(r"(-?)(\d{1,18})(?:\.(\d{0,6}))?", re.ASCII), MILLI, 6)
    if name == "epoch_second":
        return _epoch_parser(re.compile(r"(-?)(\d{1,15})(?:\.(\d{0,9}))?", re.ASCII), SECOND, 9)
    pattern = compile_pattern(PATTERNS.get(name, name))

    def parse(text: str) -> Moment | None:
        found = pattern.fullmatch(text)
        return None if found is None else _resolved(found)

    return parse


def _epoch_parser(pattern: re.Pattern[str], unit: int, decimals: int) -> _Parser:
    def parse(text: str) -> Moment | None:
        found = pattern.fullmatch(text)
        if found is None:
            return None
        sign, whole, fraction = found.groups()
        amount = int(whole) * unit + int((fraction or "").ljust(decimals, "0"))
        first = -amount if sign else amount
        return Moment(first, first if fraction else first + unit - 1)

    return parse


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def _resolved(found: re.Match[str]) -> Moment | None:
    """The moment of the parts that a pattern found; None if there is no such day or hour."""
    parts = {name: text for name, text in found.groupdict().items() if text is not None}
    try:
        day, offset = _day(parts), timedelta(0)
        given = (_hour(parts), _whole(parts, "minute"), _whole(parts, "second"), _fraction(parts))
        if (given[0] or 0) > 23 or (given[1] or 0) > 59 or (given[2] or 0) > 59:
            return None
        moments = []
        for fill in ((0, 0, 0, 0), (23, 59, 59, SECOND - 1)):
            hours, minutes, seconds, nanos = (
                default if part is None else part for part, default in zip(given, fill, strict=True)
            )
            if "zone" in parts:
                offset = _offset(parts["zone"], day, hours * 3600 + minutes * 60 + seconds)
            local = ((day * 24 + hours) * 60 + minutes) * 60 + seconds
            moments.append((local - round(offset.total_seconds())) * SECOND + nanos)
    except ValueError:
        return None
    return Moment(*moments)


def _whole(parts: dict[str, str], name: str) -> int | None:
    return int(parts[name]) if name in parts else None


def _fraction(parts: dict[str, str]) -> int | None:
    if "nano" in parts:
        return int(parts["nano"])
    return int(parts["fraction"].ljust(9, "0")) if "fraction" in parts else None


def _hour(parts: dict[str, str]) -> int | None:
    if "hour" in parts:
        return int(parts["hour"])
    if "hour24" in parts:
        return int(parts["hour24"]) % 24
    if "hour12" not in parts:
        return None
    hour = int(parts["hour12"])
    if hour > 12:
        raise ValueError("hour")
    return hour % 12 + (12 if parts.get("half", "AM").upper() == "PM" else 0)


def _day(parts: dict[str, str]) -> int:
    """Days since 1970. Raises ValueError if there is no such day."""
    if "week_year" in parts:
        day = date.fromisocalendar(int(parts["week_year"]), int(parts.get("week", 1)), int(parts.get("weekday", 1)))
        return day.toordinal() - _EPOCH_DAY
    year = int(parts["year"]) if "year" in parts else 2000 + int(parts["year2"]) if "year2" in parts else 1970
    if "year_day" in parts:
        days = int(parts["year_day"])
        last = days_from_civil(year + 1, 1, 1) - days_from_civil(year, 1, 1)
        if not 1 <= days <= last:
            raise ValueError("day of year")
        return days_from_civil(year, 1, 1) + days - 1
    named = parts.get("month_name")
    month = _MONTHS.index(named[:3].lower()) + 1 if named else int(parts.get("month", 1))
    return days_from_civil(year, month, int(parts.get("day", 1)))


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970 of a day of the proleptic Gregorian calendar, in any year. Raises ValueError."""
    eras, year = divmod(year - 1, 400)
    return date(year + 1, month, day).toordinal() - _EPOCH_DAY + eras * _ERA


def _civil(days: int) -> tuple[int, int, int]:
    eras, rest = divmod(days + _EPOCH_DAY - 1, _ERA)
    day = date.fromordinal(rest + 1)
    return day.year + 400 * eras, day.month, day.day


_OFFSET = re.compile(r"(?:UTC|GMT|UT)?(?:([+-])(\d{1,2})(?::?(\d\d)(?::?(\d\d))?)?)?", re.ASCII)


def _offset(zone: str, day: int, second: int) -> timedelta:
    """How far a zone is ahead of UTC at a local time. Raises ValueError."""
    if zone == "Z":
        return timedelta(0)
    found = _OFFSET.fullmatch(zone)
    if found is not None:
        sign, hours, minutes, seconds = found.groups()
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0), seconds=int(seconds or 0))
        if int(minutes or 0) > 59 or int(seconds or 0) > 59 or offset > timedelta(hours=18):
            raise ValueError(zone)
        return -offset if sign == "-" else offset
    try:
        local = datetime(*_civil(day), tzinfo=ZoneInfo(zone)) + timedelta(seconds=second)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"unknown time zone [{zone}]") from error
    return local.utcoffset() or timedelta(0)


_OPERATION = re.compile(r"([+\-/])(\d{0,9})([yMwdhHms])", re.ASCII)
FIXED_UNITS = {"ms": MILLI, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": DAY, "w": 7 * DAY}
"""Nanoseconds of the units of fixed length; date math has `M` and `y` as well, and `H` for `h`."""


def _calculated(moment: int, math: str, *, round_up: bool) -> int:
    """A moment after date math; `round_up` makes a rounding give the unit's last millisecond instead of its first."""
    place = 0
    while place < len(math):
        found = _OPERATION.match(math, place)
        if found is None:
            raise ValueError(f"truncated or unknown date math [{math[place:]}]: expected like [+1d], [-2h] or [/d]")
        sign, digits, unit = found.groups()
        amount = int(digits or 1)
        if sign != "/":
            moment = shifted(moment, -amount if sign == "-" else amount, unit)
        elif amount != 1:
            raise ValueError(f"rounding `/` can only be used on single unit types [{math}]")
        else:
            start = rounded(moment, unit)
            moment = shifted(start, 1, unit) - MILLI if round_up else start
        place = found.end()
    return moment


def shifted(moment: int, amount: int, unit: str) -> int:
    """The moment some units of date math later; months and years keep the day, or take the last of a shorter month."""
    if unit not in ("M", "y"):
        return moment + amount * FIXED_UNITS[unit.lower()]
    days, rest = divmod(moment, DAY)
    year, month, day = _civil(days)
    months = year * 12 + month - 1 + amount * (12 if unit == "y" else 1)
    first = days_from_civil(months // 12, months % 12 + 1, 1)
    length = days_from_civil((months + 1) // 12, (months + 1) % 12 + 1, 1) - first
    return (first + min(day, length) - 1) * DAY + rest


def rounded(moment: int, unit: str) -> int:
    """The first moment of the unit of date math that a moment lies in; weeks are those of ISO."""
    if unit == "w":  # weeks begin on Monday, and 1970 began on a Thursday
        return moment - (moment + 3 * DAY) % (7 * DAY)
    if unit not in ("M", "y"):
        return moment - moment % FIXED_UNITS[unit.lower()]
    year, month, _ = _civil(moment // DAY)
    return days_from_civil(year, 1 if unit == "y" else month, 1) * DAY


def formats_of(written: str | Sequence[str] | None) -> tuple[str, ...]:
    """The formats of a mapping's `format`; empty for none or the default."""
    if written is None:
        return ()
    names = tuple(written.split("||")) if isinstance(written, str) else tuple(written)
    return () if names == DEFAULT_FORMATS else names
