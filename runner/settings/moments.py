"""`read_moment`: the time that a person names on the command line or in a setting."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from runner.messages.suggestions import near_name
from runner.rules.date_math import resolve

EXPECTED = "such as 1d, 2h ago, yesterday, 2026-03-02 10:00, 2026-03-02T10:00:00Z or now-1d/d"

_UNITS = {
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "h": "h", "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
    "d": "d", "day": "d", "days": "d",
    "w": "w", "week": "w", "weeks": "w",
    "M": "M", "month": "M", "months": "M",
    "y": "y", "year": "y", "years": "y",
}  # fmt: skip
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}

_LENGTH = re.compile(r"(?P<sign>[+-]?)(?P<count>[0-9]+) ?(?P<unit>[A-Za-z]+)(?: (?P<word>[A-Za-z]+))?")
_ZONE = r"(?: ?(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)| (?P<name>[A-Za-z][\w/+-]*))?"
_CLOCK = r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<part>[0-9]{1,9}))?)?)?"
_ON_A_DAY = re.compile(
    rf"(?:(?P<word>[A-Za-z]+)|(?P<date>[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}))(?:(?: |[Tt]){_CLOCK})?{_ZONE}"
)
_TODAY = re.compile(rf"(?=[0-9]{{1,2}}:){_CLOCK}{_ZONE}")
_SLASHES = re.compile(r"([0-9]{4})[./]([0-9]{1,2})[./]([0-9]{1,2})((?: .*)?)")
_OTHER_ORDER = re.compile(r"([0-9]{1,2})([./-])([0-9]{1,2})\2([0-9]{4})\b.*")


def read_moment(text: str, now: datetime) -> datetime:
    """The moment in UTC that `text` names at `now`; raises ValueError with what is wrong and what was probably meant.

    A length of time counts back from now, `today` and its like are the begin of that day, and without a zone a time
    is UTC. Elasticsearch's date math and its dates are read, too.

    >>> now = datetime(2026, 3, 2, 10, 9, tzinfo=UTC)
    >>> read_moment("2h ago", now).isoformat(), read_moment("yesterday 18:30", now).isoformat()
    ('2026-03-02T08:09:00+00:00', '2026-03-01T18:30:00+00:00')
    >>> read_moment("2026-03-02 10:00 Europe/Berlin", now).isoformat()
    '2026-03-02T09:00:00+00:00'
    """
    text = " ".join(text.split())
    for read in (_length_back, _on_a_day):
        if (found := read(text, now)) is not None:
            return found
    try:
        return resolve(text, now)
    except ValueError as error:
        if text.startswith("now") or "||" in text:
            raise
        raise ValueError(_not_understood(text)) from error


def _length_back(text: str, now: datetime) -> datetime | None:
    found = _LENGTH.fullmatch(text)
    if found is None or found["word"] not in (None, "ago"):
        return None
    unit = _UNITS.get(found["unit"]) or _UNITS.get(found["unit"].lower())
    if unit is None:
        return None
    if found["sign"] and found["word"]:
        raise ValueError(f"`{text}` has a sign and `ago`; did you mean `{text.lstrip('+-')}`?")
    return resolve(f"now{found['sign'] or '-'}{found['count']}{unit}", now)


def _on_a_day(text: str, now: datetime) -> datetime | None:
    found = _ON_A_DAY.fullmatch(text) or _TODAY.fullmatch(text)
    if found is None:
        return None
    parts = found.groupdict()
    word = (parts.get("word") or "today").lower()
    if not parts.get("date") and word not in _DAYS:
        return None
    zone = _zone(text, parts)
    if parts.get("date"):
        year, month, day = map(int, parts["date"].split("-"))
        start = _built(text, lambda: datetime(year, month, day, tzinfo=zone))
    else:
        start = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        start += timedelta(days=_DAYS[word])
    hour, minute, second = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    part = int((parts["part"] or "").ljust(6, "0")[:6])
    moment = _built(text, lambda: start.replace(hour=hour, minute=minute, second=second, microsecond=part))
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"`{text}` is a time before year 1 or after year 9999") from None


def _built(text: str, build: Callable[[], datetime]) -> datetime:
    try:
        return build()
    except ValueError as error:
        # Python's own words: "day is out of range for month", "hour must be in 0..23".
        raise ValueError(f"`{_short(text)}` is no time that there is: {str(error).partition(', not')[0]}") from None


def _zone(text: str, parts: dict[str, str | None]) -> tzinfo:
    if offset := parts["zone"]:
        if offset == "Z":
            return UTC
        digits = offset[1:].replace(":", "").ljust(4, "0")
        length = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        if length >= timedelta(hours=24):
            raise ValueError(f"`{_short(text)}`: {offset} is no offset that a zone has")
        return timezone(-length if offset[0] == "-" else length)
    name = parts["name"]
    if name is None or name.upper() in ("UTC", "GMT"):
        return UTC
    known = available_timezones()
    if name in known:
        return ZoneInfo(name)
    near = near_name(name, known)
    hint = f"; did you mean `{near}`?" if near else ", expected one such as Europe/Berlin, or an offset such as +01:00"
    raise ValueError(f"`{_short(text)}`: there is no time zone `{name}`{hint}")


def _not_understood(text: str) -> str:
    """What is said of a text that is no time, with the near one where there is any."""
    meant = None
    if found := _OTHER_ORDER.fullmatch(text):
        first, _, second, year = found.groups()
        days = [
            f"{year}-{month:0>2}-{day:0>2}" for day, month in ((first, second), (second, first)) if int(month) <= 12
        ]
        meant = " or ".join(f"`{day}`" for day in dict.fromkeys(days)) or None
    elif found := _SLASHES.fullmatch(text):
        meant = "`{}-{:0>2}-{:0>2}{}`".format(*found.groups())
    elif found := _LENGTH.fullmatch(text):
        unit = near_name(found["unit"], _UNITS)
        if unit and (found["word"] is None or near_name(found["word"], ["ago"])):
            space = " " if len(unit) > 1 else ""
            meant = f"`{found['count']}{space}{unit}{' ago' if found['word'] else ''}`"
    elif text.isdigit() and len(text) < 4:
        meant = f"`{text}d`"
    else:
        first_word, space, rest = text.partition(" ")
        near = near_name(first_word, [*_DAYS, "now"])
        meant = f"`{near}{space}{rest}`" if near else None
    return f"`{_short(text)}` is not a time, expected one {EXPECTED}" + (f"; did you mean {meant}?" if meant else "")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
