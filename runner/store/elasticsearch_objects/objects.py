"""`SetupObjects`: the requests' bodies for everything that `setup` creates, the same that `setup --print` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.store.elasticsearch_objects.mappings import alert_mappings, run_mappings, state_mappings

VERSION = 1
"""Of the templates; raised with every change of a mapping. A cluster with an older one is brought up to date."""

PRODUCT = "rule-runner"
_EVENTS = ("logs-*",)


@dataclass(frozen=True, slots=True)
class StoreNames:
    """What the aliases and the index are called; what belongs to an alias takes its name from it."""

    alerts: str = "rule-runner-alerts"
    runs: str = "rule-runner-runs"
    state: str = "rule-runner-state"


@dataclass(frozen=True, slots=True)
class AliasObjects:
    """All that belongs to one alias: its first index, the templates for each next one, and when that is begun."""

    alias: str
    mappings: Mapping[str, Any]
    policy: Mapping[str, Any]
    replaced: Mapping[str, str] = field(default_factory=dict)
    has_lifecycle: bool = True

    @property
    def component_template(self) -> str:
        return f"{self.alias}-mappings"

    @property
    def custom_template(self) -> str:
        """A component template that we never touch: what a user puts there wins."""
        return f"{self.alias}@custom"

    @property
    def first_index(self) -> str:
        return f"{self.alias}-000001"

    @property
    def component_body(self) -> dict[str, Any]:
        # The limit stands beside the mapping: the cluster checks a component template by itself, too.
        limits = {"mapping": {"ignore_malformed": True, "total_fields": {"limit": 5_000}}}
        template = {"settings": {"index": limits}, "mappings": dict(self.mappings)}
        return {"template": template, "_meta": self._meta, "version": VERSION}

    @property
    def template_body(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"auto_expand_replicas": "0-1"}
        if self.has_lifecycle:
            settings["lifecycle"] = {"name": self.alias, "rollover_alias": self.alias}
        return {
            # Six digits follow the alias, so that another alias that begins with this one's name is not meant.
            "index_patterns": [f"{self.alias}-0*"],
            "priority": 400,
            "composed_of": [self.component_template, self.custom_template],
            "ignore_missing_component_templates": [self.custom_template],
            "template": {"settings": {"index": settings}},
            "_meta": self._meta,
            "version": VERSION,
        }

    @property
    def index_body(self) -> dict[str, Any]:
        return {"aliases": {self.alias: {"is_write_index": True}}}

    @property
    def _meta(self) -> dict[str, Any]:
        return {"managed_by": PRODUCT, "version": VERSION, "replaced_types": dict(self.replaced)}


def alert_objects(
    names: StoreNames, *, replaced: Mapping[str, str] | None = None, has_lifecycle: bool = True
) -> AliasObjects:
    """What belongs to the alerts: kept for good, a new index every 30 days or 50 GB."""
    rollover = {"max_age": "30d", "max_primary_shard_size": "50gb"}
    return AliasObjects(names.alerts, alert_mappings(replaced), _policy(rollover), replaced or {}, has_lifecycle)


def run_objects(
    names: StoreNames, *, replaced: Mapping[str, str] | None = None, has_lifecycle: bool = True
) -> AliasObjects:
    """What belongs to the run log: a new index every 7 days or 10 GB, kept for 90 days."""
    rollover = {"max_age": "7d", "max_primary_shard_size": "10gb"}
    policy = _policy(rollover, delete_after="90d")
    return AliasObjects(names.runs, run_mappings(replaced), policy, replaced or {}, has_lifecycle)


def state_index_body() -> dict[str, Any]:
    """The index of the ledger: small, never rolled over."""
    mappings = state_mappings() | {"_meta": {"managed_by": PRODUCT, "version": VERSION}}
    return {"settings": {"index": {"auto_expand_replicas": "0-1"}}, "mappings": mappings}


def role_bodies(names: StoreNames, *, events: Sequence[str] = _EVENTS) -> dict[str, dict[str, Any]]:
    """The smallest roles for reading events, for writing alerts and state, and for setting up, by name."""
    aliases = [names.alerts, f"{names.alerts}-*", names.runs, f"{names.runs}-*", names.state]
    meta = {"managed_by": PRODUCT, "version": VERSION}
    return {
        f"{names.alerts}-read-events": {
            "cluster": ["monitor"],
            "indices": [{"names": list(events), "privileges": ["read", "view_index_metadata"]}],
            "metadata": meta,
        },
        f"{names.alerts}-write": {
            "cluster": ["monitor"],
            "indices": [{"names": aliases, "privileges": ["read", "index", "maintenance", "view_index_metadata"]}],
            "metadata": meta,
        },
        f"{names.alerts}-setup": {
            "cluster": ["monitor", "manage_index_templates", "manage_ilm"],
            "indices": [{"names": aliases, "privileges": ["create_index", "manage", "view_index_metadata"]}],
            "metadata": meta,
        },
    }


def setup_objects(names: StoreNames, *, events: Sequence[str] = _EVENTS) -> dict[str, Any]:
    """Everything that `setup` creates, by kind and name, as JSON to print."""
    both = (alert_objects(names), run_objects(names))
    indices: dict[str, Any] = {item.first_index: item.index_body for item in both}
    return {
        "lifecycle_policies": {item.alias: item.policy for item in both},
        "component_templates": {item.component_template: item.component_body for item in both},
        "index_templates": {item.alias: item.template_body for item in both},
        "indices": indices | {names.state: state_index_body()},
        "roles": role_bodies(names, events=events),
    }


def _policy(rollover: Mapping[str, str], *, delete_after: str | None = None) -> dict[str, Any]:
    phases: dict[str, Any] = {"hot": {"actions": {"rollover": dict(rollover)}}}
    if delete_after:
        phases["delete"] = {"min_age": delete_after, "actions": {"delete": {}}}
    return {"policy": {"_meta": {"managed_by": PRODUCT, "version": VERSION}, "phases": phases}}
