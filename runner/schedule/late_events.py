"""Late events: those that come when the windows which should have found them were searched already. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from runner.events.files.event_times import Stretch
from runner.schedule.window_edges import margin
from runner.search.compiled_rule import CompiledRule, time_fields
from runner.store.protocol import Mark, RuleState
from runner.windows import Window, from_nanoseconds, merge, nanoseconds

NEAR = timedelta(minutes=10)
"""Late events this near to each other are searched together."""
_MOST_SPANS = 100
"""Most spans of a rule that become owed at a time; where there would be more the nearest are joined."""
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class LateEvents:
    """The events that came after the windows of their time were searched, over all rules."""

    events: int = 0
    """At most: of a stretch that ends in time all of its events are counted."""
    oldest: datetime | None = None
    """The time of the oldest one within the horizon."""
    marks: tuple[Mark, ...] = ()
    """What becomes owed again, a mark a rule; of time that only a replay searches, too."""
    owed: int = 0
    """Spans within the horizon."""
    rules: int = 0
    """The rules of these spans."""
    beyond: Window | None = None
    """The time older than the horizon, which only a replay searches."""
    events_beyond: int = 0

    @property
    def events_owed(self) -> int:
        return self.events - self.events_beyond


def late_limits(rules: Iterable[CompiledRule], states: Mapping[str, RuleState]) -> dict[tuple[str, ...], int]:
    """By the time fields that rules select by: the time before which an event that comes now may be late for one."""
    limits: dict[tuple[str, ...], int] = {}
    for one in _rules_of(rules, states):
        limits[one.names] = max(nanoseconds(one.found[-1].end) if one.found else 0, limits.get(one.names, 0))
    return limits


def late_events(
    rules: Sequence[CompiledRule],
    states: Mapping[str, RuleState],
    arrived: Mapping[tuple[str, ...], Sequence[Stretch]],
    *,
    now: datetime,
    horizon: timedelta,
) -> LateEvents:
    """What of the events that arrived is late, by the time fields that the rules select by, and what is owed for it."""
    border = now - horizon
    marks: list[Mark] = []
    late: dict[tuple[str, ...], dict[Stretch, Window]] = {}
    owed: list[int] = []
    beyond: list[Window] = []
    for one in _rules_of(rules, states):
        spans: list[Window] = []
        for stretch in arrived.get(one.names, ()) if one.found else ():
            times, again = _owed_for(stretch, one)
            if times:
                late.setdefault(one.names, {})[stretch] = times
                spans += again
        if not spans:
            continue
        spans = joined(merge(spans))
        marks.append(Mark(one.rule_id, "late", now, tuple(spans)))
        within = sum(span.end > border for span in spans)
        owed += [within] if within else []
        beyond += [Window(span.start, min(span.end, border)) for span in spans if span.start < border]
    if not marks:
        return LateEvents()
    # The same event is counted once, by the time fields with the most that are late.
    counted = max(late.values(), key=lambda found: sum(stretch.events for stretch in found))
    old = sum(stretch.events for stretch, times in counted.items() if times.start < border)
    windows = [times for found in late.values() for times in found.values()]
    return LateEvents(
        events=sum(stretch.events for stretch in counted),
        oldest=min((max(times.start, border) for times in windows if times.end >= border), default=None),
        marks=tuple(marks),
        owed=sum(owed),
        rules=len(owed),
        beyond=Window(min(one.start for one in beyond), max(one.end for one in beyond)) if beyond else None,
        events_beyond=old,
    )


@dataclass(frozen=True, slots=True)
class _LateRule:
    """What decides which events are late for a rule, and what is owed for them."""

    rule_id: str
    names: tuple[str, ...]
    found: tuple[Window, ...]
    """The spans of time for whose events it is too late."""
    before: timedelta
    after: timedelta
    """From before the time of a late event to after it: the times at which a match with it may end."""


def _rules_of(rules: Iterable[CompiledRule], states: Mapping[str, RuleState]) -> Iterator[_LateRule]:
    """The rules in use that were searched, then those that only the ledger has: they may be used by other runs, or
    come back. Of these the last window is all that is known."""
    here: set[str] = set()
    for compiled in rules:
        rule, reach = compiled.rule, compiled.reach
        here.add(rule.rule_id)
        if (state := states.get(rule.rule_id)) is None:
            continue
        before, after = timedelta(0), max(reach.maxspan, _MILLISECOND)
        if not reach.bounded and not reach.maxspan:  # the events of a match lie in one window
            before, after = rule.every, max(rule.look_back, rule.every)
        found = _found_out(state, margin(rule, reach) - reach.maxspan)
        yield _LateRule(rule.rule_id, time_fields(rule), found, before, after)
    for rule_id, state in states.items():
        if rule_id not in here and state.last is not None and state.paused is None:
            length = state.last.window.length
            yield _LateRule(rule_id, ("@timestamp",), _found_out(state, length), length, length)


def _found_out(state: RuleState, slack: timedelta) -> tuple[Window, ...]:
    """The searched spans, without the end of each that the next window of the rule reaches back into: an event of that
    time is still found."""
    ends = [whole.end for whole in state.accounted]
    found = []
    for span in state.searched:
        end = min(span.end, next(end for end in ends if end >= span.end) - slack)
        if span.start < end:
            found.append(Window(span.start, end))
    return tuple(found)


def _owed_for(stretch: Stretch, rule: _LateRule) -> tuple[Window | None, list[Window]]:
    """The times of a stretch's events that are late, from the first to the last; and the spans in which a match with
    one of them may end."""
    first, last = from_nanoseconds(stretch.first), from_nanoseconds(stretch.last)
    first -= timedelta(microseconds=first.microsecond % 1_000)
    times: list[Window] = []
    spans: list[Window] = []
    for span in rule.found:
        start, end = max(first, span.start), min(last, span.end)
        if start <= end and start < span.end:
            times.append(Window(start, end))
            spans.append(Window(max(start - rule.before, span.start), min(end + rule.after, span.end)))
    return (Window(times[0].start, times[-1].end) if times else None), spans


def joined(spans: Sequence[Window]) -> list[Window]:
    """The spans, ascending and disjoint, with those that are near to each other as one; at most `_MOST_SPANS`."""
    gaps = sorted((after.start - before.end for before, after in pairwise(spans)), reverse=True)
    least = max([NEAR, *gaps[_MOST_SPANS - 1 : _MOST_SPANS]])
    made: list[Window] = []
    for span in spans:
        if made and span.start - made[-1].end <= least:
            made[-1] = Window(made[-1].start, span.end)
        else:
            made.append(span)
    return made


def replayed(beyond: Window) -> Window:
    """The span of whole seconds that a replay has to search."""
    end = beyond.end.replace(microsecond=0)
    end += timedelta(seconds=1) if end < beyond.end else timedelta(0)
    return replace(beyond, start=beyond.start.replace(microsecond=0), end=end)
