"""The events that the alerts of a threshold rule have counted in a test."""

from __future__ import annotations

from collections.abc import Mapping

from runner.alerts.bursts import digests_of, key_of
from runner.alerts.event_fields import value_at
from runner.search.protocol import Hit, Search, SearchRequest
from runner.store.group_store import GroupStore


async def counted_ids(
    search: Search, request: SearchRequest, groups: GroupStore, space: str
) -> Mapping[str, tuple[str, ...]]:
    """By the id of an alert the ids of the events that it has counted, in the order of time; of other rules nothing."""
    found: dict[str, tuple[str, ...]] = {}
    async for result in search.run([request]):
        if result.buckets is None:
            continue
        digests, _ = digests_of(result.buckets)
        for bucket in result.buckets.found:
            key = key_of(request.rule, bucket.terms, space)
            events = sorted(bucket.events, key=lambda event: (event.time, event.number))
            for record in (await groups.read([key])).values():
                for group in record.groups:
                    mine = [event.number for event in events if digests.get(event.number) in group.counted]
                    found[group.alert_id] = tuple(_name(result.buckets.hit(number)) for number in mine)
    return found


def _name(hit: Hit) -> str:
    return hit.id or str(value_at(hit.source, "event.id") or "")
