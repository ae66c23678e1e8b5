"""`SetupObjects`: the requests' bodies for everything that `setup` creates, the same that `setup --print` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from runner.setup.mappings import alert_mappings, external_mappings, run_mappings, state_mappings

AlertsAs = Literal["own", "external", "security"]
"""How alerts are shown: in an alias of ours, as external alerts in a data stream, or in Kibana's own alerts alias."""

VERSION = 3
"""Of the templates; raised with every change of a mapping. A cluster with an older one is brought up to date."""

PRODUCT = "rule-runner"
_OURS = {"managed_by": PRODUCT, "version": VERSION}
"""By which an object is known as ours, and of which version it is."""
_EVENTS = ("logs-*",)


@dataclass(frozen=True, slots=True)
class StoreNames:
    """What the aliases and the index are called; what belongs to an alias takes its name from it."""

    alerts: str = "rule-runner-alerts"
    runs: str = "rule-runner-runs"
    state: str = "rule-runner-state"
    alerts_as: AlertsAs = "own"

    @property
    def roles(self) -> str:
        """How the names of our roles begin."""
        return self.alerts.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a cluster has of what the objects may use."""

    field_types: Mapping[str, str] = field(default_factory=dict)
    """The field types that it does not have, each with the one that stands in."""
    has_policies: bool = True
    """Index lifecycle management; without it data streams manage themselves, and `setup` rolls the aliases over."""
    is_serverless: bool = False
    """There the number of replicas can not be set."""


@dataclass(frozen=True, slots=True)
class AliasObjects:
    """All that belongs to one alias, or to one data stream: the templates for its indices, and when one is begun."""

    alias: str
    mappings: Mapping[str, Any]
    rollover: Mapping[str, str]
    """When a new index is begun, in the words of the rollover API."""
    delete_after: str | None = None
    abilities: Abilities = Abilities()
    is_stream: bool = False

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
        template = {"settings": {"index": limits}, "mappings": self.mappings_body}
        return {"template": template, "_meta": self._meta, "version": VERSION}

    @property
    def mappings_body(self) -> dict[str, Any]:
        """The mapping with its version, by which an index of an older one is noticed."""
        return {"_meta": self._meta, **self.mappings}

    @property
    def template_body(self) -> dict[str, Any]:
        template: dict[str, Any] = {"settings": {"index": self._settings}}
        if self.is_stream and not self.abilities.has_policies:
            template["lifecycle"] = {"data_retention": self.delete_after} if self.delete_after else {}
        body = {
            # Six digits follow the alias, so that another alias that begins with this one's name is not meant.
            "index_patterns": [self.alias if self.is_stream else f"{self.alias}-0*"],
            "priority": 400,
            "composed_of": [self.component_template, self.custom_template],
            "ignore_missing_component_templates": [self.custom_template],
            "template": template,
            "_meta": self._meta,
            "version": VERSION,
        }
        return body | ({"data_stream": {}} if self.is_stream else {})

    @property
    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {} if self.abilities.is_serverless else {"auto_expand_replicas": "0-1"}
        if self.is_stream:
            # Where logs are kept in `logsdb`, the source of a document does not come back as it was.
            settings["mode"] = "standard"
        if self.abilities.has_policies:
            alias = {} if self.is_stream else {"rollover_alias": self.alias}
            settings["lifecycle"] = {"name": self.alias, **alias}
        return settings

    @property
    def policy(self) -> dict[str, Any]:
        phases: dict[str, Any] = {"hot": {"actions": {"rollover": dict(self.rollover)}}}
        if self.delete_after:
            phases["delete"] = {"min_age": self.delete_after, "actions": {"delete": {}}}
        return {"policy": {"_meta": _OURS, "phases": phases}}

    @property
    def index_body(self) -> dict[str, Any]:
        return {"aliases": {self.alias: {"is_write_index": True}}}

    @property
    def _meta(self) -> dict[str, Any]:
        return {**_OURS, "replaced_types": dict(self.abilities.field_types)}


def alert_objects(names: StoreNames, abilities: Abilities | None = None) -> AliasObjects | None:
    """What belongs to the alerts: kept for good, a new index every 30 days or 50 GB; None where they are Kibana's."""
    found = abilities or Abilities()
    rollover = {"max_age": "30d", "max_primary_shard_size": "50gb"}
    match names.alerts_as:
        case "own":
            return AliasObjects(names.alerts, alert_mappings(found.field_types), rollover, abilities=found)
        case "external":
            mappings = external_mappings(found.field_types)
            return AliasObjects(names.alerts, mappings, rollover, abilities=found, is_stream=True)
        case "security":
            return None


def run_objects(names: StoreNames, abilities: Abilities | None = None) -> AliasObjects:
    """What belongs to the run log: a new index every 7 days or 10 GB, kept for 90 days."""
    found = abilities or Abilities()
    rollover = {"max_age": "7d", "max_primary_shard_size": "10gb"}
    return AliasObjects(names.runs, run_mappings(found.field_types), rollover, delete_after="90d", abilities=found)


def state_index_body(*, is_serverless: bool = False) -> dict[str, Any]:
    """The index of the ledger: small, never rolled over."""
    mappings = state_mappings() | {"_meta": _OURS}
    settings = {} if is_serverless else {"auto_expand_replicas": "0-1"}
    return {"settings": {"index": settings}, "mappings": mappings}


def state_template_body(name: str, *, is_serverless: bool = False) -> dict[str, Any]:
    """The template of that index: deleted while a service runs, the cluster makes it anew with the next write."""
    return {
        "index_patterns": [name],
        "priority": 400,
        "template": state_index_body(is_serverless=is_serverless),
        "_meta": _OURS,
        "version": VERSION,
    }


def role_bodies(names: StoreNames, *, events: Sequence[str] = _EVENTS) -> dict[str, dict[str, Any]]:
    """The smallest roles for reading events, for writing alerts and state, and for setting up, by name.

    The writer may delete since of two documents with one id, written around a rollover, one has to go, and so do the
    notes of runners that have ended.
    """
    ours = [names.runs, f"{names.runs}-*", names.state]
    match names.alerts_as:
        case "own":
            alerts = [names.alerts, f"{names.alerts}-*"]
        case "external":
            alerts = [names.alerts]
        case "security":
            alerts = [names.alerts, f".internal{names.alerts}-*"]
    written = ["read", "index", "maintenance", "view_index_metadata"]
    managed = ["create_index", "manage", "view_index_metadata"]
    if names.alerts_as == "security":
        setup = [_privileges(ours, managed), _privileges(alerts, ["view_index_metadata"])]
    else:
        setup = [_privileges([*alerts, *ours], managed)]
    written_to = [
        _privileges(alerts, [*written, "delete"]),
        _privileges([names.runs, f"{names.runs}-*"], written),
        _privileges([names.state], [*written, "delete"]),
    ]
    return {
        f"{names.roles}-read-events": _role([_privileges(list(events), ["read", "view_index_metadata"])]),
        f"{names.roles}-write": _role(written_to),
        f"{names.roles}-setup": _role(setup, "manage_index_templates", "manage_ilm"),
    }


def _privileges(names: list[str], privileges: list[str]) -> dict[str, list[str]]:
    return {"names": names, "privileges": privileges}


def _role(indices: list[dict[str, list[str]]], *cluster: str) -> dict[str, Any]:
    return {"cluster": ["monitor", *cluster], "indices": indices, "metadata": _OURS}


def setup_objects(names: StoreNames, *, events: Sequence[str] = _EVENTS) -> dict[str, Any]:
    """Everything that `setup` creates, by kind and name, as JSON to print."""
    every = [item for item in (alert_objects(names), run_objects(names)) if item is not None]
    indices: dict[str, Any] = {item.first_index: item.index_body for item in every if not item.is_stream}
    return {
        "lifecycle_policies": {item.alias: item.policy for item in every},
        "component_templates": {item.component_template: item.component_body for item in every},
        "index_templates": {item.alias: item.template_body for item in every}
        | {names.state: state_template_body(names.state)},
        "data_streams": [item.alias for item in every if item.is_stream],
        "indices": indices | {names.state: state_index_body()},
        "roles": role_bodies(names, events=events),
    }
