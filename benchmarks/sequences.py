"""Sequences on input that is made to be hard: a matcher that scans its open matches would take a square of the time."""

from __future__ import annotations

import time
from collections.abc import Callable

from runner.eql.sequence import SequenceMatcher, StageEvent


def sequence_seconds(events: int) -> dict[str, float]:
    """Nanoseconds an event of each hard input, for that many events and for four times as many: the two should be
    alike."""
    found = {}
    for name, make in _INPUTS.items():
        for times, label in ((1, ""), (4, ", 4 x as many")):
            given = make(events * times)
            matcher = SequenceMatcher(positive=(0, 1, 2), maxspan=10**12)
            started = time.process_time()
            matcher.match(given)
            found[f"sequence, {name}{label} (ns/event)"] = (time.process_time() - started) / len(given) * 1e9
    return found


def _one_key(count: int) -> list[list[StageEvent]]:
    """One key whose sequence begins again and again and never gets further than its second stage."""
    return [[StageEvent(number * 1000, number, number % 2, ("host",))] for number in range(count)]


def _many_keys(count: int) -> list[list[StageEvent]]:
    """Every event begins a sequence of its own."""
    return [[StageEvent(number * 1000, number, 0, (number,))] for number in range(count)]


_INPUTS: dict[str, Callable[[int], list[list[StageEvent]]]] = {
    "one key, many beginnings": _one_key,
    "many keys, one beginning each": _many_keys,
}
