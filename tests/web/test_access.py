"""Who may see and change what: token, sessions, names of the place, origins, forms, headers, limits."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from runner.cli.web_wiring import kept_token, pages_of
from runner.errors import SettingsError
from runner.settings.settings import load_settings
from runner.web.access import Sessions, WebAccess, is_loopback
from runner.web.parts import own_address
from tests.web.conftest import TOKEN, Open
from tests.web.documents import NOW, event_alerts

ID = event_alerts(1)[0].id


async def test_nothing_is_shown_to_who_has_not_signed_in(browser: Open) -> None:
    pages = await browser(signed_in=False)
    for address in ("/", "/alerts", f"/alerts/{ID}", "/rules", "/coverage/navigator.json", "/health", "/nothing"):
        answer = await pages.client.get(address, allow_redirects=False)
        assert (answer.status, answer.headers["Location"][:12]) == (303, "/login?next=")
        assert ID not in await answer.text()
    assert (await pages.client.post("/alerts", data={"id": ID})).status == 403
    assert await pages.statuses() == {"open": 8}


async def test_the_token_opens_a_session_whose_cookie_no_script_and_no_other_page_can_use(browser: Open) -> None:
    pages = await browser(signed_in=False)
    assert (await pages.client.get("/login?token=wrong", allow_redirects=False)).status == 403
    answer = await pages.client.post(
        "/login", data={"token": TOKEN, "analyst": "ann", "next": "/rules"}, allow_redirects=False
    )
    assert (answer.status, answer.headers["Location"]) == (303, "/rules")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie and TOKEN not in cookie
    assert (await pages.client.get("/rules", allow_redirects=False)).status == 200
    await pages.post("/logout")
    assert (await pages.client.get("/rules", allow_redirects=False)).status == 303


async def test_read_only_pages_of_this_machine_need_no_token(browser: Open) -> None:
    pages = await browser(mode="read-only", token="")
    page = await pages.get("/alerts")
    assert "read-only" in page and "Acknowledge" not in page and "Sign out" not in page
    answer = await pages.client.post("/alerts", data={"id": ID, "action": "close"}, allow_redirects=False)
    assert answer.status == 403
    assert "read-only (RUNNER_WEB=read-only)" in await answer.text()
    assert (await pages.client.post(f"/alerts/{ID}/except", data={})).status == 403
    assert await pages.statuses() == {"open": 8}


HOSTS = [
    ("localhost:9722", 200),
    ("127.0.0.1", 200),
    ("[::1]:9722", 200),
    ("192.0.2.1:9722", 200),
    ("evil.example", 421),
    ("evil.example:9722", 421),
    ("localhost.evil.example", 421),
    ("127.0.0.1.evil.example", 421),
    ("user@localhost", 200),
    ("", 421),
    ("[::1", 421),
]
"""Values of `Host` with the status of the answer."""


async def test_a_name_of_somebody_else_is_refused(browser: Open) -> None:
    """DNS rebinding: a page of evil.example whose name points here."""
    pages = await browser()
    for host, status in HOSTS:
        answer = await pages.client.get("/alerts", headers={"Host": host})
        assert answer.status == status, host


HEADERS: list[tuple[dict[str, str], int]] = [
    ({}, 303),
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 303),
    ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
]
"""Headers of a form's request with the status of the answer."""


async def test_a_form_of_another_page_changes_nothing(browser: Open) -> None:
    pages = await browser()
    csrf = await pages.csrf()
    for headers, status in HEADERS:
        data = {"csrf": csrf, "id": ID, "action": "close" if status == 403 else "reopen"}
        answer = await pages.client.post("/alerts", data=data, headers=headers, allow_redirects=False)
        assert answer.status == status
    assert await pages.statuses() == {"open": 8}


async def test_a_form_without_the_sessions_own_token_changes_nothing(browser: Open) -> None:
    pages = await browser()
    for csrf in ("", "wrong", "ü"):
        data = {"csrf": csrf, "id": ID, "action": "close"}
        assert (await pages.client.post("/alerts", data=data, allow_redirects=False)).status == 403
    assert await pages.statuses() == {"open": 8}


async def test_every_answer_has_the_headers_that_confine_it(browser: Open) -> None:
    pages = await browser()
    for address in ("/alerts", "/static/web.css", "/nothing", "/alerts/zzz", "/login"):
        answer = await pages.client.get(address)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy and "base-uri 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Server" not in answer.headers


async def test_what_is_sent_is_bounded(browser: Open) -> None:
    pages = await browser()
    csrf = await pages.csrf()
    large = await pages.client.post("/alerts", data={"csrf": csrf, "note": "x" * 1_000_000})
    assert large.status == 413
    longer = await pages.post("/alerts", csrf=csrf, note="x" * 5_000, id=ID, action="note")
    assert longer.status == 400
    assert (await pages.client.delete("/alerts")).status == 403


def test_sessions_end_and_are_few() -> None:
    now = [NOW]
    sessions = Sessions(lambda: now[0])
    first, _ = sessions.begin()
    assert sessions.find(first) is not None and sessions.find("") is None
    now[0] += timedelta(hours=11)
    assert sessions.find(first) is not None
    now[0] += timedelta(hours=13)
    assert sessions.find(first) is None
    ids = [sessions.begin()[0] for _ in range(501)]
    assert sessions.find(ids[0]) is None and sessions.find(ids[-1]) is not None


@pytest.mark.parametrize(
    "text", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:1", "/a\nb", ""]
)
def test_nobody_is_sent_elsewhere(text: str) -> None:
    assert own_address(text) == "/alerts"


def test_which_addresses_are_of_this_machine_alone() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "")] == [False] * 5


def test_a_token_is_kept_where_this_user_alone_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "x.web-token"
    token = kept_token(file)
    assert len(token) > 40 and file.stat().st_mode & 0o777 == 0o600
    assert kept_token(file) == token
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="this user alone can read"):
        kept_token(file)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="cannot be kept there"):
        kept_token(tmp_path / "link")
    with pytest.raises(SettingsError, match="RUNNER_WEB_TOKEN_FILE"):
        kept_token(tmp_path / "no" / "folder")


@pytest.mark.parametrize(
    ("given", "mode", "has_token"),
    [
        ({}, "full", True),
        ({"web": "off"}, None, False),
        ({"listen": "off"}, None, False),
        ({"web": "read-only"}, "read-only", False),
        ({"web": "read-only", "listen": "0.0.0.0:9722"}, "read-only", True),
        ({"web": "read-only", "web_token": "0123456789abcdef"}, "read-only", True),
    ],
)
def test_the_settings_decide_who_may_sign_in(
    tmp_path: Path, given: dict[str, str], mode: str | None, has_token: bool
) -> None:
    settings = load_settings({"state": str(tmp_path / "s.db"), **given}, environ={})
    pages = pages_of(settings)
    assert (pages.access.mode if pages is not None else None) == mode
    assert bool(pages is not None and pages.access.token) == has_token


def test_a_public_address_with_tls_keeps_the_cookie_to_it(tmp_path: Path) -> None:
    settings = load_settings({"state": str(tmp_path / "s.db"), "public_url": "https://Alerts.example.org"}, environ={})
    pages = pages_of(settings)
    assert pages is not None and pages.access.is_https
    assert pages.access.answers_to("alerts.example.org") and not pages.access.answers_to("example.org")


def test_an_empty_token_opens_nothing() -> None:
    assert not WebAccess("full").opens("")
    assert not WebAccess("full", TOKEN).opens("")
