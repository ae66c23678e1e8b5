"""The pages in a real browser: used by mouse and keys, on narrow and wide screens, attacked, and looked at by axe."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from runner.json_text import write_json
from runner.store.protocol import StoredAlert
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.web.report import gathered, report_text
from tests.scenarios.timeline import rule_text
from tests.web.chromium import Served, chromium, served, watched
from tests.web.documents import HOSTILE, NOW, event_alerts, hostile_alert, process_event, sequence_alerts

pytestmark = pytest.mark.slow

HARM = hostile_alert()
SHELL = sequence_alerts()[-1]
PAGES = (
    "/alerts",
    "/alerts?group=rule",
    "/alerts?host=web-01&severity=medium",
    f"/alerts/{SHELL.id}",
    f"/alerts/{SHELL.id}/around",
    f"/alerts/{SHELL.id}/except",
    f"/alerts/{HARM.id}",
    "/host?name=web-01",
    "/rules",
    "/rules/shell",
    "/coverage",
    "/health",
    "/nothing",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def made(folder: Path) -> list[object]:
    """A state file with alerts, rules and events; returns the arguments that name them."""

    async def store() -> None:
        store = SqliteStore(folder / "state.db")
        await store.create([*event_alerts(120), *sequence_alerts(), HARM])
        await store.close()

    with ThreadPoolExecutor() as aside:  # a loop of Playwright runs in this thread
        aside.submit(asyncio.run, store()).result()
    rules = folder / "rules"
    rules.mkdir()
    query = {"query": "process where true", "name": f"Shell {HOSTILE[0]}", "note": HOSTILE[4], "tags": list(HOSTILE)}
    (rules / "shell.toml").write_text(rule_text("shell", query))
    (rules / "<img src=x onerror=window.hit=1>.toml").write_text("no rule")
    lines = [write_json(process_event(number)) for number in range(490, 510)]
    (folder / "events.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    return ["--state", folder / "state.db", "--rules", rules, "--events", folder / "events.ndjson"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("pages")
    with served(folder, *made(folder)) as started:
        yield started


def test_axe_finds_nothing_to_object_to_on_any_page_light_or_dark(browser: Browser, pages: Served) -> None:
    for scheme in ("light", "dark"):
        with watched(browser, pages.base, color_scheme=scheme) as context:
            page = context.page()
            page.goto(pages.login)
            for address in PAGES:
                page.goto(pages.base + address)
                found = Axe().run(page)
                assert found.violations_count == 0, f"{scheme} {address}: {found.generate_report()}"
            context.wrong[:] = [one for one in context.wrong if "404" not in one]  # of /nothing


@pytest.mark.parametrize("width", [360, 768, 1440, 2560])
def test_no_page_is_wider_than_the_screen(browser: Browser, pages: Served, width: int) -> None:
    with watched(browser, pages.base, viewport={"width": width, "height": 800}) as context:
        page = context.page()
        page.goto(pages.login)
        for address in PAGES[:-1]:
            page.goto(pages.base + address)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address


def test_hostile_values_run_nothing_and_load_nothing(browser: Browser, pages: Served, tmp_path: Path) -> None:
    with watched(browser, pages.base) as context:
        page = context.page()
        page.goto(pages.login)
        for address in PAGES[:-1]:
            page.goto(pages.base + address)
            page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert page.evaluate("window.hit") is None
        page.goto(f"{pages.base}/alerts/{HARM.id}")
        expect(page.locator("h1")).to_contain_text("<script>window.hit=1</script>")
        assert "\u202e" not in page.content() and "{{7*7}}" in page.content()
        for link in page.locator("main a").all():
            assert (link.get_attribute("href") or "").startswith(("/", "https://", "http://"))
    file = tmp_path / "report.html"
    alert = StoredAlert(HARM.id, "", HARM.document)
    file.write_text(report_text(gathered([alert], chosen="all", most=5), "html", NOW, full=5))
    with watched(browser, file.as_uri()) as context:
        page = context.page()
        page.goto(file.as_uri())
        assert page.evaluate("window.hit") is None
        assert Axe().run(page).violations_count == 0
        assert page.evaluate("getComputedStyle(document.body).margin") == "0px"  # its style is not refused


def test_filters_by_mouse(browser: Browser, pages: Served) -> None:
    with watched(browser, pages.base) as context:
        page = context.page()
        page.goto(pages.login)
        expect(page).to_have_url(f"{pages.base}/alerts")
        page.locator(".facet a", has_text="high").click()
        expect(page.locator("tr[data-row]")).to_have_count(1)
        page.locator(".chip").click()
        expect(page.locator("tr[data-row]")).to_have_count(50)
        page.get_by_role("link", name="Older").click()
        expect(page.locator(".pages")).to_contain_text("51 to 100 of 122")
        page.get_by_label("Text", exact=True).fill("echo 117")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("tr[data-row]")).to_have_count(1)
        page.get_by_role("link", name="Clear").click()
        page.locator(".histogram a").first.click()
        expect(page.locator(".chip")).to_have_count(2)


def test_the_keyboard_alone(browser: Browser, pages: Served) -> None:
    with watched(browser, pages.base) as context:
        page = context.page()
        page.goto(pages.login)
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_text("Skip to the content")
        page.keyboard.press("/")
        expect(page.locator(":focus")).to_have_id("find")
        page.keyboard.type("echo 11")
        page.keyboard.press("Enter")
        expect(page.locator(".chip")).to_contain_text("echo 11")
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.keyboard.press("j")
        page.keyboard.press("x")
        expect(page.locator("#selected")).to_have_text("2 selected")
        page.keyboard.press("k")
        page.keyboard.press("o")
        expect(page.locator(".crumbs")).to_contain_text("Alerts /")


def test_from_the_table_to_a_verdict_and_to_an_exception_and_back(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path, *made(tmp_path)) as pages, watched(browser, pages.base) as context:
        page = context.page()
        page.goto(f"{pages.base}/alerts?user=ann")
        expect(page.get_by_label("Token")).to_be_visible()
        page.goto(pages.login)
        page.goto(f"{pages.base}/alerts?user=ann")
        page.locator("tr[data-row] input").nth(0).check()
        page.locator("tr[data-row] input").nth(1).check()
        page.get_by_label("Verdict").select_option("true-positive")
        page.get_by_role("button", name="Close").click()
        expect(page.locator(".flash")).to_have_text("2 alerts closed.")
        expect(page).to_have_url(f"{pages.base}/alerts?user=ann")
        page.locator("tr[data-row] td.rule a").nth(2).click()
        page.get_by_role("link", name="Exception…").click()
        page.get_by_label("process.executable", exact=True).check()
        page.get_by_label("Reason").fill("our own scripts")
        page.get_by_role("button", name="Preview").click()
        expect(page.locator("main")).to_contain_text("It would also have removed 119 other alerts")
        assert not (tmp_path / "exceptions").exists()
        page.get_by_role("button", name="Add the exception").click()
        expect(page.locator(".flash")).to_contain_text("the exception was added")
        assert len(list((tmp_path / "exceptions").glob("*.toml"))) == 1
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()


def test_what_the_host_did_is_put_into_the_page(browser: Browser, pages: Served) -> None:
    with watched(browser, pages.base) as context:
        page = context.page()
        page.goto(pages.login)
        page.goto(f"{pages.base}/alerts/{SHELL.id}")
        page.get_by_role("link", name="Look at the events").click()
        expect(page.locator("#around tbody tr").first).to_be_visible()
        expect(page).to_have_url(f"{pages.base}/alerts/{SHELL.id}")


def test_everything_works_without_script(browser: Browser, pages: Served) -> None:
    with watched(browser, pages.base, java_script_enabled=False) as context:
        page = context.page()
        page.goto(pages.login)
        page.locator("tr[data-row] input").first.check()
        page.get_by_role("button", name="Acknowledge").click()
        expect(page.locator(".flash")).to_have_text("1 alert acknowledged.")
        page.goto(f"{pages.base}/alerts/{SHELL.id}")
        page.get_by_role("link", name="Look at the events").click()
        expect(page.locator("#around tbody tr").first).to_be_visible()


def test_a_link_of_a_mail_opens_its_alert(browser: Browser, pages: Served) -> None:
    """The cookie does not come with a link of another site; whoever has signed in need not do so again."""
    link = f'<a href="{pages.base}/alerts/{SHELL.id}">an alert</a>'
    with watched(browser, pages.base) as context:
        page = context.page()
        page.goto(pages.login)
        context.context.route(
            "http://mail.example/**", lambda route: route.fulfill(body=link, content_type="text/html")
        )
        page.goto("http://mail.example/")
        page.get_by_role("link").click()
        expect(page).to_have_url(f"{pages.base}/alerts/{SHELL.id}")
        context.wrong[:] = [one for one in context.wrong if "mail.example" not in one]


def test_a_page_of_another_site_can_do_nothing(browser: Browser, pages: Served) -> None:
    """With a session open, a page of another site posts a form, and shows the pages in a frame."""

    def other(route: Any) -> None:
        form = f'<form method=post action="{pages.base}/alerts"><input name=id value="{SHELL.id}"></form>'
        frame = f'<iframe src="{pages.base}/alerts"></iframe>'
        route.fulfill(body=form + frame, content_type="text/html")

    with watched(browser, pages.base) as context:
        page = context.page()
        page.goto(pages.login)
        context.context.route("http://evil.example/**", other)
        attacking: Page = context.context.new_page()
        attacking.goto("http://evil.example/")
        assert attacking.frames[1].url == "chrome-error://chromewebdata/"
        with attacking.expect_navigation() as navigation:
            attacking.evaluate("document.forms[0].submit()")
        answer = navigation.value
        assert answer is not None and answer.status in (403, 303)
        assert "evil.example" not in attacking.url
        page.goto(f"{pages.base}/alerts/{SHELL.id}")
        expect(page.locator(".title .status")).to_contain_text("open")
        context.wrong[:] = [one for one in context.wrong if "evil.example" not in one]
