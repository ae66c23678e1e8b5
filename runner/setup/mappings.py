"""The explicit mappings of the alert, run and state indices.

The alert fields and their types are those of Kibana's detection alerts, so that Kibana reads the documents as its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson

from runner.alerts.ecs_alert import PREFIX

Tree = Mapping[str, Any]
"""Field names, each with its type or with the tree of its sub-fields; the key "" holds the type of the field itself."""

KEYWORD_LIMIT = 1_024
FLATTENED_LIMIT = 4_096
"""As in Kibana's own alert indices: a rule's query is found by its beginning no longer than this."""
LONG_KEYWORD_LIMIT = 8_191
"""Lucene refuses terms over 32,766 bytes, and a character has up to 4."""

REPLACEMENTS: Mapping[str, str] = {
    "constant_keyword": "keyword",
    "flattened": "object",
    "match_only_text": "text",
    "scaled_float": "double",
    "version": "keyword",
    "wildcard": "keyword",
}
"""What stands in for a field type that the cluster does not have, as a distribution without x-pack."""

_ALERT_FIELDS: Mapping[str, str] = {
    "keyword": """
        kibana.space_ids kibana.alert.uuid kibana.alert.status kibana.alert.workflow_status kibana.alert.workflow_tags
        kibana.alert.workflow_reason kibana.alert.workflow_user kibana.alert.workflow_assignee_ids kibana.alert.severity
        kibana.alert.building_block_type kibana.alert.group.id kibana.alert.instance.id kibana.alert.action_group
        kibana.alert.maintenance_window_ids kibana.alert.case_ids kibana.alert.attack_ids
        kibana.alert.ancestors.id kibana.alert.ancestors.index kibana.alert.ancestors.rule kibana.alert.ancestors.type
        kibana.alert.suppression.terms.field kibana.alert.suppression.terms.value
        kibana.alert.new_terms kibana.alert.original_data_stream.dataset kibana.alert.original_data_stream.namespace
        kibana.alert.original_data_stream.type kibana.alert.rule.author kibana.alert.rule.building_block_type
        kibana.alert.rule.category kibana.alert.rule.consumer kibana.alert.rule.created_by kibana.alert.rule.enabled
        kibana.alert.rule.execution.uuid kibana.alert.rule.execution.type kibana.alert.rule.false_positives
        kibana.alert.rule.from kibana.alert.rule.immutable kibana.alert.rule.indices kibana.alert.rule.interval
        kibana.alert.rule.license kibana.alert.rule.max_signals kibana.alert.rule.name kibana.alert.rule.namespace
        kibana.alert.rule.producer kibana.alert.rule.references kibana.alert.rule.rule_id
        kibana.alert.rule.rule_name_override kibana.alert.rule.rule_type_id kibana.alert.rule.severity
        kibana.alert.rule.tags kibana.alert.rule.timeline_id kibana.alert.rule.timeline_title
        kibana.alert.rule.timestamp_override kibana.alert.rule.throttle kibana.alert.rule.to kibana.alert.rule.type
        kibana.alert.rule.updated_by kibana.alert.rule.uuid kibana.alert.rule.version
        kibana.alert.rule.threat.framework kibana.alert.rule.threat.tactic.id kibana.alert.rule.threat.tactic.name
        kibana.alert.rule.threat.tactic.reference kibana.alert.rule.threat.technique.id
        kibana.alert.rule.threat.technique.name kibana.alert.rule.threat.technique.reference
        kibana.alert.rule.threat.technique.subtechnique.id kibana.alert.rule.threat.technique.subtechnique.name
        kibana.alert.rule.threat.technique.subtechnique.reference
        kibana.alert.original_event.action kibana.alert.original_event.agent_id_status
        kibana.alert.original_event.category kibana.alert.original_event.code kibana.alert.original_event.dataset
        kibana.alert.original_event.hash kibana.alert.original_event.id kibana.alert.original_event.kind
        kibana.alert.original_event.module kibana.alert.original_event.original kibana.alert.original_event.outcome
        kibana.alert.original_event.provider kibana.alert.original_event.reason kibana.alert.original_event.reference
        kibana.alert.original_event.timezone kibana.alert.original_event.type kibana.alert.original_event.url
    """,
    "long_keyword": "kibana.alert.reason kibana.alert.rule.description kibana.alert.rule.note",
    "unindexed": "kibana.alert.url",
    "date": """
        kibana.alert.original_time kibana.alert.start kibana.alert.end kibana.alert.last_detected
        kibana.alert.intended_timestamp kibana.alert.workflow_status_updated_at kibana.alert.suppression.start
        kibana.alert.suppression.end kibana.alert.rule.created_at kibana.alert.rule.updated_at
        kibana.alert.rule.execution.timestamp kibana.alert.original_event.created kibana.alert.original_event.end
        kibana.alert.original_event.ingested kibana.alert.original_event.start
    """,
    "long": """
        kibana.alert.depth kibana.alert.ancestors.depth kibana.alert.suppression.docs_count kibana.alert.rule.revision
        kibana.alert.original_event.duration kibana.alert.original_event.sequence
        kibana.alert.original_event.severity
    """,
    "integer": "kibana.alert.group.index",
    "float": """
        kibana.alert.risk_score kibana.alert.rule.risk_score kibana.alert.original_event.risk_score
        kibana.alert.original_event.risk_score_norm
    """,
    "flattened": "kibana.alert.rule.parameters",
    "version": "kibana.version",
}
_RUN_FIELDS: Mapping[str, str] = {
    "keyword": """
        ecs.version event.kind event.provider event.dataset event.action event.outcome event.type log.level rule.id
        rule.name kibana.alert.rule.execution.uuid runner.status
    """,
    "text": "message",
    "date": "@timestamp event.start event.end runner.window.from runner.window.to",
    "long": """
        event.duration runner.matches runner.created runner.duplicates runner.suppressed runner.capped runner.took_ms
        runner.lag_ms
    """,
    "boolean": "runner.complete",
    "long_keyword": "runner.messages",
}
_STATE_FIELDS: Mapping[str, str] = {
    "keyword": "rule.id rule.name event.outcome runner.status runner.fingerprint",
    "date": "@timestamp runner.window.from runner.window.to",
    "boolean": "runner.complete",
    "opaque": "runner.searched runner.last",
}


def alert_mappings(replaced: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The mapping of alert documents: ECS and `kibana.alert.*`. `replaced` names types to use in place of others."""
    fields = orjson.loads(files(__package__).joinpath("ecs_fields.json").read_bytes())
    _merge(fields, _tree(_ALERT_FIELDS))
    return _mappings(fields, replaced or {})


def external_mappings(replaced: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The mapping of alerts that are stored as external alerts: what alerts have under `kibana` is under our name."""
    fields = orjson.loads(files(__package__).joinpath("ecs_fields.json").read_bytes())
    own = _tree(_ALERT_FIELDS)
    _merge(fields, {PREFIX: own["kibana"] | {"replaced": "opaque"}})
    return _mappings(fields, replaced or {})


def run_mappings(replaced: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The mapping of the run log: one document per run of a rule."""
    return _mappings(_tree(_RUN_FIELDS), replaced or {})


def state_mappings() -> dict[str, Any]:
    """The mapping of the ledger: one document per rule."""
    return _mappings(_tree(_STATE_FIELDS), {})


def _mappings(fields: Tree, replaced: Mapping[str, str]) -> dict[str, Any]:
    # Fields without a mapping stay in `_source`: a strange event must not grow the mapping, or be refused.
    return {"dynamic": False, "date_detection": False, "properties": _properties(fields, replaced)}


def _tree(by_type: Mapping[str, str]) -> dict[str, Any]:
    """The fields, listed by type under their full names, as a tree."""
    tree: dict[str, Any] = {}
    for kind, names in by_type.items():
        for name in names.split():
            *parents, last = name.split(".")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = kind
    return tree


def _merge(into: dict[str, Any], tree: Tree) -> None:
    for name, value in tree.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _properties(tree: Tree, replaced: Mapping[str, str]) -> dict[str, Any]:
    return {name: _property(value, replaced) for name, value in sorted(tree.items()) if name}


def _property(value: str | Tree, replaced: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(value, str):
        return _leaf(value, replaced)
    kind = value.get("", "object")
    children = _properties(value, replaced)
    if kind in ("object", "nested"):
        return ({"type": "nested"} if kind == "nested" else {}) | {"properties": children}
    return _leaf(kind, replaced) | {"fields": children}


def _leaf(kind: str, replaced: Mapping[str, str]) -> dict[str, Any]:
    """The mapping of one field of that type, or of the type that replaces it."""
    kind = replaced.get(kind, kind)
    match kind:
        case "keyword" | "wildcard":
            return {"type": kind, "ignore_above": KEYWORD_LIMIT}
        case "flattened":
            return {"type": kind, "ignore_above": FLATTENED_LIMIT}
        case "long_keyword":
            return {"type": "keyword", "ignore_above": LONG_KEYWORD_LIMIT}
        case "unindexed":
            return {"type": "keyword", "index": False, "ignore_above": 2_048}
        case "scaled_float":
            return {"type": kind, "scaling_factor": 1_000}
        case "object" | "opaque":
            # Kept in `_source` and not looked into: its sub-fields are whatever the document has.
            return {"type": "object", "enabled": False}
    return {"type": kind}
