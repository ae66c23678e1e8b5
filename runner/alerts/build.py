"""The documents of alerts: one for an event; for a sequence a building block per event and their shell.

Fields and values are those of Kibana's detection engine (9.1 and later), so that its alert table and timelines show
them. What differs, on purpose: ids are ours (see `identity`); `kibana.alert.original_time` of a shell is the time
of its earliest event, not that of the detection; blocks are written before their shell; reasons print ports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from runner.alerts.alert import Alert, AlertGroup
from runner.alerts.cap import Candidate
from runner.alerts.ecs_alert import PREFIX, alert_document, is_external
from runner.alerts.enrichment import add_enrichments
from runner.alerts.event_fields import EventFields, FieldTypes, event_fields, value_at, values_at
from runner.alerts.identity import content_hash, rule_uuid
from runner.alerts.reason import build_reason
from runner.alerts.rule_fields import Overrides, overridden, own_values, rule_fields
from runner.alerts.shared_fields import intersection
from runner.dates.dates import date_text, read_date
from runner.rules.rule import Rule
from runner.rules.threat_match import INDICATOR_PATH
from runner.search.protocol import Hit, Match
from runner.windows import iso

_AUTHOR = "rule-runner"


@dataclass(frozen=True, slots=True)
class AlertContext:
    """The common fields of the alerts of one run, beside those of their rule."""

    now: datetime
    """When the alerts are made, as an aware datetime: their `@timestamp`."""
    execution_id: str
    space: str = "default"
    kibana_url: str | None = None
    """The public address of Kibana, for the link in `kibana.alert.url`; no link without it."""
    kibana_version: str = "8.19.0"
    alias: str = ""
    """The alias that the alerts are written to; `.alerts-security.alerts-<space>` if empty."""
    data_view: str = ""
    """The id of the data view in which Discover shows the alerts; the link opens Security's alert table without it."""
    is_external: bool = False
    """True if the alerts are stored as external alerts (see `external`)."""
    manual: bool = False
    """True for a replay or a catch-up of a past span, which Kibana calls a manual run."""
    intended: datetime | None = None
    """When a manual run would have taken place in time; `now` if None."""
    created_at: datetime | None = None
    """When the rule was made; its file's `creation_date` if None."""
    types: FieldTypes = field(default_factory=FieldTypes)
    """The fields of the alert index, for leaving out values that it would refuse."""


@dataclass(frozen=True, slots=True)
class _Parent:
    """A source of an alert: an event, an alert that was searched as an event, or a building block."""

    id: str
    index: str
    type: Literal["event", "signal"]
    depth: int
    ancestors: Sequence[Mapping[str, Any]]
    rule: str | None

    def lineage(self) -> list[Mapping[str, Any]]:
        """Its ancestors and itself, as `kibana.alert.ancestors` lists them."""
        own = {"id": self.id, "type": self.type, "index": self.index, "depth": self.depth}
        return [*self.ancestors, own if self.rule is None else own | {"rule": self.rule}]


_GROUP = _Parent("", "", "event", 0, (), None)
"""What a row without a document stands for: it names no single event."""


def build_alerts(candidate: Candidate, rule: Rule, context: AlertContext) -> AlertGroup | None:
    """The alerts of one match in the order of writing, or None if the match rests on an alert of this very rule.

    Such a match would let a rule that searches alerts feed on its own. Placeholders of missing events make no alert.
    Raises ValueError for a match without an event.
    """
    match, ids = candidate.match, candidate.ids
    hits = [hit for hit in match.hits if not hit.missing]
    if not hits or (len(hits) > 1 and not match.is_sequence):
        raise ValueError(f"a match of rule {rule.rule_id} has {len(hits)} events")
    owner = rule_uuid(rule.rule_id, context.space)
    is_group = match.row is not None and not match.row.is_document
    parents = [_GROUP] if is_group else [_parent_of(hit) for hit in hits]
    if any(entry.get("rule") == owner for parent in parents for entry in parent.lineage()):
        return None
    made = _Maker(rule, context, owner)
    events = [event_fields(hit, context.types) for hit in hits]
    times = [original_time_of(hit, rule) for hit in hits]
    if not match.is_sequence:
        values = overridden(rule, _lookup_fields(hits[0], events[0]))
        document = made.document(ids[0], events[0], [parents[0]], original_time=times[0], values=values)
        document.update(match.alert_fields)
        if match.indicators:
            add_enrichments(document, match.indicators, rule.threat_indicator_path or INDICATOR_PATH)
        return AlertGroup((Alert(ids[0], rule.rule_id, "event", document),))
    return made.sequence(ids, events, parents, times=times)


def rests_on_own_alert(match: Match, rule: Rule, space: str) -> bool:
    """Whether an event of the match is an alert that this very rule has a part in: then `build_alerts` makes none."""
    hits = (hit for hit in match.hits if not hit.missing and (is_external(hit.source) or _is_alert(hit.source)))
    owner = rule_uuid(rule.rule_id, space)
    return any(entry.get("rule") == owner for hit in hits for entry in _parent_of(hit).lineage())


def _is_alert(source: Mapping[str, Any]) -> bool:
    return value_at(source, "kibana.alert.uuid") is not None or value_at(source, "signal") is not None


def _lookup_fields(hit: Hit, event: EventFields) -> Mapping[str, Any]:
    """The fields that overrides are looked up in: the event's as they are searched, so with its own `event.kind`."""
    kind = value_at(hit.source, "event.kind")
    return event.document if kind is None else {**event.document, "event.kind": kind}


class _Maker:
    """Makes the documents of one match; what they share is made once."""

    def __init__(self, rule: Rule, context: AlertContext, owner: str) -> None:
        self._rule, self._context, self._owner = rule, context, owner
        self._shared = _run_fields(rule, context) | rule_fields(rule, owner=owner)

    def sequence(
        self, ids: Sequence[str], events: Sequence[EventFields], parents: Sequence[_Parent], *, times: Sequence[Any]
    ) -> AlertGroup:
        """The building blocks in the order of the events, then the shell, whose id is the last of `ids`."""
        *block_ids, group = ids
        values = own_values(self._rule)
        alerts: list[Alert] = []
        lineage: list[_Parent] = []
        for position, (id_, event, parent, time) in enumerate(zip(block_ids, events, parents, times, strict=True)):
            document = self.document(id_, event, [parent], original_time=time, values=values)
            document["kibana.alert.building_block_type"] = "default"
            document["kibana.alert.group.id"] = group
            document["kibana.alert.group.index"] = position
            alerts.append(Alert(id_, self._rule.rule_id, "building_block", document))
            lineage.append(_Parent(id_, "", "signal", parent.depth + 1, parent.lineage(), self._owner))
        documents, originals = [event.document for event in events], [event.original for event in events]
        common = EventFields(intersection(documents), intersection(originals))
        shell = self.document(group, common, lineage, original_time=_earliest(times), values=values)
        shell["kibana.alert.group.id"] = group
        alerts.append(Alert(group, self._rule.rule_id, "shell", shell))
        return AlertGroup(tuple(alerts))

    def document(
        self, id_: str, event: EventFields, parents: Sequence[_Parent], *, original_time: Any, values: Overrides
    ) -> dict[str, Any]:
        """One document: the event's fields, nested as they were, and Kibana's flat ones over them."""
        own = {
            "kibana.alert.ancestors": [entry for parent in parents for entry in parent.lineage()],
            "kibana.alert.depth": 1 + max(parent.depth for parent in parents),
            "kibana.alert.reason": build_reason(event.document, severity=values.severity, name=values.name),
            "kibana.alert.risk_score": values.risk_score,
            "kibana.alert.rule.name": values.name,
            "kibana.alert.severity": values.severity,
            "kibana.alert.uuid": id_,
        }
        if original_time is not None:
            own["kibana.alert.original_time"] = original_time
        if self._rule.building_block_type is not None:
            own["kibana.alert.building_block_type"] = self._rule.building_block_type
        if self._context.kibana_url:
            own["kibana.alert.url"] = _alert_url(self._context, id_)
        return {**event.document, **event.original, **self._shared, **own}


def _run_fields(rule: Rule, context: AlertContext) -> dict[str, Any]:
    """The fields that all alerts of a run have with the same value."""
    now = iso(context.now)
    created = _date_of(context.created_at, rule.metadata.creation_date)
    updated = _date_of(None, rule.metadata.updated_date) or created
    dates = {"kibana.alert.rule.created_at": created, "kibana.alert.rule.updated_at": updated}
    return {
        "@timestamp": now,
        "event.kind": "signal",
        "kibana.alert.intended_timestamp": iso(context.intended) if context.manual and context.intended else now,
        "kibana.alert.last_detected": now,
        "kibana.alert.rule.created_by": _AUTHOR,
        "kibana.alert.rule.execution.timestamp": now,
        "kibana.alert.rule.execution.type": "manual" if context.manual else "scheduled",
        "kibana.alert.rule.execution.uuid": context.execution_id,
        "kibana.alert.rule.updated_by": _AUTHOR,
        "kibana.alert.start": now,
        "kibana.alert.status": "active",
        "kibana.alert.workflow_assignee_ids": [],
        "kibana.alert.workflow_status": "open",
        "kibana.alert.workflow_tags": [],
        "kibana.space_ids": [context.space],
        "kibana.version": context.kibana_version,
        **{name: value for name, value in dates.items() if value},
    }


def _date_of(moment: datetime | None, written: str | None) -> str | None:
    """ISO text of the moment, else of a rule file's `yyyy/mm/dd`; None where neither can be read."""
    if moment is not None:
        return iso(moment)
    try:
        return iso(datetime.strptime(written or "", "%Y/%m/%d").replace(tzinfo=UTC))
    except ValueError:
        return None


def _alert_url(context: AlertContext, id_: str) -> str:
    """The link that opens the alert in Kibana's alert table, or in Discover where that table does not show it."""
    space = "" if context.space == "default" else f"/s/{quote(context.space, safe='')}"
    alias = context.alias or f".alerts-security.alerts-{context.space}"
    base = (context.kibana_url or "").rstrip("/")
    if context.data_view:
        name = f"{PREFIX if context.is_external else 'kibana'}.alert.uuid"
        start, end = (iso(context.now + step * timedelta(minutes=1)) for step in (-1, 1))
        # Rison, in which a text stands between single quotes; none of these values has one.
        query = quote(f'{name}:"{id_}"', safe=":.")
        view = quote(context.data_view)
        # Kibana 8.15 and later go by `dataSource`, those before by `index`.
        source = f"dataSource:(dataViewId:'{view}',type:dataView),index:'{view}'"
        state = f"({source},query:(language:kuery,query:'{query}'))"
        return f"{base}{space}/app/discover#/?_g=(time:(from:'{start}',to:'{end}'))&_a={state}"
    return (
        f"{base}{space}/app/security/alerts/redirect/{id_}?index={quote(alias, safe='')}&timestamp={iso(context.now)}"
    )


def _parent_of(hit: Hit) -> _Parent:
    """The event as a parent. A plain document is named by its `event.id`, or by its content where it has none."""
    event_id = value_at(hit.source, "event.id")
    id_ = hit.id or (event_id if isinstance(event_id, str) else "") or content_hash(hit.source)
    source = alert_document(hit.source) if is_external(hit.source) else hit.source
    if not _is_alert(source):
        return _Parent(id_, hit.index, "event", 0, (), None)
    depth = value_at(source, "kibana.alert.depth")
    rule = value_at(source, "kibana.alert.rule.uuid")
    ancestors = [entry for entry in values_at(source, "kibana.alert.ancestors") if isinstance(entry, Mapping)]
    depth, rule = depth if isinstance(depth, int) else 1, rule if isinstance(rule, str) else None
    return _Parent(id_, hit.index, "signal", depth, ancestors, rule)


def _earliest(times: Sequence[Any]) -> Any:
    """The earliest of the events' times as it was written: the events of a sample need not be in order of time."""
    dated: list[tuple[int, int]] = []
    for position, time in enumerate(times):
        try:
            dated.append((read_date(time, nanos=True), position))
        except (ValueError, TypeError, OverflowError):
            continue
    return times[min(dated)[1]] if dated else times[0]


def original_time_of(hit: Hit, rule: Rule) -> Any:
    """`@timestamp` of an event as the `fields` block formats it, else as its source has it; never the override field.

    An event without one, of a rule that searches by another `timestamp_field`, has the time of that field.
    """
    for name in ("@timestamp", rule.timestamp_field):
        if name is not None:
            found = hit.fields.get(name) or values_at(hit.source, name)
            if found:
                return _iso_of(found[0])
    return None


def _iso_of(time: Any) -> Any:
    """A time as ISO text where the source has it as epoch milliseconds; any other value as it is."""
    if isinstance(time, bool) or not isinstance(time, (int, float)):
        return time
    try:
        return date_text(read_date(time))
    except (ValueError, OverflowError):
        return time
