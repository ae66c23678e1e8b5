"""Window edges: which matches a window can decide.

A sequence that began before a window would be lost, so windows reach back by `maxspan` at least. An absence can be
decided only where all of its span was searched: `![A] [B]` needs the time before B, `[A] ![B]` the time after A. A
match that rests on an absence whose span is not all in the window is held; another window decides it. For the same
reasons the halves of a window overlap by `maxspan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from runner.dates.dates import read_date
from runner.events.documents import flatten
from runner.rules.rule import Rule
from runner.search.compiled_rule import Reach, time_fields
from runner.search.protocol import Hit, Match, SearchRequest
from runner.windows import Window, from_nanoseconds

_MILLISECOND = timedelta(milliseconds=1)


def margin(rule: Rule, reach: Reach) -> timedelta:
    """The time before its own interval that a rule's window covers again: its overlap, or a longer reach.

    Beyond its reach there is at least half of the overlap, for events that come late.
    """
    overlap = max(rule.look_back - rule.every, timedelta(0))
    return max(overlap, reach.maxspan + overlap / 2 if reach.maxspan else overlap)


def widened(window: Window, rule: Rule, reach: Reach) -> Window:
    """The rule's window, begun earlier if it overlaps the window before by less than the reach."""
    return Window(min(window.start, window.end - rule.every - margin(rule, reach)), window.end)


def halves_of(request: SearchRequest) -> tuple[SearchRequest, SearchRequest] | None:
    """The request over two shorter windows that together find what it would, the earlier first; None if it has none.

    The windows of a single event meet at a millisecond, those of a sequence overlap by its maxspan: a match is either
    wholly in the first, or begins at most a maxspan before the second half. So no window of a sequence becomes shorter
    than its maxspan, and one that selects by another time than the one that maxspan is measured in is not divided.
    """
    rule, window, reach = request.rule, request.window, request.reach
    selects_by = time_fields(rule)[0]
    if not reach.bounded or (reach.maxspan and selects_by != (rule.timestamp_field or "@timestamp")):
        return None
    length = (window.length + reach.maxspan) / 2
    middle = window.start + length - timedelta(microseconds=length.microseconds % 1_000)
    later = middle - timedelta(microseconds=middle.microsecond % 1_000) + _MILLISECOND - reach.maxspan
    if middle >= window.end or later <= window.start:
        return None
    first, second = Window(window.start, middle), Window(min(later, window.end), window.end)
    return replace(request, window=first), replace(request, window=second)


def decided_matches(matches: Sequence[Match], request: SearchRequest) -> Sequence[Match]:
    """The matches that the window can decide: all of them, unless the query has a leading or trailing absence."""
    reach = request.reach
    if not (reach.leading or reach.trailing):
        return matches
    kept: list[Match] = []
    for match in matches:
        times = [time for hit in match.hits if not hit.missing and (time := _time_of(hit, request.rule)) is not None]
        if not times or is_decided(min(times), max(times), window=request.window, reach=reach):
            kept.append(match)
    return kept


def is_decided(first: datetime, last: datetime, *, window: Window, reach: Reach) -> bool:
    """Whether the window covers all of the time that decides the match from `first` to `last`."""
    if reach.leading and last - reach.maxspan < window.start:
        return False
    return not reach.trailing or first + reach.maxspan <= window.end


def _time_of(hit: Hit, rule: Rule) -> datetime | None:
    name = rule.timestamp_field or "@timestamp"
    values = hit.fields.get(name) or flatten(hit.source, {name: None}).get(name) or [None]
    try:
        return from_nanoseconds(read_date(values[0]))
    except (ValueError, TypeError, OverflowError):
        return None
