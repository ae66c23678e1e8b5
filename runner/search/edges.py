"""Window edges: how far a rule's matches reach, and which matches a window can vouch for.

A window sees only the events inside it. A sequence that began before it would be lost, so a window reaches back by
`maxspan` at least. And an absence can only be told where all of its span was seen: `![A] [B]` needs the time before B,
`[A] ![B]` the time after A. A match that rests on an absence which the window does not show whole is held; another
window shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from runner.eql import ast
from runner.eql.errors import EqlError
from runner.eql.parser import parse
from runner.events.dates import read_date
from runner.events.decode import flatten
from runner.rules.rule import Rule
from runner.search.search import Hit, Match, Reach, SearchRequest
from runner.windows import Window, from_nanoseconds


def reach_of(query: str) -> Reach:
    """The reach of an EQL query; that of a single event for a text that is no EQL, which the search will refuse.

    >>> reach_of('sequence with maxspan=10m [process where true] ![network where true]')
    Reach(maxspan=datetime.timedelta(seconds=600), leading=False, trailing=True)
    """
    try:
        body = parse(query).body
    except EqlError:
        return Reach()
    if not isinstance(body, ast.Sequence) or body.maxspan is None:
        return Reach()
    return Reach(timedelta(milliseconds=body.maxspan), body.terms[0].missing, body.terms[-1].missing)


def margin(rule: Rule, reach: Reach) -> timedelta:
    """How much time before its own interval a rule's window covers again: its overlap, or a longer reach."""
    return max(rule.look_back - rule.every, reach.maxspan, timedelta(0))


def widened(window: Window, rule: Rule, reach: Reach) -> Window:
    """The rule's window, begun earlier if its overlap with the window before is shorter than the reach."""
    return Window(min(window.start, window.end - rule.every - margin(rule, reach)), window.end)


def settled_of(matches: Sequence[Match], request: SearchRequest) -> Sequence[Match]:
    """Those of the matches that the window can vouch for: all of them, unless the rule asks for an absence."""
    reach = request.reach
    if not (reach.leading or reach.trailing):
        return matches
    kept: list[Match] = []
    for match in matches:
        times = [time for hit in match.hits if not hit.missing and (time := _time_of(hit, request.rule)) is not None]
        if not times or is_settled(min(times), max(times), window=request.window, reach=reach):
            kept.append(match)
    return kept


def is_settled(first: datetime, last: datetime, *, window: Window, reach: Reach) -> bool:
    """Whether the window shows all of the time that decides about the match from `first` to `last`."""
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
