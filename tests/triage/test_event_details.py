"""Which fields of an event an analyst is shown."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from runner.rules.rule import Rule
from runner.search.protocol import Match
from runner.triage.event_details import details_of, read_fields
from tests.alerts.cases import hit, indexed, read_spec, sequence
from tests.paths import SPECS
from tests.triage.test_triage import view

SPEC = read_spec("event.json")["rule"]
CASES = tomllib.loads((SPECS / "triage/event_details.toml").read_text(encoding="utf-8"))["case"]
ACCESS: dict[str, Any] = {
    "event": {"category": ["process"], "code": "10", "action": "ProcessAccess"},
    "process": {"name": "t.exe", "executable": "C:\\t.exe", "Ext": {"api": [{"name": "Open"}, {"name": "Read"}]}},
    "winlog": {"event_data": {"SourceImage": "C:\\t.exe", "TargetImage": "lsass.exe", "GrantedAccess": "0x1fffff"}},
}
LOGON: dict[str, Any] = {
    "event": {"category": ["authentication"], "code": "4625", "outcome": "failure"},
    "user": {"name": "alice"},
    "source": {"ip": "10.1.2.3", "domain": "WS-9"},
    "winlog": {
        "logon": {"type": "Network"},
        "event_data": {"AuthenticationPackageName": "NTLM", "SubStatus": "0x1"},
    },
}


def rule(query: str, *highlighted: str) -> Rule:
    more = {"investigation_fields": {"field_names": list(highlighted)}} if highlighted else {}
    return Rule.model_validate({**SPEC, "query": query, **more})


def details(document: dict[str, Any], by: Rule) -> dict[str, str]:
    (event,) = view(Match((hit(document),), is_sequence=False), by).events
    return dict(event.details)


def test_what_the_query_reads_and_what_stands_beside_it() -> None:
    shown = details(ACCESS, rule('process where event.code == "10" and winlog.event_data.TargetImage : "*lsass*"'))
    assert shown == {
        "event.code": "10",
        "winlog.event_data.TargetImage": "lsass.exe",
        "process.executable": "C:\\t.exe",
        "winlog.event_data.GrantedAccess": "0x1fffff",  # SourceImage has a value that is there already
        "process.Ext.api.name": "Open, Read",
    }


def test_highlighted_fields_come_first() -> None:
    by = rule("any where event.code != null", "winlog.event_data.GrantedAccess", "host.name", "absent.field")
    assert list(details(ACCESS, by))[:2] == ["winlog.event_data.GrantedAccess", "event.code"]


def test_values_in_arrays_of_objects_and_of_multi_fields_are_shown() -> None:
    shown = details(ACCESS, rule('process where process.Ext.api.name : "R*" and process.executable.text : "t"'))
    assert shown["process.Ext.api.name"] == "Open, Read"
    assert shown["process.executable.text"] == "C:\\t.exe"


def test_a_logon_is_shown_with_outcome_origin_and_way() -> None:
    shown = details(LOGON, rule("authentication where true"))
    assert shown == {
        "event.outcome": "failure",
        "event.code": "4625",
        "source.ip": "10.1.2.3",
        "source.domain": "WS-9",
        "winlog.logon.type": "Network",
        "winlog.event_data.AuthenticationPackageName": "NTLM",
        "winlog.event_data.SubStatus": "0x1",
    }


def test_each_event_of_a_sequence_has_its_own() -> None:
    read, other = 'process where winlog.event_data.TargetImage : "*"', "authentication where source.ip != null"
    by = rule(f"sequence by host.id [{read}] [{other}]")
    shown = view(sequence(indexed(1, ACCESS), indexed(2, LOGON)), by)
    first, second = (dict(event.details) for event in shown.events)
    assert first["winlog.event_data.TargetImage"] == "lsass.exe"
    assert second["source.ip"] == "10.1.2.3"


@pytest.mark.parametrize("query", ["", "no query at all", 'any where a ==== "b"'])
def test_a_query_that_cannot_be_read_hides_no_alert(query: str) -> None:
    parameters = {"kibana.alert.rule.parameters": {"query": query, "language": "eql"}}
    assert read_fields(parameters, "kibana.alert.rule.parameters") == ()


def test_objects_of_a_product_are_bounded_and_common_ones_left_out() -> None:
    document = {"okta": {"data": {f"f{number}": f"v{number}" for number in range(100)}}, "process": {"a": 1, "b": 2}}
    shown = details_of(document, ["okta.data.f7", "process.a"]).pairs
    assert shown[:2] == (("okta.data.f7", "v7"), ("process.a", "1"))
    assert len(shown) == 2 + 24
    assert details_of(document, ["okta.data.f7", "process.a"]).left_out == 75
    assert "process.b" not in dict(shown)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_is_shown_of_an_event(case: dict[str, Any]) -> None:
    lines: list[str] = []
    for section in details_of(json.loads(case["event"]), case.get("reads", ())).sections:
        lines.append(section.title)
        for detail in section.details:
            meaning = f" ({detail.meaning})" if detail.meaning else ""
            lines.append(f"  {detail.label}: {' / '.join(detail.lines)}{meaning}")
    assert "\n".join(lines) == case["shown"].strip()


def test_the_fields_of_every_language_and_type_of_rule_are_read() -> None:
    def fields(**parameters: Any) -> tuple[str, ...]:
        return read_fields({"kibana.alert.rule.parameters": parameters}, "kibana.alert.rule.parameters")

    assert fields(language="eql", query='sequence [process where a.b == "x"] [file where c != null]') == ("a.b", "c")
    assert fields(language="kuery", query="a.b : x and not c : * and d*:1") == ("a.b", "c")
    assert fields(language="lucene", query="a.b:x AND _exists_:c") == ("a.b", "c")
    assert fields(language="kuery", query="a : 1", threshold={"field": ["b"], "value": 3}) == ("a", "b")
    assert fields(language="kuery", query="a : 1", new_terms_fields=["b", "a"]) == ("a", "b")
    mapping = [{"entries": [{"field": "b", "value": "threat.indicator.ip"}]}]
    assert fields(language="kuery", query="a : 1", threat_mapping=mapping) == ("a", "b")
    assert "Esql.count" in fields(language="esql", query="FROM logs-* | STATS Esql.count = COUNT(*) BY host.name")
