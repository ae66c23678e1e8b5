"""Counts and lengths of time as text."""

from __future__ import annotations

from datetime import timedelta

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 rule`, `2 rules`, `2 indices`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def length_of_time(nanoseconds: int) -> str:
    """A length of time as text: `350ms`, `1.2s`, `3m 5s`."""
    sign, length = ("-" if nanoseconds < 0 else ""), abs(nanoseconds)
    if length < 1_000_000_000:
        return f"{sign}{length / 1_000_000:g}ms"
    if length < 60_000_000_000:
        return f"{sign}{length / 1_000_000_000:g}s"
    return sign + in_whole_units(length // 1_000_000_000 * 1_000)


def in_whole_units(milliseconds: int) -> str:
    """A length of time in its largest whole units: `1h 30m`; empty for 0."""
    parts = []
    for unit, size in _UNITS:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts)


def length_text(length: timedelta) -> str:
    """A length of time in its largest fitting unit.

    >>> length_text(timedelta(minutes=90))
    '90m'
    """
    seconds = max(0, int(length.total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 7_200:
        return f"{seconds // 60}m"
    return f"{seconds / 3600:.1f}h" if seconds < 172_800 else f"{seconds // 86_400}d"
