"""Buckets: the events of a threshold rule by the values of its fields, of those values that may meet the condition."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from runner.engine.sequence.open_matches import FoundRows, KeyedEvent
from runner.engine.sequence.sequence_matcher import FoundSequence
from runner.rules.rule import Rule
from runner.rules.rule_tables import Threshold
from runner.search.protocol import Bucket, BucketEvent, Buckets, Hit, hit_of
from runner.search.threshold_keys import least_cardinality, threshold_of


def buckets_of(found: Sequence[FoundSequence], threshold: Threshold, hit: Callable[[int], Hit]) -> Buckets:
    """The buckets that meet the condition with all of their events; `hit` gives what identifies an event."""
    if not isinstance(found, FoundRows):
        return Buckets()
    width, least = len(threshold.field), least_cardinality(threshold)
    gathered = keyed_events(found.frequent(width, threshold.value).keyed(), width)
    wanted = (one for one in gathered if not least or len(set().union(*(vs for _, vs in one[1].values()))) >= least)
    return Buckets([Bucket(terms, _events_of(events)) for terms, events in wanted], hit)


def file_buckets(
    found: Sequence[FoundSequence], rule: Rule, fetch: Callable[[int], Mapping[str, Any]], digests: dict[int, bytes]
) -> Buckets | None:
    """The buckets of events of files, whose documents are read with `fetch`; None of a rule of another type. `digests`
    are those of the pass."""
    if (threshold := threshold_of(rule)) is None:
        return None
    return replace(buckets_of(found, threshold, lambda number: hit_of(fetch(number))), digests=digests)


KeyEvents: TypeAlias = tuple[tuple[Any, ...], dict[int, tuple[int, set[Any]]]]


def keyed_events(rows: Iterable[KeyedEvent], width: int) -> list[KeyEvents]:
    """By key its values, and of each event the time and the values that are counted; a key has the first `width`."""
    groups: dict[str, KeyEvents] = {}
    for row in rows:
        terms = row.key[:width]
        _, events = groups.setdefault(json.dumps(terms, default=str), (terms, {}))
        _, values = events.setdefault(row.event, (row.time, set()))
        values.update(value for value in row.key[width:] if value is not None)
    return list(groups.values())


def _events_of(events: Mapping[int, tuple[int, set[Any]]]) -> tuple[BucketEvent, ...]:
    return tuple(BucketEvent(number, time, frozenset(values)) for number, (time, values) in events.items())
