"""What the pages show: alerts with filters and counts, one alert, hosts, rules, coverage, health."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

from runner.rule_run import RuleRun
from runner.search.lookup.event_lookup import LookedUp
from runner.windows import Window, iso
from tests.web.conftest import Open
from tests.web.documents import NOW, START, event_alerts, process_event, sequence_alerts


class Events:
    """A place of events: these documents, whatever is asked for."""

    def __init__(self, *documents: dict[str, Any], incomplete: str = "") -> None:
        self.answer = LookedUp(documents, incomplete)
        self.asked: list[str] = []

    async def newest(self, kql: str, *, size: int, seconds: float) -> LookedUp:
        self.asked.append(kql)
        return self.answer


def rows(page: str) -> int:
    return len(re.findall(r"<tr data-row", page))


ADDRESSES: list[tuple[str, int]] = [
    ("/alerts", 8),
    ("/alerts?severity=high", 1),
    ("/alerts?severity=high&severity=medium", 8),
    ("/alerts?host=web-01", 2),
    ("/alerts?user=ann", 3),
    ("/alerts?rule=of-sequence", 1),
    ("/alerts?rule=SHELL STARTED", 7),
    ("/alerts?status=closed", 0),
    ("/alerts?text=echo 3", 1),
    (f"/alerts?from={iso(START + timedelta(seconds=5))}&to={iso(START + timedelta(seconds=6))}", 2),
    ("/alerts?from=now-1d", 8),
    ("/alerts?size=25&page=2", 0),
]
"""Addresses with how many alerts they show."""


async def test_the_address_says_which_alerts_are_shown(browser: Open) -> None:
    pages = await browser()
    for address, count in ADDRESSES:
        page = await pages.get(address)
        assert rows(page) == count, address
        assert ("No alert meets these filters" in page) == (count == 0 and "page=2" not in address)


REFUSED: list[tuple[str, str]] = [
    ("/alerts?severity=hihg", "severity: expected"),
    ("/alerts?from=yesterdy", "from: "),
    ("/alerts?page=0", "page: found &#39;0&#39;, expected a number from 1"),
    ("/alerts?size=١", "size: "),
    ("/alerts?group=colour", "group: found &#39;colour&#39;"),
    (f"/alerts?text={'x' * 501}", "501 characters are too many"),
    ("/host", "name: expected the name"),
]
"""Addresses with what is said of them."""


async def test_what_cannot_be_asked_is_explained(browser: Open) -> None:
    pages = await browser()
    for address, said in REFUSED:
        assert said in await pages.get(address, 400)


async def test_counts_and_groups(browser: Open) -> None:
    pages = await browser()
    page = await pages.get("/alerts")
    assert re.search(r'<span class="value">web-0\d</span><span class="n">3</span>', page)
    assert '<svg class="histogram"' in page
    grouped = await pages.get("/alerts?group=host")
    assert rows(grouped) == 3
    assert "host=web-01" in grouped


async def test_an_alert_has_its_events_processes_and_what_is_related(browser: Open) -> None:
    pages = await browser()
    *_, shell = sequence_alerts()
    page = await pages.get(f"/alerts/{shell.id[:12]}")
    assert "+0.312 s" in page
    assert "203.0.113.77:4444" in page
    assert page.count('class="step match"') == 2
    assert "T1059 Command Interpreter" in page
    assert "Related alerts" in page
    assert "any where host.id ==" in page
    assert "Look at the events from 15 minutes before" in page
    around = await pages.get(f"/alerts/{shell.id}/around")
    assert "events are not looked up: name where they are with --events" in around
    document = json.loads(await pages.get(f"/alerts/{shell.id}/document"))
    assert document["alert"]["kibana.alert.uuid"] == shell.id
    assert len(document["building_blocks"]) == 2


async def test_an_alert_that_is_not_there(browser: Open) -> None:
    pages = await browser()
    assert "no alert has an id that begins with" in await pages.get("/alerts/ffff", 404)


async def test_what_the_host_did_around_an_alert(browser: Open) -> None:
    events = Events(process_event(3), process_event(2), incomplete="the time for it was over")
    pages = await browser(lookup=events)
    page = await pages.get(f"/alerts/{event_alerts(3)[2].id}/around")
    assert page.index("echo 2") < page.index("echo 3")
    assert "not all events were looked at: the time for it was over" in page
    assert "in the match" in page
    assert 'host.id : "h2"' in events.asked[0] and "2026-03-02T09:45:02" in events.asked[0]


async def test_a_host_has_alerts_and_processes_on_one_line(browser: Open) -> None:
    pages = await browser(lookup=Events(process_event(4)))
    page = await pages.get("/host?name=web-01")
    assert page.count('class="hot"') == 2
    assert "echo 4" in page
    assert '<div class="lanes">' in page
    assert "Nothing of this host is known" in await (await browser()).get("/host?name=nobody")


async def test_rules_with_their_state(browser: Open) -> None:
    pages = await browser(*event_alerts(2, rule_id="shell"), off={"enabled": False})
    window = Window(START, START + timedelta(minutes=9))
    run = RuleRun("shell", "shell", "x", "failed", window, NOW, messages=("the disk is full",), took_ms=12)
    await pages.store.record(run, "f")
    page = await pages.get("/rules")
    assert rows(page) == 2
    assert '<span class="out-failed">failed</span>' in page and "the disk is full" in page
    assert rows(await pages.get("/rules?state=off")) == 1
    assert rows(await pages.get("/rules?text=SHE")) == 1
    one = await pages.get("/rules/shell")
    assert "How the query is read" in one and "<code>event.category == &#34;process&#34;</code>" in one
    assert "process where true" in one and "the disk is full" in one and "What makes the noise" in one
    assert "Not searched" in one
    await pages.get("/rules/nothing", 404)


async def test_coverage_and_its_layer(browser: Open) -> None:
    threat = """
[[rule.threat]]
framework = "MITRE ATT&CK"
[rule.threat.tactic]
id = "TA0002"
name = "Execution"
reference = "https://attack.mitre.org/tactics/TA0002/"
[[rule.threat.technique]]
id = "T1059"
name = "Command Interpreter"
reference = "https://attack.mitre.org/techniques/T1059/"
"""
    pages = await browser(*event_alerts(5, rule_id="shell"))
    file = pages.parts.places.rules.rules[0] / "shell.toml"
    file.write_text(file.read_text() + threat)
    page = await pages.get("/coverage")
    assert "Execution" in page and re.search(r"Command Interpreter</span><span class=\"n\">1 <b>5</b>", page)
    layer = json.loads(await pages.get("/coverage/navigator.json"))
    assert (layer["domain"], layer["versions"]["layer"]) == ("enterprise-attack", "4.5")
    assert [(one["techniqueID"], one["tactic"], one["score"]) for one in layer["techniques"]] == [
        ("T1059", "execution", 1)
    ]


async def test_gaps_are_in_the_calendar(browser: Open) -> None:
    pages = await browser()
    window = Window(NOW - timedelta(hours=3), NOW - timedelta(hours=2))
    await pages.store.record(RuleRun("shell", "shell", "x", "succeeded", window, NOW, complete=True), "f")
    page = await pages.get("/health")
    assert "never searched" in page and "owed" in page
    assert 'class="gap-4"' in page and "1 of 1 rules" in page


async def test_static_files_and_what_is_not_there(browser: Open) -> None:
    pages = await browser()
    assert "prefers-color-scheme: dark" in await pages.get("/static/web.css")
    assert '"use strict"' in await pages.get("/static/web.js")
    await pages.get("/static/..%2fapp.py", 404)
    await pages.get("/nothing", 404)
    assert rows(await pages.get("/")) == 8
