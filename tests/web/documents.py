"""Alerts for the tests of the pages: of a plain rule, of a sequence, and of somebody who means harm."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from runner.alerts.alert import Alert
from runner.search.protocol import Match
from runner.windows import iso
from tests.alerts.cases import CONTEXT, build_alerts, indexed, rule, sequence

START: Final = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
NOW: Final = START + timedelta(hours=2)
HOSTILE: Final = (
    "<script>window.hit=1</script>",
    "\"><img src=x onerror='window.hit=1'>",
    "'><svg onload=window.hit=1>",
    "javascript:window.hit=1",
    "[click](javascript:window.hit=1)",
    "{{7*7}}{% raw %}${7*7}<%= 7*7 %>",
    "\u202egnp.exe\u2066\u200b",
    "a\0b\x1b[31m\x7f",
    "</style></title></textarea></pre><base href=//evil.example>",
    '=HYPERLINK("http://evil.example")',
    "&lt;script&gt;\r\n\r\nHTTP/1.1 200",
)
"""Values that try to be more than text."""
THREAT: Final = (
    {
        "framework": "MITRE ATT&CK",
        "tactic": {"id": "TA0002", "name": "Execution", "reference": "https://attack.mitre.org/tactics/TA0002/"},
        "technique": [
            {"id": "T1059", "name": "Command Interpreter", "reference": "https://attack.mitre.org/techniques/T1059/"}
        ],
    },
)


def process_event(number: int, **changes: Any) -> dict[str, Any]:
    """The event of a process that has started."""
    return {
        "@timestamp": iso(START + timedelta(seconds=number)),
        "event": {"id": f"e{number}", "category": ["process"], "action": "exec", "type": ["start"]},
        "host": {"name": f"web-{number % 3:02}", "id": f"h{number % 3}", "os": {"full": "Ubuntu 24.04"}},
        "user": {"name": ("root", "ann")[number % 2], "id": "0"},
        "process": {
            "entity_id": f"P{number}",
            "pid": 100 + number,
            "name": "bash",
            "executable": "/usr/bin/bash",
            "args": ["bash", "-c", f"echo {number}"],
            "command_line": f"bash -c echo {number}",
            "parent": {"entity_id": "S", "pid": 7, "name": "sshd", "executable": "/usr/sbin/sshd"},
        },
        **changes,
    }


def event_alerts(count: int, **changes: Any) -> list[Alert]:
    """One alert for each of so many events."""
    by = rule(**{"name": "Shell started", "threat": THREAT, "note": "## Look\n\nat the **parent**.", **changes})
    return [alert for number in range(count) for alert in _alerts(number, by)]


def _alerts(number: int, by: Any) -> list[Alert]:
    group = build_alerts(Match((indexed(number, process_event(number)),), is_sequence=False), by, CONTEXT)
    assert group is not None
    return list(group.alerts)


def sequence_alerts() -> list[Alert]:
    """A sequence of a connection and a process, 312 ms apart."""
    connection = process_event(500, event={"id": "n", "category": ["network"], "action": "connection_attempted"})
    connection["destination"] = {"ip": "203.0.113.77", "port": 4444}
    later = process_event(501, **{"@timestamp": iso(START + timedelta(seconds=500, milliseconds=312))})
    later["host"] = connection["host"]
    by = rule(rule_id="of-sequence", name="Shell over the network", severity="high", risk_score=73, threat=THREAT)
    group = build_alerts(sequence(indexed(500, connection), indexed(501, later)), by, CONTEXT)
    assert group is not None
    return list(group.alerts)


def hostile_alert() -> Alert:
    """An alert whose rule and event have the hostile values wherever there may be text."""
    every = " ".join(HOSTILE)
    source = process_event(
        900,
        host={"name": HOSTILE[0], "id": HOSTILE[1], "os": {"full": HOSTILE[2]}, "ip": [HOSTILE[3]]},
        user={"name": HOSTILE[1], "id": every, "domain": HOSTILE[6]},
        file={"path": f"/tmp/{every}", "hash": {"sha256": HOSTILE[0]}},
        destination={"ip": HOSTILE[0], "port": 4444, "domain": HOSTILE[3]},
        network={"transport": HOSTILE[4], "direction": HOSTILE[5]},
        message=every,
    )
    source["process"] |= {
        "name": HOSTILE[6],
        "executable": every,
        "args": ["x" * 1_000_000, *HOSTILE],
        "command_line": every + "y" * 1_000_000,
        "working_directory": HOSTILE[2],
        "parent": {"entity_id": HOSTILE[0], "name": HOSTILE[1], "args": list(HOSTILE)},
    }
    source["event"] |= {"action": HOSTILE[0], "dataset": HOSTILE[5]}
    by = rule(
        rule_id="hostile",
        name=every[:200],
        description=every,
        severity="critical",
        risk_score=99,
        note=f"# {every}\n\n<script>window.hit=1</script>\n\n[a](javascript:window.hit=1) ![b](http://evil.example/b.png)"
        "\n\n[c](https://fine.example/) <http://evil.example/d> [e](data:text/html,x)",
        setup=every,
        tags=HOSTILE,
        references=("javascript:window.hit=1", "https://fine.example/", *HOSTILE),
        false_positives=HOSTILE,
        query=f'any where process.name == "{json.dumps(every)[1:-1]}"',
        threat=(
            {
                "framework": every,
                "tactic": {"id": HOSTILE[0], "name": HOSTILE[1], "reference": "javascript:window.hit=1"},
                "technique": [{"id": HOSTILE[2], "name": every, "reference": HOSTILE[1]}],
            },
        ),
    )
    group = build_alerts(Match((indexed(900, source),), is_sequence=False), by, CONTEXT)
    assert group is not None
    return group.alerts[0]
