"""Date patterns of Java, and Elasticsearch's names for some, as regular expressions with a group for each part."""

from __future__ import annotations

import re

_ZONE = r"(?P<zone>Z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?|[A-Za-z][A-Za-z0-9_/+:\-]*)"
_TIME = "HH:mm:ss"
_WEEK = "YYYY-'W'ww-e"
_ISO = "yyyy[-MM[-dd['T'[HH[:mm[:ss[^]]][VV]]]]]"
_STRICT = {
    "date": "yyyy-MM-dd",
    "year_month_day": "yyyy-MM-dd",
    "year_month": "yyyy-MM",
    "year": "yyyy",
    "date_hour": "yyyy-MM-dd'T'HH",
    "date_hour_minute": "yyyy-MM-dd'T'HH:mm",
    "date_hour_minute_second": f"yyyy-MM-dd'T'{_TIME}",
    "date_hour_minute_second_fraction": f"yyyy-MM-dd'T'{_TIME}.~",
    "date_hour_minute_second_millis": f"yyyy-MM-dd'T'{_TIME}.~",
    "date_time": f"yyyy-MM-dd'T'{_TIME}.~VV",
    "date_time_no_millis": f"yyyy-MM-dd'T'{_TIME}VV",
    "ordinal_date": "yyyy-DDD",
    "ordinal_date_time": f"yyyy-DDD'T'{_TIME}.~VV",
    "ordinal_date_time_no_millis": f"yyyy-DDD'T'{_TIME}VV",
    "hour": "HH",
    "hour_minute": "HH:mm",
    "hour_minute_second": _TIME,
    "hour_minute_second_fraction": f"{_TIME}.~",
    "hour_minute_second_millis": f"{_TIME}.~",
    "time": f"{_TIME}.~VV",
    "time_no_millis": f"{_TIME}VV",
    "t_time": f"'T'{_TIME}.~VV",
    "t_time_no_millis": f"'T'{_TIME}VV",
    "week_date": _WEEK,
    "week_date_time": f"{_WEEK}'T'{_TIME}.~VV",
    "week_date_time_no_millis": f"{_WEEK}'T'{_TIME}VV",
    "weekyear": "YYYY",
    "weekyear_week": "YYYY-'W'ww",
    "weekyear_week_day": _WEEK,
    "basic_week_date": "YYYY'W'wwe",
    "basic_week_date_time": "YYYY'W'wwe'T'HHmmss.~VV",
    "basic_week_date_time_no_millis": "YYYY'W'wwe'T'HHmmssVV",
    "date_optional_time": _ISO,
    "date_optional_time_nanos": _ISO,
}
_BASIC = {
    "basic_date": "yyyyMMdd",
    "basic_date_time": "yyyyMMdd'T'HHmmss.~VV",
    "basic_date_time_no_millis": "yyyyMMdd'T'HHmmssVV",
    "basic_ordinal_date": "yyyyDDD",
    "basic_ordinal_date_time": "yyyyDDD'T'HHmmss.~VV",
    "basic_ordinal_date_time_no_millis": "yyyyDDD'T'HHmmssVV",
    "basic_time": "HHmmss.~VV",
    "basic_time_no_millis": "HHmmssVV",
    "basic_t_time": "'T'HHmmss.~VV",
    "basic_t_time_no_millis": "'T'HHmmssVV",
    "iso8601": _ISO,
}


def _lenient(pattern: str) -> str:
    """The pattern of a name without `strict_`: parts of two digits may have one."""
    return re.sub(r"(?<![A-Za-z])(MM|dd|HH|mm|ss|ww)(?![A-Za-z])", lambda found: found[0][0], pattern)


PATTERNS: dict[str, str] = {
    **_BASIC,
    **{name: _lenient(pattern) for name, pattern in _STRICT.items()},
    **{f"strict_{name}": pattern for name, pattern in _STRICT.items()},
}
"""Elasticsearch's names of formats, with their patterns. `~` in a pattern is a fraction of one to nine digits, `^` one
with a point or comma before it."""

_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"


def _number(name: str, most: int) -> dict[int, str]:
    """By the number of letters: one letter reads one to `most` digits, several read as many as there are."""
    return {1: rf"(?P<{name}>\d{{1,{most}}})"} | {width: rf"(?P<{name}>\d{{{width}}})" for width in range(2, most + 1)}


def _names(name: str, words: str) -> dict[int, str]:
    """Three letters for short names, four for whole ones."""
    whole = words.split()
    return {3: f"(?P<{name}>{'|'.join(word[:3] for word in whole)})", 4: f"(?P<{name}>{'|'.join(whole)})"}


_YEAR = {1: r"(?P<year>\d{1,9})", 2: r"(?P<year2>\d\d)", 3: r"(?P<year>\d{3,9})", 4: r"(?P<year>\d{4})"}
_OFFSETS = {
    "X": {1: r"Z|[+-]\d\d(?:\d\d)?", 2: r"Z|[+-]\d{4}", 3: r"Z|[+-]\d\d:\d\d", 4: r"Z|[+-]\d{4}(?:\d\d)?"},
    "x": {1: r"[+-]\d\d(?:\d\d)?", 2: r"[+-]\d{4}", 3: r"[+-]\d\d:\d\d", 4: r"[+-]\d{4}(?:\d\d)?"},
    "Z": {1: r"[+-]\d{4}", 2: r"[+-]\d{4}", 3: r"[+-]\d{4}", 4: r"GMT(?:[+-]\d\d:\d\d)?", 5: r"Z|[+-]\d\d:\d\d"},
}
_LETTERS: dict[str, dict[int, str]] = {
    "y": _YEAR,
    "u": _YEAR,
    "Y": {1: r"(?P<week_year>\d{1,4})", 4: r"(?P<week_year>\d{4})"},
    "M": _number("month", 2) | _names("month_name", _MONTHS),
    "L": _number("month", 2) | _names("month_name", _MONTHS),
    "d": _number("day", 2),
    "D": _number("year_day", 3),
    "w": _number("week", 2),
    "e": {1: r"(?P<weekday>[1-7])"},
    "E": {1: _names("weekday_name", _DAYS)[3], 2: _names("weekday_name", _DAYS)[3]} | _names("weekday_name", _DAYS),
    "a": {1: r"(?P<half>AM|PM|am|pm)"},
    "H": _number("hour", 2),
    "k": _number("hour24", 2),
    "h": _number("hour12", 2),
    "K": _number("hour12", 2),
    "m": _number("minute", 2),
    "s": _number("second", 2),
    "S": {width: rf"(?P<fraction>\d{{{width}}})" for width in range(1, 10)},
    "n": dict.fromkeys(range(1, 10), r"(?P<nano>\d{1,9})"),
    "~": {1: r"(?P<fraction>\d{1,9})"},
    "^": {1: r"[.,](?P<fraction>\d{1,9})"},
    "V": {2: _ZONE},
    "z": dict.fromkeys(range(1, 5), _ZONE),
    **{letter: {n: f"(?P<zone>{form})" for n, form in forms.items()} for letter, forms in _OFFSETS.items()},
}
_TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z~^])\2*|([^'])", re.DOTALL)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The expression of a Java pattern, with groups named after the parts. Raises ValueError if it is none."""
    pieces: list[str] = []
    seen: set[str] = set()
    depth = 0
    place = 0
    while place < len(pattern):
        found = _TOKEN.match(pattern, place)
        if found is None:
            raise ValueError(f"invalid date format [{pattern}]: the quote at position {place} is not closed")
        quoted, letter, other = found.groups()
        if quoted is not None:
            pieces.append(re.escape(quoted.replace("''", "'") or "'"))
        elif letter is not None:
            pieces.append(_part(pattern, letter, len(found[0]), seen=seen))
        elif other in "[]":
            depth += 1 if other == "[" else -1
            pieces.append("(?:" if other == "[" else ")?")
        else:
            pieces.append(re.escape(other))
        if depth < 0:
            break
        place = found.end()
    if depth:
        raise ValueError(f"invalid date format [{pattern}]: its brackets do not match")
    return re.compile("".join(pieces), re.ASCII)


def _part(pattern: str, letter: str, width: int, *, seen: set[str]) -> str:
    """The expression of a run of one letter. A part that occurs again is read, and must only look like one."""
    forms = _LETTERS.get(letter)
    form = forms.get(width) if forms else None
    if form is None:
        raise ValueError(f"invalid date format [{pattern}]: [{letter * width}] is not supported")
    named = re.search(r"\(\?P<(\w+)>", form)
    assert named is not None
    if named[1] in seen:
        return form.replace(named[0], "(?:")
    seen.add(named[1])
    return form
