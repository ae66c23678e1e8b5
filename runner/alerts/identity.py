"""The identity of an event and the ids of alerts: the same events give the same ids, wherever and whenever.

The recipe is ours, not Kibana's. Kibana hashes the concrete backing index, the document's id, its version, the space
and the rule's saved-object id, joined without separators. So its ids change when an index is reindexed or becomes a
searchable snapshot, and a document without an index has none. Here an id rests on the data stream and `_id`, or on what
the document itself says it is; parts are length-prefixed, so no two different lists of parts can read the same.

Events with the same identity are one event, also inside one batch: two plain documents are if their content is equal.
`agent.id` and `event.id` do not suffice: Zeek's logs share the id of a connection, Windows counts its events anew, and
several data streams repeat the id of what they were made of. Versions up to 0.1.0 took them for the identity of a plain
document; `former_alert_ids` gives the ids that they gave, so that an upgrade repeats no alert.

Of an event several terms may be new, so the ids of alerts of new-terms rules are made by Kibana's recipe, which hashes
the terms, too.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from runner.alerts.event_fields import flat_values, value_at
from runner.alerts.object_hash import UNDEFINED, object_hash
from runner.events.fields.index_patterns import data_stream_of, first_name_of
from runner.rules.rule import Rule
from runner.search.protocol import AnswerRow, Hit, Match
from runner.windows import Window, iso

_NAMESPACE = uuid.UUID("5b0f1c52-7d0e-5a63-9d4c-5f0e9b6f2a17")
"""The uuid5 name space of rule uuids; part of every alert id, never to be changed."""


def event_identity(hit: Hit) -> str:
    """A text that is equal for two hits if, as far as can be known, they are the same event.

    Data stream and `_id` of an indexed document; of a plain one a hash of its content, which depends neither on the
    order of its keys nor on their spelling (`{"a": {"b": 1}}` or `{"a.b": 1}`).
    """
    if hit.index and hit.id:
        return _joined("document", data_stream_of(hit.index), hit.id)
    return _joined("content", content_hash(hit.source), hit.id)


def _former_identity(hit: Hit) -> str:
    """The identity of versions up to 0.1.0."""
    agent, event = _text_at(hit.source, "agent.id"), _text_at(hit.source, "event.id")
    is_plain = not (hit.index and hit.id)
    return _joined("event", agent, event) if is_plain and agent and event else event_identity(hit)


def content_hash(source: Mapping[str, Any]) -> str:
    """SHA-256, as hex, of the document in a canonical form: flattened, sorted, without empty objects."""
    return hashlib.sha256(_canonical(source).encode()).hexdigest()


@lru_cache(maxsize=4_096)
def rule_uuid(rule_id: str, space: str) -> str:
    """The `kibana.alert.rule.uuid` of a rule: stable for its signature id and the space its alerts are written to."""
    return str(uuid.uuid5(_NAMESPACE, _joined(space, rule_id)))


def event_alert_id(rule: str, event: str) -> str:
    """The id of the alert that the rule with the uuid `rule` makes of one event identity."""
    return _digest("event alert", rule, event)


def group_id(rule: str, events: Sequence[str]) -> str:
    """The id of a sequence's shell alert, which is its group's id; the same events in the same order give the same."""
    return _digest("sequence alert", rule, *events)


def block_id(group: str, position: int) -> str:
    """The id of the building block for the event at `position`, counted from 0, of a group."""
    return _digest("building block", group, str(position))


def alert_ids(match: Match, rule: Rule, space: str) -> tuple[str, ...]:
    """The ids of the alerts that `build_alerts` would make, in its order, without making them.

    The last one is the head's: of the event alert, or of the shell after its building blocks.
    """
    if match.alert_id:
        return (match.alert_id,)
    return _ids_of([event_identity(hit) for hit in match.hits if not hit.missing], match, rule, space)


def former_alert_ids(match: Match, rule: Rule, space: str) -> tuple[str, ...]:
    """The ids that versions up to 0.1.0 gave the same alerts."""
    if match.alert_id:
        return (match.alert_id,)
    return _ids_of([_former_identity(hit) for hit in match.hits if not hit.missing], match, rule, space)


def _ids_of(events: Sequence[str], match: Match, rule: Rule, space: str) -> tuple[str, ...]:
    owner = rule_uuid(rule.rule_id, space)
    if match.row is not None:
        return (_row_id(match.row, match.hits[0], owner, space),)
    if rule.type == "new_terms":
        return tuple(new_terms_alert_id(hit, match.join_keys, owner, space) for hit in match.hits)
    if not match.is_sequence:
        return (event_alert_id(owner, events[0]),)
    group = group_id(owner, events)
    return (*(block_id(group, position) for position in range(len(events))), group)


def _row_id(row: AnswerRow, hit: Hit, owner: str, space: str) -> str:
    if row.is_document:
        return document_row_id(hit, owner, space, tuple(row.key.values()) if row.key else None)
    return grouped_row_id(None if row.is_dated else row.window, row.query, owner, space, dict(row.key))


def document_row_id(hit: Hit, owner: str, space: str, expanded: Sequence[Any] | None = None) -> str:
    """The id of the alert that a rule makes of a document's row, by Kibana's recipe: `expanded` are the values of the
    columns of MV_EXPAND. The index has its first name, so that the id outlives the index's way through the tiers."""
    parts: list[Any] = [hit.id, UNDEFINED, first_name_of(hit.index), f"{space}:{owner}"]
    return object_hash(parts if expanded is None else [*parts, list(expanded)])


def grouped_row_id(window: Window | None, query: str, owner: str, space: str, distinct: Any) -> str:
    """The id of the alert that a rule makes of a row without a document, by Kibana's recipe.

    `distinct` tells the rows of an answer apart. Kibana takes the row's number for it, which is another one when the
    same window is searched again; here it is the row's key. Without a window the key alone decides.
    """
    times = f"{iso(window.start)}{iso(window.end)}" if window is not None else ""
    return object_hash([times, query, f"{space}:{owner}", distinct])


def new_terms_alert_id(hit: Hit, terms: Sequence[Any], rule: str, space: str) -> str:
    """The id that Kibana gives the alert of an event and the terms that are new in it, for the rule with this uuid; a
    plain document is named by its content."""
    return object_hash(
        [first_name_of(hit.index), hit.id or content_hash(hit.source), "undefined", f"{space}:{rule}", list(terms)]
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256(_joined("rule-runner 1", *parts).encode("utf-8", "surrogatepass")).hexdigest()


def _joined(*parts: str) -> str:
    """Each part after its length in characters and a colon, so that no part can pass for two."""
    return "".join(f"{len(part)}:{part}" for part in parts)


def _text_at(source: Mapping[str, Any], path: str) -> str:
    value = value_at(source, path)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    return ""


def _canonical(value: Any) -> str:
    if isinstance(value, Mapping):
        flat: dict[str, list[str]] = {}
        for path, leaf in flat_values(value):
            flat.setdefault(path, []).append(_canonical(leaf))
        return json.dumps({path: sorted(leaves) for path, leaves in flat.items()}, sort_keys=True)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_canonical(member) for member in value) + "]"
    return json.dumps(value)
