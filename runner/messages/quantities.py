"""Counts and lengths of time as text."""

from __future__ import annotations

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 rule`, `2 rules`, `2 indices`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def in_whole_units(milliseconds: int) -> str:
    """A length of time in its largest whole units: `1h 30m`; empty for 0."""
    parts = []
    for unit, size in _UNITS:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts)
