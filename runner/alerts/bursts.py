"""Bursts: the events that one alert of a threshold rule has counted, and the alert that is made of them.

A burst is all events of a key, from its first one on as far as the rule looks back, that no alert has counted before,
if they meet the rule's condition. So each event counts in one alert at most, and of any span as long as the look-back
that meets the condition at least one event is counted.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from runner.alerts.identity import event_identity, rule_uuid
from runner.alerts.object_hash import number_text
from runner.dates.dates import date_text
from runner.errors import UnreadableEventError
from runner.rules.rule import Rule
from runner.rules.rule_tables import Threshold
from runner.search.protocol import Buckets, Hit, Match
from runner.search.threshold_keys import least_cardinality

RESULT: Final = "kibana.alert.threshold_result"
_HITS: Final = uuid.UUID("0684ec03-7201-4ee0-8ee0-3a3f6b2479b2")
"""The name space of the ids of Kibana's synthetic hits."""
_MICROSECOND: Final = 1_000
_DIGEST: Final = 12
_PLAIN: Final = b"."
_MOST_KNOWN: Final = 300_000
"""Digests of a pass that are kept, in some 30 MB."""


@dataclass(frozen=True, slots=True)
class CountedEvent:
    """One event of a bucket; `time` in nanoseconds since 1970, by which the rule has selected it."""

    time: int
    digest: bytes
    """12 bytes of a hash of what identifies the event."""
    values: frozenset[Any] = frozenset()
    """Its different values of the field whose values are counted."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Events of one key that an alert counts. `start` and `end` in nanoseconds since 1970."""

    terms: tuple[Any, ...]
    alert_id: str
    start: int
    end: int
    counted: frozenset[bytes]
    cardinality: int = 0


def counted_events(buckets: Buckets) -> tuple[list[tuple[tuple[Any, ...], list[CountedEvent]]], list[str]]:
    """By bucket its values and its events, ascending in time and each there once; and why others cannot be read."""
    digests, unreadable = digests_of(buckets)
    found: list[tuple[tuple[Any, ...], list[CountedEvent]]] = []
    for bucket in buckets.found:
        once = {
            digests[event.number]: CountedEvent(event.time, digests[event.number], event.values)
            for event in bucket.events
            if event.number in digests
        }
        found.append((bucket.terms, sorted(once.values(), key=lambda event: (event.time, event.digest))))
    return found, unreadable


def digests_of(buckets: Buckets) -> tuple[dict[int, bytes], list[str]]:
    """The digests of all events by number, and why others cannot be read.

    Of plain documents with the same content each is an event of its own.
    """
    digests: dict[int, bytes] = {}
    seen: dict[bytes, int] = {}
    unreadable: list[str] = []
    if len(buckets.digests) > _MOST_KNOWN:
        buckets.digests.clear()
    for number in sorted({event.number for bucket in buckets.found for event in bucket.events}):
        if (known := buckets.digests.get(number)) is None:
            try:
                known = buckets.digests[number] = _digest_of(buckets.hit(number))
            except UnreadableEventError as error:
                unreadable.append(str(error))
                continue
        if len(known) > _DIGEST:
            before = seen[known] = seen.get(known, -1) + 1
            known = _hashed(known + str(before).encode()) if before else known
        digests[number] = known[:_DIGEST]
    return digests, unreadable


def _digest_of(hit: Hit) -> bytes:
    """The digest of what identifies an event, followed by `_PLAIN` if that is its content."""
    digest = _hashed(event_identity(hit).encode("utf-8", "surrogatepass"))
    return digest if hit.index and hit.id else digest + _PLAIN


def _hashed(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


def bursts_in(events: Sequence[CountedEvent], threshold: Threshold, reach: int) -> Iterator[Sequence[CountedEvent]]:
    """The events of each burst, earliest first; `events` ascending, without those that were counted before.

    `reach`: how far apart the events of a burst are at most, in nanoseconds.
    """
    least, first, end = least_cardinality(threshold), 0, 0
    seen: Counter[Any] = Counter()
    while first < len(events):
        while end < len(events) and events[end].time - events[first].time <= reach:
            seen.update(events[end].values)
            end += 1
        if end - first >= threshold.value and len(seen) >= least:
            yield events[first:end]
            seen.clear()
            first = end
            continue
        if end == len(events):
            return
        for value in events[first].values:
            seen[value] -= 1
            if not seen[value]:
                del seen[value]
        first += 1


def meets(events: Collection[CountedEvent], threshold: Threshold) -> bool:
    """Whether the events, all of one burst, meet the rule's condition."""
    return len(events) >= threshold.value and cardinality_of(events) >= least_cardinality(threshold)


def cardinality_of(events: Collection[CountedEvent]) -> int:
    """How many different values the events have of the field whose values are counted."""
    return len({value for event in events for value in event.values})


def reach_of(rule: Rule) -> int:
    """How far apart the events of a burst are at most, in nanoseconds: what a run looks back."""
    return max(rule.look_back, rule.every) // timedelta(microseconds=1) * _MICROSECOND


def key_of(rule: Rule, terms: Sequence[Any], space: str) -> str:
    """The hash under which it is kept what was counted of a key: of rule, space, fields and values."""
    assert rule.threshold is not None
    fields = list(rule.threshold.field)
    return _hash("threshold key", rule_uuid(rule.rule_id, space), fields, list(terms)).hex()


def burst_of(rule: Rule, terms: tuple[Any, ...], events: Sequence[CountedEvent], space: str) -> Burst:
    """The burst of these events. The id of its alert is of the key and of the first event, which no other burst has."""
    first = events[0]
    id_ = _hash("threshold alert", key_of(rule, terms, space), first.time, first.digest.hex()).hex()
    counted = frozenset(event.digest for event in events)
    return Burst(terms, id_, first.time, events[-1].time, counted, cardinality_of(events))


def match_of(burst: Burst, rule: Rule) -> Match:
    """The match that an alert is made of: a synthetic hit as Kibana makes it, with the values of the key alone."""
    threshold = rule.threshold
    assert threshold is not None
    result: dict[str, Any] = {
        "terms": [{"field": name, "value": value} for name, value in zip(threshold.field, burst.terms, strict=True)],
        "count": len(burst.counted),
        "from": date_text(burst.start),
    }
    if threshold.cardinality:
        result["cardinality"] = [{"field": threshold.cardinality[0].field, "value": burst.cardinality}]
    id_ = hit_id(rule.rule_id, date_text(burst.start), threshold.field, burst.terms)
    source = {"@timestamp": date_text(burst.end), **dict(zip(threshold.field, burst.terms, strict=True))}
    hit = Hit(",".join(rule.index), id_, source)
    return Match((hit,), False, burst.terms, alert_id=burst.alert_id, alert_fields={RESULT: result})


def hit_id(rule_id: str, moment: str, fields: Sequence[str], values: Sequence[Any]) -> str:
    """The id of a synthetic hit by Kibana's recipe, where `moment` is the start of the run.

    >>> hit_id("2f1d9c80-7b3a-4f6e-8d25-91c4e0a6b7d3", "2026-03-02T10:05:01.000Z", [], [])
    '1ac0936d-68c9-528e-8a08-8e90f76e0dec'
    """
    texts = sorted(map(_text, values), key=lambda text: text.encode("utf-16-be", "surrogatepass"))
    return str(uuid.uuid5(_HITS, f"{rule_id}{moment}{','.join(fields)}{','.join(texts)}"))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, (int, float)) else str(value)


def _hash(*parts: Any) -> bytes:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).digest()
