"""`rule-runner setup` as far as Kibana goes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command
from tests.cluster.kibana_stand_in import StandIn
from tests.elasticsearch.proxy import Proxy
from tests.paths import ROOT


def environment(proxy: Proxy, namespace: str, **more: str) -> dict[str, str]:
    return {
        "ELASTICSEARCH_HOSTS": proxy.url,
        "RUNNER_SPACE": namespace,
        "RUNNER_RULES": str(ROOT / "rules"),
        **more,
    }


def test_objects_are_installed_where_kibana_is_named(
    command: Command, eql_proxy: Proxy, namespace: str, stand_in: StandIn
) -> None:
    stand_in.spaces = ("default", namespace)
    env = environment(eql_proxy, namespace, KIBANA_HOST=stand_in.url)
    first = command("setup", env=env)
    assert first.code == 0
    assert f"created dashboard rule-runner-{namespace}-own-dashboard in Kibana" in first.err
    view = stand_in.objects[(namespace, "index-pattern", f"rule-runner-{namespace}-own-alerts")]
    assert view["attributes"]["title"] == f"rule-runner-alerts-{namespace}"
    second = command("setup", env=env)
    assert f"there already: dashboard rule-runner-{namespace}-own-dashboard in Kibana" in second.err
    assert "created" not in second.err
    stand_in.edit(namespace, "dashboard", f"rule-runner-{namespace}-own-dashboard", title="mine")
    third = command("setup", "--replace-kibana-objects", env=env)
    assert f"updated dashboard rule-runner-{namespace}-own-dashboard in Kibana" in third.err


def test_kibana_can_be_left_out_and_a_failure_there_leaves_the_cluster_set_up(
    command: Command, eql_proxy: Proxy, namespace: str, stand_in: StandIn
) -> None:
    env = environment(eql_proxy, namespace, KIBANA_URL=stand_in.url)
    failed = command("setup", env=env)
    assert failed.code == 3
    assert f"created alias rule-runner-alerts-{namespace}" in failed.err
    assert f"has no space `{namespace}`" in failed.err
    quiet = command("setup", "--no-kibana", env=env)
    assert (quiet.code, "Kibana" in quiet.err) == (0, False)


def test_without_kibana_it_is_said_how_to_import_the_objects(
    command: Command, eql_proxy: Proxy, namespace: str, tmp_path: Path
) -> None:
    env = environment(eql_proxy, namespace)
    assert "`rule-runner setup --kibana-objects FILE`" in command("setup", env=env).err
    written = command("setup", "--kibana-objects", "objects.ndjson", env=env)
    assert written.code == 0
    assert f"4 objects written to objects.ndjson: in Kibana's space `{namespace}`" in written.err
    lines = (tmp_path / "objects.ndjson").read_text().splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["index-pattern", "index-pattern", "search", "dashboard"]


def test_objects_can_be_printed_without_any_server(command: Command, shipped_rules: Path) -> None:
    piped = command("setup", "--kibana-objects", "-", "--alerts-as", "external")
    assert piped.code == 0
    assert [json.loads(line)["type"] for line in piped.out.splitlines()][-1] == "dashboard"
    assert "rule_runner.alert.severity" in piped.out
    shown = command("setup", "--print", "--rules", shipped_rules)
    assert [item["type"] for item in shown.json["kibana_objects"]][-1] == "dashboard"
    assert shown.json["data_streams"] == []
    external = command("setup", "--print", "--alerts-as", "external", "--rules", shipped_rules)
    assert external.json["data_streams"] == ["logs-rule_runner.alerts-default"]
    security = command("setup", "--print", "--alerts-as", "security", "--rules", shipped_rules)
    assert set(security.json["index_templates"]) == {"rule-runner-runs-default", "rule-runner-state-default"}


def test_a_file_that_can_not_be_written_is_named(command: Command) -> None:
    failed = command("setup", "--kibana-objects", "nowhere/objects.ndjson")
    assert failed.code == 3
    assert "nowhere/objects.ndjson: cannot be written: No such file or directory" in failed.err
