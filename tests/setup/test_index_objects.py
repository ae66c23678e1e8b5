"""What `install` makes of a cluster that has older, newer or other objects, and the mappings themselves."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from runner.cluster.elasticsearch import Elastic
from runner.errors import StoreError
from runner.setup.index_objects import (
    VERSION,
    Abilities,
    StoreNames,
    alert_objects,
    role_bodies,
    run_objects,
    state_index_body,
)
from runner.setup.mappings import alert_mappings, external_mappings, run_mappings
from runner.store.elasticsearch.elasticsearch_store import ElasticsearchStores, elasticsearch_stores
from tests.elasticsearch.proxy import Proxy
from tests.paths import SHARED
from tests.store.conftest import store_in
from tests.store.elasticsearch.test_elasticsearch_store import alert, ask, find, run

FIELD_TYPES = SHARED / "reference" / "field-types.csv"


def fields_of(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every leaf of a mapping with its full name; multi-fields, too."""
    for name, field in mapping.get("properties", {}).items():
        if "properties" in field:
            yield from fields_of(field, f"{prefix}{name}.")
        else:
            yield prefix + name, field
        for other, inner in field.get("fields", {}).items():
            yield f"{prefix}{name}.{other}", inner


# Versions


async def as_of_version(url: str, namespace: str, version: int) -> None:
    """Make the installed objects of the run log look as an installation of another version left them."""
    meta = {"managed_by": "rule-runner", "version": version, "replaced_types": {}}
    fields = {"properties": {"@timestamp": {"type": "date"}, "rule": {"properties": {"id": {"type": "keyword"}}}}}
    component = {"template": {"mappings": fields | {"dynamic": False}}, "_meta": meta, "version": version}
    await ask(url, "PUT", f"/_component_template/{namespace}-runs-mappings", component)
    template = {
        "index_patterns": [f"{namespace}-runs-0*"],
        "priority": 400,
        "composed_of": [f"{namespace}-runs-mappings"],
        "_meta": meta,
    }
    await ask(url, "PUT", f"/_index_template/{namespace}-runs", template)
    await ask(url, "PUT", f"/{namespace}-runs-000001", {"aliases": {f"{namespace}-runs": {"is_write_index": True}}})


async def test_an_older_installation_gets_the_new_fields_and_keeps_its_data(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await as_of_version(elasticsearch_url, namespace, 1)
    await ask(elasticsearch_url, "PUT", f"/{namespace}-runs/_doc/old?refresh=true", {"rule": {"id": "old"}})
    report = await store.installation.install()
    assert report.updated == (
        f"component template {namespace}-runs-mappings",
        f"index template {namespace}-runs",
        f"mapping of {namespace}-runs",
    )
    mapping = await ask(elasticsearch_url, "GET", f"/{namespace}-runs-000001/_mapping")
    found = mapping[f"{namespace}-runs-000001"]["mappings"]
    assert found["_meta"]["version"] == VERSION
    assert found["properties"]["runner"]["properties"]["lag_ms"]["type"] == "long"
    await store.ledger.record(run(), "f")
    await ask(elasticsearch_url, "POST", f"/{namespace}-runs/_refresh")
    for rule_id in ("old", "r-1"):
        query = {"query": {"term": {"rule.id": rule_id}}}
        answer = await ask(elasticsearch_url, "POST", f"/{namespace}-runs/_search", query)
        assert answer["hits"]["total"]["value"] == 1
    again = await store.installation.install()
    assert (again.created, again.updated) == ((), ())


async def test_an_update_that_was_cut_short_is_finished_by_the_next(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str, eql_proxy: Proxy
) -> None:
    """The templates are new already, and the index is not: it is looked at by itself."""
    await as_of_version(elasticsearch_url, namespace, 1)
    eql_proxy.fail_next(500, on=f"{namespace}-runs/_mapping", method="PUT", reason="killed")
    first = await store.installation.install()
    assert [text for text in first.warnings if "takes effect with the next rollover only: killed" in text]
    assert (await store.installation.install()).updated == (f"mapping of {namespace}-runs",)


async def test_a_mapping_that_can_not_be_changed_waits_for_the_next_index(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await as_of_version(elasticsearch_url, namespace, 1)
    conflict = {"properties": {"runner": {"properties": {"capped": {"type": "keyword"}}}}}
    await ask(elasticsearch_url, "PUT", f"/{namespace}-runs-000001/_mapping", conflict)
    report = await store.installation.install()
    (warning,) = [text for text in report.warnings if "takes effect with the next rollover only" in text]
    assert "runner.capped" in warning
    await ask(elasticsearch_url, "POST", f"/{namespace}-runs/_rollover")
    assert not [text for text in (await store.installation.install()).warnings if "takes effect" in text]


async def test_a_newer_installation_is_left_alone_and_said(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await as_of_version(elasticsearch_url, namespace, 99)
    before = await ask(elasticsearch_url, "GET", f"/_component_template/{namespace}-runs-mappings")
    report = await store.installation.install()
    newer = [text for text in report.warnings if "is of version 99" in text]
    assert [text.split(" is of")[0] for text in newer] == [
        f"the component template {namespace}-runs-mappings",
        f"the index template {namespace}-runs",
    ]
    assert await ask(elasticsearch_url, "GET", f"/_component_template/{namespace}-runs-mappings") == before


async def test_the_ledger_of_an_older_installation_gets_the_new_fields(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    old = {"mappings": {"dynamic": False, "properties": {"rule": {"properties": {"id": {"type": "keyword"}}}}}}
    await ask(elasticsearch_url, "PUT", f"/{namespace}-state", old)
    assert f"mapping of {namespace}-state" in (await store.installation.install()).updated
    mapping = await ask(elasticsearch_url, "GET", f"/{namespace}-state/_mapping")
    found = mapping[f"{namespace}-state"]["mappings"]["properties"]
    assert found.keys() == state_index_body()["mappings"]["properties"].keys()


async def test_a_data_stream_of_an_older_installation_gets_the_new_fields(
    client: Elastic, elasticsearch_url: str, namespace: str
) -> None:
    name = f"logs-lab.alerts-{namespace}"
    meta = {"managed_by": "rule-runner", "version": 1}
    fields = {"properties": {"@timestamp": {"type": "date"}}}
    limits = {"index": {"mapping": {"total_fields": {"limit": 5_000}}}}
    component = {"template": {"settings": limits, "mappings": fields | {"dynamic": False}}, "_meta": meta}
    await ask(elasticsearch_url, "PUT", f"/_component_template/{name}-mappings", component)
    template = {"index_patterns": [name], "data_stream": {}, "priority": 400, "_meta": meta}
    await ask(elasticsearch_url, "PUT", f"/_index_template/{name}", template | {"composed_of": [f"{name}-mappings"]})
    await ask(elasticsearch_url, "PUT", f"/_data_stream/{name}")
    await ask(elasticsearch_url, "POST", f"/{name}/_rollover")
    store = elasticsearch_stores(client, StoreNames(name, f"{namespace}-runs", f"{namespace}-state", "external"))
    assert (await store.installation.install()).updated == (
        f"component template {name}-mappings",
        f"index template {name}",
        f"mapping of {name}",
    )
    await store.alerts.create([alert("a")])
    assert await find(store) == ["a"]
    assert (await store.installation.install()).updated == ()


# Aliases


async def test_an_alias_without_a_write_index_is_named(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    for number in (1, 2):
        body = {"aliases": {f"{namespace}-alerts": {"is_write_index": False}}}
        await ask(elasticsearch_url, "PUT", f"/{namespace}-other-{number}", body)
    with pytest.raises(StoreError, match=f"no write index: set .* one of {namespace}-other-1, {namespace}-other-2"):
        await store.installation.install()


async def test_without_lifecycle_management_setting_up_rolls_over_what_is_due(
    client: Elastic, elasticsearch_url: str, namespace: str, eql_proxy: Proxy
) -> None:
    missing = {"error": {"type": "illegal_argument_exception", "reason": "no handler found for uri [/_ilm]"}}
    eql_proxy.answer_next(400, missing, on="_ilm", times=8)
    store = store_in(client, namespace)
    first = await store.installation.install()
    assert [
        text for text in first.warnings if f"{namespace}-alerts is rolled over by `rule-runner setup` alone" in text
    ]
    await store.alerts.create([alert("a")])
    template = await ask(elasticsearch_url, "GET", f"/_index_template/{namespace}-alerts")
    settings = template["index_templates"][0]["index_template"]["template"]["settings"]["index"]
    assert "lifecycle" not in settings
    # Not due: a new index is less than 30 days old.
    assert (await store.installation.install()).updated == ()
    rolled = {"rolled_over": True, "new_index": f"{namespace}-alerts-000002"}
    eql_proxy.answer_next(200, rolled, on=f"{namespace}-alerts/_rollover")
    assert (await store.installation.install()).updated == (
        f"alias {namespace}-alerts, which goes on in {namespace}-alerts-000002",
    )
    sent = eql_proxy.requests_on(f"{namespace}-alerts/_rollover")[-1]
    assert b'"max_age":"30d"' in sent.body
    assert await find(store) == ["a"]


# Bodies


def test_the_policies_are_what_lifecycle_management_takes() -> None:
    alerts, runs = alert_objects(StoreNames()), run_objects(StoreNames())
    assert alerts is not None
    meta = {"managed_by": "rule-runner", "version": VERSION}
    hot = {"hot": {"actions": {"rollover": {"max_age": "30d", "max_primary_shard_size": "50gb"}}}}
    assert alerts.policy == {"policy": {"_meta": meta, "phases": hot}}
    assert runs.policy["policy"]["phases"]["delete"] == {"min_age": "90d", "actions": {"delete": {}}}
    settings = alerts.template_body["template"]["settings"]["index"]
    assert settings["lifecycle"] == {"name": "rule-runner-alerts", "rollover_alias": "rule-runner-alerts"}


def test_a_data_stream_is_kept_by_a_policy_or_by_its_own_lifecycle() -> None:
    names = StoreNames(alerts="logs-a-b", alerts_as="external")
    with_policies, without = (alert_objects(names, Abilities(has_policies=has)) for has in (True, False))
    assert with_policies is not None
    assert without is not None
    assert with_policies.template_body["template"]["settings"]["index"]["lifecycle"] == {"name": "logs-a-b"}
    assert "lifecycle" not in with_policies.template_body["template"]
    assert without.template_body["template"]["lifecycle"] == {}
    assert "lifecycle" not in without.template_body["template"]["settings"]["index"]
    assert without.template_body["index_patterns"] == ["logs-a-b"]


def test_a_serverless_project_is_not_asked_for_replicas() -> None:
    alerts = alert_objects(StoreNames(), Abilities(is_serverless=True))
    assert alerts is not None
    assert "auto_expand_replicas" not in alerts.template_body["template"]["settings"]["index"]
    assert state_index_body(is_serverless=True)["settings"] == {"index": {}}


def test_kibanas_own_alerts_are_nothing_of_ours() -> None:
    names = StoreNames(alerts=".alerts-security.alerts-soc", alerts_as="security")
    assert alert_objects(names) is None
    roles = role_bodies(names)
    assert set(roles) == {f"alerts-security.alerts-soc-{name}" for name in ("read-events", "write", "setup")}
    managed = [
        index for index in roles["alerts-security.alerts-soc-setup"]["indices"] if "manage" in index["privileges"]
    ]
    assert not [name for index in managed for name in index["names"] if "security" in name]
    written = roles["alerts-security.alerts-soc-write"]["indices"][0]
    assert "delete" in written["privileges"]
    assert written["names"] == [".alerts-security.alerts-soc", ".internal.alerts-security.alerts-soc-*"]


def test_external_alerts_have_the_fields_of_alerts_under_our_name() -> None:
    own = {name: field for name, field in fields_of(alert_mappings()) if not name.startswith("signal")}
    external = dict(fields_of(external_mappings()))
    assert not [name for name in external if name.startswith("kibana.")]
    renamed = {name.replace("kibana.", "rule_runner.", 1): field for name, field in own.items()}
    assert external == renamed | {"rule_runner.replaced": {"type": "object", "enabled": False}}


def test_alerts_have_their_former_names_as_aliases_of_fields_that_are_mapped() -> None:
    mapped = dict(fields_of(alert_mappings()))
    aliases = {name: field["path"] for name, field in mapped.items() if field.get("type") == "alias"}
    assert aliases["signal.rule.name"] == "kibana.alert.rule.name"
    assert aliases["signal.status"] == "kibana.alert.workflow_status"
    assert aliases.keys() == {name for name in mapped if name.startswith("signal.")} - {
        "signal.group", "signal.rule", "signal.threshold_result",
    }  # fmt: skip
    assert all(mapped[path].get("type") not in (None, "object") for path in aliases.values())


@pytest.mark.skipif(not FIELD_TYPES.exists(), reason="the list of ECS field types is not beside the project")
def test_the_alert_mapping_agrees_with_the_list_of_ecs_fields() -> None:
    with FIELD_TYPES.open(newline="") as file:
        rows = list(csv.reader(file))
    header = [name.lower() for name in rows[0]]
    name_at, type_at = 0, next(number for number, name in enumerate(header) if "type" in name)
    listed = {row[name_at]: row[type_at] for row in rows[1:]}
    mapped = {name: field.get("type", "object") for name, field in fields_of(alert_mappings())}
    # As Kibana maps them in its alerts: one index holds alerts of many data streams.
    apart = {name for name in mapped if name.startswith(("data_stream.", "kibana.", "signal."))}
    other = {
        name: (kind, listed[name])
        for name, kind in mapped.items()
        if name in listed and name not in apart and kind != listed[name]
    }
    assert other == {}
    assert len(mapped.keys() & listed.keys()) > 2_000


def test_every_field_of_a_run_is_mapped() -> None:
    mapped = {name for name, _ in fields_of(run_mappings())}
    assert {"event.outcome", "event.duration", "rule.id", "rule.name", "runner.status", "runner.lag_ms"} <= mapped
