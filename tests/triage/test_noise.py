"""What the alerts of a rule have in common, and the exception that is proposed."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.events.fields.schema import Schema, shipped_schema
from runner.exceptions.conditions import resolve_items
from runner.exceptions.load import load_exceptions
from runner.triage.noise import DAY_NS, NoiseReport, days_of
from runner.triage.proposal import noted, propose

UNTIL = date(2026, 9, 30)


def alert(rule: str = "r-1", reason: str = "", status: str = "open", **event: Any) -> dict[str, Any]:
    return {
        "kibana.alert.rule.rule_id": rule,
        "kibana.alert.rule.name": f"Rule {rule}",
        "kibana.alert.original_time": "2026-03-02T10:00:00Z",
        "kibana.alert.workflow_status": "closed" if reason else status,
        **({"kibana.alert.workflow_reason": reason} if reason else {}),
        **event,
    }


def process(parent: str, name: str, *args: str, host: str = "web-01", user: str = "root") -> dict[str, Any]:
    return {
        "process": {"executable": name, "args": [name, *args], "parent": {"executable": parent}},
        "host": {"name": host},
        "user": {"name": user},
    }


BACKUP = process("/opt/backup/agent", "/usr/bin/sh", "-c", "--nightly")


def report(*alerts: dict[str, Any]) -> NoiseReport:
    made = NoiseReport()
    for one in alerts:
        made.add(one)
    return made


def proposed(*alerts: dict[str, Any], query: str = "process where true") -> dict[str, str]:
    found = propose([noted(one) for one in alerts], query)
    return {} if found is None else dict(found.when)


def test_alerts_are_counted_by_rule_verdict_and_value() -> None:
    others = [alert(**process("/sbin/init", f"/bin/{name}", host=f"h{name}")) for name in "ab"]
    made = report(
        *[alert(reason="false_positive", **BACKUP)] * 3,
        *others,
        alert("r-2", **process("/x", "/y")) | {"kibana.alert.suppression.docs_count": 7},
        alert("r-2", reason="true_positive", **process("/x", "/y")),
    )
    first, second = made.noisiest
    assert (first.rule_id, first.name, first.alerts, first.false_positive_share) == ("r-1", "Rule r-1", 5, 0.6)
    assert (first.statuses["open"], first.statuses["closed"]) == (2, 3)
    assert [(top.value, top.alerts) for top in first.top("hosts", 2)] == [("web-01", 3), ("ha", 1)]
    assert first.top("parents", 1)[0].value == "/opt/backup/agent"
    assert [top.value for top in first.top("arguments", 5)] == ["--nightly", "-c"]
    assert (second.suppressed, second.reasons["true_positive"]) == (7, 1)


def test_of_a_sequence_its_events_are_counted_once_an_alert() -> None:
    group: dict[str, Any] = {"kibana.alert.group.id": "g"}
    blocks = [
        alert(**process("/p", f"/bin/{position}")) | group | {"kibana.alert.group.index": position}
        for position in (0, 1)
    ]
    (rule,) = report(*[*blocks, alert(**group)] * 6).noisiest
    assert rule.alerts == 6
    assert [(top.value, top.alerts) for top in rule.top("hosts", 3)] == [("web-01", 6)]
    assert [(top.value, top.alerts) for top in rule.top("processes", 3)] == [("/bin/0", 6), ("/bin/1", 6)]
    proposal = rule.proposal()
    assert proposal is not None and (proposal.hits, proposal.of) == (6, 6)


def test_what_noisy_alerts_share_is_proposed() -> None:
    others = [alert(**process("/sbin/init", f"/bin/{n}", host=f"h{n}", user=f"u{n}")) for n in range(2)]
    when = {"process.parent.executable": "/opt/backup/agent", "process.executable": "/usr/bin/sh"}
    when |= {"process.args": "--nightly", "user.name": "root", "host.name": "web-01"}
    assert proposed(*[alert(**BACKUP)] * 8, *others) == when
    assert proposed(*[alert(**BACKUP)] * 4) == {}  # too few
    spread = [alert(**process("/opt/backup/agent", f"/bin/{n}", host=f"h{n}", user=f"u{n}")) for n in range(9)]
    assert proposed(*spread) == {"process.parent.executable": "/opt/backup/agent"}
    assert proposed(*[alert(**process(f"/p{n}", f"/bin/{n}", host=f"h{n}", user=f"u{n}")) for n in range(9)]) == {}


def test_judged_alerts_decide_what_noise_is() -> None:
    noise = [alert(reason="false_positive", **BACKUP)] * 3
    others = [alert(**process(f"/p{n}", f"/bin/{n}", host=f"h{n}")) for n in range(20)]
    found = propose([noted(one) for one in [*noise, *others]], "process where true")
    assert found is not None
    assert (found.hits, found.of, found.when["process.parent.executable"]) == (3, 23, "/opt/backup/agent")
    assert proposed(*noise, *others, alert(reason="true_positive", **BACKUP)) == {}


@pytest.mark.parametrize(
    "query",
    [
        'process where process.executable : "/usr/bin/sh"',
        'process where process.name in ("bash", "sh")',
        'process where process.executable : "/usr/*/sh" and process.args : "*"',
        "process.name : (bash or sh) and not user.name : bob",
        r"process.executable : \/usr\/bin\/sh",
    ],
)
def test_what_the_rule_itself_asks_for_is_no_exception(query: str) -> None:
    by_one = [alert(**process("", "/usr/bin/sh", host="web-01")) for _ in range(9)]
    assert proposed(*by_one, query=query) == {}
    assert "process.executable" in proposed(*by_one)


def test_a_host_is_named_alone_only_if_there_are_others() -> None:
    noisy = [alert(**process(f"/p{n}", f"/bin/{n}", host="scanner", user=f"u{n}")) for n in range(9)]
    assert proposed(*noisy) == {}
    assert proposed(*noisy, alert(**process("/p", "/q", host="other"))) == {"host.name": "scanner"}


VALUES = st.sampled_from(["a", "b*", 'c"\\', "d\x1b[1m\x7f", "ü 🦊"])
EVENTS = st.builds(
    lambda parent, name, arg, host, reason: alert(reason=reason, **process(parent, name, arg, host=host)),
    VALUES, VALUES, st.sampled_from(["--long", "/other"]), VALUES,
    st.sampled_from(["", "", "false_positive", "true_positive"]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, min_size=5, max_size=30))
def test_a_proposal_can_be_read_and_hits_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, alerts: list[dict[str, Any]]
) -> None:
    (rule,) = report(*alerts).noisiest
    proposal = rule.proposal()
    if proposal is None:
        return
    path: Path = tmp_path_factory.mktemp("proposed") / "e.toml"
    text = proposal.text(rule.rule_id, rule.name, UNTIL)
    assert text.replace("\n", "").isprintable()
    path.write_text(text, encoding="utf-8")
    loaded = load_exceptions([path])
    assert not loaded.problems
    (item,) = loaded.items
    assert item.rules == ("r-1",) and item.entries
    resolved = resolve_items([item], Schema(shipped_schema().fields, lenient=True))
    hit = [one for one in alerts if resolved.item_for(one) is not None]
    assert (len(hit), len(alerts)) == (proposal.hits, proposal.of)
    assert not [one for one in hit if one.get("kibana.alert.workflow_reason") == "true_positive"]


def test_the_period_is_that_of_the_events_where_these_are_old() -> None:
    made = report(alert(), alert(**{"kibana.alert.original_time": "2026-03-04T10:00:00Z"}))
    assert made.oldest_ns is not None and made.newest_ns is not None
    assert made.period(None, 0) == (made.oldest_ns, made.newest_ns)
    assert days_of(made.period(None, 0)) == 2.0
    assert made.period(made.newest_ns + 1, made.newest_ns + DAY_NS) == (made.oldest_ns, made.newest_ns)
    assert made.period(made.oldest_ns, made.newest_ns + 8 * DAY_NS) == (made.oldest_ns, made.newest_ns + 8 * DAY_NS)
    assert NoiseReport().period(None, 5) is None
    assert days_of(None) == 1.0


def test_values_without_end_are_counted_in_bounded_memory() -> None:
    made = NoiseReport()
    for number in range(12_000):
        made.add(alert(**process("/p", "/b", f"--job={number}" if number % 2 else "--same")))
    (rule,) = made.noisiest
    assert rule.top("arguments", 1)[0].value == "--same"
    assert rule.top("arguments", 1)[0].alerts == 6_000
