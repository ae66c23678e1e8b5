"""What is changed from the pages: verdicts on selected and on found alerts, and exceptions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runner.triage.verdict import verdict_of
from tests.web.conftest import Browser, Open
from tests.web.documents import event_alerts, sequence_alerts

IDS = [alert.id for alert in event_alerts(7)]
SHELL = sequence_alerts()[-1].id


async def said(pages: Browser) -> list[str]:
    return re.findall(r'class="flash \w+" role="status">([^<]*)', await pages.get("/alerts"))


async def test_alerts_are_closed_with_a_verdict_and_signed(browser: Open) -> None:
    pages = await browser()
    answer = await pages.post(
        "/alerts",
        id=[IDS[0], SHELL],
        action="close",
        reason="false-positive",
        note="a test",
        back="/alerts?host=web-00",
    )
    assert (answer.status, answer.headers["Location"]) == (303, "/alerts?host=web-00")
    assert await said(pages) == ["2 alerts closed."]
    assert await said(pages) == []
    verdict = verdict_of((await pages.store.get(SHELL))[0].document)
    assert (verdict.status, verdict.reason, verdict.note, verdict.by) == ("closed", "false_positive", "a test", "kim")
    block = sequence_alerts()[0].id
    assert verdict_of((await pages.store.get(block))[0].document).status == "closed"
    await pages.post("/alerts", id=IDS[0], action="reopen")
    assert await pages.statuses() == {"open": 7, "closed": 1}


async def test_notes_people_and_tags(browser: Open) -> None:
    pages = await browser()
    await pages.post("/alerts", id=IDS[1], action="note", note="look again")
    await pages.post("/alerts", id=IDS[1], action="assign", assignee="ann, bob")
    await pages.post("/alerts", id=IDS[1], action="tag", add_tags="new, odd", remove_tags="old")
    verdict = verdict_of((await pages.store.get(IDS[1]))[0].document)
    assert (verdict.status, verdict.note, verdict.assignees, verdict.tags) == (
        "open",
        "look again",
        ("ann", "bob"),
        ("new", "odd"),
    )
    await pages.post("/alerts", id=IDS[1], action="note", note="")
    assert verdict_of((await pages.store.get(IDS[1]))[0].document).note == ""


async def test_all_that_the_filters_find_if_they_are_those_that_were_seen(browser: Open) -> None:
    pages = await browser()
    back = "/alerts?user=ann"
    await pages.post("/alerts", scope="all", expected="2", action="acknowledge", back=back)
    assert await said(pages) == ["3 alerts found by now, nothing was changed: look at them again"]
    await pages.post("/alerts", scope="all", expected="3", action="acknowledge", back=back)
    assert await pages.statuses() == {"open": 5, "acknowledged": 3}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"action": "close"}, "select alerts first"),
        ({"action": "explode", "id": IDS[0]}, "choose what is to be done"),
        ({"id": IDS[0]}, "choose what is to be done"),
        ({"action": "close", "id": IDS[0], "reason": "false-positiv"}, "did you mean"),
        ({"action": "tag", "id": IDS[0]}, "name a tag to add"),
        ({"action": "tag", "id": IDS[0], "add_tags": "a", "remove_tags": "a"}, "to be added and to be taken away"),
    ],
)
async def test_what_cannot_be_done_changes_nothing_and_is_said(
    browser: Open, fields: dict[str, str], text: str
) -> None:
    pages = await browser()
    assert (await pages.post("/alerts", **fields)).status == 303
    assert text in " ".join(await said(pages))
    assert await pages.statuses() == {"open": 8}


async def test_an_alert_that_is_gone_is_named(browser: Open) -> None:
    pages = await browser()
    answer = await pages.post("/alerts", id="f" * 64, action="close")
    assert answer.status == 303 or "no alert has an id" in await answer.text()


async def test_from_an_alert_to_an_exception_with_a_preview(browser: Open, tmp_path: Path) -> None:
    pages = await browser()
    address = f"/alerts/{IDS[0]}/except"
    form = await pages.get(address)
    assert re.search(r'process.command_line</label></td><td class="what">bash -c echo 0</td><td class="right">1<', form)
    assert re.search(r'process.executable</label></td><td class="what">/usr/bin/bash</td><td class="right">7<', form)
    fields = {"field": ["process.executable", ""], "reason": "our own", "expires": "90d", "step": "preview"}
    preview = await (await pages.post(address, **fields)).text()
    assert "It would also have removed 6 other alerts" in preview
    assert "process.executable" in preview and "/usr/bin/bash" in preview
    files = list((tmp_path / "exceptions").glob("*.toml"))
    assert files == []
    answer = await pages.post(address, **{**fields, "step": "write", "close": "on"})
    assert (answer.status, answer.headers["Location"]) == (303, f"/alerts/{IDS[0]}")
    (file,) = (tmp_path / "exceptions").glob("*.toml")
    assert "/usr/bin/bash" in file.read_text() and 'owner = "kim"' in file.read_text()
    assert await pages.statuses() == {"open": 1, "closed": 7}
    again = await pages.post(address, **{**fields, "step": "write"})
    assert "has an exception with the name" in await again.text()


async def test_an_exception_that_says_too_little_is_not_written(browser: Open, tmp_path: Path) -> None:
    pages = await browser()
    address = f"/alerts/{IDS[0]}/except"
    for fields, text in (
        ({"field": "", "reason": "x", "expires": "90d"}, "choose at least one field"),
        ({"field": "process.exe", "reason": "x", "expires": "90d"}, "no event of the alert has this field"),
        ({"field": "user.name", "reason": " ", "expires": "90d"}, "--reason TEXT is needed"),
        ({"field": "user.name", "reason": "x", "expires": "soon"}, "--expires soon"),
    ):
        answer = await pages.post(address, **fields, step="write")
        assert answer.status == 200 and text in await answer.text()
    assert not (tmp_path / "exceptions").exists()
