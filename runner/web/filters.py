"""The filters of the page of alerts as they stand in its address, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from runner.errors import SettingsError
from runner.settings.moments import read_moment
from runner.settings.value_checks import choice_of
from runner.store.alert_filter import STATUSES, AlertFilter

SEVERITIES: Final = ("critical", "high", "medium", "low")
GROUPS: Final = ("rule", "host", "user", "severity", "status")
"""What the alerts of the page can be grouped by."""
PAGE_SIZES: Final = (25, 50, 100, 250)
_DEFAULT_SIZE: Final = 50
_LONGEST: Final = 500
"""Characters of a filter's text."""
_MOST_PAGES: Final = 1_000_000
_SINGLE: Final = ("host", "user", "rule", "tag", "text", "from", "to")
_SEVERAL: Final = ("severity", "status")


@dataclass(frozen=True, slots=True)
class AlertQuery:
    """What the address asks for: which alerts, how they are shown."""

    values: Mapping[str, tuple[str, ...]]
    """The parameters that narrow, each with its values as given; empty ones are left out."""
    wanted: AlertFilter
    page: int = 1
    size: int = _DEFAULT_SIZE
    group: str = ""

    @property
    def is_narrowed(self) -> bool:
        return bool(self.values)

    def first(self, name: str) -> str:
        """The first value of a parameter; "" without one."""
        return next(iter(self.values.get(name, ())), "")

    def has(self, name: str, value: str) -> bool:
        return value in self.values.get(name, ())

    def address(self, **changes: Any) -> str:
        """The address with other values of some parameters, on its first page unless that is among them.

        A value is a text, several texts, or None for the parameter to be left out.
        """
        values: dict[str, Any] = {**self.values, "size": "", "group": self.group, "page": ""}
        values["size"] = str(self.size) if self.size != _DEFAULT_SIZE else ""
        values.update(changes)
        pairs = [
            (name, str(one))
            for name, given in values.items()
            for one in (given if isinstance(given, (tuple, list)) else (given,))
            if one not in (None, "")
        ]
        return f"/alerts?{urlencode(pairs)}" if pairs else "/alerts"

    def toggled(self, name: str, value: str) -> str:
        """The address with the value of a parameter added, or taken away if it is there."""
        before = self.values.get(name, ())
        if name in _SINGLE:
            return self.address(**{name: None if value in before else value})
        after = tuple(one for one in before if one != value) if value in before else (*before, value)
        return self.address(**{name: after})


def read_query(given: Sequence[tuple[str, str]], now: datetime) -> AlertQuery:
    """The query of an address's parameters. Raises SettingsError, naming the parameter."""
    values: dict[str, tuple[str, ...]] = {}
    for name, text in given:
        text = text.strip()
        if name in (*_SINGLE, *_SEVERAL) and text:
            if len(text) > _LONGEST:
                raise SettingsError(f"{name}: {len(text):,} characters are too many, expected {_LONGEST} at most")
            several = values.get(name, ()) if name in _SEVERAL else ()
            values[name] = (*several, text) if text not in several else several
    others = dict(given)
    group = others.get("group", "")
    if group and group not in GROUPS:
        raise SettingsError(f"group: found {group!r}, expected {', '.join(GROUPS)}")
    size = _whole(others.get("size"), "size", _DEFAULT_SIZE, most=max(PAGE_SIZES))
    return AlertQuery(
        values, _filter(values, now), _whole(others.get("page"), "page", 1, most=_MOST_PAGES), size, group
    )


def _filter(values: Mapping[str, tuple[str, ...]], now: datetime) -> AlertFilter:
    one = {name: next(iter(values.get(name, ())), None) for name in _SINGLE}
    return AlertFilter(
        rule=one["rule"],
        host=one["host"],
        user=one["user"],
        tag=one["tag"],
        text=one["text"],
        statuses=_choices(values, "status", STATUSES),
        severities=_choices(values, "severity", SEVERITIES),
        event_since=moment_of(one["from"], "from", now),
        event_until=moment_of(one["to"], "to", now),
        of_building_block_rules=False,
    )


def _choices(values: Mapping[str, tuple[str, ...]], name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(map(choice_of(*known), values.get(name, ())))
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None


def moment_of(text: str | None, name: str, now: datetime) -> datetime | None:
    """The time that the text names, None without one. Raises SettingsError."""
    if not text:
        return None
    try:
        return read_moment(text, now)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"{name}: {error}") from None


def _whole(text: str | None, name: str, default: int, *, most: int) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise SettingsError(f"{name}: found {text[:20]!r}, expected a number from 1 to {most:,}")
    return int(text)
