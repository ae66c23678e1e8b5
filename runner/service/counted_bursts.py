"""What the alerts of a threshold rule have counted: planned by run, kept beside the alerts.

Of each key the store has the bursts that became an alert, with the digests of their events. A burst is stored before
its alert is written, by compare and swap, so an event is counted once whoever finds it, and how often. An alert that a
crash, or the cap, kept from being written is written by whoever searches its time again: its window is still owed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from runner.alerts.bursts import (
    Burst,
    CountedEvent,
    burst_of,
    bursts_in,
    cardinality_of,
    counted_events,
    key_of,
    match_of,
    meets,
    reach_of,
)
from runner.alerts.groups import Group, KeyGroups
from runner.errors import StoreError
from runner.rules.rule import Rule
from runner.search.protocol import Buckets, Match, SearchResult
from runner.store.group_store import GroupStore
from runner.windows import Window

_MOST_CONFLICTS = 50
"""How often the bursts of a key are planned anew because others write to it at the same time."""
_AT_ONCE = 2_000
"""Keys read or stored with one request."""


@dataclass(frozen=True, slots=True)
class Remembering:
    """What is remembered of a space, by the machine's clock `now`."""

    space: str
    now: datetime
    kept: timedelta
    """How long a burst is remembered after it was counted: longer than windows are owed."""


async def with_bursts(
    result: SearchResult, store: GroupStore, how: Remembering, *, limit: int
) -> tuple[SearchResult, int]:
    """The result with a match for each burst of its buckets, and how many more there are; without buckets as it is."""
    if result.buckets is None:
        return result, 0
    rule, window = result.request.rule, result.request.window
    bursts = CountedBursts(store, rule, window, replace(how, kept=how.kept + window.length))
    matches, over = await bursts.matches(result.buckets, limit)
    return replace(result, matches=matches), over


@dataclass(frozen=True, slots=True)
class _Events:
    """The events of one key, ascending in time."""

    terms: tuple[Any, ...]
    events: Sequence[CountedEvent]


@dataclass(frozen=True, slots=True)
class CountedBursts:
    """The bursts of one run of a threshold rule."""

    store: GroupStore
    rule: Rule
    window: Window
    how: Remembering

    async def matches(self, buckets: Buckets, limit: int) -> tuple[list[Match], int]:
        """A match for each burst of the window, earliest first, and how many more there are: only the first `limit`
        new ones are counted. Raises StoreError."""
        counted, unreadable = await asyncio.to_thread(counted_events, buckets)
        waiting = {key_of(self.rule, terms, self.how.space): _Events(terms, events) for terms, events in counted}
        found: dict[str, list[Burst]] = {}
        over: dict[str, int] = {}
        left = limit
        for attempt in range(_MOST_CONFLICTS):
            if attempt:
                await asyncio.sleep(random.uniform(0, 0.02))
            records = await self._read(waiting)
            new = sorted(
                ((key, burst) for key, bucket in waiting.items() for burst in self._new(records[key], bucket)),
                key=lambda one: _order(one[1]),
            )
            taken: dict[str, list[Burst]] = {}
            over.update(dict.fromkeys(waiting, 0))
            for place, (key, burst) in enumerate(new):
                if place < left:
                    taken.setdefault(key, []).append(burst)
                else:
                    over[key] += 1
            lost = await self._stored(records, taken)
            for key, bucket in waiting.items():
                if key not in lost:
                    left -= len(taken.get(key, ()))
                    found[key] = [*self._known(records[key], bucket), *taken.get(key, ())]
            waiting = {key: waiting[key] for key in lost}
            if not waiting:
                bursts = sorted((one for each in found.values() for one in each), key=_order)
                others = [Match((), False, unreadable=text) for text in unreadable]
                return [*(match_of(burst, self.rule) for burst in bursts), *others], sum(over.values())
        raise StoreError(f"what rule {self.rule.rule_id} has counted kept changing while it was written")

    def _new(self, record: KeyGroups, bucket: _Events) -> Iterable[Burst]:
        """The bursts of the events that were not counted before."""
        assert self.rule.threshold is not None
        counted = frozenset[bytes]().union(*(group.counted for group in record.groups))
        events = [event for event in bucket.events if event.digest not in counted]
        for burst in bursts_in(events, self.rule.threshold, reach_of(self.rule)):
            yield burst_of(self.rule, bucket.terms, burst, self.how.space)

    def _known(self, record: KeyGroups, bucket: _Events) -> Iterable[Burst]:
        """The bursts that were counted before and lie wholly in the window, as far as their events still meet the
        condition: their alerts may not have been written."""
        assert self.rule.threshold is not None
        for group in record.groups:
            if self.window.start_ns <= group.start and group.end <= self.window.end_ns:
                events = [event for event in bucket.events if event.digest in group.counted]
                if meets(events, self.rule.threshold):
                    size = cardinality_of(events)
                    yield Burst(bucket.terms, group.alert_id, group.start, group.end, group.counted, size)

    async def _read(self, waiting: Mapping[str, _Events]) -> dict[str, KeyGroups]:
        records = {key: KeyGroups(key, self.rule.rule_id) for key in waiting}
        for part in _parts(list(waiting)):
            records.update(await self.store.read(part))
        return records

    async def _stored(self, records: Mapping[str, KeyGroups], taken: Mapping[str, Sequence[Burst]]) -> set[str]:
        """The keys whose new bursts could not be stored, since another writer was faster."""
        lost: set[str] = set()
        for part in _parts(list(taken)):
            outcome = await self.store.replace([self._after(records[key], taken[key]) for key in part], self.how.now)
            lost.update(key for key, record in outcome.items() if record is None)
        return lost

    def _after(self, record: KeyGroups, new: Sequence[Burst]) -> KeyGroups:
        """What is to be stored of a key, without bursts that are too old."""
        kept = [group for group in record.groups if group.touched >= self.how.now - self.how.kept]
        made = [Group(one.alert_id, self.window.end, one.start, one.end, one.counted, self.how.now) for one in new]
        return replace(record, groups=(*kept, *made), until=self.how.now + self.how.kept)


def _parts(keys: Sequence[str]) -> Iterable[list[str]]:
    remaining = iter(keys)
    while part := list(islice(remaining, _AT_ONCE)):
        yield part


def _order(burst: Burst) -> tuple[int, str]:
    return burst.start, burst.alert_id
