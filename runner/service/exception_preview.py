"""What exceptions would change: the matches of rules with them and without them over the same events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runner.alerts.cap import candidate_for
from runner.errors import EventsError
from runner.exceptions.item import ExceptionItem
from runner.rules.rule import Rule
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import Match, Search, SearchRequest, SearchResult
from runner.service.counted_bursts import Remembering, with_bursts
from runner.service.excepted_alerts import ExceptedAlerts
from runner.store.group_store import MemoryGroups
from runner.triage.excepted_alert import exception_for
from runner.windows import Window

MOST_MATCHES = 10_000
"""Most matches of a rule that are compared (Elasticsearch's `index.max_result_window`)."""


@dataclass(frozen=True, slots=True)
class ChangedMatch:
    """A match that exceptions remove or make, by the id of its alert."""

    alert_id: str
    rule: Rule
    match: Match
    item: ExceptionItem | None = None
    """The exception that hits one of its events; None for a match that is made, or removed by what it leaves out."""


@dataclass(frozen=True, slots=True)
class PreviewedRule:
    """One rule with the exceptions and without them."""

    rule: Rule
    before: int
    """Matches without the exceptions."""
    removed: tuple[ChangedMatch, ...] = ()
    made: tuple[ChangedMatch, ...] = ()
    """Matches that there are only with the exceptions: an event that is left out counts as absent."""
    events: Mapping[str, int] | None = None
    """Events left out, by the exception's id."""
    problems: tuple[str, ...] = ()
    """What makes this less than the whole."""


async def preview(
    search: Search, rules: Sequence[tuple[CompiledRule, Sequence[ExceptionItem]]], window: Window, space: str
) -> list[PreviewedRule]:
    """Each rule as it is, compared with itself and more exceptions; one pass over files for all of them."""
    pairs = [(one, replace(one, exceptions=(*one.exceptions, *more))) for one, more in rules]
    await search.prepare([compiled for pair in pairs for compiled in pair])
    requests = [SearchRequest(compiled, window, MOST_MATCHES) for pair in pairs for compiled in pair]
    found: dict[int, tuple[SearchResult, dict[str, Match], ExceptedAlerts, list[str]]] = {}
    async for result in search.run(requests):
        excepted = ExceptedAlerts(result.request)
        result, _ = await with_bursts(
            result, MemoryGroups(), Remembering(space, window.end, window.length), limit=MOST_MATCHES
        )
        matches, problems = _matches(result, excepted, space)
        found[id(result.request.compiled)] = result, matches, excepted, problems
    made = []
    for (before, after), (_, more) in zip(pairs, rules, strict=True):
        if id(before) not in found or id(after) not in found:
            raise EventsError(f'rule "{before.rule.name}": the search gave no answer')
        made.append(_compared(before.rule, found[id(before)], found[id(after)], more, window))
    return made


_Answer = tuple[SearchResult, dict[str, Match], ExceptedAlerts, list[str]]


def _compared(
    rule: Rule, before: _Answer, after: _Answer, more: Sequence[ExceptionItem], window: Window
) -> PreviewedRule:
    (_, old, _, problems), (result, new, excepted, more_problems) = before, after
    removed = tuple(
        ChangedMatch(id_, rule, match, exception_for((hit.source for hit in match.hits), more, window.end_ns))
        for id_, match in old.items()
        if id_ not in new
    )
    made = tuple(ChangedMatch(id_, rule, match) for id_, match in new.items() if id_ not in old)
    ids = {item.id for item in more}
    events: dict[str, int] = {}
    for one in (*result.excepted, *excepted.found):
        if one.item.id in ids:
            events[one.item.id] = events.get(one.item.id, 0) + one.events
    return PreviewedRule(rule, len(old), removed, made, events, tuple(dict.fromkeys((*problems, *more_problems))))


def _matches(result: SearchResult, excepted: ExceptedAlerts, space: str) -> tuple[dict[str, Match], list[str]]:
    """The matches by the ids of their alerts, and what makes them less than the whole."""
    problems = [] if result.error is None else [result.error]
    problems += [] if result.complete else ["not all events could be read"]
    problems += [] if result.exhausted else [f"only the first {MOST_MATCHES:,} matches are compared"]
    problems += result.warnings
    found: dict[str, Match] = {}
    for match in excepted.others(result.matches):
        if match.unreadable:
            problems.append(match.unreadable)
        else:
            found[candidate_for(match, result.request.rule, space).head] = match
    return found, problems
