"""The group of a match under alert suppression: its key, its instance id, and the fields of its alert.

Names and values are Kibana's; arrays in a key are sorted, a field without a value is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from runner.alerts.alert import AlertGroup
from runner.alerts.bursts import RESULT
from runner.alerts.cap import Candidate
from runner.alerts.event_fields import FieldTypes, storable, value_at
from runner.alerts.groups import Group, Placeable
from runner.alerts.identity import rule_uuid
from runner.alerts.object_hash import number_text, object_hash, utf16
from runner.alerts.shared_fields import intersection
from runner.dates.dates import date_text, read_date
from runner.events.fields.schema import KEYWORDS
from runner.events.fields.values import as_indexed
from runner.rules.rule import Rule
from runner.rules.rule_tables import staged_field
from runner.search.protocol import Hit, Match
from runner.windows import iso, nanoseconds

SUPPRESSION: Final = "kibana.alert.suppression"
_KNOWN_HASHES: Final = 4_096
_DIGEST: Final = 24
"""Hex digits of the id of a match's alert, by which a group knows what it has counted."""
_BY_VALUE: Final = frozenset({"query", "saved_query", "threshold"})
"""The rule types that group by an aggregation, so by single values and not by whole arrays."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A candidate with the group that it belongs to."""

    candidate: Candidate
    key: str
    """The instance id."""
    terms: tuple[Mapping[str, Any], ...]
    place: Placeable


def keyed(candidate: Candidate, rule: Rule, *, space: str, types: FieldTypes, now: datetime) -> Keyed | None:
    """The candidate with its group; None if it is to become an alert of its own, since a field has no value.

    `now` stands for the time of events that have none.
    """
    suppression, row = rule.alert_suppression, candidate.match.row
    terms = terms_of(candidate.match, rule, types)
    kept_apart = suppression is None or (
        suppression.missing_fields_strategy == "doNotSuppress" and any(term["value"] is None for term in terms)
    )
    if kept_apart:
        if row is None or row.is_document or row.is_dated:
            return None
        # The same row of an overlapping window is the same finding.
        terms = tuple({"field": name, "value": value} for name, value in row.key.items())
    found = (_time_of(hit, rule) for hit in candidate.match.hits if not hit.missing)
    times = [time for time in found if time is not None]
    if not times:
        times = [nanoseconds(now)] if row is None else [row.window.start_ns, row.window.end_ns]
    if (began := _read(candidate.match.alert_fields.get(RESULT, {}).get("from"))) is not None:
        times.append(began)
    place = Placeable(candidate.head, bytes.fromhex(candidate.head[:_DIGEST]), min(times), max(times))
    return Keyed(candidate, instance_id(terms, rule, space), terms, place)


def terms_of(match: Match, rule: Rule, types: FieldTypes) -> tuple[Mapping[str, Any], ...]:
    """`kibana.alert.suppression.terms`: an entry for each field of `group_by`, in its order.

    The value is the sorted array of a single event's values; of a sequence, what all its events have in common as it
    stands there. A field like `[2] destination.ip` has its value in the second stage.
    """
    suppression = rule.alert_suppression
    names = suppression.group_by if suppression is not None else ()
    if rule.type == "threshold" and rule.threshold is not None:
        values = zip(rule.threshold.field, match.join_keys, strict=True)
        return tuple({"field": name, "value": value} for name, value in values)
    return tuple({"field": name, "value": _key_value(match, name, types, rule.type)} for name in names)


def instance_id(terms: Sequence[Mapping[str, Any]], rule: Rule, space: str) -> str:
    """`kibana.alert.instance.id`, the identity of a group, as Kibana makes it for the rule's type and our rule uuid."""
    hashed = hashed_terms(terms, rule.type)
    return _hash_of(orjson.dumps(hashed, default=str), rule.rule_id, space)


@lru_cache(maxsize=_KNOWN_HASHES)
def _hash_of(hashed: bytes, rule_id: str, space: str) -> str:
    """The hash for terms as JSON: many matches have the same ones."""
    return object_hash([orjson.loads(hashed), rule_uuid(rule_id, space), space])


def hashed_terms(terms: Sequence[Mapping[str, Any]], rule_type: str) -> list[Any]:
    """What of the terms is hashed: all of them; of a threshold rule its sorted values alone."""
    if rule_type == "threshold":
        return sorted((term["value"] for term in terms), key=_order)
    return [dict(term) for term in terms]


def shaped(values: Sequence[Any], rule_type: str) -> Any:
    """The values of a field in one event as a term has them: a sorted array, or the single value of an aggregation."""
    if not values:
        return None
    return values[0] if rule_type in _BY_VALUE else sorted(values, key=_order)


def suppressed_alert(made: AlertGroup, head: Keyed, group: Group) -> AlertGroup:
    """The alerts of the group's first match; the head has the fields of the group, building blocks have none."""
    fields = {
        "kibana.alert.instance.id": head.key,
        f"{SUPPRESSION}.terms": [dict(term) for term in head.terms],
        **_counts(group),
    }
    alert = replace(made.head, document={**made.head.document, **fields})
    return AlertGroup((*made.alerts[:-1], alert))


def raised(document: Mapping[str, Any], group: Group, now: datetime) -> dict[str, Any]:
    """The fields of a stored alert that have to change to show its group; none if it shows it, or more.

    What a group has counted only grows. So whoever writes later, or again, an alert never goes back.
    """
    count, changes = value_at(document, f"{SUPPRESSION}.docs_count"), _counts(group)
    if isinstance(count, int) and count >= group.count:
        del changes[f"{SUPPRESSION}.docs_count"]
    else:
        changes["kibana.alert.last_detected"] = iso(now)
    start, end = (_read(value_at(document, f"{SUPPRESSION}.{name}")) for name in ("start", "end"))
    if start is not None and start <= group.start // 1_000_000 * 1_000_000:
        del changes[f"{SUPPRESSION}.start"]
    if end is not None and end >= group.end // 1_000_000 * 1_000_000:
        del changes[f"{SUPPRESSION}.end"]
    return changes


def _counts(group: Group) -> dict[str, Any]:
    return {
        f"{SUPPRESSION}.start": date_text(group.start),
        f"{SUPPRESSION}.end": date_text(group.end),
        f"{SUPPRESSION}.docs_count": group.count,
    }


def _key_value(match: Match, name: str, types: FieldTypes, rule_type: str) -> Any:
    stage, field = staged_field(name)
    if not match.is_sequence:
        return shaped(_values(match.hits[0], field, types), rule_type) if stage in (None, 1) else None
    if stage is not None:
        hits = [hit for hit in match.hits[stage - 1 : stage] if not hit.missing]
    else:
        hits = [hit for hit in match.hits if not hit.missing]
    documents = [_as_it_stands(hit, field, types) for hit in hits]
    value = intersection(documents).get(field) if documents else None
    return (sorted(value, key=_order) or None) if isinstance(value, list) else value


def _as_it_stands(hit: Hit, name: str, types: FieldTypes) -> dict[str, Any]:
    """A document with this field alone: an array as such, a single value without one."""
    values = _values(hit, name, types)
    is_array = len(values) > 1 or isinstance(value_at(hit.source, name), list)
    return {name: list(values) if is_array else values[0]} if values else {}


def _values(hit: Hit, name: str, types: FieldTypes) -> list[Any]:
    """The values of a field in an event: of the `fields` block, else of the source; texts where the field has them."""
    found = hit.fields.get(name)
    values = list(found) if isinstance(found, (list, tuple)) and found else list(_leaves(hit.source, name))
    is_text = types.types.get(name) in KEYWORDS
    return [_text(value) if is_text else storable(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return as_indexed(value) if isinstance(value, str) else str(value)


def _leaves(value: Any, path: str) -> Iterable[Any]:
    """The values of a dotted path, in arrays of objects, too; objects are none."""
    if isinstance(value, (list, tuple)):
        for member in value:
            yield from _leaves(member, path)
    elif not path:
        if value is not None and not isinstance(value, Mapping):
            yield value
    elif isinstance(value, Mapping):
        if path in value:
            yield from _leaves(value[path], "")
        place = path.find(".")
        while place != -1:
            if (inner := value.get(path[:place])) is not None:
                yield from _leaves(inner, path[place + 1 :])
            place = path.find(".", place + 1)


def _order(value: Any) -> bytes:
    """The order of values in a sorted array of JavaScript: as texts."""
    if isinstance(value, bool):
        return utf16(str(value).lower())
    return utf16(number_text(value) if isinstance(value, (int, float)) else str(value))


def _time_of(hit: Hit, rule: Rule) -> int | None:
    """The event's time by the rule's override, else by `@timestamp`; in nanoseconds since 1970."""
    for name in (rule.timestamp_override, "@timestamp", rule.timestamp_field):
        if name is not None:
            found = hit.fields.get(name) or value_at(hit.source, name)
            first = found[0] if isinstance(found, (list, tuple)) and found else found
            if (time := _read(first)) is not None:
                return time
    return None


def _read(value: Any) -> int | None:
    try:
        return read_date(value, nanos=True) if isinstance(value, (str, int, float)) else None
    except (ValueError, TypeError, OverflowError):
        return None
