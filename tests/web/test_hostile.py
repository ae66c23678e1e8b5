"""What an attacker has written is text on the pages and in reports, whatever it looks like, however long it is."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.store.protocol import StoredAlert
from runner.web.charts import histogram
from runner.web.rendering import cut, markdown, render, safe_link, templates
from runner.web.report import gathered, report_text
from tests.web.conftest import Open
from tests.web.documents import HOSTILE, NOW, hostile_alert

LARGEST_PAGE = 3_000_000
ALLOWED = {"web.js"}


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_harmless(page: str, *, is_report: bool = False) -> None:
    """The page has no script, address or character but its own."""
    for tag, attributes in Elements(page).found:
        assert tag not in ("base", "iframe", "object", "embed", "textarea"), tag
        assert not (is_report and tag == "script")
        assert tag != "script" or attributes.get("src") == "/static/web.js"
        assert tag != "img"
        assert not [name for name in attributes if name.startswith("on") or (name == "style" and value_of(attributes))]
        for name in ("href", "src", "action"):
            target = attributes.get(name)
            if target is not None:
                assert re.match(r"(https?://|/(?!/)|#|\?)", target), (tag, target)
                assert not target.startswith("http") or attributes.get("rel") == "noopener noreferrer nofollow"
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]", page)
    assert "{{7*7}}" in page and len(page) < LARGEST_PAGE


def value_of(attributes: dict[str, str | None]) -> bool:
    return bool(attributes.get("style"))


async def test_every_page_shows_hostile_values_as_text(browser: Open) -> None:
    alert = hostile_alert()
    pages = await browser(alert, hostile={"name": HOSTILE[0] + HOSTILE[5], "note": HOSTILE[4], "tags": list(HOSTILE)})
    one, host = f"/alerts/{alert.id}", f"/host?{urlencode({'name': HOSTILE[0]})}"
    for address in ("/alerts", one, f"{one}/except", "/rules/hostile", "/alerts?group=rule", host):
        assert_harmless(await pages.get(address))
    page = await pages.get(f"/alerts/{alert.id}")
    assert "&lt;script&gt;window.hit=1&lt;/script&gt;" in page
    assert r"\u202egnp.exe" in page and r"a\x00b\x1b[31m" in page
    assert "characters; the raw document has them" in page
    assert 'href="https://fine.example/"' in page


async def test_what_the_address_says_is_text_as_well(browser: Open) -> None:
    pages = await browser()
    for value in HOSTILE:
        for name in ("host", "text", "rule", "tag"):
            page = await (await pages.client.get("/alerts", params={name: value})).text()
            assert "<script>window" not in page and "onerror=" not in re.sub("&[^;]+;", "", page).split("<main")[0]
        for address in ("/host", "/rules"):
            page = await (await pages.client.get(address, params={"name": value, "text": value})).text()
            assert "<script>window" not in page
        page = await (await pages.client.get(f"/login?next={value}")).text()
        assert "<script>window" not in page


def reported() -> Any:
    alert = hostile_alert()
    return gathered([StoredAlert(alert.id, "", alert.document)], chosen=HOSTILE[0] + HOSTILE[5], most=10)


def test_a_report_in_html_is_one_file_that_needs_and_does_nothing() -> None:
    page = report_text(reported(), "html", NOW, full=10)
    assert_harmless(page, is_report=True)
    assert "default-src 'none'; style-src 'sha256-" in page
    assert "url(" not in page and "@import" not in page
    assert report_text(reported(), "html", NOW, full=0).count("<article") == 0


def test_a_report_in_csv_computes_nothing() -> None:
    text = report_text(reported(), "csv", NOW, full=10)
    (row,) = csv.DictReader(io.StringIO(text))
    assert not [value for value in row.values() if value.lstrip().startswith(("=", "+", "-", "@"))]
    assert row["severity"] == "critical" and "\0" not in text and "\u202e" not in text


def test_a_report_in_markdown_has_no_html_and_no_links_of_its_own() -> None:
    text = report_text(reported(), "md", NOW, full=10)
    plain = re.sub(r"(`+) .*? \1", "", text)
    assert not re.search(r"(?<!\\)<(script|img|svg|base)", plain)
    assert not re.search(r"(?<!\\)\]\(", plain)
    assert "\u202e" not in text and "\0" not in text


@given(st.text(st.sampled_from("[]()<>!`*_#-|:/&\"'\\ \n\tjavscript:http.ex{}%\u202e\0"), max_size=80))
def test_markdown_of_a_guide_never_becomes_more_than_text_and_links_of_the_web(text: str) -> None:
    for tag, attributes in Elements(str(markdown(text))).found:
        assert tag not in ("script", "img", "svg", "iframe", "base", "style", "form", "input")
        assert set(attributes) <= {"href", "rel", "target", "title", "class", "start", "style"}
        assert re.match("https?://", attributes.get("href") or "https://")


@given(st.text(max_size=60))
def test_a_link_is_one_of_the_web_or_none(text: str) -> None:
    for candidate in (text, f"javascript:{text}", f"data:{text}", f"//{text}"):
        found = safe_link(candidate)
        assert found == "" or re.match(r"https?://[^\s\"'<>]+$", found, re.IGNORECASE)


def test_no_template_writes_what_is_not_escaped() -> None:
    made = templates()
    for name in made.list_templates():
        source = made.loader.get_source(made, name)[0]  # type: ignore[union-attr]
        assert made.autoescape is True
        unescaped = re.findall(r"\{\{[^}]*\|\s*safe[^}]*\}\}", source)
        assert set(unescaped) <= {"{{ style | safe }}", "{{ part | safe }}"}, name
        assert not re.search(r"\sstyle=|\son[a-z]+=|<script(?! src=)", source), name


@pytest.mark.parametrize("length", [10, 4_000, 4_001, 1_000_000])
def test_a_long_value_is_cut_and_said_to_be(length: int) -> None:
    shown = cut("x" * length)
    assert shown == "x" * length if length <= 4_000 else shown.startswith("x" * 4_000 + "… (")
    assert len(shown) < 4_100


def test_a_page_of_a_problem_shows_it_as_text() -> None:
    shown = {"navigation": (), "path": "/", "version": "1", "place": "", "may_change": False, "has_token": False}
    assert "&lt;b&gt;" in render("problem.html", text="<b>\0", csrf="", flashes=[], **shown)
    assert histogram([], lambda first, last: "") == ""
