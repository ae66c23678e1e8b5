"""What the doctor says of what the runner writes to, as it comes and goes in a real node."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from elasticsearch import Elasticsearch

from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import open_client
from runner.doctor.checks import Check
from runner.setup.index_objects import PRODUCT, VERSION, AlertsAs, StoreNames
from runner.setup.install_indices import install
from tests.doctor.examination import examined, names_in, the


async def set_up(url: str, names: StoreNames) -> None:
    client = open_client(Connection(hosts=(url,)))
    try:
        await install(client, names)
    finally:
        await client.close()


def of_setup(checks: Sequence[Check]) -> dict[str, str]:
    return {check.subject: check.outcome for check in checks if check.name == "setup"}


@pytest.mark.parametrize("alerts_as", ["own", "external"])
async def test_before_and_after(elasticsearch_url: str, namespace: str, alerts_as: AlertsAs) -> None:
    plain = names_in(namespace)
    names = StoreNames(plain.alerts, plain.runs, plain.state, alerts_as)
    connection = Connection(hosts=(elasticsearch_url,))
    assert set(of_setup(await examined(connection, names=names)).values()) == {"warning"}
    await set_up(elasticsearch_url, names)
    checks = await examined(connection, names=names)
    assert of_setup(checks) == dict.fromkeys(
        [names.alerts, names.runs, names.state, f"templates of {names.alerts}", f"templates of {names.runs}"], "ok"
    )
    kind = "data stream" if alerts_as == "external" else "alias"
    assert the(checks, "setup", names.alerts).found.startswith(f"{kind} of 1 index, ")


async def test_older_and_foreign_templates(elasticsearch_url: str, namespace: str) -> None:
    names = names_in(namespace)
    await set_up(elasticsearch_url, names)
    with Elasticsearch(elasticsearch_url) as client:
        for name, meta in ((names.alerts, {"managed_by": PRODUCT, "version": VERSION - 1}), (names.runs, {})):
            client.cluster.put_component_template(name=f"{name}-mappings", template={}, meta=meta)
    checks = await examined(Connection(hosts=(elasticsearch_url,)), names=names)
    old = the(checks, "setup", f"templates of {names.alerts}")
    assert (old.outcome, old.found) == ("warning", f"of version {VERSION - 1}, expected {VERSION}")
    assert "rule-runner setup" in old.remedy
    foreign = the(checks, "setup", f"templates of {names.runs}")
    assert foreign.outcome == "problem"
    assert "not one of rule-runner's" in foreign.found


async def test_an_older_mapping_an_index_in_the_way_and_no_write_index(elasticsearch_url: str, namespace: str) -> None:
    names = names_in(namespace)
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=names.alerts)
        for number in (1, 2):
            client.indices.create(index=f"{names.runs}-00000{number}", aliases={names.runs: {}})
    checks = await examined(Connection(hosts=(elasticsearch_url,)), names=names)
    assert the(checks, "setup", names.alerts).found == "it is an index, expected an alias"
    assert the(checks, "setup", names.runs).found == "the alias has no write index"
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.delete(index=names.alerts)
        client.indices.create(index=f"{names.alerts}-000001", aliases={names.alerts: {"is_write_index": True}})
    checks = await examined(Connection(hosts=(elasticsearch_url,)), names=names)
    assert f"with a mapping of version 0, expected {VERSION}" in the(checks, "setup", names.alerts).found


async def test_the_alias_of_kibana_is_kibanas_to_make(elasticsearch_url: str, namespace: str) -> None:
    names = StoreNames(f".alerts-security.alerts-{namespace}", f"{namespace}-runs", f"{namespace}-state", "security")
    checks = await examined(Connection(hosts=(elasticsearch_url,)), names=names)
    missing = the(checks, "setup", names.alerts)
    assert missing.outcome == "problem"
    assert "Kibana's to make" in missing.remedy
