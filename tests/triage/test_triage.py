"""What an analyst is shown of an alert, and the searches that follow from it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.alerts.alert import Alert
from runner.eql.syntax.parser import parse
from runner.rules.rule import Rule
from runner.search.protocol import Match
from runner.store.protocol import StoredAlert
from runner.triage.network import scope_of
from runner.triage.next_searches import eql_string, kql_string
from runner.triage.triage import TriageView, triage
from tests.alerts.cases import CONTEXT, build_alerts, hit, indexed, read_spec, rule, sequence

NETWORK: dict[str, Any] = {
    "@timestamp": "2026-03-02T10:02:31.100Z",
    "event": {"category": ["network"], "action": "connection_attempted", "dataset": "endpoint.events.network"},
    "host": {"name": "web-01", "id": "h1", "ip": ["10.20.30.41"], "os": {"full": "Ubuntu 24.04"}},
    "user": {"name": "www-data", "id": "33"},
    "source": {"ip": "10.20.30.41", "port": 53122},
    "destination": {"ip": "203.0.113.77", "port": 4444},
    "network": {"transport": "tcp"},
    "process": {
        "entity_id": "P",
        "pid": 2291,
        "name": "python3",
        "executable": "/usr/bin/python3",
        "Ext": {"ancestry": ["A", "I"]},
        "hash": {"sha256": "ab"},
    },
}
PROCESS: dict[str, Any] = {
    "@timestamp": "2026-03-02T10:02:31.412Z",
    "event": {"category": ["process"], "action": "exec", "dataset": "endpoint.events.process"},
    "host": NETWORK["host"],
    "user": NETWORK["user"],
    "process": {
        "entity_id": "C",
        "pid": 2302,
        "name": "bash",
        "executable": "/usr/bin/bash",
        "args": ["bash", "-i"],
        "command_line": "bash -i",
        "Ext": {"ancestry": ["P", "A", "I"]},
        "parent": {"entity_id": "P", "pid": 2291, "name": "python3", "args": ["python3", "-c", "import pty"]},
        "entry_leader": {"entity_id": "A", "pid": 900, "name": "apache2"},
        "session_leader": {"entity_id": "S", "pid": 800, "name": "setsid"},
    },
}


def stored(alert: Alert) -> StoredAlert:
    return StoredAlert(alert.id, "alerts", json.loads(json.dumps(alert.document)))


def view(match: Match, by: Rule | None = None) -> TriageView:
    group = build_alerts(match, by or rule(), CONTEXT)
    assert group is not None
    *blocks, head = map(stored, group.alerts)
    return triage(head, blocks)


@pytest.fixture
def shell() -> TriageView:
    return view(sequence(indexed(1, NETWORK), indexed(2, PROCESS)))


def test_events_in_order_with_their_gaps(shell: TriageView) -> None:
    assert [(one.position, one.id, one.action, one.process, one.gap) for one in shell.events] == [
        (1, "id1", "connection_attempted", "python3", None),
        (2, "id2", "exec", "bash", timedelta(milliseconds=312)),
    ]
    assert shell.events[0].time == datetime(2026, 3, 2, 10, 2, 31, 100_000, tzinfo=UTC)
    assert ("process.command_line", "bash -i") in shell.events[1].details
    assert shell.detected == CONTEXT.now
    assert not shell.missing_blocks


def test_the_process_chain_from_the_top(shell: TriageView) -> None:
    leader, chain = shell.processes
    assert [(step.name, step.roles) for step in leader] == [("setsid", ("session_leader",))]
    assert [(step.entity_id, step.name, step.in_match) for step in chain] == [
        ("I", "", False),
        ("A", "apache2", False),
        ("P", "python3", True),
        ("C", "bash", True),
    ]
    assert chain[1].roles == ("entry_leader",)
    assert chain[2].args == ("python3", "-c", "import pty")
    assert chain[2].hashes == (("sha256", "ab"),)
    assert chain[3].args == ("bash", "-i")
    assert not chain[0].is_described


def test_processes_without_entity_ids_are_still_shown() -> None:
    process = {"pid": 7, "name": "nc", "parent": {"pid": 6, "name": "sh", "args": ["sh"]}}
    chains = view(Match((hit({"process": process}),), is_sequence=False)).processes
    assert [[(step.pid, step.name) for step in chain] for chain in chains] == [[(6, "sh"), (7, "nc")]]


def test_a_ring_of_processes_ends() -> None:
    one = {"process": {"entity_id": "a", "parent": {"entity_id": "b"}}}
    other = {"process": {"entity_id": "b", "parent": {"entity_id": "a"}}}
    assert view(sequence(indexed(1, one), indexed(2, other))).processes is not None


def test_connection_users_hosts_and_hashes(shell: TriageView) -> None:
    (connection,) = shell.connections
    assert (connection.destination_ip, connection.destination_port, connection.transport) == (
        "203.0.113.77",
        4444,
        "tcp",
    )
    assert (connection.source_scope, connection.destination_scope) == ("private", "public")
    assert [(user.name, user.id) for user in shell.users] == [("www-data", "33")]
    assert [(host.name, host.os, host.addresses) for host in shell.hosts] == [
        ("web-01", "Ubuntu 24.04", ("10.20.30.41",))
    ]
    assert [(one.of, one.algorithm, one.value, one.file) for one in shell.hashes] == [
        ("process", "sha256", "ab", "/usr/bin/python3")
    ]


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("8.8.8.8", "public"),
        ("198.51.100.1", "public"),
        ("2001:4860::1", "public"),
        ("172.31.0.1", "private"),
        ("172.32.0.1", "public"),
        ("fd00::1", "private"),
        ("127.9.9.9", "loopback"),
        ("::1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("224.0.0.1", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("100.64.0.1", "shared"),
        ("host", "unknown"),
    ],
)
def test_what_kind_of_address_it_is(address: str, scope: str) -> None:
    assert scope_of(address) == scope


def test_the_rule_says_what_it_is_about() -> None:
    spec = read_spec("sequence.json")
    shown = view(
        sequence(indexed(1, NETWORK), indexed(2, PROCESS)),
        Rule.model_validate(
            {
                **spec["rule"],
                "note": "## Triage",
                "references": ["https://example.org"],
                "false_positives": ["Admins"],
                "setup": "Install.",
            }
        ),
    )
    (threat,) = shown.threats
    assert threat.tactic[:2] == ("TA0002", "Execution")
    assert [technique[0] for technique in threat.techniques] == ["T1059", "T1059.004"]
    assert (shown.guide, shown.references, shown.false_positives) == (
        "## Triage",
        ("https://example.org",),
        ("Admins",),
    )
    assert shown.query == spec["rule"]["query"]
    assert shown.setup == "Install."
    assert (shown.severity, shown.risk_score) == ("high", 73)


def test_searches_that_follow(shell: TriageView) -> None:
    within = '@timestamp >= "2026-03-02T09:47:31.100Z" and @timestamp <= "2026-03-02T10:17:31.412Z"'
    assert [(search.eql, search.kql) for search in shell.follow_ups] == [
        (f'any where host.id == "h1" and {within}', f'host.id : "h1" and {within}'),
        (
            'any where process.entity_id in ("P", "C") or process.parent.entity_id in ("P", "C")',
            'process.entity_id : ("P" or "C") or process.parent.entity_id : ("P" or "C")',
        ),
        (
            'process where process.parent.entity_id == "P"',
            'event.category : "process" and process.parent.entity_id : "P"',
        ),
        (
            'network where destination.ip == "203.0.113.77"',
            'event.category : "network" and destination.ip : "203.0.113.77"',
        ),
        (f'any where user.name == "www-data" and {within}', f'user.name : "www-data" and {within}'),
        ('any where process.hash.sha256 == "ab"', 'process.hash.sha256 : "ab"'),
        ('any where event.kind == "signal" and host.id == "h1"', 'kibana.alert.uuid : * and host.id : "h1"'),
    ]


@pytest.mark.parametrize(
    ("source", "detail", "search"),
    [
        (
            {"file": {"path": "/etc/cron.d/x", "hash": {"sha256": "cd"}}},
            "file.path",
            'any where file.path == "/etc/cron.d/x"',
        ),
        ({"registry.path": 'HKLM\\Run\\"x"'}, "registry.path", r'any where registry.path == "HKLM\\Run\\\"x\""'),
        (
            {"dns": {"question": {"name": "evil.example"}}},
            "dns.question.name",
            'any where dns.question.name == "evil.example"',
        ),
        ({"message": "only this"}, "message", None),
    ],
)
def test_alerts_of_any_kind(source: dict[str, Any], detail: str, search: str | None) -> None:
    shown = view(Match((hit(source),), is_sequence=False))
    assert detail in dict(shown.events[0].details)
    assert shown.processes == ()
    assert shown.connections == ()
    assert (search in [one.eql for one in shown.follow_ups]) is (search is not None)


def test_loopback_is_not_searched_for_on_all_hosts() -> None:
    shown = view(Match((hit({"destination": {"ip": "127.0.0.1"}}),), is_sequence=False))
    assert shown.connections[0].destination_scope == "loopback"
    assert not [one for one in shown.follow_ups if "destination.ip" in one.eql]


def test_a_shell_without_its_blocks_shows_what_they_share() -> None:
    group = build_alerts(sequence(indexed(1, NETWORK), indexed(2, PROCESS)), rule(), CONTEXT)
    assert group is not None
    shown = triage(stored(group.head), ())
    assert shown.missing_blocks
    assert [host.name for host in shown.hosts] == ["web-01"]
    assert shown.follow_ups


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *(
                    "process",
                    "host",
                    "user",
                    "destination",
                    "file",
                    "winlog",
                    "threat",
                    "dll",
                    "kibana.alert.ancestors",
                ),
                *(
                    "@timestamp",
                    "record_score",
                    "influencers",
                    "kibana.alert.threshold_result",
                    "kibana.alert.new_terms",
                ),
            ]
        ),
        st.none()
        | st.integers()
        | st.text(max_size=2)
        | st.lists(st.text(max_size=2), max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "entity_id",
                        "pid",
                        "ip",
                        "name",
                        "hash",
                        "parent",
                        "id",
                        "path",
                        "code_signature",
                        "enrichments",
                    ),
                    *("event_data", "count", "terms", "cardinality", "from"),
                ]
            ),
            st.none() | st.integers() | st.text(max_size=2) | st.lists(st.text(max_size=2), max_size=2),
            max_size=3,
        ),
        max_size=4,
    )
)
def test_documents_of_odd_shapes_are_shown(document: dict[str, Any]) -> None:
    shown = triage(StoredAlert("a", "", document), [StoredAlert("b", "", document)])
    assert len(shown.events) == 1


def test_the_searches_are_eql(shell: TriageView) -> None:
    odd = {"host": {"name": 'a"\\\n\u2028\x00'}, "file": {"path": "*?\r"}, "user": {"id": "é"}}
    searches = (*shell.follow_ups, *view(Match((hit(odd),), is_sequence=False)).follow_ups)
    assert len(searches) == 11
    for search in searches:
        assert parse(search.eql)


@given(st.text())
def test_an_eql_string_reads_back_as_the_text(text: str) -> None:
    literal = eql_string(text)
    body = literal[1:-1]
    assert not re.search(r"[\r\n]", literal)
    escapes = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}

    def read(found: re.Match[str]) -> str:
        return chr(int(found["hex"], 16)) if found["hex"] else escapes[found["char"]]

    assert re.fullmatch(r'(?:[^"\\]|\\(?:u\{[0-9a-f]{2,8}\}|["\\btnfr]))*', body)
    assert re.sub(r"\\(?:u\{(?P<hex>[0-9a-f]+)\}|(?P<char>.))", read, body) == text


def test_a_kql_string_quotes_what_it_must() -> None:
    assert kql_string('C:\\x "y" *\n') == '"C:\\\\x \\"y\\" *\\n"'


def test_two_hosts_are_searched_together() -> None:
    other = {**PROCESS, "host": {"name": "db-01", "id": "h2"}}
    shown = view(sequence(indexed(1, NETWORK), indexed(2, other)))
    assert shown.follow_ups[0].eql.startswith('any where host.id in ("h1", "h2") and ')
    assert [host.id for host in shown.hosts] == ["h1", "h2"]
