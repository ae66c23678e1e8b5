"""Exceptions of scope alert: finished matches that become no alert."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache

from runner.alerts.build import original_time_of
from runner.dates.dates import read_date
from runner.engine.exclusions import KEPT_EVENTS
from runner.events.fields.schema import Schema, shipped_schema
from runner.exceptions.item import ExceptionItem
from runner.rules.rule import Rule
from runner.search.protocol import ExceptedEvents, Hit, Match, SearchRequest
from runner.windows import from_nanoseconds


@cache
def _schema() -> Schema:
    """The types that fields of a match are read by, wherever it was found; a field without one as it stands."""
    return Schema(shipped_schema().fields, lenient=True)


class ExceptedAlerts:
    """The matches of one request that an exception of scope alert hits, counted by exception.

    A match counts as its newest event, if the time of that was not searched before.
    """

    def __init__(self, request: SearchRequest) -> None:
        self._request = request
        self._found: dict[ExceptionItem, ExceptedEvents] = {}
        self.dropped = 0
        """How many matches were left out."""

    @property
    def found(self) -> tuple[ExceptedEvents, ...]:
        """What was left out, with the events of some of the matches."""
        return tuple(self._found.values())

    def others(self, matches: Iterable[Match]) -> Iterator[Match]:
        """The matches that no exception hits, and those that cannot be read."""
        compiled = self._request.compiled
        if not any(item.scope == "alert" for item in compiled.exceptions):
            yield from matches
            return
        for match in matches:
            hits = [hit for hit in match.hits if not hit.missing]
            item = compiled.excepted_alert([hit.source for hit in hits], _schema(), self._request.window.end_ns)
            if item is None:
                yield match
            else:
                self.dropped += 1
                self._count(item, hits)

    def _count(self, item: ExceptionItem, hits: Sequence[Hit]) -> None:
        dated = {time: hit for hit in hits if (time := _time_of(hit, self._request.rule)) is not None}
        newest = max(dated, default=None)
        counted = self._request.counted
        if counted is not None and newest is not None and not any(span.start <= newest <= span.end for span in counted):
            return
        known = self._found.get(item, ExceptedEvents(item, 0))
        times = [time for time in (known.newest, newest) if time is not None]
        shown = (*known.hits, *hits)[:KEPT_EVENTS]
        self._found[item] = ExceptedEvents(item, known.events + 1, max(times, default=None), shown)


def _time_of(hit: Hit, rule: Rule) -> datetime | None:
    try:
        return from_nanoseconds(read_date(original_time_of(hit, rule)))
    except (ValueError, TypeError, OverflowError):
        return None
